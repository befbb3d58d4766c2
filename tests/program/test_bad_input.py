"""Whatever is wrong with what a person gives: one message from one rank, the documented exit code, soon, and nothing
half-written."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import h5py
import numpy
import pytest

from conftest import write_images
from program import (CONFIGURATION, ENVIRONMENT, INPUT_OUTPUT, PROGRAM, REQUEUE, SMOKE, Process, arrays, checkpoint, draws,
                     ends, iterations_recorded, kill, launched, rows_so_far, run, settings, train, trains, unfinished)

LIMIT = 30
one_and_two = pytest.mark.parametrize("ranks", [1, 2])

NEVER_SHOWN = ("HDF5-DIAG", "Exception raised from", "frame #", "terminate called", "what():", "Traceback",
               "Backtrace", "MPI_ABORT", "Signal:", "please report this bug", "std::")


def refused(result, code, *words, lines=1):
    """Checks the exit code and that there is one message, of so many lines, with these words."""
    ends(result, code)
    said = result.stderr
    assert said.startswith("stanley: ") and len(re.findall("^stanley: ", said, re.MULTILINE)) == 1, said
    assert lines is None or said.count("\n") == lines, said
    for text in NEVER_SHOWN:
        assert text not in said + result.stdout
    for word in words:
        assert str(word) in said
    return said


def untouched(directory):
    """A run that never began leaves at most its log and its verdict."""
    directory = pathlib.Path(directory)
    left = {path.name for path in directory.rglob("*") if not path.is_dir()}
    assert left <= {"log.txt", "run.json"} and not unfinished(directory)


def contents(directory):
    """The files of a run that a refused start must not change."""
    return {path: path.read_bytes() for path in pathlib.Path(directory).rglob("*")
            if path.is_file() and path.name not in ("log.txt", "run.json")}


def train_here(tmp_path, values=(), config=SMOKE, *more, ranks=1, **variables):
    return run(*train(tmp_path / "run", values, config, *more), ranks=ranks, limit=LIMIT, **variables)


# --- configurations --------------------------------------------------------------------------------
FILES = {
    "empty": ("", ["is empty"]),
    "comments alone": ("# nothing\n\n", ["is empty"]),
    "not YAML": ("run: {seed: 1\nenergy: [", ["not YAML", ":2:"]),
    "binary": ("\0\1\2\x7f\ufffe" * 50, ["YAML"]),
    "a list": ("- run\n- energy\n", ["1:1"]),
    "a word": ("run\n", ["1:1"]),
    "unknown key": ("run: {name: a}\nsampler:\n  step: 3\n", ["3:3", "sampler.step", "sampler.steps"]),
    "unknown section": ("samplers: {steps: 3}\n", ["1:1", "samplers", "sampler"]),
    "repeated key": ("run:\n  seed: 1\n  seed: 2\n", ["3:3", "run.seed"]),
    "repeated section": ("run: {seed: 1}\nrun: {name: b}\n", ["2:1", "run"]),
    "text for a number": ("sampler: {steps: many}\n", ["1:18", "sampler.steps", "integer", "many"]),
    "fraction for an integer": ("chains: {total: 12.5}\n", ["chains.total", "integer", "12.5"]),
    "list for a number": ("optimizer: {learning_rate: [1, 2]}\n", ["optimizer.learning_rate", "number"]),
    "number for a section": ("optimizer: 3\n", ["1:12", "optimizer"]),
    "number for a choice": ("sampler: {type: 3}\n", ["sampler.type", "stanley", "langevin"]),
    "three for two": ("sampler: {box: [0, 1, 2]}\n", ["sampler.box", "two"]),
    "null for a number": ("run: {seed: null}\n", ["run.seed"]),
    "yes for true": ("run: {reproducible: maybe}\n", ["run.reproducible", "true or false", "maybe"]),
}


@pytest.mark.parametrize("text, words", FILES.values(), ids=FILES.keys())
def test_broken_configuration_file(tmp_path, text, words):
    config = tmp_path / "bad.yaml"
    config.write_text(text)
    refused(train_here(tmp_path, {}, config), CONFIGURATION, "bad.yaml", *words, lines=None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ranks, name", [(1, "nowhere.yaml"), (2, "nowhere.yaml"), (1, ".")])
def test_configuration_file_that_is_not_there(tmp_path, ranks, name):
    refused(train_here(tmp_path, {}, tmp_path / name, ranks=ranks), CONFIGURATION, tmp_path / name)
    assert not (tmp_path / "run").exists()


VALUES = [
    {"sampler.steps": 0}, {"sampler.steps": -3}, {"sampler.step_size": 0}, {"sampler.temperature": -1},
    {"sampler.step_size": ".nan"}, {"sampler.step_size": ".inf"}, {"sampler.threshold": "{quantile: 0}"},
    {"sampler.threshold": "{quantile: 1.5}"}, {"sampler.threshold": -1}, {"sampler.box": "[1, -1]"},
    {"sampler.noise": 0.1}, {"sampler.metropolis": "true"},
    {"run.iterations": 0}, {"run.seed": -1}, {"run.seed": 4294967296}, {"run.name": "../elsewhere"},
    {"run.threads": 0}, {"run.until": "sometime"}, {"run.device": "gpu"},
    {"chains.total": 0}, {"chains.shards": 0}, {"chains.restart_probability": 1.5}, {"chains.start": "bank"},
    {"chains.shards": 3}, {"chains.active": 24}, {"chains.active": 128}, {"chains.total": 99999999999},
    {"data.batch": 128}, {"data.batch": 0}, {"data.batch": 30}, {"data.type": "file"}, {"data.samples": 8},
    {"data.flip": "true"}, {"energy.hidden": "[0]"}, {"energy.hidden": "32"}, {"energy.channels": 0},
    {"optimizer.learning_rate": 0}, {"optimizer.betas": "[0, 1]"}, {"optimizer.average": 1},
    {"optimizer.momentum": 0.9}, {"optimizer.gradient_clip": 0},
    {"checkpoint.every": 0}, {"checkpoint.keep_every": 15}, {"checkpoint.keep_last": 0}, {"log.every": 0},
    {"run.sed": 3}, {"sampler": 3},
]


@pytest.mark.parametrize("values", VALUES, ids=lambda values: " ".join(f"{k}={v}" for k, v in values.items()))
def test_value_out_of_range(tmp_path, values):
    said = refused(train_here(tmp_path, values), CONFIGURATION, *values, lines=None)
    assert "nearest" in said or "run.sed" not in values
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("override", ["run.seed", "=3", "run..seed=3", ".=1", "run.seed.deep=3", "run.seed="])
def test_override_that_is_none(tmp_path, override):
    result = run("train", SMOKE, "--run-directory", tmp_path / "run", "--set", override, limit=LIMIT)
    refused(result, CONFIGURATION, override.strip("="), lines=None)
    assert not (tmp_path / "run").exists()


@one_and_two
def test_all_mistakes_of_a_file_at_once(tmp_path, ranks):
    config = tmp_path / "bad.yaml"
    config.write_text(SMOKE.read_text().replace("steps: 5", "steps: 0").replace("seed: 1", "sed: 1")
                      .replace("total: 64", "total: 63"))
    said = refused(train_here(tmp_path, {"run.iterations": "x"}, config, ranks=ranks), CONFIGURATION, lines=None)
    for words in ("sampler.steps", "run.sed", "chains.shards 4 must divide chains.total 63", "run.iterations"):
        assert words in said
    assert not (tmp_path / "run").exists()


def test_fewer_shards_than_ranks(tmp_path):
    result = train_here(tmp_path, {"chains.shards": 1}, ranks=2)
    refused(result, CONFIGURATION, "chains.shards is 1", "2 ranks")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [("benchmark",), ("train", "--dry-run")], ids=" ".join)
def test_other_commands_refuse_alike(tmp_path, command):
    refused(run(command[0], tmp_path / "nowhere.yaml", *command[1:], limit=LIMIT), CONFIGURATION, "nowhere.yaml")
    refused(run(command[0], SMOKE, *command[1:], *settings({"sampler.steps": 0}), limit=LIMIT), CONFIGURATION,
            "sampler.steps")


# --- data files ------------------------------------------------------------------------------------
def data_file_with(path, images, change):
    write_images(path, images)
    with h5py.File(path, "a") as file:
        change(file)


def not_a_number(images):
    values = images.astype(numpy.float32)
    values[3, 0, 2, 2] = numpy.nan
    return values


DATA = {
    "missing": (lambda path, images: None, ["No such file"]),
    "a directory": (lambda path, images: path.mkdir(), []),
    "text": (lambda path, images: path.write_text("hello\n"), []),
    "empty": (lambda path, images: path.touch(), []),
    "truncated": (lambda path, images: (write_images(path, images),
                                        os.truncate(path, path.stat().st_size * 3 // 4)), []),
    "NaN": (lambda path, images: write_images(path, not_a_number(images)), ["train/images", "float32", "uint8"]),
    "three dimensions": (lambda path, images: write_images(path, images[:, 0]), ["train/images", "(64, 8, 8)"]),
    "wide integers": (lambda path, images: write_images(path, images.astype(numpy.int64)), ["int64", "uint8"]),
    "no images": (lambda path, images: write_images(path, images[:0]), ["train"]),
    "damaged": (lambda path, images: data_file_with(path, images, lambda f: f["train/images"].write_direct(
        255 - images)), ["checksum", "train"]),
    "another program's": (lambda path, images: h5py.File(path, "w").close(), ["convert_images.py"]),
    "future schema": (lambda path, images: data_file_with(path, images, lambda f: f.attrs.modify(
        "schema_version", "2.0")), ["2.0"]),
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


def test_batch_larger_than_the_data(tmp_path, convnet, images):
    write_images(tmp_path / "few.h5", images[:8])
    result = train_here(tmp_path, {"data.path": tmp_path / "few.h5"}, convnet)
    refused(result, CONFIGURATION, "data.batch", "16", "8")
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


# --- run directories -------------------------------------------------------------------------------
@contextlib.contextmanager
def mounted(path, size, *more):
    """A small file system of its own at `path`."""
    path.mkdir(exist_ok=True)
    options = ",".join([f"size={size}", *more])
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"needs to mount a file system: {made.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@one_and_two
def test_run_directory_below_a_file(tmp_path, ranks):
    (tmp_path / "file").write_text("here")
    result = run(*train(tmp_path / "file" / "run"), ranks=ranks, limit=LIMIT)
    refused(result, INPUT_OUTPUT, tmp_path / "file" / "run", "--run-directory")
    assert (tmp_path / "file").read_text() == "here"


def test_run_directory_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("here")
    refused(train_here(tmp_path), INPUT_OUTPUT, tmp_path / "run", "--run-directory")
    assert (tmp_path / "run").read_text() == "here"


@one_and_two
def test_run_directory_that_cannot_be_written(tmp_path, ranks):
    with mounted(tmp_path / "disk", "1m", "ro") as disk:
        result = run(*train(disk / "run"), ranks=ranks, limit=LIMIT)
        refused(result, INPUT_OUTPUT, disk / "run", "Read-only")
        assert list(disk.iterdir()) == []


@one_and_two
def test_run_directory_of_a_living_run(tmp_path, ranks):
    values = {"run.iterations": 1000000, "checkpoint.every": "null"}
    with Process(launched([PROGRAM, *train(tmp_path / "run", values)], ranks), LIMIT) as first:
        first.wait_for(lambda: rows_so_far(tmp_path / "run") >= 5, "iterations")
        owner = (tmp_path / "run" / "owner.json").read_text()
        result = train_here(tmp_path, values, ranks=ranks)
        refused(result, INPUT_OUTPUT, tmp_path / "run", "in use", first.ranks()[0])
        assert (tmp_path / "run" / "owner.json").read_text() == owner
        kill(first.ranks()[0], signal.SIGUSR1)
        ends(first.finish(), REQUEUE)
    recorded = iterations_recorded(tmp_path / "run")
    assert recorded == list(range(1, recorded[-1] + 1)) and not unfinished(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(record["starts"]) == len(record["stops"]) == 1


def test_run_that_lost_its_directory_leaves_it_alone(tmp_path):
    values = {"run.iterations": 1000000, "checkpoint.every": 200, "checkpoint.keep_last": 99}
    directory = tmp_path / "run"
    other = json.dumps({"token": "another", "host": "elsewhere", "process": 1, "process_start": "1", "job": ""})
    with Process(launched([PROGRAM, *train(directory, values)], 1), LIMIT) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 210, "iterations")
        (directory / "owner.new").write_text(other)
        (directory / "owner.new").rename(directory / "owner.json")
        record = (directory / "run.json").read_bytes()
        result = process.finish()
    refused(result, INPUT_OUTPUT, directory, "another run has taken")
    assert (directory / "owner.json").read_text() == other
    assert (directory / "run.json").read_bytes() == record
    assert not list(directory.rglob("*.part*"))


@pytest.mark.parametrize("owner", ["", "half {", "[]", '{"host": 3}', '{"token": 1, "process": "x"}'])
def test_owner_file_that_is_broken_ends_clearly(tmp_path, owner):
    """Whatever is decided, it is said in one sentence."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "owner.json").write_text(owner)
    result = train_here(tmp_path, {"run.iterations": 1})
    if result.returncode != 0:
        refused(result, INPUT_OUTPUT, "owner.json")


