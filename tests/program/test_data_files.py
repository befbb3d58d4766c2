"""HDF5 data files as people write them with h5py: read for what they are, or refused in one sentence."""
import json
import pathlib
import subprocess
import sys

import h5py
import numpy
import pytest

from conftest import CONVNET, write_idx
from program import FINISHED, INPUT_OUTPUT, ROOT, ends, run, trains
from refusals import refused, train_here, untouched

one_and_four = pytest.mark.parametrize("ranks", [1, 4])


@pytest.fixture
def make(tmp_path, images):
    """Writes a data file; returns a configuration that reads it."""
    def make(values=images, change=lambda file: None, **options):
        path = tmp_path / "made.h5"
        with h5py.File(path, "w", **options) as file:
            file.attrs["schema_version"] = "1.0"
            file["train/images"] = values
            change(file)
        config = tmp_path / "made.yaml"
        config.write_text(CONVNET.replace("PATH", str(path)).replace("iterations: 30", "iterations: 2"))
        return config
    return make


def trains_and_is_sound(config, tmp_path, ranks=1):
    trains(tmp_path / "run", {}, config, ranks=ranks)
    ends(run("inspect", tmp_path / "made.h5", tmp_path / "run"), FINISHED)


# --- without labels --------------------------------------------------------------------------------
@one_and_four
@pytest.mark.parametrize("source", ["flat folder", "IDX"])
def test_sources_without_labels_train_report_and_are_sound(tmp_path, images, source, ranks):
    folder = tmp_path / "source"
    folder.mkdir()
    if source == "IDX":
        write_idx(folder / "train-images-idx3-ubyte", images[:, 0])
    else:
        for i, image in enumerate(images):
            (folder / f"{i:02}.pgm").write_bytes(b"P5 8 8 255\n" + image.tobytes())
    subprocess.run([sys.executable, ROOT / "tools" / "convert_images.py", folder, "-o", tmp_path / "made.h5"],
                   check=True, capture_output=True, timeout=60)
    with h5py.File(tmp_path / "made.h5") as file:
        assert numpy.array_equal(file["train/images"], images) and "labels" not in file["train"]
    config = tmp_path / "made.yaml"
    config.write_text(CONVNET.replace("PATH", str(tmp_path / "made.h5")).replace("iterations: 30", "iterations: 2"))
    trains_and_is_sound(config, tmp_path, ranks)
    report = subprocess.run([sys.executable, ROOT / "tools" / "report.py", tmp_path / "run"], capture_output=True,
                            text=True, timeout=120)
    assert report.returncode == 0 and (tmp_path / "run" / "report.html").is_file(), report.stderr


@pytest.mark.parametrize("names", [numpy.array([], dtype=h5py.string_dtype()), numpy.array([], dtype="S4"),
                                   h5py.Empty(h5py.string_dtype())], ids=["variable", "fixed", "null"])
def test_an_attribute_without_elements(tmp_path, make, names):
    trains_and_is_sound(make(change=lambda file: file.attrs.__setitem__("class_names", names)), tmp_path)


# --- types -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["u1", "i1", "<i2", ">i4", "<u8", "<i8"])
def test_labels_of_any_integer_type(tmp_path, make, kind):
    def change(file):
        file["train/labels"] = (numpy.arange(64) % 2).astype(kind)
        file.attrs["class_names"] = ["a\nb", "c"]  # a name may hold any character
    trains_and_is_sound(make(change=change), tmp_path)


def test_labels_that_are_no_integers(tmp_path, make):
    config = make(change=lambda file: file.__setitem__("train/labels", numpy.zeros(64, "f4")))
    refused(train_here(tmp_path, {}, config), INPUT_OUTPUT, "labels", "float32", "integers")


