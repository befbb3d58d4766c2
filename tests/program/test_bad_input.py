"""Wrong data files and checkpoints: one message from one rank, the documented exit code, nothing half-written."""
import json
import os
import signal

import h5py
import numpy
import pytest

from conftest import as_old, write_images
from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, PROGRAM, REQUEUE, SMOKE, Process, checkpoint, draws, ends,
                     kill, rows_so_far, run, settings, train, trains, unfinished)
from refusals import LIMIT, contents, mounted, refused, train_here, untouched

one_and_two = pytest.mark.parametrize("ranks", [1, 2])


# --- data files ------------------------------------------------------------------------------------
def data_file_with(path, images, change):
    write_images(path, images)
    with h5py.File(path, "a") as file:
        change(file)


def with_value(images, value):
    """The images as floats, of which one is `value`."""
    values = images.astype(numpy.float32)
    values[3, 0, 2, 2] = value
    return values


DATA = {
    "missing": (lambda path, images: None, ["No such file"]),
    "a directory": (lambda path, images: path.mkdir(), []),
    "text": (lambda path, images: path.write_text("hello\n"), []),
    "empty": (lambda path, images: path.touch(), []),
    "truncated": (lambda path, images: (write_images(path, images),
                                        os.truncate(path, path.stat().st_size * 3 // 4)), []),
    "NaN": (lambda path, images: write_images(path, with_value(images, numpy.nan)), ["sample 3", "train", "nan"]),
    "infinite": (lambda path, images: write_images(path, with_value(images, numpy.inf)), ["sample 3", "inf"]),
    "out of range": (lambda path, images: write_images(path, with_value(images, 300)), ["sample 3", "300", "255"]),
    "three dimensions": (lambda path, images: write_images(path, images[:, 0]), ["train/images", "(64, 8, 8)"]),
    "wide integers": (lambda path, images: write_images(path, images.astype(numpy.int64)), ["int64", "uint8"]),
    "no images": (lambda path, images: write_images(path, images[:0]), ["train"]),
    "damaged": (lambda path, images: data_file_with(path, images, lambda f: f["train/images"].write_direct(
        255 - images)), ["checksum", "train"]),
    "another program's": (lambda path, images: h5py.File(path, "w").close(), ["convert_images.py"]),
    "future schema": (lambda path, images: data_file_with(path, images, lambda f: f.attrs.modify(
        "schema_version", "2.0")), ["2.0"]),
    "infinite range": (lambda path, images: data_file_with(path, images, lambda f: f.attrs.__setitem__(
        "value_range", [-numpy.inf, numpy.inf])), ["value_range", "finite"]),
    "a pipe": (lambda path, images: os.mkfifo(path), ["no regular file"]),
    "samples without elements": (lambda path, images: write_images(path, images[:, :, :0].astype("f4")),
                                 ["(64, 1, 0, 8)"]),
    "points without elements": (lambda path, images: write_images(path, images[:, 0, 0, :0].astype("f4")),
                                ["(64, 0)"]),
    "never written": (lambda path, images: data_file_with(path, images, lambda f: (
        f.__delitem__("train/images"), f.create_dataset("train/images", (2 ** 38, 1, 1, 1), "u1", chunks=(8, 1, 1, 1)))),
        ["never written"]),
    "falling range": (lambda path, images: data_file_with(path, images, lambda f: f.attrs.modify(
        "value_range", [255, 0])), ["value_range"]),
    "range of NaN": (lambda path, images: data_file_with(path, images, lambda f: f.attrs.__setitem__(
        "value_range", [0.0, float("nan")])), ["value_range"]),
    "another range": (lambda path, images: data_file_with(path, images, lambda f: f.attrs.modify(
        "value_range", [0, 15])), ["value_range"]),
    "label of no class": (lambda path, images: data_file_with(path, images, lambda f: f["train/labels"].__setitem__(
        3, 7)), ["label 7"]),
    "too few labels": (lambda path, images: data_file_with(path, images, lambda f: (
        f.__delitem__("train/labels"), f.__setitem__("train/labels", numpy.zeros(3, numpy.int64)))), ["labels"]),
}


@pytest.mark.parametrize("make, words", DATA.values(), ids=DATA.keys())
def test_broken_data_file(tmp_path, convnet, images, make, words):
    path = tmp_path / "images.h5"
    make(path, images)
    result = train_here(tmp_path, {"data.path": path, "run.iterations": 2}, convnet)
    refused(result, INPUT_OUTPUT, path, *words)
    untouched(tmp_path / "run")


@pytest.mark.parametrize("kind", ["missing", "truncated", "NaN"])
def test_broken_data_file_on_two_ranks(tmp_path, convnet, images, kind):
    path = tmp_path / "images.h5"
    make, words = DATA[kind]
    make(path, images)
    result = train_here(tmp_path, {"data.path": path, "run.iterations": 2}, convnet, ranks=2)
    refused(result, INPUT_OUTPUT, path, *words)
    untouched(tmp_path / "run")


def test_split_that_is_not_there(tmp_path, convnet):
    result = train_here(tmp_path, {"data.split": "validation"}, convnet)
    refused(result, INPUT_OUTPUT, "validation", "train")
    untouched(tmp_path / "run")


@pytest.mark.parametrize("energy", ["convnet", "resnet"])
def test_images_too_small_for_the_network(tmp_path, convnet, images, energy):
    write_images(tmp_path / "small.h5", images[:, :, :4, :4])
    result = train_here(tmp_path, {"data.path": tmp_path / "small.h5", "energy.type": energy}, convnet)
    refused(result, CONFIGURATION, energy, "4 x 4", "8")
    untouched(tmp_path / "run")


@pytest.mark.parametrize("energy", ["convnet", "resnet"])
def test_network_of_images_and_data_in_the_plane(tmp_path, energy):
    result = train_here(tmp_path, {"energy.type": energy})
    refused(result, CONFIGURATION, energy)
    untouched(tmp_path / "run")


def test_failed_start_is_the_verdict(tmp_path, convnet, images):
    """A job script that reads run.json must not requeue for ever."""
    write_images(tmp_path / "images.h5", images)
    values = {"data.path": tmp_path / "images.h5", "run.iterations": 100000, "checkpoint.every": "null"}
    stop_after(tmp_path / "run", values, convnet)
    before = contents(tmp_path / "run")
    (tmp_path / "images.h5").unlink()
    refused(train_here(tmp_path, values, convnet), INPUT_OUTPUT, "images.h5")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["verdict"] == "input_output" and record["exit_code"] == INPUT_OUTPUT
    assert "images.h5" in record["stops"][-1]["message"]
    assert contents(tmp_path / "run") == before


def stop_after(directory, values, config, rows=3):
    with Process([PROGRAM, *map(str, train(directory, values, config))], LIMIT) as process:
        process.wait_for(lambda: rows_so_far(directory) >= rows, "iterations")
        kill(process.ranks()[0], signal.SIGUSR1)
        ends(process.finish(), REQUEUE)


# --- checkpoints -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "run"
    trains(directory, {"run.iterations": 10, "samples.every": 10})
    return directory


@one_and_two
def test_run_of_another_network(copied, ranks):
    before = contents(copied)
    result = run(*train(copied, {"run.iterations": 20, "energy.hidden": "[32, 16]"}), ranks=ranks, limit=LIMIT)
    refused(result, CONFIGURATION, "energy", "iteration-00000010.h5")
    assert contents(copied) == before and not unfinished(copied)


@one_and_two
def test_branch_from_a_checkpoint_of_another_network(tmp_path, trained, ranks):
    path = checkpoint(trained, 10)
    result = train_here(tmp_path, {"energy.hidden": "[8]"}, SMOKE, "--resume", path, ranks=ranks)
    refused(result, CONFIGURATION, path, "energy")
    untouched(tmp_path / "run")


def test_branch_with_data_of_another_shape(tmp_path, trained, convnet):
    values = {"energy.type": "mlp", "energy.hidden": "[32, 32]", "energy.channels": 16}  # the same energy
    result = train_here(tmp_path, values, convnet, "--resume", checkpoint(trained, 10))
    refused(result, INPUT_OUTPUT, checkpoint(trained, 10), "another network")
    untouched(tmp_path / "run")


def test_checkpoint_whose_arrays_are_of_another_network(tmp_path, convnet, images):
    """The same configuration, but larger images."""
    trains(tmp_path / "small", {"run.iterations": 1}, convnet)
    write_images(tmp_path / "large.h5", numpy.repeat(numpy.repeat(images, 2, 2), 2, 3))
    result = train_here(tmp_path, {"data.path": tmp_path / "large.h5"}, convnet, "--resume",
                        checkpoint(tmp_path / "small", 1))
    refused(result, INPUT_OUTPUT, "another network", "shape")
    untouched(tmp_path / "run")


BROKEN = {
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "edited": lambda path: change(path, lambda file: file.attrs.modify("note", "mine")),
    "no progress": lambda path: as_old(path, lambda file: file["progress"].attrs.__delitem__("iteration")),
    "negative iteration": lambda path: as_old(path, lambda file: file["progress"].attrs.modify("iteration", -5)),
    "progress that is empty": lambda path: as_old(path, lambda file: file["progress"].attrs.__setitem__(
        "attempt", h5py.Empty("i8"))),
    "missing": lambda path: path.unlink(),
    "text": lambda path: path.write_text("hello\n"),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "changed": lambda path: change_array(path, "chains/state"),
    "changed weights": lambda path: change_array(path, "parameters/layers.1.weight"),
    "no digests": lambda path: change(path, lambda file: file.__delitem__("digests")),
    "no configuration": lambda path: change(path, lambda file: file.attrs.__delitem__("config")),
    "future schema": lambda path: change(path, lambda file: file.attrs.modify("schema_version", numpy.bytes_("2.0"))),
}


def change(path, act):
    with h5py.File(path, "a") as file:
        act(file)


def change_array(path, name):
    with h5py.File(path, "a") as file:
        file[name][0] = 1 - file[name][0]


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_checkpoint(tmp_path, copied, kind):
    path = checkpoint(copied, 10)
    BROKEN[kind](path)
    result = run(*train(tmp_path / "branch", {}, SMOKE, "--resume", path), limit=LIMIT)
    refused(result, INPUT_OUTPUT, path)
    untouched(tmp_path / "branch")
    result = run("sample", path, *settings({"sampler.steps": 2}), "--output", tmp_path / "draws.nc", limit=LIMIT)
    refused(result, INPUT_OUTPUT, path)
    assert not list(tmp_path.glob("draws.nc*"))


@one_and_two
def test_no_checkpoint_that_verifies(copied, ranks):
    for iteration in (0, 10):
        change_array(checkpoint(copied, iteration), "chains/state")
    before = contents(copied)
    result = run(*train(copied, {"run.iterations": 20}), ranks=ranks, limit=LIMIT)
    refused(result, INPUT_OUTPUT, checkpoint(copied, 0), checkpoint(copied, 10), lines=None)
    assert contents(copied) == before and not unfinished(copied)


def test_draws_are_no_checkpoint(tmp_path, trained):
    result = run("sample", draws(trained, 10), "--output", tmp_path / "draws.nc", limit=LIMIT)
    refused(result, INPUT_OUTPUT, draws(trained, 10))
    assert list(tmp_path.iterdir()) == []


def sampled(trained, output, values=(), ranks=1):
    values = {"sampler.steps": 2, "sampler.write_every": 1, **dict(values)}
    return run("sample", checkpoint(trained, 10), *settings(values), "--output", output, ranks=ranks, limit=LIMIT)


@pytest.mark.parametrize("values, words", [
    ({"chains.total": 128}, ["chains.total", "128", "64"]), ({"chains.total": 63}, ["chains.total", "chains.shards"]),
    ({"sampler.steps": 0}, ["sampler.steps"]), ({"energy.hidden": "[8]"}, ["another network"]),
    ({"sampler.stps": 3}, ["sampler.steps"]),
])
def test_sampling_with_values_that_cannot_be(tmp_path, trained, values, words):
    result = sampled(trained, tmp_path / "draws.nc", values)
    refused(result, INPUT_OUTPUT if "energy.hidden" in values else CONFIGURATION, *words, lines=None)
    assert list(tmp_path.iterdir()) == []


@one_and_two
def test_draws_into_a_folder_that_is_not_there(tmp_path, trained, ranks):
    result = sampled(trained, tmp_path / "nowhere" / "draws.nc", {}, ranks)
    refused(result, INPUT_OUTPUT, tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@one_and_two
def test_draws_on_a_full_disk(tmp_path, trained, ranks):
    with mounted(tmp_path / "disk", "64k") as disk:
        refused(sampled(trained, disk / "draws.nc", {}, ranks), INPUT_OUTPUT, "No space left on device", disk)
        assert list(disk.iterdir()) == []


@one_and_two
@pytest.mark.parametrize("output, words", [
    ("run/checkpoints/iteration-00000010.h5", ["the checkpoint itself"]), ("run/checkpoints/latest", ["itself"]),
    ("link", ["is a link"]), ("run/checkpoints/iteration-00000000.h5", ["no draw file"]),
    ("run/metrics.csv", ["no draw file"]), ("run", ["no draw file"]), ("nowhere/draws.nc", ["nowhere"]),
])
def test_outputs_that_would_destroy_or_fail(tmp_path, copied, output, words, ranks):
    (tmp_path / "link").symlink_to(copied / "metrics.csv")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = sampled(copied, tmp_path / output, {"sampler.steps": 10 ** 9}, ranks)  # told before it computes
    refused(result, INPUT_OUTPUT, "--output", tmp_path / output, *words)
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("values", [{"chains.shards": 16}, {"chains": "{shards: 16}"}])
def test_sampling_in_other_shards(tmp_path, trained, values):
    ends(sampled(trained, tmp_path / "draws.nc", values), FINISHED)


def test_two_samplings_of_one_file(tmp_path, trained):
    """Each writes a part of its own; what is left is one of the two, whole, and nothing else."""
    command = ["sample", checkpoint(trained, 10), *settings({"sampler.steps": 40, "sampler.write_every": 1}), "--output",
               tmp_path / "draws.nc"]
    for _ in range(3):
        with Process([PROGRAM, *map(str, command)], LIMIT) as one, Process([PROGRAM, *map(str, command)], LIMIT) as other:
            ends(one.finish(), FINISHED)
            ends(other.finish(), FINISHED)
        ends(run("inspect", tmp_path / "draws.nc"), FINISHED)
        assert [path.name for path in tmp_path.iterdir()] == ["draws.nc"]
