import pathlib
import struct
import subprocess

import h5py
import numpy
import pytest
import xxhash

CONVNET = """
run: {name: tiny, seed: 3, iterations: 30, precision: float32, device: cpu}
energy: {type: convnet, channels: 2, activation: silu}
data: {path: PATH, batch: 16, noise: 0.03, flip: true, range: [-1, 1]}
chains: {total: 48, active: 24, shards: 4, start: uniform, restart_probability: 0.1}
sampler: {type: stanley, steps: 3, step_size: 20, noise: 0.01, threshold: {quantile: 0.8}, box: [-1, 1]}
optimizer: {learning_rate: 1.0e-3, gradient_clip: 1.0, schedule: {type: cosine, end: 40}}
log: {every: 10}
samples: {every: null}
checkpoint: {every: 10, keep_last: 9}
"""


def write_images(path, images):
    """A data file as tools/convert_images.py makes it, of one split."""
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = "1.0"
        file.attrs["class_names"] = ["stripe", "spot"]
        file.attrs["value_range"] = [0, 255]
        file.attrs["provenance"] = "made by a test"
        split = file.create_group("train")
        split["images"] = images
        split["labels"] = numpy.arange(len(images), dtype=numpy.int64) % 2
        if images.dtype == numpy.uint8:
            split.attrs["checksum"] = xxhash.xxh64(numpy.ascontiguousarray(images).tobytes()).hexdigest()


def write_both_splits(path, images):
    """The same with a split `test`: the images backwards, all of one class."""
    write_images(path, images)
    with h5py.File(path, "a") as file:
        file["test/images"] = images[::-1].copy()
        file["test"].attrs["checksum"] = xxhash.xxh64(images[::-1].tobytes()).hexdigest()
        file["test/labels"] = numpy.zeros(len(images), dtype=numpy.int64)


def write_idx(path, array):
    """An IDX file of bytes."""
    path.write_bytes(struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes())


def as_old(path, act):
    """Changes a file and declares that no seal is to be asked for, as a file of schema 1.0."""
    with h5py.File(path, "a") as file:
        file.attrs.modify("schema_version", numpy.bytes_("1.0"))
        act(file)


@pytest.fixture(scope="session")
def images():
    """Two kinds of small picture, noisy: uint8 (sample, channel, height, width)."""
    generator = numpy.random.default_rng(5)
    values = generator.integers(0, 60, (64, 1, 8, 8), dtype=numpy.uint8)
    values[::2, :, ::2] += 180
    values[1::2, :, 2:6, 2:6] += 180
    return values


@pytest.fixture
def data_file(tmp_path, images):
    path = tmp_path / "images.h5"
    write_images(path, images)
    return path


@pytest.fixture(scope="session")
def convnet(tmp_path_factory, images):
    """A configuration with images and a small convolutional network."""
    folder = tmp_path_factory.mktemp("convnet")
    write_images(folder / "images.h5", images)
    config = folder / "convnet.yaml"
    config.write_text(CONVNET.replace("PATH", str(folder / "images.h5")))
    return config


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """faults.c, to be loaded before the C library."""
    path = tmp_path_factory.mktemp("library") / "faults.so"
    source = pathlib.Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path, source, "-ldl"],
                   check=True)
    return path


@pytest.fixture
def copied(tmp_path, trained):
    """A run of its own for a test that breaks it: a copy of its module's `trained`."""
    subprocess.run(["cp", "-a", trained, tmp_path / "run"], check=True)
    return tmp_path / "run"
