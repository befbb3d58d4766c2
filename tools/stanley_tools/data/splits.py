"""Holds what every source hands over: splits of images, their labels and their classes."""
import re

from .errors import counted, say

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test",
          "val": "val", "valid": "valid", "validation": "validation"}
SPLIT_WORD = re.compile(r"(?:^|[^a-z])[xy]?(train|training|test|testing|t10k|val|valid|validation)[xy]?(?![a-z])")


class Split:
    """One split of a source: its size, its labels (or None), and how to read images by index."""

    def __init__(self, name, labels, count, read, files):
        self.name, self.labels, self.count, self.files = name, labels, count, files
        self.read = read  # read(index) -> (uint8 array (channel, height, width), what to call it)
        self.kept = None  # the indices whose images are in the data file, once they are


class Source:
    """All splits of a source, the class names that it states (or None), and its broken pictures."""

    def __init__(self, splits, class_names=None, broken=(), pictures=0):
        self.splits, self.class_names = splits, class_names
        self.broken, self.pictures = list(broken), pictures  # of so many files

    def drop_labels(self):
        """Leaves out all labels, and says how many."""
        count = sum(len(split.labels) for split in self.splits if split.labels is not None)
        for split in self.splits:
            split.labels = None
        self.class_names = None
        if count:
            say(f"left out: {counted(count, 'label')} (--labels none)")


def split_of(name):
    """The split that the words of an array's or a file's name say, or None ("x_train" -> "train")."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    found = SPLIT_WORD.search(words)
    return {**SPLITS, "t10k": "test"}[found[1]] if found else None


def in_order(names):
    """Sorts splits with train first."""
    return sorted(names, key=lambda name: (name != "train", name))
