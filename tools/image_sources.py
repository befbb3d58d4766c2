"""Reads images from IDX files, CIFAR-10 binary batches and folders of images.

`open_source` finds out which of the three a folder holds; every complaint names the broken file.
"""
import gzip
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
SPLIT_FOLDERS = {"train", "test", "val", "valid", "validation"}
FASHION_CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                   "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
CIFAR_RECORD = 1 + 3 * 32 * 32


class InputError(Exception):
    """A file that can't be read or written; the message is the sentence that the user sees."""


class Split:
    """One split of a source: its size, its labels (or None), and how to read images by index."""

    def __init__(self, name, labels, count, read, files):
        self.name, self.labels, self.count, self.files = name, labels, count, files
        self.read = read  # read(index) -> (uint8 array (channel, height, width), what to call it)


# --- IDX ------------------------------------------------------------------------------------------
def read_bytes(path):
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                return file.read()
        return path.read_bytes()
    except EOFError:
        raise InputError(f"{path} is truncated: its gzip stream ends too early; fetch it again.")
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a sound gzip file ({error}); fetch it again.")
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.")


def read_idx(path, dimensions):
    """The array of an IDX file of unsigned bytes (format: http://yann.lecun.com/exdb/mnist)."""
    content = read_bytes(path)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise InputError(f"{path} is truncated: {len(content)} bytes hold no IDX header.")
    magic = struct.unpack(">I", content[:4])[0]
    expected = 0x0800 + dimensions
    if magic != expected:
        raise InputError(f"{path} is not an IDX file of {dimensions}-dimensional unsigned bytes: "
                         f"its magic number is 0x{magic:08x}, expected 0x{expected:08x}.")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    size = int(np.prod(shape, dtype=np.int64))
    if len(content) - header != size:
        state = "is truncated" if len(content) - header < size else "is too long"
        raise InputError(f"{path} {state}: its header promises {size} bytes of shape {list(shape)}, "
                         f"but {len(content) - header} follow.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def idx_files(folder):
    """Per split the image file and, where there is one, the label file."""
    found = {}
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".gz").replace(".", "-")
        if not name.endswith("images-idx3-ubyte"):
            continue
        split = "train" if "train" in name else "test" if "t10k" in name or "test" in name else None
        if split is None:
            raise InputError(f"{path} is neither a train nor a test (t10k) file by its name.")
        labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        other = labels.with_name(labels.name.removesuffix(".gz") if labels.suffix == ".gz"
                                 else labels.name + ".gz")
        labels = next((p for p in (labels, other) if p.is_file()), None)
        if split in found:
            if found[split][0].name.removesuffix(".gz") == path.name.removesuffix(".gz"):
                continue  # the same file, once plain and once compressed
            raise InputError(f"{folder} holds several {split} files ({found[split][0].name}, "
                             f"{path.name}): move the wanted ones into a folder of their own.")
        found[split] = (path, labels)
    return found


def idx_source(folder, files):
    splits = []
    for name, (image_path, label_path) in sorted(files.items(), key=lambda item: item[0] != "train"):
        images = read_idx(image_path, 3)
        labels = None
        if label_path is not None:
            labels = read_idx(label_path, 1).astype(np.int64)
            if len(labels) != len(images):
                raise InputError(f"{label_path} holds {len(labels)} labels, but {image_path} "
                                 f"{len(images)} images.")
        read = lambda i, images=images, path=image_path: (images[i][None], f"image {i} of {path}")
        paths = [image_path] + ([label_path] if label_path else [])
        splits.append(Split(name, labels, len(images), read, [p.name for p in paths]))
    classes = FASHION_CLASSES if "fashion" in str(folder.resolve()).lower() else None
    return splits, classes


# --- CIFAR-10 -------------------------------------------------------------------------------------
def cifar_files(folder):
    groups = {"train": sorted(folder.glob("data_batch_*.bin")), "test": sorted(folder.glob("test_batch.bin"))}
    return {split: paths for split, paths in groups.items() if paths}


