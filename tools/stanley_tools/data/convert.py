"""Makes one HDF5 data file for stanley from IDX files, CIFAR, NumPy arrays or folders of pictures.

The file holds, per split, /<split>/images uint8 (sample, channel, height, width) and, where there
are any, /<split>/labels int64 (sample); at the root class_names (with labels), value_range and provenance.
It is written under another name and renamed, so the final name always means a complete file.
What the source holds and the file doesn't is said on stdout; what could mean two things is refused.

Exit codes: 0 done (or nothing to do), 2 usage, 3 no Python packages, 5 a file that can't be read or written,
or a source that could be read in two ways.
"""
import argparse
import json
import math
import os
import shlex
import signal
import sys
import warnings

import h5py

from . import data_file, fitting, seal, sources
from .broken import refuse_or_tell
from .depth import Depth
from .errors import SAID, InputError, UsageError, counted, first_line, shown
from .labels import name_classes
from .transparency import Background

# The options that change what is written: with the same ones and the same source, the file is the same.
CONTENT_OPTIONS = ("size", "pad", "grayscale", "limit", "classes", "layout", "labels", "axes", "range", "frames",
                   "background", "transpose", "skip_broken", "skip_empty")


# --- conversion -----------------------------------------------------------------------------------
def fingerprint(tree, options):
    """A digest of names, sizes and times of the source's files and of the options: same digest, same file."""
    wanted = {name: getattr(options, name) for name in CONTENT_OPTIONS}
    tree.digest.update(json.dumps({"schema": data_file.SCHEMA_VERSION, **wanted}, sort_keys=True).encode())
    return tree.digest.hexdigest()


def is_current(output, source_digest):
    """Whether the output was made of this source with these options, and is whole."""
    try:
        with h5py.File(output, "r") as file:
            if file.attrs.get("source_digest") != source_digest or not list(file):
                return False
        return seal.is_whole(output) and data_file.images_are_whole(output)
    except (OSError, RuntimeError, KeyError):  # as h5py tells damage
        return False


def is_data_file(output):
    """Whether the output is there, as a data file that may be replaced though it lies in the source."""
    return os.path.isfile(output) and bool(h5py.is_hdf5(output))


def convert(tree, options, digest, command):
    options.depth, options.composing = Depth(options.range), Background(options.background)
    options.fitting = fitting.Fitting(options)
    source = sources.open_source(tree, options)
    if options.labels == "none":
        source.drop_labels()
    tree.left_out.tell()
    for split in source.splits:
        if split.count == 0:
            refuse_or_tell(source, skip=False)
            raise InputError(f"{shown(options.source)} holds no images in its {split.name} split.")
    classes = name_classes(source, options.classes)

    def told(source):
        left_out = list(tree.left_out.sentences())
        return {"source_digest": digest, "provenance": data_file.provenance(source, options, command, left_out)}

    shape = data_file.write_data_file(options.output, source, classes, options, told)
    for split in source.splits:
        print(f"{shown(options.output)}: /{split.name}/images {len(split.kept):,} × {fitting.describe(shape)}"
              + (f", {counted(len(classes), 'class')}" if split.labels is not None else ""))


def check_output(output):
    """Complains of an output whose place something else than a file takes."""
    if not os.path.basename(output):
        raise UsageError(f"--output {shown(output)!r} names no file.")
    if os.path.isdir(output):
        raise InputError(f"{shown(output)} can't be written: it is a folder.")
    if os.path.exists(output) and not os.path.isfile(output):
        raise InputError(f"{shown(output)} can't be written: it is neither a file nor a folder.")


def run(options, command):
    SAID.clear()
    check_output(options.output)
    tree = sources.walk(options.source, options.output, is_data_file(options.output))
    digest = fingerprint(tree, options)
    if options.if_missing and is_current(options.output, digest):
        print(f"{shown(options.output)} is up to date")
        return
    convert(tree, options, digest, command)


