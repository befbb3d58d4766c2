#!/usr/bin/env python3
"""Makes one HDF5 data file for stanley from IDX files, CIFAR-10 binaries or folders of images.

The file holds, per split, /<split>/images uint8 (sample, channel, height, width) and, where there
are any, /<split>/labels int64 (sample); at the root class_names, value_range and provenance.
It is written under another name and renamed, so the final name always means a complete file.

Exit codes: 0 done (or nothing to do), 2 usage, 5 a file that can't be read or written.
"""
import argparse
import datetime
import json
import os
import pathlib
import shlex
import signal
import sys
import time

import h5py
import numpy as np
import xxhash
from PIL import Image, ImageOps

from image_sources import InputError, first_line, open_source

SCHEMA_VERSION = "1.0"
BATCH = 1024  # images decoded before each write


class UsageError(Exception):
    """A command line that asks for something that can't be."""


class Progress:
    """One line on stderr with rate and time left, only once the work takes longer than a second."""

    def __init__(self, total):
        self.total, self.done = total, 0
        self.start = self.last = time.monotonic()
        self.on_terminal = sys.stderr.isatty()
        self.shown = False

    def advance(self, count):
        self.done += count
        now = time.monotonic()
        interval = 0.5 if self.on_terminal else 5.0
        if now - self.start < 1 or (now - self.last < interval and self.done < self.total):
            return
        if self.done == self.total and not self.shown:
            return
        self.last, self.shown = now, True
        rate = self.done / (now - self.start)
        left = (self.total - self.done) / rate
        text = (f"{self.done:,} of {self.total:,} images ({100 * self.done / self.total:.0f} %), "
                f"{rate:,.0f} per second, {left:.0f} s left")
        if self.on_terminal:
            print(f"\r{text:<78}", end="\n" if self.done == self.total else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


# --- conversion -----------------------------------------------------------------------------------
def fingerprint(folder, options):
    """A digest of names, sizes and times below the folder and of the options: same digest, same file."""
    digest = xxhash.xxh64(json.dumps(options, sort_keys=True).encode())
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            status = os.stat(os.path.join(root, name))
            relative = os.path.relpath(os.path.join(root, name), folder)
            digest.update(f"{relative}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def is_current(output, source_digest):
    try:
        with h5py.File(output, "r") as file:
            return file.attrs.get("source_digest") == source_digest and bool(list(file))
    except OSError:
        return False


def fit(image, size, grayscale, pad):
    """One image (channel, height, width) after --grayscale, --size (square, Lanczos) and --pad."""
    if grayscale and image.shape[0] == 3:
        image = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"))[None]
    if size is not None and image.shape[1:] != (size, size):
        channels = [ImageOps.fit(Image.fromarray(c), (size, size), Image.Resampling.LANCZOS) for c in image]
        image = np.stack([np.asarray(c) for c in channels])
    if pad is not None:
        _, height, width = image.shape
        top, left = (pad - height) // 2, (pad - width) // 2
        if top < 0 or left < 0:
            raise UsageError(f"--pad {pad} is smaller than the images ({height}×{width}): use --size.")
        image = np.pad(image, ((0, 0), (top, pad - height - top), (left, pad - width - left)))
    return image


def write_dimensions(dataset, names, scales):
    """Named dimensions as netCDF-4 readers expect them: scales without values, one per name and length."""
    for axis, name in enumerate(names):
        if name not in scales:
            length = dataset.shape[axis]
            scales[name] = dataset.parent.create_dataset(name, (length,), ">f4")
            scales[name].make_scale(f"This is a netCDF dimension but not a netCDF variable.{length:10d}")
        dataset.dims[axis].label = name
        dataset.dims[axis].attach_scale(scales[name])


def write_split(file, split, indices, convert, progress):
    """Reads, converts and writes the images of one split; returns their shape (channel, height, width)."""
    first, first_name = None, None
    dataset, digest = None, xxhash.xxh64()
    group = file.create_group(split.name, track_order=True)
    for begin in range(0, len(indices), BATCH):
        batch = []
        for index in indices[begin:begin + BATCH]:
            image, name = split.read(index)
            image = convert(image)
            if first is None:
                first, first_name = image.shape, name
            if image.shape != first:
                raise InputError(f"{name} is {describe(image.shape)}, but {first_name} is {describe(first)}: "
                                 "use --size N to bring all images to one size.")
            batch.append(image)
        batch = np.ascontiguousarray(np.stack(batch))
        if dataset is None:
            dataset = group.create_dataset("images", (len(indices), *first), np.uint8)
        dataset[begin:begin + len(batch)] = batch
        digest.update(batch.tobytes())
        progress.advance(len(batch))
    scales = {}
    write_dimensions(dataset, ["sample", "channel", "height", "width"], scales)
    if split.labels is not None:
        labels = group.create_dataset("labels", data=split.labels[indices])
        write_dimensions(labels, ["sample"], scales)
    group.attrs["checksum"] = digest.hexdigest()
    return first


def describe(shape):
    channels, height, width = shape
    return f"{height}×{width} pixels with {channels} channel{'s' if channels > 1 else ''}"


def class_names_of(splits, asked, known):
    highest = max((int(s.labels.max()) for s in splits if s.labels is not None and s.count), default=-1)
    names = asked or known or [str(i) for i in range(highest + 1)]
    if highest >= len(names):
        origin = "--classes names" if asked else "the source names"
        raise (UsageError if asked else InputError)(
            f"{origin} {len(names)} classes, but the labels go up to {highest}.")
    return names


def convert(options, source_digest, command):
    folder, output = pathlib.Path(options.source), pathlib.Path(options.output)
    splits, known_classes = open_source(folder, options.grayscale)
    for split in splits:
        if split.count == 0:
            raise InputError(f"{folder} holds no images in its {split.name} split.")
    classes = class_names_of(splits, options.classes, known_classes)
    indices = {s.name: spread(s.count, options.limit) for s in splits}
    progress = Progress(sum(len(i) for i in indices.values()))
    shapes = {}
    part = output.with_name(f"{output.name}.part.{os.getpid()}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output} can't be written: {error.strerror}.")
    try:
        with h5py.File(part, "w", track_order=True) as file:
            for split in splits:
                shapes[split.name] = write_split(
                    file, split, indices[split.name],
                    lambda image: fit(image, options.size, options.grayscale, options.pad), progress)
            check_shapes(folder, shapes)
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["class_names"] = np.array(classes, dtype=h5py.string_dtype())
            file.attrs["value_range"] = np.array([0.0, 255.0])
            file.attrs["source_digest"] = source_digest
            file.attrs["provenance"] = json.dumps(
                {"command": command, "source": str(folder.resolve()),
                 "files": {s.name: s.files[:1000] for s in splits},
                 "created_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")},
                indent=1, ensure_ascii=False)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, output)
    except OSError as error:
        raise InputError(f"{output} can't be written: {error.strerror or first_line(error)}.")
    finally:
        part.unlink(missing_ok=True)
    for split in splits:
        print(f"{output}: /{split.name}/images {len(indices[split.name]):,} × {describe(shapes[split.name])}"
              + (f", {len(classes)} classes" if split.labels is not None else ""))


