"""Reads CIFAR-10 and CIFAR-100, as binary records and as Python's pickles."""
import io
import pickle
import pickletools
import re

import numpy as np

from .arrays import image_reader
from .errors import InputError, first_line, say, shown
from .idx import read_bytes
from .splits import Source, Split

PIXELS = 3 * 32 * 32
FINE, COARSE = 100, 20  # labels of CIFAR-100
BATCH = re.compile(r"data_batch_(\d+)(\.bin)?")


def source_of(groups, labels_of, pixels_of, names, options):
    """Splits of records; labels_of and pixels_of take a file's path to its (sample), (sample, 3072)."""
    splits = []
    for name, paths in groups.items():
        labels = np.concatenate([labels_of(path) for path in paths])
        images = np.concatenate([pixels_of(path) for path in paths]).reshape(-1, 3, 32, 32)
        called = paths[0] if len(paths) == 1 else paths[0].parent
        read = image_reader(images, called, options)
        splits.append(Split(name, labels, len(images), read, [p.name for p in paths]))
    return Source(splits, names)


def level(options):
    """Which of CIFAR-100's labels are read."""
    return "coarse" if options.labels == "coarse" else "fine"


def batches(files, suffix):
    """CIFAR-10's files by split, in the order of their numbers."""
    train = [p for p in files if (m := BATCH.fullmatch(p.name)) and (m[2] or "") == suffix]
    train.sort(key=number_of)
    groups = {"train": train, "test": [p for p in files if p.name == "test_batch" + suffix]}
    return {split: paths for split, paths in groups.items() if paths}


def number_of(path):
    return int(BATCH.fullmatch(path.name)[1])


def tell_missing(train):
    """Says which of CIFAR-10's five batches are not there."""
    missing = sorted(set(range(1, 6)) - set(map(number_of, train)))
    if missing:
        say(f"{shown(train[0].parent)} holds {len(train)} of the 5 batches of CIFAR-10's train split: "
            f"{', '.join(f'data_batch_{n}' for n in missing)} {'is' if len(missing) == 1 else 'are'} not there")


def named(files, suffix):
    """CIFAR-100's files by split."""
    groups = {split: [p for p in files if p.name == split + suffix] for split in ("train", "test")}
    return {split: paths for split, paths in groups.items() if paths}


# --- binary records -----------------------------------------------------------------------------------
def read_records(path, kind, highest):
    """The records (sample, labels and 3072 pixels) of a binary file whose labels go up to `highest`."""
    content = read_bytes(path)
    size = len(highest) + PIXELS
    if not content or len(content) % size:
        raise InputError(f"{shown(path)} is truncated or no {kind} file: {len(content)} bytes are "
                         f"not a multiple of the record's {size}.")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    for column, limit in enumerate(highest):
        label = records[:, column].max()
        if label > limit:
            raise InputError(f"{shown(path)} is no {kind} file: it holds the label {label}, expected 0 to {limit} "
                             "(CIFAR-10's files are called data_batch_1.bin, CIFAR-100's train.bin).")
    return records


def read_names(path):
    try:
        lines = path.read_text(errors="backslashreplace").splitlines()
    except OSError as error:
        raise InputError(f"{shown(path)} can't be read: {first_line(error)}.")
    return [line.strip() for line in lines if line.strip()]


def is_binary(files):
    """The first file of CIFAR's binary version, or None."""
    return next((paths[0] for paths in (batches(files, ".bin") or named(files, ".bin")).values()), None)


def binary_source(files, options):
    """CIFAR-10's or CIFAR-100's binary version."""
    by_name = {p.name: p for p in files}
    if groups := batches(files, ".bin"):
        names, kind, highest, column = by_name.get("batches.meta.txt"), "CIFAR-10", [9], 0
    else:
        groups = named(files, ".bin")
        names, kind = by_name.get(f"{level(options)}_label_names.txt"), "CIFAR-100"
        highest, column = [COARSE - 1, FINE - 1], ["coarse", "fine"].index(level(options))
    records = {p: read_records(p, kind, highest) for paths in groups.values() for p in paths}
    if kind == "CIFAR-10" and "train" in groups:
        tell_missing(groups["train"])
    return source_of(groups, lambda p: records[p][:, column], lambda p: records[p][:, len(highest):],
                     read_names(names) if names else None, options)


# --- Python's pickles -----------------------------------------------------------------------------------
class StoredArray:
    """What a pickle holds of an array; NumPy would believe all that it says of its own memory."""

    def __setstate__(self, state):
        _, self.shape, self.type, self.by_columns, self.content = state

    def array(self):
        values = np.frombuffer(self.content, self.type.dtype())
        return values.reshape(self.shape, order="F" if self.by_columns else "C")


