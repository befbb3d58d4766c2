"""tools/convert_images.py: what it writes from each kind of source, and how it ends on broken ones."""
import gzip
import json
import pathlib
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest
import xarray
import xxhash
from PIL import Image

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "convert_images.py"


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def refused(code, *arguments):
    """Runs the tool, checks the exit code, one sentence and no traceback; returns the sentence."""
    result = run(*arguments)
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    return result.stderr


def write_idx(path, array):
    content = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def generator():
    return np.random.default_rng(7)


@pytest.fixture
def idx(tmp_path, generator):
    folder = tmp_path / "digits"
    folder.mkdir()
    images = generator.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(30, dtype=np.uint8) % 10)
    write_idx(folder / "t10k-images-idx3-ubyte", images[:8])
    write_idx(folder / "t10k-labels-idx1-ubyte", np.arange(8, dtype=np.uint8))
    return folder, images


@pytest.fixture
def pictures(tmp_path, generator):
    folder = tmp_path / "pictures"
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def test_idx_becomes_a_file_with_named_dimensions_and_checksum(idx, tmp_path):
    folder, images = idx
    output = tmp_path / "new" / "digits.h5"
    result = run(folder, "--pad", 32, "--output", output)
    assert result.returncode == 0, result.stderr
    with h5py.File(output) as file:
        assert file.attrs["schema_version"] == "1.0"
        assert list(file.attrs["class_names"]) == [str(i) for i in range(10)]
        assert list(file.attrs["value_range"]) == [0, 255]
        provenance = json.loads(file.attrs["provenance"])
        assert provenance["files"]["train"] == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
        assert "convert_images.py" in provenance["command"] and "--pad 32" in provenance["command"]
        stored = file["train/images"]
        assert stored.dtype == np.uint8 and stored.shape == (30, 1, 32, 32)
        assert [d.label for d in stored.dims] == ["sample", "channel", "height", "width"]
        assert np.array_equal(stored[:, 0, 2:30, 2:30], images)
        assert stored[:].astype(int).sum() == images.astype(int).sum()  # the canvas is zero
        assert file["train/labels"].dtype == np.int64
        assert np.array_equal(file["train/labels"][:], np.arange(30) % 10)
        assert file["train"].attrs["checksum"] == xxhash.xxh64(stored[:].tobytes()).hexdigest()
        assert file["test/images"].shape == (8, 1, 32, 32)
    for engine in ("h5netcdf", "netcdf4"):
        with xarray.open_dataset(output, engine=engine, group="train") as data:
            assert data.images.dims == ("sample", "channel", "height", "width")
            assert data.labels.dims == ("sample",)
    assert [p.name for p in output.parent.iterdir()] == ["digits.h5"]


def test_fashion_mnist_is_known_by_its_folder_and_classes_can_be_given(idx, tmp_path):
    folder, _ = idx
    fashion = folder.rename(tmp_path / "fashion-mnist")
    assert run(fashion, "-o", tmp_path / "a.h5").returncode == 0
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["class_names"][9] == "Ankle boot"
    assert run(fashion, "-o", tmp_path / "b.h5", "--classes", "a,b,c,d,e,f,g,h,i,j").returncode == 0
    with h5py.File(tmp_path / "b.h5") as file:
        assert list(file.attrs["class_names"]) == list("abcdefghij")
    assert "3 classes" in refused(2, fashion, "-o", tmp_path / "c.h5", "--classes", "a,b,c")