def check_shapes(folder, shapes):
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {describe(shape)}" for name, shape in shapes.items())
        raise InputError(f"The splits of {folder} differ in shape ({listed}): use --size N or --grayscale.")


def spread(count, limit):
    """At most `limit` indices, spread evenly: of a folder sorted by class, every class stays."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.arange(limit) * count // limit


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("source", help="folder with IDX files, CIFAR-10 binary batches, or images "
                                       "(train/<class>/*.png|jpg, <class>/*, or flat)")
    parser.add_argument("--output", "-o", required=True, help="the HDF5 file to make")
    parser.add_argument("--size", type=positive, help="resize to N×N (Lanczos; the longer side is cropped)")
    parser.add_argument("--pad", type=positive, help="centre on a zero canvas of N×N, after --size")
    parser.add_argument("--grayscale", action="store_true", help="one channel of luminance")
    parser.add_argument("--limit", type=positive, help="at most N images per split, spread evenly")
    parser.add_argument("--classes", type=lambda text: [c.strip() for c in text.split(",")],
                        help="class names in the order of the labels, separated by commas")
    parser.add_argument("--if-missing", action="store_true",
                        help="do nothing where the output is there and made of the same source and options")
    return parser.parse_args(arguments)


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the half-written file goes
    try:
        source = pathlib.Path(options.source)
        wanted = {key: getattr(options, key) for key in ("size", "pad", "grayscale", "limit", "classes")}
        digest = fingerprint(source, {"schema": SCHEMA_VERSION, **wanted}) if source.is_dir() else ""
        if options.if_missing and is_current(options.output, digest):
            print(f"{options.output} is up to date")
            return 0
        convert(options, digest, shlex.join(["tools/convert_images.py", *arguments]))
        return 0
    except UsageError as error:
        print(f"convert_images: {error}", file=sys.stderr)
        return 2
    except (InputError, OSError) as error:
        print(f"convert_images: {error}", file=sys.stderr)
        return 5
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