def cifar_source(folder, files):
    splits = []
    for name, paths in files.items():
        parts = []
        for path in paths:
            content = read_bytes(path)
            if not content or len(content) % CIFAR_RECORD:
                raise InputError(f"{path} is truncated or no CIFAR-10 batch: {len(content)} bytes are "
                                 f"not a multiple of the record's {CIFAR_RECORD}.")
            part = np.frombuffer(content, np.uint8).reshape(-1, CIFAR_RECORD)
            if part[:, 0].max() > 9:
                raise InputError(f"{path} is no CIFAR-10 batch: it holds the label "
                                 f"{part[:, 0].max()}, expected 0 to 9.")
            parts.append(part)
        records = np.concatenate(parts)
        images = records[:, 1:].reshape(-1, 3, 32, 32)
        read = lambda i, images=images, folder=folder: (images[i], f"image {i} of {folder}")
        splits.append(Split(name, records[:, 0].astype(np.int64), len(images), read, [p.name for p in paths]))
    names = folder / "batches.meta.txt"
    classes = [line.strip() for line in names.read_text().splitlines() if line.strip()] if names.is_file() else None
    return splits, classes


# --- folders of images ----------------------------------------------------------------------------
def image_paths(folder):
    return sorted(p for p in folder.iterdir()
                  if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def class_folders(folder):
    return sorted(p for p in folder.iterdir()
                  if p.is_dir() and not p.name.startswith(".") and image_paths(p))


def folder_files(folder):
    """{split: {class name or None: [paths]}} of a folder, or {} if it holds no images."""
    splits = {}
    for part in sorted(folder.iterdir(), key=lambda p: (p.name != "train", p.name)):
        if part.is_dir() and part.name.lower() in SPLIT_FOLDERS:
            splits[part.name.lower()] = part
    if not splits:
        splits = {"train": folder}
    result = {}
    for name, part in splits.items():
        classes = class_folders(part)
        flat = image_paths(part)
        if classes and flat:
            raise InputError(f"{part} holds both images and folders of images: {flat[0].name} has no class.")
        content = {c.name: image_paths(c) for c in classes} if classes else {None: flat} if flat else {}
        if content:
            result[name] = content
    return result


def folder_source(folder, files, grayscale):
    labelled = [None not in content for content in files.values()]
    if any(labelled) != all(labelled):
        raise InputError(f"{folder} has a split with class folders and one without: classes must be in all or none.")
    classes = sorted({c for content in files.values() for c in content}) if all(labelled) else None
    reader = ImageReader(grayscale)
    splits = []
    for name, content in files.items():
        paths = [p for c in content.values() for p in c]
        labels = None
        if classes is not None:
            labels = np.concatenate([np.full(len(p), classes.index(c), np.int64) for c, p in content.items()])
        described = [f"{name}/{c}/ ({len(p)} images)" if c else f"{len(p)} images" for c, p in content.items()]
        read = lambda i, paths=paths: (reader.read(paths[i]), str(paths[i]))
        splits.append(Split(name, labels, len(paths), read, described))
    return splits, classes


class ImageReader:
    """Decodes image files to uint8 (channel, height, width); the first one says grey or colour."""

    GREY = {"1", "L", "LA", "La"}

    def __init__(self, grayscale):
        self.grayscale, self.first, self.channels = grayscale, None, None

    def read(self, path):
        try:
            with Image.open(path) as image:
                image.load()
                if image.mode.startswith("I") or image.mode == "F":
                    raise InputError(f"{path} has more than 8 bits per pixel (mode {image.mode}): convert it first.")
                grey = image.mode in self.GREY
                image = ImageOps.exif_transpose(image)
                if self.first is None:
                    self.first, self.channels = path, 1 if self.grayscale or grey else 3
                if self.channels == 1 and not grey and not self.grayscale:
                    raise InputError(f"{path} is a colour image, but {self.first} is grey: use --grayscale for all.")
                pixels = np.asarray(image.convert("L" if self.channels == 1 else "RGB"))
        except InputError:
            raise
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError,
                EOFError, struct.error, zlib.error) as error:
            raise InputError(f"{path} can't be decoded as an image ({first_line(error)}).")
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


# --- any of them ----------------------------------------------------------------------------------
def open_source(folder, grayscale):
    """The splits and class names of a folder, whichever of the three formats it holds."""
    if not folder.exists():
        raise InputError(f"{folder} does not exist.")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the folder that holds the IDX files, CIFAR-10 "
                         "batches or images.")
    try:
        if files := idx_files(folder):
            return idx_source(folder, files)
        if files := cifar_files(folder):
            return cifar_source(folder, files)
        if files := folder_files(folder):
            return folder_source(folder, files, grayscale)
    except PermissionError as error:
        raise InputError(f"{error.filename} can't be read: {error.strerror}.")
    raise InputError(f"{folder} holds no IDX files (*-images-idx3-ubyte[.gz]), no CIFAR-10 batches "
                     "(data_batch_*.bin) and no images (train/<class>/*.png, *.jpg or flat).")
