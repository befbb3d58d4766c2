"""Reads IDX files: MNIST, Fashion-MNIST, EMNIST, KMNIST, QMNIST and what else comes in their format."""
import gzip
import math
import pathlib
import re
import struct
import zlib

import numpy as np

from .arrays import image_reader
from .errors import InputError, say, shown
from .splits import Source, Split, in_order, split_of

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGES = re.compile(r"(.*)images?[-._]idx[34][-._](?:ubyte|byte|short|int|float|double)(?:\.gz)?", re.I | re.S)
LABELS = re.compile(r"(.*)labels?[-._]idx[12][-._](?:ubyte|byte|short|int)(?:\.gz)?", re.I | re.S)


def read_bytes(path):
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as file:
                return file.read()
        return path.read_bytes()
    except EOFError:
        raise InputError(f"{shown(path)} is truncated: its gzip stream ends too early; fetch it again.")
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{shown(path)} is not a sound gzip file ({error}); fetch it again.")
    except OSError as error:
        raise InputError(f"{shown(path)} can't be read: {error.strerror or error}.")


def read_idx(path, dimensions):
    """The array of an IDX file (format: http://yann.lecun.com/exdb/mnist) of so many dimensions."""
    content = read_bytes(path)
    if len(content) < 4:
        raise InputError(f"{shown(path)} is truncated: {len(content)} bytes hold no IDX header.")
    magic, code, rank = struct.unpack(">HBB", content[:4])
    if magic != 0 or code not in TYPES or rank not in dimensions:
        expected = " or ".join(map(str, dimensions))
        raise InputError(f"{shown(path)} is not an IDX file of {expected} dimensions: its magic number is "
                         f"0x{content[:4].hex()}, expected 0x0000, a type from 0x08 to 0x0e, 0x0{dimensions[0]}.")
    header = 4 + 4 * rank
    if len(content) < header:
        raise InputError(f"{shown(path)} is truncated: {len(content)} bytes hold no IDX header.")
    shape = struct.unpack(f">{rank}I", content[4:header])
    type_ = np.dtype(TYPES[code])
    size = math.prod(shape) * type_.itemsize
    if len(content) - header != size:
        state = "is truncated" if len(content) - header < size else "is too long"
        raise InputError(f"{shown(path)} {state}: its header promises {size} bytes of shape {list(shape)}, "
                         f"but {len(content) - header} follow.")
    return np.frombuffer(content, type_, offset=header).reshape(shape)


# --- which files belong together --------------------------------------------------------------------
def split_of_file(path):
    split = split_of(path.name) or ("train" if "train" in path.name.lower() else
                                    "test" if re.search("t10k|test", path.name.lower()) else None)
    if split is None:
        raise InputError(f"{shown(path)} is neither a train nor a test (t10k) file by its name.")
    return split


def data_set_of(path):
    """What comes before the split in a file's name: "emnist-letters-" of emnist-letters-train-images..."""
    return re.split("train|t10k|test|valid|val", path.name, maxsplit=1, flags=re.I)[0]


def unpacked(path):
    return re.sub(r"\.gz$", "", path.name, flags=re.I).replace(".", "-")


def labels_of(image_path, files):
    """The label file with the prefix of an image file, or None."""
    prefix = IMAGES.fullmatch(image_path.name)[1]
    found = [p for p in files if (match := LABELS.fullmatch(p.name)) and match[1] == prefix]
    found.sort(key=lambda p: (p.suffix.lower() == ".gz") != (image_path.suffix.lower() == ".gz"))
    for other in found[1:]:
        if unpacked(other) != unpacked(found[0]):
            raise InputError(f"{shown(image_path)} has several files of labels ({shown(found[0].name)}, "
                             f"{shown(other.name)}): move the wanted ones into a folder of their own.")
    return found[0] if found else None


def idx_files(files, given=None):
    """Per split the image file and, where there is one, the label file; of `given`'s data set if there is one."""
    files = sorted(pathlib.Path(p) for p in files)
    found = {}
    for path in files:
        if not IMAGES.fullmatch(path.name) or given and data_set_of(path) != data_set_of(given):
            continue
        split = split_of_file(path)
        if split not in found or path == given:
            found[split] = path
        elif given not in (found[split], path) and unpacked(found[split]) != unpacked(path):
            raise InputError(f"{shown(path.parent)} holds several {split} files ({shown(found[split].name)}, "
                             f"{shown(path.name)}): give the wanted one as SOURCE instead of the folder, or move "
                             "the wanted ones into a folder of their own.")
    return {split: (path, labels_of(path, files)) for split, path in found.items()}


def idx_source(files, options):
    splits = []
    for name in in_order(files):
        image_path, label_path = files[name]
        images = read_idx(image_path, (3, 4))
        read = image_reader(images, image_path, options)
        labels = None
        if label_path is not None:
            labels = read_idx(label_path, (1, 2))
            if len(labels) != len(images):
                raise InputError(f"{shown(label_path)} holds {len(labels)} labels, but {shown(image_path)} "
                                 f"{len(images)} images.")
            if labels.ndim == 2:
                say(f"{shown(label_path)} holds {labels.shape[1]} numbers for each image: the first is its label")
                labels = labels[:, 0]
        paths = [image_path] + ([label_path] if label_path else [])
        splits.append(Split(name, labels, len(images), read, [p.name for p in paths]))
    return Source(splits)