def test_cifar_batches(tmp_path, generator):
    records = generator.integers(0, 256, (12, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(12) % 10
    (tmp_path / "data_batch_1.bin").write_bytes(records[:6].tobytes())
    (tmp_path / "data_batch_2.bin").write_bytes(records[6:10].tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records[10:].tobytes())
    (tmp_path / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    assert run(tmp_path, "-o", tmp_path / "out.h5").returncode == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["train/images"][:].reshape(10, -1), records[:10, 1:])
        assert np.array_equal(file["test/labels"][:], [0, 1])
        assert list(file.attrs["class_names"]) == list("abcdefghij")
    (tmp_path / "test_batch.bin").write_bytes(records[10:].tobytes()[:-1])
    assert "test_batch.bin is truncated" in refused(5, tmp_path, "-o", tmp_path / "out2.h5")


def test_folders_of_classes(pictures, tmp_path):
    output = tmp_path / "out.h5"
    assert run(pictures, "-o", output).returncode == 0
    with h5py.File(output) as file:
        assert list(file.attrs["class_names"]) == ["cat", "dog"]
        assert np.array_equal(file["train/labels"][:], [0] * 4 + [1] * 4)
        expected = np.asarray(Image.open(pictures / "train/dog/0.png")).transpose(2, 0, 1)
        assert np.array_equal(file["train/images"][4], expected)
        assert file["test/images"].shape == (4, 3, 16, 16)


def test_flat_folder_size_grayscale_and_limit(pictures, tmp_path):
    flat = pictures / "train" / "cat"
    assert run(flat, "-o", tmp_path / "flat.h5", "--size", 8, "--grayscale").returncode == 0
    with h5py.File(tmp_path / "flat.h5") as file:
        assert file["train/images"].shape == (4, 1, 8, 8) and "labels" not in file["train"]
    assert run(pictures, "-o", tmp_path / "few.h5", "--limit", 2).returncode == 0
    with h5py.File(tmp_path / "few.h5") as file:
        assert list(file["train/labels"][:]) == [0, 1]  # spread evenly, so that no class is lost


def test_size_crops_the_longer_side(tmp_path):
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, 10:30] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert run(tmp_path, "-o", tmp_path / "out.h5", "--size", 10).returncode == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["train/images"][:].min() > 150


def test_if_missing_skips_until_source_or_options_change(idx, tmp_path):
    folder, images = idx
    output = tmp_path / "out.h5"
    assert run(folder, "-o", output).returncode == 0
    written = output.stat().st_mtime_ns
    assert "up to date" in run(folder, "-o", output, "--if-missing").stdout
    assert output.stat().st_mtime_ns == written
    assert "up to date" not in run(folder, "-o", output, "--if-missing", "--pad", 32).stdout
    write_idx(folder / "t10k-images-idx3-ubyte", images[8:16])
    assert "up to date" not in run(folder, "-o", output, "--if-missing", "--pad", 32).stdout
    output.write_bytes(output.read_bytes()[:1000])
    assert "up to date" not in run(folder, "-o", output, "--if-missing", "--pad", 32).stdout
    assert run(folder, "-o", output, "--if-missing", "--pad", 32).stdout.strip().endswith("up to date")


@pytest.mark.parametrize("break_it, said", [
    (lambda p: p.write_bytes(p.read_bytes()[:-200]), "truncated"),
    (lambda p: p.write_bytes(b"no gzip at all"), "not a sound gzip file"),
    (lambda p: p.write_bytes(gzip.compress(struct.pack(">I3I", 0x0D03, 1, 1, 1) + b"\0")), "0x00000d03"),
    (lambda p: p.write_bytes(gzip.compress(gzip.decompress(p.read_bytes())[:-5])), "truncated"),
    (lambda p: p.write_bytes(gzip.compress(gzip.decompress(p.read_bytes()) + b"xx")), "too long"),
    (lambda p: p.write_bytes(gzip.compress(b"\0\0")), "no IDX header"),
])
def test_broken_idx_is_named_and_nothing_is_left(idx, tmp_path, break_it, said):
    folder, _ = idx
    break_it(folder / "train-images-idx3-ubyte.gz")
    message = refused(5, folder, "-o", tmp_path / "out.h5")
    assert "train-images-idx3-ubyte.gz" in message and said in message
    assert not list(tmp_path.glob("out.h5*"))


def test_labels_that_do_not_match(idx, tmp_path):
    folder, _ = idx
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(29, np.uint8))
    assert "29 labels" in refused(5, folder, "-o", tmp_path / "out.h5")


def test_broken_pictures_are_named_and_nothing_is_left(pictures, tmp_path):
    bad = pictures / "train" / "dog" / "2.png"
    content = bad.read_bytes()
    for broken in (b"not a picture", content[: len(content) // 2], b""):
        bad.write_bytes(broken)
        message = refused(5, pictures, "-o", tmp_path / "out.h5")
        assert str(bad) in message and "can't be decoded" in message
        assert not list(tmp_path.glob("out.h5*"))


def test_a_failed_run_leaves_the_old_file_alone(pictures, tmp_path):
    output = tmp_path / "out.h5"
    assert run(pictures, "-o", output).returncode == 0
    before = output.read_bytes()
    (pictures / "test" / "dog" / "1.png").write_bytes(b"broken")
    refused(5, pictures, "-o", output)
    assert output.read_bytes() == before


def test_different_sizes_need_size(pictures, tmp_path):
    odd = pictures / "train" / "dog" / "1.png"
    Image.new("RGB", (20, 16)).save(odd)
    message = refused(5, pictures, "-o", tmp_path / "out.h5")
    assert str(odd) in message and "--size" in message
    assert run(pictures, "-o", tmp_path / "out.h5", "--size", 16).returncode == 0


def test_grey_and_colour_mixed(pictures, tmp_path):
    Image.new("L", (16, 16)).save(pictures / "train" / "cat" / "0.png")
    assert "--grayscale" in refused(5, pictures, "-o", tmp_path / "out.h5")
    assert run(pictures, "-o", tmp_path / "out.h5", "--grayscale").returncode == 0


def test_wrong_sources_and_usage(idx, tmp_path):
    folder, _ = idx
    (tmp_path / "empty").mkdir()
    assert "does not exist" in refused(5, tmp_path / "nowhere", "-o", tmp_path / "out.h5")
    assert "is not a folder" in refused(5, folder / "t10k-images-idx3-ubyte", "-o", tmp_path / "out.h5")
    assert "holds no IDX files" in refused(5, tmp_path / "empty", "-o", tmp_path / "out.h5")
    assert "--pad 20 is smaller" in refused(2, folder, "-o", tmp_path / "out.h5", "--pad", 20)
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "can't be written" in refused(5, folder, "-o", blocked / "out.h5")
    assert run(folder).returncode == 2
    assert run(folder, "-o", tmp_path / "out.h5", "--size", 0).returncode == 2