# --- a full disk -----------------------------------------------------------------------------------
def fill(disk):
    """Takes all that is left of a file system."""
    with open(disk / "filler", "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))


@one_and_two
@pytest.mark.parametrize("size, newest", [("128k", None), ("460k", 0), ("600k", 10)])
def test_disk_full_at_a_checkpoint(tmp_path, ranks, size, newest):
    with mounted(tmp_path / "disk", size) as disk:
        result = run(*train(disk / "run", {"samples.every": 10}), ranks=ranks, limit=LIMIT)
        refused(result, INPUT_OUTPUT, "No space left on device", disk)
        assert not unfinished(disk) and not (disk / "run" / "DONE").exists()
        record = json.loads((disk / "run" / "run.json").read_text())
        assert record["verdict"] == "input_output"
        written = sorted((disk / "run" / "checkpoints").glob("iteration-*.h5"))
        assert written == [checkpoint(disk / "run", i) for i in (0, 10) if newest is not None and i <= newest]
        for path in written:
            assert len(arrays(path)["chains/state"]) == 64
        if newest is not None:  # with room again, the run goes on
            subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
            trains(disk / "run", {"samples.every": 10}, ranks=ranks)
            assert iterations_recorded(disk / "run") == list(range(1, 31))


def test_disk_full_from_the_start(tmp_path):
    with mounted(tmp_path / "disk", "64k") as disk:
        fill(disk)
        result = run(*train(disk / "run"), limit=LIMIT)
        refused(result, INPUT_OUTPUT, disk / "run")
        assert not unfinished(disk)


@one_and_two
def test_disk_full_between_checkpoints(tmp_path, ranks):
    """The metrics fail first; the earlier files stay whole."""
    values = {"run.iterations": 1000000, "checkpoint.every": "null"}
    with mounted(tmp_path / "disk", "2m") as disk:
        with Process(launched([PROGRAM, *train(disk / "run", values)], ranks), LIMIT) as process:
            process.wait_for(lambda: rows_so_far(disk / "run") >= 20, "iterations")
            fill(disk)
            result = process.finish()
        refused(result, INPUT_OUTPUT, disk / "run")
        json.loads((disk / "run" / "run.json").read_text())
        assert len(arrays(checkpoint(disk / "run", 0))["chains/state"]) == 64
        assert not unfinished(disk)


# --- checkpoints -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "run"
    trains(directory, {"run.iterations": 10, "samples.every": 10})
    return directory


@pytest.fixture
def copied(tmp_path, trained):
    """A run of its own for a test that breaks it."""
    subprocess.run(["cp", "-a", trained, tmp_path / "run"], check=True)
    return tmp_path / "run"


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
    result = train_here(tmp_path, {"energy.type": "mlp", "energy.hidden": "[32, 32]"}, convnet, "--resume",
                        checkpoint(trained, 10))
    refused(result, CONFIGURATION if "energy" in result.stderr else INPUT_OUTPUT, checkpoint(trained, 10))
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
    ({"sampler.steps": 0}, ["sampler.steps"]), ({"energy.hidden": "[8]"}, ["energy"]), ({"sampler.stps": 3}, ["sampler.steps"]),
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


# --- launchers, devices, one rank alone --------------------------------------------------------------
@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_launcher_that_did_not_connect_the_ranks(tmp_path, name):
    result = train_here(tmp_path, **{name: "2"})
    refused(result, ENVIRONMENT, f"{name}=2", "srun --mpi=pmix", "mpirun")
    assert list(tmp_path.iterdir()) == []


def test_ranks_that_were_not_connected_speak_once(tmp_path):
    result = train_here(tmp_path, SLURM_STEP_NUM_TASKS="2", SLURM_PROCID="1")
    assert result.returncode == ENVIRONMENT and result.stderr == "" and list(tmp_path.iterdir()) == []


def test_one_task_of_slurm_is_no_mistake(tmp_path):
    ends(train_here(tmp_path, {"run.iterations": 1}, SLURM_STEP_NUM_TASKS="1", SLURM_PROCID="0"), 0)


def no_gpu():
    return not pathlib.Path("/proc/driver/nvidia").exists()


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
@one_and_two
def test_gpu_where_there_is_none(tmp_path, ranks):
    refused(train_here(tmp_path, {"run.device": "cuda"}, ranks=ranks), ENVIRONMENT, "run.device", "cuda")
    untouched(tmp_path / "run")


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
def test_automatic_device_does_not_fall_back_inside_of_a_gpu_allocation(tmp_path):
    refused(train_here(tmp_path, SLURM_JOB_GPUS="0"), ENVIRONMENT, "SLURM_JOB_GPUS=0")
    untouched(tmp_path / "run")


def different_ranks(first, second, limit=LIMIT):
    """Two ranks with command lines of their own."""
    command = [*launched(first, 2)[:3], "-n", "1", *first, ":", "-n", "1", *second]
    began = time.monotonic()
    with Process([str(part) for part in command], limit) as process:
        result = process.finish()
    assert time.monotonic() - began < 20
    return result


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
@pytest.mark.parametrize("alone", [0, 1])
def test_one_rank_without_a_device(tmp_path, alone):
    plain = [PROGRAM, *train(tmp_path / "run")]
    failing = ["env", "SLURM_JOB_GPUS=7", *plain]
    result = different_ranks(*((failing, plain) if alone == 0 else (plain, failing)))
    refused(result, ENVIRONMENT, "SLURM_JOB_GPUS=7")
    untouched(tmp_path / "run")


@pytest.mark.parametrize("alone", [0, 1])
def test_one_rank_with_a_wrong_command_line(tmp_path, alone):
    plain, failing = [PROGRAM, *train(tmp_path / "run")], [PROGRAM, "train"]
    result = different_ranks(*((failing, plain) if alone == 0 else (plain, failing)))
    refused(result, CONFIGURATION, "config")


@pytest.mark.parametrize("alone", [0, 1])
def test_one_rank_out_of_memory(tmp_path, alone):
    plain = [PROGRAM, *train(tmp_path / "run", {"energy.hidden": "[5000, 5000]"})]
    failing = ["sh", "-c", 'ulimit -v 700000; exec "$@"', "sh", *plain]
    result = different_ranks(*((failing, plain) if alone == 0 else (plain, failing)))
    refused(result, ENVIRONMENT, "memory")
    assert not list((tmp_path / "run").rglob("*.part*"))


def test_one_rank_that_does_not_see_the_run_directory(tmp_path):
    with mounted(tmp_path / "disk", "1m"):
        pass  # skips where this can't be made
    (tmp_path / "run").mkdir()
    plain = [PROGRAM, *train(tmp_path / "run")]
    hidden = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', tmp_path / "run", *plain]
    result = different_ranks(plain, hidden)
    refused(result, INPUT_OUTPUT, tmp_path / "run", "all ranks must see")
    assert not unfinished(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["verdict"] == "input_output"


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_one_rank_that_dies_takes_the_others_along(tmp_path, number):
    values = {"run.iterations": 1000000, "checkpoint.every": "null"}
    with Process(launched([PROGRAM, *train(tmp_path / "run", values)], 2), LIMIT) as process:
        process.wait_for(lambda: rows_so_far(tmp_path / "run") >= 5, "iterations")
        ranks = process.ranks()
        kill(ranks[1], number)
        began = time.monotonic()
        result = process.finish()
    assert result.returncode != 0 and time.monotonic() - began < 20
    assert not any(pathlib.Path(f"/proc/{rank}").exists() for rank in ranks)
    assert "HDF5-DIAG" not in result.stderr and "terminate called" not in result.stderr
