"""Says what becomes of pictures that can't be decoded: all are named, none is left out without a word."""
import sys

import numpy as np

from .errors import InputError, shown


def refuse_or_tell(source, skip):
    """Complains of all broken pictures at once; with --skip-broken, names those that are left out."""
    if not source.broken:
        return
    if len(source.broken) == 1 and not skip:
        raise InputError(f"{source.broken[0]}: mend it, or leave it out with --skip-broken.")
    count = len({error.path for error in source.broken})
    lines = "".join(f"\n  {shown(error.path)} ({error.reason})" for error in source.broken)
    head = f"{count:,} of {source.pictures:,} pictures can't be decoded"
    if not skip:
        raise InputError(f"{head}; mend them or leave them out with --skip-broken:{lines}")
    print(f"convert_images: {head} and {'is' if count == 1 else 'are'} left out:{lines}", file=sys.stderr)


def refuse_vanished(source, indices, expected):
    """Complains where --skip-broken would leave a split or one of the expected classes without any picture."""
    for split in source.splits:
        if not len(indices[split.name]):
            raise InputError(f"every picture of the {split.name} split is broken: mend one, or move it away.")
    gone = expected - classes_of(source, indices)
    if gone:
        name = source.class_names[min(gone)]
        raise InputError(f"every picture of the class {shown(name)} is broken: mend one, or move it away.")


def classes_of(source, indices):
    """The classes of some of the images of each split."""
    labelled = [split for split in source.splits if split.labels is not None]
    return {int(label) for split in labelled for label in np.unique(split.labels[indices[split.name]])}