class StoredType:
    """What a pickle holds of the type of an array."""

    def __init__(self, name, *_):
        self.name = name.decode() if isinstance(name, bytes) else name
        self.order = "|"

    def __setstate__(self, state):
        self.order = state[1].decode() if isinstance(state[1], bytes) else state[1]

    def dtype(self):
        if not re.fullmatch("[iu][1248]", self.name):
            raise ValueError(f"it holds an array of type {self.name}")
        return np.dtype(self.order + self.name)


def stored_buffer(content, type_, shape, order, *_):
    """Takes an array as pickles of protocol 5 hold it."""
    stored = StoredArray()
    stored.__setstate__((1, shape, type_, order == "F", content))
    return stored


class ArraysOnly(pickle.Unpickler):
    """Takes arrays, texts and lists from a pickle, and refuses all else: a pickle can run any code."""

    PARTS = {"numpy.ndarray": StoredArray, "numpy.dtype": StoredType,
             "multiarray._reconstruct": lambda *_: StoredArray(), "numeric._frombuffer": stored_buffer,
             "_codecs.encode": lambda text, encoding: text.encode("latin1")}  # how Python 2's bytes are written

    def find_class(self, module, name):
        wanted = f"{module}.{name}"
        for known, part in self.PARTS.items():
            if wanted in (known, f"numpy.core.{known}", f"numpy._core.{known}"):
                return part
        raise pickle.UnpicklingError(f"it asks for {wanted}, which no array needs")


def check_pickle(content):
    """Complains of a pickle whose lengths and numbers are beyond its own size, before memory is taken for them."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name.endswith("PUT") and argument > len(content):
            raise ValueError("it is no sound pickle")


def read_pickle(path, *keys):
    """The values of some keys of a pickled dictionary."""
    try:
        content = path.read_bytes()
        check_pickle(content)
        content = ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        content = {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()}
        return [content[key] for key in keys]
    except KeyError as error:
        raise InputError(f"{shown(path)} is no CIFAR file for Python: it has no {error}.")
    except Exception as error:  # whatever bytes that are no pickle make of Python's reader
        raise InputError(f"{shown(path)} is no CIFAR file for Python ({first_line(error)}).")


def read_array(path, key, values):
    try:
        return values.array() if isinstance(values, StoredArray) else np.array(values)
    except Exception as error:
        raise InputError(f"{shown(path)} is no CIFAR file for Python: its {key} can't be read "
                         f"({first_line(error)}).")


def read_batch(path, key, classes):
    """Labels (sample) and pixels (sample, 3072) of a pickled file."""
    pixels, labels = (read_array(path, k, v) for k, v in zip(("data", key), read_pickle(path, "data", key)))
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise InputError(f"{shown(path)} is no CIFAR file for Python: its data are no bytes (sample, {PIXELS}).")
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu" or not len(labels):
        raise InputError(f"{shown(path)} holds labels of shape {list(labels.shape)} for {len(pixels)} images.")
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"{shown(path)} holds labels from {labels.min()} to {labels.max()}, "
                         f"expected 0 to {classes - 1}.")
    return labels, pixels


def read_meta(path, key):
    names, = read_pickle(path, key)
    if not isinstance(names, (list, tuple)):
        raise InputError(f"{shown(path)} is no CIFAR file for Python: its {key} is no list.")
    return [name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name) for name in names]


def is_pickle(path):
    try:
        with open(path, "rb") as file:
            return file.read(1) == b"\x80"
    except OSError:
        return False


def is_python(files):
    """The first file of CIFAR's version for Python, or None."""
    pickles = [path for paths in named(files, "").values() for path in paths if is_pickle(path)]
    return next((paths[0] for paths in batches(files, "").values()), None) or next(iter(pickles), None)


def python_source(files, options):
    """CIFAR-10's or CIFAR-100's version for Python."""
    by_name = {p.name: p for p in files}
    if groups := batches(files, ""):
        key, classes, meta, names_key = "labels", 10, by_name.get("batches.meta"), "label_names"
    else:
        groups = named(files, "")
        key, classes = f"{level(options)}_labels", {"fine": FINE, "coarse": COARSE}[level(options)]
        meta, names_key = by_name.get("meta"), f"{level(options)}_label_names"
    records = {p: read_batch(p, key, classes) for paths in groups.values() for p in paths}
    if key == "labels" and "train" in groups:
        tell_missing(groups["train"])
    return source_of(groups, lambda p: records[p][0], lambda p: records[p][1],
                     read_meta(meta, names_key) if meta else None, options)
