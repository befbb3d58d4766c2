"""tools/convert_images.py: the file that it writes, its command line, and how it ends on broken sources."""
import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import xarray
import xxhash
from PIL import Image

from converter import TOOL, complaint, convert, converted, refused, run, write_idx


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
        assert file.attrs["schema_version"] == "1.1"
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
    (lambda p: p.write_bytes(gzip.compress(struct.pack(">I3I", 0x0703, 1, 1, 1) + b"\0")), "0x00000703"),
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
    Image.new("L", (16, 16), 7).save(pictures / "train" / "cat" / "0.png")
    data = converted(pictures, tmp_path / "out.h5")
    assert data.train.images.shape == (8, 3, 16, 16) and (data.train.images[0] == 7).all()
    assert "1 of 12 pictures is grey" in data.said
    assert converted(pictures, tmp_path / "out.h5", "--grayscale").train.images.shape == (8, 1, 16, 16)


def test_wrong_sources_and_usage(idx, tmp_path):
    folder, _ = idx
    (tmp_path / "empty").mkdir()
    assert "does not exist" in refused(5, tmp_path / "nowhere", "-o", tmp_path / "out.h5")
    (tmp_path / "digits.zip").write_bytes(b"PK")
    assert "neither a folder nor" in refused(5, tmp_path / "digits.zip", "-o", tmp_path / "out.h5")
    assert "holds no IDX files" in refused(5, tmp_path / "empty", "-o", tmp_path / "out.h5")
    assert "--pad 20 is smaller" in refused(2, folder, "-o", tmp_path / "out.h5", "--pad", 20)
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "can't be written" in refused(5, folder, "-o", blocked / "out.h5")
    assert run(folder).returncode == 2
    assert run(folder, "-o", tmp_path / "out.h5", "--size", 0).returncode == 2
    for option, value in (("--range", "1"), ("--range", "5,5"), ("--range", "0,nan"),
                          ("--background", "no colour"), ("--layout", "deep"), ("--axes", "hwc")):
        assert convert(folder, tmp_path / "out.h5", option, value).code == 2


def test_an_output_that_is_a_part_of_the_source_is_refused(pictures, idx, tmp_path):
    picture = pictures / "train" / "cat" / "0.png"
    before = picture.read_bytes()
    link = tmp_path / "link.png"
    link.symlink_to(picture)
    for output in (picture, link):
        assert "is a file of the source" in complaint(2, pictures, output)
        assert picture.read_bytes() == before
    images = idx[0] / "train-images-idx3-ubyte.gz"
    assert "is a file of the source" in complaint(2, images, images)
    assert "is a folder" in complaint(5, pictures, tmp_path / "pictures")


def test_an_output_that_is_no_file(pictures, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in complaint(5, pictures, tmp_path / "pipe")
    assert "names no file" in convert(pictures, "").err and convert(pictures, f"{tmp_path}/").code == 2
    if os.path.isdir("/proc/self"):
        assert "can't be written: No such file or directory" in convert(pictures, "/proc/out.h5").err


def test_the_output_inside_the_source_is_no_part_of_it(pictures):
    output = pictures / "data.h5"
    (pictures / "data.h5.part.77").write_bytes(b"of a run that was killed")
    assert "left out" not in converted(pictures, output).said
    assert "up to date" in convert(pictures, output, "--if-missing").out


def test_if_missing_sees_through_links(tmp_path, generator):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / name / "0.png")
    source, output = tmp_path / "source", tmp_path / "out.h5"
    source.mkdir()
    (source / "cat").symlink_to(tmp_path / "cats")
    (source / "dog").mkdir()
    (source / "dog" / "0.png").symlink_to(tmp_path / "dogs" / "0.png")
    assert converted(source, output).train.labels == [0, 1]
    assert "up to date" in convert(source, output, "--if-missing").out
    Image.new("L", (8, 8)).save(tmp_path / "cats" / "1.png")
    assert converted(source, output, "--if-missing").train.labels == [0, 0, 1]
    Image.new("L", (8, 8), 9).save(tmp_path / "dogs" / "0.png")
    assert (converted(source, output, "--if-missing").train.images[2] == 9).all()
    (source / "dog" / "0.png").unlink()
    (source / "dog" / "0.png").symlink_to(tmp_path / "cats" / "1.png")
    assert (converted(source, output, "--if-missing").train.images[2] == 0).all()


