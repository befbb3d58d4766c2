"""Finds out what a source is: IDX files, CIFAR, arrays or pictures."""
import os
import pathlib

from . import arrays, cifar, idx
from .errors import InputError, shown, some
from .folders import find_pictures, folder_source
from .tree import Folder, Walk

KINDS = ("IDX files (*-images-idx3-ubyte[.gz]), no CIFAR files (data_batch_*.bin, train.bin, data_batch_1, ...), "
         "no arrays (.npz, .npy) and no pictures (train/<class>/*.png, <class>/*.jpg or flat)")


def walk(source, output, output_is_data):
    """The tree of a source that is a folder; of one that is a file, just the files that belong to it."""
    if not os.path.exists(source):
        raise InputError(f"{shown(source)} does not exist.")
    tree = Walk(source, output, output_is_data)
    if os.path.isdir(source):
        tree.root = tree.folder(source)
        return tree
    tree.source = os.path.dirname(source)
    tree.root = Folder(tree.source)
    for path in files_of(pathlib.Path(source)):
        tree.file(tree.root.files, str(path), path.stat())
    return tree


def files_of(path):
    """The files that belong to a source that is a file."""
    if arrays.is_array_file(path.name):
        return [path]
    if idx.IMAGES.fullmatch(path.name):
        siblings = [p for p in path.parent.iterdir() if p.is_file()]
        return sorted({p for pair in idx.idx_files(siblings, path).values() for p in pair if p is not None})
    raise InputError(f"{shown(path)} is neither a folder nor a file of a kind that is read (.npz, .npy, "
                     "*-images-idx3-ubyte[.gz]): give the folder that holds the images; unpack an archive first.")


def open_source(tree, options):
    """The splits of a walked source, whichever of the kinds it is."""
    files = [pathlib.Path(p) for p in tree.root.files]
    find_pictures(tree)
    found = kinds_in(files, tree)
    if len(found) > 1:
        listed = " and ".join(f"{kind} ({shown(example)})" for kind, (_, example) in found.items())
        raise InputError(f"{shown(options.source)} holds {listed}: give an IDX, .npz or .npy file as SOURCE, or "
                         "move what isn't wanted.")
    for read, _ in found.values():
        return read(options)
    refuse_other_arrays(tree)
    raise InputError(f"{shown(options.source)} holds no {KINDS}.{what_else(tree)}")


def kinds_in(files, tree):
    """{kind: (how to read it, an example)} of all kinds that a source holds."""
    found = {}
    if pairs := idx.idx_files(files):
        found["IDX files"] = lambda options: idx.idx_source(pairs, options), next(iter(pairs.values()))[0].name
    for kind, is_there, read in (("CIFAR files", cifar.is_binary, cifar.binary_source),
                                 ("CIFAR files for Python", cifar.is_python, cifar.python_source)):
        if example := is_there(files):
            found[kind] = lambda options, read=read: read(files, options), example.name
    stored = arrays.array_files(tree.root.files)
    if any(array.is_images() for array in stored):
        example = next(array for array in stored if array.is_images())
        found["arrays"] = lambda options: arrays.array_source(stored, options), example.path.name
    if pictures := tree.root.all_pictures():
        found["pictures"] = lambda options: folder_source(tree, options), tree.relative(pictures[0])
    if found and list(found) != ["pictures"]:
        tree.left_out.counts.pop("other", None)  # each kind tells itself what it didn't use
    return found


def refuse_other_arrays(tree):
    """Complains of arrays that are no images by their shape or type."""
    stored = arrays.array_files(tree.root.files)
    if stored:
        listed = some([f"{array.called} of type {array.type} and shape {list(array.shape)}" for array in stored])
        raise InputError(f"{listed}: no images; expected numbers (sample, height, width), with an axis of channels or "
                         "without. Points go into an HDF5 file by h5py (tools/README.md, \"Your own data\").")


def what_else(tree):
    """Says what was seen in a source without images."""
    seen = list(tree.left_out.sentences())
    return f" It holds {'; '.join(seen)}." if seen else ""
