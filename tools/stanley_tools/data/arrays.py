"""Reads images and labels from NumPy's .npz and .npy files."""
import pathlib
import re
import zipfile

import numpy as np

from .depth import Depth
from .errors import InputError, counted, first_line, say, shown, some
from .splits import Source, Split, in_order, split_of

LABEL_WORD = re.compile(r"(?:^|[^a-z])(y|labels?|lbls?|targets?|class|classes|"
                        r"y(?:train|test|val)|(?:train|test|val)y)(?![a-z])")


# --- images of an array -----------------------------------------------------------------------------
def channel_axis(shape, axes, name):
    """The axis of the channels of an array of images, or None where there is none."""
    if len(shape) == 3:
        return None
    first, last = shape[1] in (1, 3), shape[3] in (1, 3, 4)
    if not {1, 3, 4} & {shape[1], shape[3]}:
        raise InputError(f"{name} has the shape {list(shape)}: expected pictures of 1, 3 or 4 channels; volumes, or "
                         "pictures of more channels, are not read.")
    if axes is not None:
        axis = {"nchw": 1, "nhwc": 3}[axes]
        if shape[axis] not in (1, 3, 4):
            raise InputError(f"{name} has the shape {list(shape)}: --axes {axes} makes that {shape[axis]} "
                             "channels, expected 1, 3 or 4.")
        return axis
    if first == last:
        raise InputError(f"{name} has the shape {list(shape)}, where {'both' if first else 'neither'} of the "
                         "second and the last axis can be the channels: use --axes nchw or --axes nhwc.")
    return 1 if first else 3


def image_reader(images, path, options):
    """read(index) of an array of images: uint8 (channel, height, width), transparent ones composed."""
    name = shown(path)
    if 0 in images.shape[1:]:
        raise InputError(f"{name} has the shape {list(images.shape)}: its images have no pixels.")
    axis = channel_axis(images.shape, options.axes, name)

    def read(index):
        called = f"image {index} of {name}"
        image = images[index]
        image = image[..., None] if axis is None else np.moveaxis(image, axis - 1, -1)
        colours = options.depth.to_bytes(image[..., :3], called)
        if image.shape[-1] == 4:
            alpha = Depth().to_bytes(image[..., 3], called)  # --range speaks of colours
            if alpha.min() < 255:
                colours = options.composing.below(colours, alpha)
        return colours.transpose(2, 0, 1), called

    return read


# --- the arrays of files ----------------------------------------------------------------------------
class Array:
    """An array in a file that is not loaded yet: where it is, its shape and its type."""

    def __init__(self, path, key, shape, type_):
        self.path, self.key, self.shape, self.type = path, key, shape, type_
        self.name = key if key not in (None, "arr_0") else path.stem
        self.called = f"{shown(path)}[{shown(key)}]" if key else shown(path)
        self.split = split_of(self.name) or split_of(path.stem) or "train"
        self.named_labels = LABEL_WORD.search(self.name.lower()) is not None

    def load(self):
        try:
            if self.key is None:
                return np.load(self.path, mmap_mode="r", allow_pickle=False)
            with np.load(self.path, allow_pickle=False) as file:
                return file[self.key]
        except Exception as error:  # NumPy and zipfile raise any kind over broken files
            raise InputError(f"{self.called} can't be read ({first_line(error)}).")

    def is_images(self):
        return len(self.shape) in (3, 4) and self.type.kind in "biuf" and not self.named_labels

    def can_be_labels(self):
        return len(self.shape) in (1, 2) and self.type.kind in ("biufSU" if self.named_labels else "iuSU")


def read_header(file):
    """Shape and type of the .npy format at an open file's place."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, type_ = read(file)
    return shape, type_


def arrays_in(path):
    """The arrays of one .npz or .npy file."""
    try:
        if path.suffix.lower() == ".npy":
            with open(path, "rb") as file:
                return [Array(path, None, *read_header(file))]
        arrays = []
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as file:
                        arrays.append(Array(path, member.removesuffix(".npy"), *read_header(file)))
        return arrays
    except Exception as error:  # NumPy and zipfile raise any kind over broken files
        raise InputError(f"{shown(path)} is no sound {path.suffix.lower()} file ({first_line(error)}).")


def is_array_file(name):
    return name.lower().endswith((".npz", ".npy"))


def array_files(files):
    """All arrays of the .npz and .npy files among some paths."""
    return [array for path in files if is_array_file(path) for array in arrays_in(pathlib.Path(path))]


# --- which arrays are images and labels ---------------------------------------------------------------
def images_by_split(arrays):
    images = {}
    for array in arrays:
        if not array.is_images():
            continue
        if len(array.shape) == 3 and array.shape[2] in (3, 4) and min(array.shape[:2]) > 4:
            raise InputError(f"{array.called} has the shape {list(array.shape)}: one picture in colour, or "
                             f"{array.shape[0]} grey ones? Save it as (sample, height, width, channel).")
        if array.split in images:
            raise InputError(f"{images[array.split].called} and {array.called} are both images of the "
                             f"{array.split} split: give the file of the wanted one as SOURCE, or rename one of "
                             "the arrays (train, test and val in a name say its split).")
        images[array.split] = array
    return images


def labels_for(images, arrays):
    """The array of labels that belongs to an array of images, or None; complains of one of another length."""
    others = [a for a in arrays if a.split == images.split and a is not images and a.can_be_labels()]
    named = [a for a in others if a.named_labels]
    fitting = [a for a in named or others if a.shape[0] == images.shape[0]]
    for array in named:
        if not fitting and array.type.kind not in "SU":
            raise InputError(f"{array.called} holds {array.shape[0]:,} labels, but {images.called} "
                             f"{images.shape[0]:,} images.")
    if len(fitting) > 1 and named:
        raise InputError(f"{fitting[0].called} and {fitting[1].called} are both labels of {images.called}: "
                         "remove or rename one of them.")
    return fitting[0] if len(fitting) == 1 else None


def array_source(arrays, options):
    """The splits of some arrays; those that are neither images nor labels are named on stdout."""
    images = images_by_split(arrays)
    splits, used = [], []
    for name in in_order(images):
        array = images[name]
        labels = None if options.labels == "none" else labels_for(array, arrays)
        read = image_reader(array.load(), array.called, options)
        used += [array, labels]
        splits.append(Split(name, None if labels is None else one_for_each(labels.load(), labels.called),
                            array.shape[0], read, [a.called for a in (array, labels) if a is not None]))
    left = [f"{a.called} {list(a.shape)}" for a in arrays if a not in used]
    if left:
        say(f"left out: {counted(len(left), 'array')} that {'is' if len(left) == 1 else 'are'} neither images nor "
            f"labels ({some(left)})")
    return Source(splits)


def one_for_each(labels, called):
    """One label for each image, of labels in a column, one-hot rows or whole floats."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        if labels.dtype.kind in "SU" or not (np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()):
            raise InputError(f"{called} has the shape {list(labels.shape)}, but its rows aren't one-hot: "
                             "expected one label for each image; --labels none leaves them out.")
        labels = labels.argmax(1)
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels) & (labels == np.rint(labels))).all():
            raise InputError(f"{called} holds labels that are no whole numbers.")
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "S":
        labels = np.array([label.decode("utf-8", "backslashreplace") for label in labels])
    return labels
