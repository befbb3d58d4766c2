"""Looks at picture files and decodes their frames to bytes (channel, height, width) with Pillow."""
import contextlib
import logging
import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import InputError, first_line, shown
from .formats import FORMATS

GREY = {"1", "L", "LA", "La", "F"}  # and all that begin with I
SUBFILE_TYPE, REDUCED_OR_MASK = 254, 1 | 4  # of a page of a TIFF file
PNG_KEY_SCALE = {"L;2": 85, "L;4": 17}  # what Pillow multiplies such pixels by, but not their transparent value
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what Pillow can't decode is told in our sentence


class BrokenPicture(InputError):
    """A picture that can't be decoded: its path and the reason."""

    def __init__(self, path, reason):
        super().__init__(f"{shown(path)} can't be decoded as an image ({reason})")
        self.path, self.reason = path, reason


@contextlib.contextmanager
def libtiff_silenced(image):
    """Keeps what libtiff itself writes to stderr from the user, who gets our sentence instead."""
    if image.format != "TIFF":
        yield
        return
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def reason_of(error, path):
    if isinstance(error, UnidentifiedImageError):
        if not os.path.getsize(path):
            return "it is empty"
        return "it is no picture that Pillow knows"
    if isinstance(error, FileNotFoundError) and os.path.islink(path):
        return "it is a link to nothing"
    told = isinstance(error, (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError))
    return first_line(error) if told else f"its structure is broken: {first_line(error)}"


def open_picture(path):
    image = Image.open(path, formats=FORMATS)
    if "transparency" in image.info:
        image.info["transparency"] = mended_key(image.info["transparency"], raw_mode(image))
    return image


def raw_mode(image):
    """How the pixels are stored in the file ("LA;16B"), or "" where Pillow doesn't say."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def mended_key(key, raw):
    """The transparent value of a PNG on the scale of Pillow's pixels; Pillow leaves it on the file's."""
    if raw in PNG_KEY_SCALE and isinstance(key, int):
        return key * PNG_KEY_SCALE[raw]
    if raw == "RGB;16B":
        return tuple(value >> 8 for value in key)
    return key


def is_deep(image):
    return image.mode.startswith("I") or image.mode == "F"


# --- looking ------------------------------------------------------------------------------------------
class Look:
    """What the headers of a file say: its frames, other pictures in it, and whether it has colour or alpha."""

    __slots__ = ("frames", "further", "coloured", "transparent")

    def __init__(self, frames, further, coloured, transparent):
        self.frames, self.further, self.coloured, self.transparent = frames, further, coloured, transparent


def look(path, first_only):
    """Looks at a file without decoding it, but for palettes and GIF's frames."""
    try:
        with open_picture(path) as image, libtiff_silenced(image):
            frames, further = frames_of(image)
            transparent = image.has_transparency_data
            return Look(frames, further, is_coloured(image, frames[:1] if first_only else frames), transparent)
    except Exception as error:  # Pillow's decoders raise any kind over broken files
        raise BrokenPicture(path, reason_of(error, path))


def frames_of(image):
    """The frames that are pictures of their own, and how many others the file holds."""
    count = getattr(image, "n_frames", 1)
    if image.format == "PSD":
        return [0], count if count > 1 else 0  # the layers, beside the whole
    if image.format in ("ICO", "ICNS"):
        return [0], len(image.info["sizes"]) - 1  # the same in smaller
    if image.format == "MPO":
        return [0], count - 1
    if image.format == "TIFF" and count > 1:
        frames = []
        for frame in range(count):
            image.seek(frame)
            if not image.tag_v2.get(SUBFILE_TYPE, 0) & REDUCED_OR_MASK:
                frames.append(frame)
        return frames or [0], count - len(frames or [0])
    return list(range(count)), 0


def is_coloured(image, frames):
    """Whether any of the frames is; of a GIF, whose palettes Pillow may hide, by its pixels."""
    if image.format == "GIF":
        return any(shows_colour(image, frame) for frame in frames)
    if image.format == "TIFF" and len(frames) > 1:
        return any(mode_is_coloured(image, frame) for frame in frames)
    return mode_is_coloured(image, frames[0])