def final_energies(directory):
    return (pathlib.Path(directory) / "metrics.csv").read_text().splitlines()[-1].split(",")[1:4]


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<f8"])
def test_floats_of_any_type_are_the_same_numbers(tmp_path, make, images, kind):
    def ranged(file):
        file.attrs["value_range"] = [0.0, 1.0]
    few = (images // 16).astype("f8") / 16  # exact in half precision
    trains(tmp_path / "single", {}, make(few.astype("<f4"), ranged))
    config = make(few.astype(kind), ranged)
    trains_and_is_sound(config, tmp_path)
    assert final_energies(tmp_path / "run") == final_energies(tmp_path / "single")


@one_and_four
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_floats_without_a_range_are_refused(tmp_path, make, images, kind, ranks):
    """ToTensor's [0, 1] was taken for [0, 255]: black pictures."""
    config = make((images / 255).astype(kind))
    highest = images.max() / 255
    refused(train_here(tmp_path, {}, config, ranks=ranks), INPUT_OUTPUT, tmp_path / "made.h5", "'train'",
            f"from 0 to {highest:.6g}"[:12], "value_range")
    untouched(tmp_path / "run")
    refused(run("inspect", tmp_path / "made.h5"), INPUT_OUTPUT, "value_range")


def test_points_without_a_range_are_refused(tmp_path, make):
    config = make(numpy.random.default_rng(3).normal(size=(64, 5)).astype("f4"))
    refused(train_here(tmp_path, {}, config), INPUT_OUTPUT, "value_range")


@pytest.mark.parametrize("values, words", [
    (lambda images: images.transpose(0, 2, 3, 1), ["channels last", "transpose(0, 3, 1, 2)"]),
    (lambda images: images.astype("u2"), ["uint16", "expected uint8"]),
    (lambda images: images.transpose(0, 2, 3, 1)[..., 0], ["(64, 8, 8)"]),
    (lambda images: images.astype("S3"), ["text"]),
])
def test_images_of_another_kind(tmp_path, make, images, values, words):
    refused(train_here(tmp_path, {}, make(values(images))), INPUT_OUTPUT, tmp_path / "made.h5", "train/images", *words)


def test_a_version_that_is_no_text_is_named(tmp_path, make):
    config = make(change=lambda file: file.attrs.__setitem__("schema_version", 1))
    refused(train_here(tmp_path, {}, config), INPUT_OUTPUT, tmp_path / "made.h5", "schema_version", "text")


# --- formats and layouts ---------------------------------------------------------------------------
@pytest.mark.parametrize("libver", ["v110", "latest"])
def test_files_of_newer_formats(tmp_path, make, images, libver):
    """HDF5 1.14 marks what 1.10 can't read; a file of version 3 of the superblock is not among it."""
    low = "v110" if libver == "v110" else ("v110", "latest")
    trains_and_is_sound(make(libver=low, change=lambda file: file.create_dataset(
        "test/images", data=images, maxshape=(None, 1, 8, 8), chunks=True)), tmp_path)


def test_compressed_and_linked(tmp_path, make, images):
    def change(file):
        del file["train/images"]
        file.create_dataset("raw", data=images, chunks=(1, 1, 8, 8), compression="gzip", shuffle=True)
        file["train/images"] = h5py.SoftLink("/raw")
    trains_and_is_sound(make(change=change), tmp_path)


# --- damage and crafted files ----------------------------------------------------------------------
@pytest.fixture
def sealed(tmp_path, images):
    """A file of the converter with labels."""
    folder = tmp_path / "source"
    for i, image in enumerate(images):
        place = folder / ("spot" if i % 2 else "stripe")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:02}.pgm").write_bytes(b"P5 8 8 255\n" + image.tobytes())
    subprocess.run([sys.executable, ROOT / "tools" / "convert_images.py", folder, "-o", tmp_path / "made.h5"],
                   check=True, capture_output=True, timeout=60)
    return tmp_path / "made.h5"


@pytest.mark.parametrize("what", ["labels", "class name", "scale"])
def test_damage_beside_the_images_is_found(tmp_path, sealed, convnet, what):
    whole = sealed.read_bytes()
    with h5py.File(sealed) as file:
        places = {"labels": file["train/labels"].id.get_offset() + 8,  # a label 1 that becomes 0: no check sees it
                  "class name": whole.rindex(b"stripe"), "scale": whole.rindex(b"GCOL") + 40}
    place = places[what]
    sealed.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
    refused(run("inspect", sealed), INPUT_OUTPUT, sealed)
    refused(train_here(tmp_path, {"data.path": sealed}, convnet), INPUT_OUTPUT, sealed, "damaged", "seal")


def test_an_edit_by_another_program_is_told(sealed, tmp_path, convnet):
    with h5py.File(sealed, "a") as file:
        file["train/labels"][0] = 1
    refused(run("inspect", sealed), INPUT_OUTPUT, sealed, "another program has changed it")
    refused(train_here(tmp_path, {"data.path": sealed}, convnet), INPUT_OUTPUT, sealed, "another program", '"1.0"')
    with h5py.File(sealed, "a") as file:
        file.attrs["schema_version"] = "1.0"  # whoever writes this answers for the file
    ends(run("inspect", sealed), FINISHED)
    trains(tmp_path / "edited", {"data.path": sealed, "run.iterations": 1}, convnet)


def test_arrays_are_told_as_they_stand(tmp_path, make, images):
    def change(file):
        file.attrs["value_range"] = [0.0, 255.0]
        file["train/labels"] = numpy.arange(64, dtype="i1")[:, None]
    make(images.astype("f8"), change)
    result = run("inspect", tmp_path / "made.h5", "--json")
    refused(result, INPUT_OUTPUT, "labels", "int8", "(64, 1)")
    (one,) = json.loads(result.stdout)["inspected"]
    assert [(a["name"], a["type"], a["shape"], a["damaged"]) for a in one["arrays"]] == [
        ("train/images", "float64", [64, 1, 8, 8], False), ("train/labels", "int8", [64, 1], True)]


@pytest.mark.parametrize("kind", ["folder", "npz", "text"])
def test_a_data_path_that_is_no_hdf5_file(tmp_path, convnet, kind):
    path = tmp_path / "data"
    if kind == "folder":
        path.mkdir()
    elif kind == "npz":
        numpy.savez(path.open("wb"), images=numpy.zeros(3))
    else:
        path.write_text("hello")
    refused(train_here(tmp_path, {"data.path": path}, convnet), INPUT_OUTPUT, path, "convert_images.py")


def test_a_data_path_beside_points_that_are_computed(tmp_path):
    said = trains(tmp_path / "run", {"data.path": "points.h5", "run.iterations": 1}).stdout
    assert "warning: data.path points.h5 is not read: data.type is" in said and "set it to file" in said


@pytest.mark.parametrize("shape", [(2 ** 62, 1, 8, 8), (2 ** 40, 2 ** 10, 2 ** 10, 2 ** 10)])
def test_a_shape_that_overflows(tmp_path, make, shape):
    config = make(change=lambda file: (file.__delitem__("train/images"), file.create_dataset(
        "train/images", shape, "u1", chunks=(1, 1, 8, 8))))
    refused(train_here(tmp_path, {}, config), INPUT_OUTPUT, tmp_path / "made.h5", "train/images")
    refused(run("inspect", tmp_path / "made.h5"), INPUT_OUTPUT)