@pytest.mark.parametrize("option", [["--layout", "flat"], ["--range", "0,255"], ["--frames", "first"],
                                    ["--background", "white"], ["--transpose"], ["--skip-broken"],
                                    ["--grayscale"]])
def test_if_missing_sees_every_option(pictures, tmp_path, option):
    output = tmp_path / "out.h5"
    assert convert(pictures, output).code == 0
    assert "up to date" not in convert(pictures, output, "--if-missing", *option).out
    assert "up to date" in convert(pictures, output, "--if-missing", *option).out


def test_object_headers_carry_checksums(pictures, tmp_path):
    assert convert(pictures, tmp_path / "out.h5").code == 0
    content = (tmp_path / "out.h5").read_bytes()
    assert content[8] == 2 and content.count(b"OHDR") >= 8  # superblock 2 and version 2 of each object's header
    with h5py.File(tmp_path / "out.h5") as file:
        assert content.endswith(b"STANLEY1")  # stanley_tools/data/seal.py
        images = file["train/images"]
        assert images.chunks is None and images.compression is None and images.id.get_offset() is not None


def test_transpose_swaps_rows_and_columns(tmp_path, generator):
    images = generator.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    data = converted(tmp_path / "images.npy", tmp_path / "out.h5", "--transpose")
    assert np.array_equal(data.train.images, images.transpose(0, 3, 2, 1))


def test_no_class_names_without_labels(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((2, 8, 8), np.uint8))
    assert convert(tmp_path / "images.npy", tmp_path / "out.h5").code == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert "class_names" not in file.attrs


def test_a_terminated_run_leaves_nothing(tmp_path):
    os.mkfifo(tmp_path / "unread")  # and does not wait for what is no file
    np.save(tmp_path / "images.npy", np.zeros((400_000, 8, 8), np.uint8))
    process = subprocess.Popen([sys.executable, TOOL, tmp_path, "-o", tmp_path / "out.h5"], stderr=subprocess.PIPE)
    while not list(tmp_path.glob("out.h5.part.*")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143 and not list(tmp_path.glob("out.h5*"))


def test_names_that_no_terminal_shows(tmp_path):
    folder = os.fsencode(tmp_path) + b"/source"
    for name in (b"caf\xe9", b"a\nb"):
        os.makedirs(folder + b"/" + name)
        Image.new("L", (8, 8)).save(os.fsdecode(folder + b"/" + name + b"/0.png"))
    data = converted(os.fsdecode(folder), tmp_path / "out.h5")
    assert data.names == ["a\nb", "caf\\xe9"]
    for name in (b"caf\xe9", b"a\nb"):
        with open(folder + b"/" + name + b"/1.png", "wb") as file:
            file.write(b"no picture")
    result = run(os.fsdecode(folder), "-o", tmp_path / "out.h5")
    assert result.returncode == 5 and result.stderr.count("\n") == 3
    assert "a\\nb/1.png" in result.stderr and "caf\\xe9/1.png" in result.stderr


def test_the_tool_runs_where_the_terminal_knows_ascii_only(pictures, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    result = subprocess.run([sys.executable, TOOL, pictures, "-o", tmp_path / "out.h5"], env=environment,
                            capture_output=True, text=True)
    assert result.returncode == 0 and "16\\xd716" in result.stdout


def test_cropping_and_limits_are_told_and_kept(tmp_path, generator):
    for i, shape in enumerate([(8, 8), (8, 12), (12, 8)]):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    assert "longer sides are cropped" in refused(5, tmp_path, "-o", tmp_path / "out.h5")
    data = converted(tmp_path, tmp_path / "out.h5", "--size", "8", "--limit", "2")
    assert "1 image is no square: --size cropped the longer side" in data.said
    assert "--limit: 2 of 3 images of the train split" in data.said
    assert data.provenance["images"] == {"train": "2 of 3"} and len(data.provenance["told"]) == 2


@pytest.mark.parametrize("what", ["images", "labels"])
def test_if_missing_mends_a_damaged_file(pictures, tmp_path, what):
    output = tmp_path / "out.h5"
    converted(pictures, output)
    with h5py.File(output) as file:
        place = file[f"train/{what}"].id.get_offset()
    whole = output.read_bytes()
    assert "up to date" in convert(pictures, output, "--if-missing").out
    output.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
    assert "up to date" not in convert(pictures, output, "--if-missing").out
    assert "up to date" in convert(pictures, output, "--if-missing").out
