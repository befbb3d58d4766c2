"""Writes the HDF5 data file: under another name and renamed, so the final name always means a complete file."""
import datetime
import json
import os
import pathlib

import h5py
import numpy as np
import xxhash

from . import seal
from .broken import classes_of, refuse_or_tell, refuse_vanished
from .errors import InputError, first_line, said, say, shown, utf8
from .fitting import describe, spread
from .pictures import BrokenPicture
from .progress import Progress

SCHEMA_VERSION = "1.1"
BATCH_IMAGES, BATCH_BYTES = 1024, 16 << 20  # decoded before each write
LISTED = 1000  # files of each split, and broken ones, in the provenance


def write_data_file(output, source, classes, options, told):
    """Makes the file; told(source) are attributes that say where images come from. Returns an image's shape."""
    output = pathlib.Path(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        return write_and_rename(output, source, classes, options, told)
    except (OSError, RuntimeError) as error:  # h5py raises either where HDF5 can't write
        raise InputError(f"{shown(output)} can't be written: {first_line(error)}.")


def write_and_rename(output, source, classes, options, told):
    part = output.with_name(f"{output.name}.part.{os.getpid()}")
    smaller = part.with_name(part.name + ".kept")
    try:
        with create(part) as file:
            write_images(file, source, options)
            shape = file[source.splits[0].name]["images"].shape[1:]
            whole = all(len(split.kept) == len(file[split.name]["images"]) for split in source.splits)
            if whole:
                finish(file, source, classes, told)
            else:
                copy_kept(file, smaller, source, classes, told)
        if not whole:
            os.replace(smaller, part)
        seal.seal(part)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, output)
        return shape
    finally:
        part.unlink(missing_ok=True)
        smaller.unlink(missing_ok=True)


def create(path):
    """A new file; of HDF5's format 1.8, so that the headers of its objects carry checksums."""
    return h5py.File(path, "w", track_order=True, libver=("v108", "v108"))


# --- images -------------------------------------------------------------------------------------------
def write_images(file, source, options):
    """Writes all images that can be decoded, and settles what becomes of the others."""
    wanted = {split.name: spread(split.count, options.limit) for split in source.splits}
    progress = Progress(sum(map(len, wanted.values())))
    for split in source.splits:
        write_split(file.create_group(split.name, track_order=True), split, wanted[split.name], options,
                    source.broken, progress)
    refuse_or_tell(source, options.skip_broken)
    if source.broken:
        refuse_vanished(source, {split.name: split.kept for split in source.splits}, classes_of(source, wanted))
    options.depth.finish()
    options.composing.finish()
    options.fitting.finish()
    for split in source.splits:
        if len(wanted[split.name]) < split.count:
            say(f"--limit: {len(wanted[split.name]):,} of {split.count:,} images of the {split.name} split, "
                "spread evenly")
    check_shapes(options.source, file)


def write_split(group, split, indices, options, broken, progress):
    """Writes the images of one split; those that can't be decoded leave no gap, and `kept` tells the others."""
    batch, split.kept, split.digest, first_name = None, [], xxhash.xxh64(), None
    for index in indices:
        try:
            image, name = split.read(index)
        except BrokenPicture as error:
            broken.append(error)
            progress.advance(1)
            continue
        image = options.fitting.fit(image)
        if batch is None:
            first_name = name
            batch = Batch(group, len(indices), image.shape, split.digest)
        if image.shape != batch.shape:
            raise InputError(f"{name} is {describe(image.shape)}, but {first_name} is {describe(batch.shape)}: "
                             "use --size N to bring all images to one size (their longer sides are cropped), or --pad N.")
        batch.add(image)
        split.kept.append(index)
        progress.advance(1)
    if batch is not None:
        batch.write()


