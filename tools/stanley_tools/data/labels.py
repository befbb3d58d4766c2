"""Turns the labels of a source into classes 0, 1, 2, ... and their names; names are known, never guessed."""
import hashlib

import numpy as np

from .errors import InputError, UsageError, counted, say, some, utf8

FASHION_CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                   "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
# SHA-256 of Fashion-MNIST's labels as bytes (train, test): no other data set has them in this order.
FASHION_LABELS = {"657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
                  "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9"}


def name_classes(source, asked):
    """Numbers the labels of all splits as classes; returns the classes' names, or None without labels."""
    labelled = [split for split in source.splits if split.labels is not None and len(split.labels)]
    if not labelled:
        if asked:
            raise UsageError("--classes names classes, but the source has no labels: leave it out.")
        return None
    if len({split.labels.dtype.kind == "U" for split in labelled}) > 1:
        raise InputError("some splits have texts as labels and others numbers: expected one kind for all.")
    values = sorted(set().union(*(np.unique(split.labels).tolist() for split in labelled)))
    if asked and source.class_names:
        names, numbers = renamed(values, [utf8(name) for name in source.class_names], asked)
    else:
        known = asked or source.class_names or (FASHION_CLASSES if is_fashion(labelled) else None)
        names, numbers = classes_of(values, known, asked)
    for split in labelled:
        split.labels = numbers[np.searchsorted(values, split.labels)].astype(np.int64)
    return [utf8(name) for name in names]


def renamed(values, own, asked):
    """Puts the source's own class names into the order that is asked for, or gives them other names."""
    if set(asked) >= set(own):
        return asked, np.array([asked.index(own[value]) for value in values])
    if len(asked) != len(own) or set(asked) & set(own):
        raise UsageError(f"--classes names {some(asked, limit=6)}, but the source's classes are {some(own, limit=6)}: "
                         "name all of these in the wanted order, or give each another name.")
    say(f"classes: {some([f'{old} is called {new}' for old, new in zip(own, asked)], limit=6)}")
    return asked, np.array(values)


def classes_of(values, known, asked):
    """Names of the classes, and the class of each distinct label (sorted)."""
    ranks = np.arange(len(values))
    if known is None:
        tell_ranks(values)
        return [str(value) for value in values], ranks
    if not isinstance(values[0], str) and 0 <= values[0] and values[-1] < len(known):
        return known, np.array(values)
    if asked and len(values) == len(known):
        return known, ranks
    said = f"go from {values[0]} to {values[-1]}" if isinstance(values[0], str) or values[0] < 0 \
        else f"go up to {values[-1]}"
    origin = "--classes names" if asked else "the source names"
    raise (UsageError if asked else InputError)(f"{origin} {counted(len(known), 'class')}, but the labels {said} "
                                                f"({len(values)} different ones).")


def tell_ranks(values):
    if isinstance(values[0], str) or values == list(range(len(values))):
        return
    say(f"labels: {values[0]} to {values[-1]}, {len(values)} different ones, are stored as 0 to "
        f"{len(values) - 1}; class_names holds their numbers")


def is_fashion(splits):
    """Whether the labels are those of Fashion-MNIST, one for one."""
    return all(len(split.labels) in (10_000, 60_000) and split.labels.dtype.kind in "iu"
               and hashlib.sha256(split.labels.astype(np.uint8).tobytes()).hexdigest() in FASHION_LABELS
               for split in splits)
