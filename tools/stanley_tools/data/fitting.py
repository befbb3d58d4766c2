"""Brings images to the wanted channels and size."""
import numpy as np
from PIL import Image, ImageOps

from .errors import UsageError, counted, say


class Fitting:
    """Brings images to the wanted orientation, channels and size, and counts those that lose a part."""

    def __init__(self, options):
        self.options, self.cropped = options, 0

    def fit(self, image):
        """One image (channel, height, width) after --transpose, --grayscale, --size (square, Lanczos) and --pad."""
        options = self.options
        if options.transpose:
            image = image.transpose(0, 2, 1)
        if options.grayscale and image.shape[0] == 3:
            image = np.asarray(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).convert("L"))[None]
        size = options.size
        if size is not None and image.shape[1:] != (size, size):
            self.cropped += image.shape[1] != image.shape[2]
            channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in image]
            image = np.stack([np.asarray(ImageOps.fit(c, (size, size), Image.Resampling.LANCZOS)) for c in channels])
        return image if options.pad is None else padded(image, options.pad)

    def finish(self):
        if self.cropped:
            say(f"{counted(self.cropped, 'image')} {'is' if self.cropped == 1 else 'are'} no square: --size cropped "
                "the longer side")


def padded(image, pad):
    _, height, width = image.shape
    top, left = (pad - height) // 2, (pad - width) // 2
    if top < 0 or left < 0:
        raise UsageError(f"--pad {pad} is smaller than the images ({height}×{width}): use --size.")
    return np.pad(image, ((0, 0), (top, pad - height - top), (left, pad - width - left)))


def describe(shape):
    channels, height, width = shape
    return f"{height}×{width} pixels with {channels} channel{'s' if channels > 1 else ''}"


def spread(count, limit):
    """At most `limit` indices, spread evenly: of a folder sorted by class, every class stays."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.arange(limit) * count // limit