class Batch:
    """Images on their way to a dataset, so that few large writes are made."""

    def __init__(self, group, count, shape, digest):
        self.shape, self.digest, self.written, self.filled = shape, digest, 0, 0
        self.dataset = group.create_dataset("images", (count, *shape), np.uint8)
        rows = max(1, min(BATCH_IMAGES, BATCH_BYTES // max(1, int(np.prod(shape))), count))
        self.images = np.empty((rows, *shape), np.uint8)

    def add(self, image):
        self.images[self.filled] = image
        self.filled += 1
        if self.filled == len(self.images):
            self.write()

    def write(self):
        images = self.images[:self.filled]
        self.dataset[self.written:self.written + len(images)] = images
        self.digest.update(images)
        self.written, self.filled = self.written + len(images), 0


def check_shapes(source, file):
    shapes = {name: group["images"].shape[1:] for name, group in file.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {describe(shape)}" for name, shape in shapes.items())
        raise InputError(f"The splits of {shown(source)} differ in shape ({listed}): use --size N or --grayscale.")


def copy_kept(file, path, source, classes, told):
    """Makes the file anew without the room of broken pictures: a contiguous array can't be shortened."""
    with create(path) as smaller:
        for split in source.splits:
            images = file[split.name]["images"]
            group = smaller.create_group(split.name, track_order=True)
            batch = Batch(group, len(split.kept), images.shape[1:], xxhash.xxh64())
            for begin in range(0, len(split.kept), len(batch.images)):
                end = min(begin + len(batch.images), len(split.kept))
                batch.dataset[begin:end] = images[begin:end]
        finish(smaller, source, classes, told)


# --- what describes them --------------------------------------------------------------------------------
def finish(file, source, classes, told):
    """Writes all but the images: labels, dimensions, checksums and attributes."""
    for split in source.splits:
        group, scales = file[split.name], {}
        write_dimensions(group["images"], ["sample", "channel", "height", "width"], scales)
        if split.labels is not None:
            labels = group.create_dataset("labels", data=split.labels[split.kept])
            write_dimensions(labels, ["sample"], scales)
        group.attrs["checksum"] = split.digest.hexdigest()
    file.attrs["schema_version"] = SCHEMA_VERSION
    if classes is not None:
        file.attrs["class_names"] = np.array(classes, dtype=h5py.string_dtype())
    file.attrs["value_range"] = np.array([0.0, 255.0])
    for name, text in told(source).items():
        file.attrs[name] = text


def images_are_whole(path):
    """Whether the images of a data file agree with their checksums."""
    with h5py.File(path, "r") as file:
        for group in file.values():
            digest = xxhash.xxh64()
            images = group["images"]
            rows = max(1, BATCH_BYTES // max(1, int(np.prod(images.shape[1:]))))
            for begin in range(0, len(images), rows):
                digest.update(images[begin:begin + rows])
            if digest.hexdigest() != group.attrs["checksum"]:
                return False
    return True


def write_dimensions(dataset, names, scales):
    """Named dimensions as netCDF-4 readers expect them: scales without values, one per name and length."""
    for axis, name in enumerate(names):
        if name not in scales:
            length = dataset.shape[axis]
            scales[name] = dataset.parent.create_dataset(name, (length,), ">f4")
            scales[name].make_scale(f"This is a netCDF dimension but not a netCDF variable.{length:10d}")
        dataset.dims[axis].label = name
        dataset.dims[axis].attach_scale(scales[name])


def provenance(source, options, command, left_out):
    """Where the images come from and what was done to them, as JSON."""
    told = {"command": utf8(command), "source": utf8(pathlib.Path(options.source).resolve()),
            "files": {split.name: [utf8(name) for name in split.files[:LISTED]] for split in source.splits},
            "images": {split.name: f"{len(split.kept):,} of {split.count:,}" for split in source.splits},
            "values": options.depth.rules, "told": said(), "left_out": left_out,
            "broken": [utf8(error) for error in source.broken[:LISTED]],
            "created_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}
    return json.dumps(told, indent=1, ensure_ascii=False)