# --- command line ---------------------------------------------------------------------------------
def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def limits(text):
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not two numbers LOW,HIGH")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise argparse.ArgumentTypeError(f"{text} is not two rising numbers LOW,HIGH")
    return low, high


def colour(text):
    try:
        Background(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no colour: expected a name (white) or #rrggbb")
    return text


def joined(arguments):
    """The arguments with "--range -1,1" as "--range=-1,1": argparse takes what begins with - for an option."""
    arguments = list(arguments)
    for place in range(len(arguments) - 1, 0, -1):
        if arguments[place - 1] == "--range":
            arguments[place - 1:place + 1] = [f"--range={arguments[place]}"]
    return arguments


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("source", help="folder with IDX files, CIFAR, .npz or .npy arrays, or pictures "
                                       "(train/<class>/*, <class>/*, or flat); or an IDX, .npz or .npy file")
    parser.add_argument("--output", "-o", required=True, help="the HDF5 file to make")
    parser.add_argument("--if-missing", action="store_true",
                        help="do nothing where the output is there and made of the same source and options")
    shape = parser.add_argument_group("what the images become")
    shape.add_argument("--size", type=positive, help="resize to N×N (Lanczos; the longer side is cropped, and counted)")
    shape.add_argument("--pad", type=positive, help="centre on a zero canvas of N×N, after --size")
    shape.add_argument("--grayscale", action="store_true", help="one channel of luminance")
    shape.add_argument("--transpose", action="store_true", help="swap rows and columns (EMNIST is stored so)")
    shape.add_argument("--range", type=limits, metavar="LOW,HIGH",
                       help="which values become 0 and 255, for floats, integers and more than 8 bits")
    shape.add_argument("--background", type=colour, default="black", metavar="COLOUR",
                       help="what transparent parts are composed on (default: black)")
    choice = parser.add_argument_group("which images and labels")
    choice.add_argument("--limit", type=positive, help="at most N images per split, spread evenly")
    choice.add_argument("--classes", type=lambda text: [c.strip() for c in text.split(",")],
                        help="class names in the order of the labels, separated by commas")
    choice.add_argument("--layout", choices=["auto", "splits", "classes", "flat"], default="auto",
                        help="what the folders in SOURCE are: splits, classes, or neither (flat: no classes; where "
                             "there are split folders alone they stay splits); auto refuses what could be either")
    choice.add_argument("--labels", choices=["fine", "coarse", "none"], default="fine",
                        help="which of CIFAR-100's labels; none: leave out the labels of any source")
    choice.add_argument("--axes", choices=["nchw", "nhwc"], help="where arrays have their channels, if unclear")
    choice.add_argument("--frames", choices=["all", "first"], default="all",
                        help="of files with several frames or pages (default: all)")
    choice.add_argument("--skip-broken", action="store_true", help="leave out pictures that can't be decoded")
    choice.add_argument("--skip-empty", action="store_true",
                        help="leave out class and split folders without pictures")
    return parser.parse_args(joined(arguments))


def typed():
    """Gives the command as the person typed it: pip's, or the script of a checkout."""
    name = os.path.basename(sys.argv[0])
    return name if name.startswith("stanley-") else "tools/convert_images.py"


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # for terminals that can't show every name
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the half-written file goes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's words on files that it decodes nevertheless
            run(options, shlex.join([typed(), *arguments]))
        return 0
    except UsageError as error:
        print(f"convert_images: {error}", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"convert_images: {error}", file=sys.stderr)
        return 5
    except OSError as error:
        named = f"{shown(os.fsdecode(error.filename))} can't be read: " if error.filename else ""
        print(f"convert_images: {named}{first_line(error)}", file=sys.stderr)
        return 5
    except MemoryError:
        print(f"convert_images: {shown(options.source)} needs more memory than there is", file=sys.stderr)
        return 5
    except KeyboardInterrupt:
        return 130