def shows_colour(image, frame):
    image.seek(frame)
    pixels = np.asarray(image.convert("RGBA"))
    red, green, blue = (pixels[..., i][pixels[..., 3] > 0] for i in range(3))
    return bool((red != green).any() or (green != blue).any())


def mode_is_coloured(image, frame):
    if frame or image.tell():
        image.seek(frame)
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette != palette[:, :1]).any())
    return not (image.mode in GREY or image.mode.startswith("I") or raw_mode(image) == "LA;16B")


# --- decoding -----------------------------------------------------------------------------------------
class PictureReader:
    """Decodes frames of files; keeps the last file open, so that frames after each other are cheap."""

    def __init__(self, channels, options):
        self.channels, self.options = channels, options
        self.path = self.image = None

    def read(self, path, frame):
        try:
            if path != self.path:
                self.close()
                self.image, self.path = open_picture(path), path
            if frame or self.image.tell():
                self.image.seek(frame)
            with libtiff_silenced(self.image):
                self.image.load()
            return self.decode(self.image, shown(path))
        except InputError:
            raise
        except Exception as error:
            self.close()
            raise BrokenPicture(path, reason_of(error, path) + (f", frame {frame}" if frame else ""))

    def close(self):
        if self.image is not None:
            self.image.close()
        self.path = self.image = None

    def decode(self, loaded, name):
        """One frame as uint8 (channel, height, width)."""
        image = ImageOps.exif_transpose(loaded)
        if is_deep(image):
            image = self.from_numbers(image, loaded.format, name)
        elif image.has_transparency_data:
            image = self.from_transparent(image, name)
        else:
            image = image.convert("RGB") if image.mode == "LAB" else image  # Pillow makes no L of it
            image = self.stretched(image, name)
        pixels = np.asarray(image.convert("L" if self.channels == 1 else "RGB"))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def stretched(self, image, name):
        """A picture of 8 bits after --range."""
        if self.options.depth.limits is None:
            return image
        image = image.convert("L" if image.mode in GREY else "RGB")
        return Image.fromarray(self.options.depth.to_bytes(np.asarray(image), name))

    def from_numbers(self, image, format_, name):
        """A grey picture of 16-bit values, integers or floats."""
        values = np.asarray(image)
        if format_ == "PPM" and image.mode == "I":
            values = values.astype(np.uint16)  # what a PGM of more than 8 bits holds
        elif values.dtype.kind == "i" and self.options.depth.limits is None:
            raise InputError(f"{name} holds integers of {8 * values.dtype.itemsize} bits (from {values.min()} to "
                             f"{values.max()}): use --range LOW,HIGH to say which values become 0 and 255.")
        grey = self.options.depth.to_bytes(values, name)
        key = image.info.get("transparency")
        alpha = np.where(values == key, 0, 255) if isinstance(key, int) else None
        if alpha is None or alpha.min() == 255:
            return Image.fromarray(grey)
        return Image.fromarray(self.options.composing.below(np.repeat(grey[..., None], 3, 2), alpha))

    def from_transparent(self, image, name):
        """A picture with alpha, without it where nothing can be seen through."""
        pixels = np.asarray(image.convert("RGBA"))
        if pixels[..., 3].min() == 255:
            return self.stretched(without_alpha(image), name)
        colours = self.options.depth.to_bytes(pixels[..., :3], name)
        return Image.fromarray(self.options.composing.below(colours, pixels[..., 3]))


def without_alpha(image):
    """A picture that hides nothing, as it would be without its alpha."""
    image = image.copy()
    image.info.pop("transparency", None)
    if image.mode == "P" and image.palette.mode == "RGB":
        return image
    if image.mode in ("LA", "PA", "RGBA", "P"):
        return image.convert("L" if image.mode == "LA" else "RGB")
    return image
