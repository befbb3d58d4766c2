"""A run that was stopped, killed or moved to other ranks ends as one that was not: design §4."""
import json
import os
import pathlib
import re
import signal
import subprocess

import numpy
import pytest

from conftest import write_images
from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, LIMIT, PROGRAM, REQUEUE, SMOKE, Process, arrays, attributes, checkpoint,
                     ends, environment, faults, iterations_recorded, kill, launched, metrics, rows_so_far, run, same_bits, train, trains,
                     unfinished)

LENGTH = 30


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, convnet):
    """Directories of runs that nobody stopped: uninterrupted(kind, ranks, **settings)."""
    made = {}

    def make(kind, ranks, values):
        key = (kind, ranks, str(sorted(values.items())))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("uninterrupted") / "run"
            trains(made[key], values, config_of(kind, convnet), ranks=ranks)
        return made[key]

    return make


def config_of(kind, convnet):
    return convnet if kind == "convnet" else SMOKE


def same_runs(one, other, iteration):
    same_bits(checkpoint(one, iteration), checkpoint(other, iteration))
    assert metrics(one) == metrics(other)
    assert iterations_recorded(other) == list(range(1, iteration + 1))
    assert (other / "DONE").exists() and not unfinished(other)


def starts_and_verdicts(directory):
    record = json.loads((directory / "run.json").read_text())
    return [start["iteration"] for start in record["starts"]], [stop["verdict"] for stop in record["stops"]]


# Chains that start in several ways, count late and die in time; an energy that learns to denoise; draws without noise.
LIVES = {"chains.start": "{uniform: 0.4, data_gaussian: 0.6}", "chains.burn_in": 12, "chains.maximum_age": 40,
         "chains.principal_components": 1, "samples.denoise": "{steps: 3}", "objective.denoising": 10}


# --- stopped by run.iterations ---------------------------------------------------------------------
@pytest.mark.parametrize("kind, ranks, cuts", [
    ("mlp", 1, [1]), ("mlp", 1, [7, 8, 23]), ("mlp", 1, [10, 29]), ("mlp", 2, [7, 10]),
    ("convnet", 1, [1, 12]), ("convnet", 2, [5]),
])
def test_cut_and_resumed(tmp_path, uninterrupted, convnet, kind, ranks, cuts):
    for length in [*cuts, LENGTH]:
        trains(tmp_path / "run", {"run.iterations": length}, config_of(kind, convnet), ranks=ranks)
    assert starts_and_verdicts(tmp_path / "run") == ([0, *cuts], ["finished"] * (len(cuts) + 1))
    same_runs(uninterrupted(kind, ranks, {}), tmp_path / "run", LENGTH)


@pytest.mark.parametrize("values", [
    {"run.reproducible": "true"},
    {"optimizer.type": "sgd", "optimizer.momentum": 0.9, **LIVES},
    {"energy.spectral_normalization": "true"},
    {"sampler.refresh": "iteration", "optimizer.schedule": "{type: linear_warmup, warmup: 20}"},
    {"run.precision": "bfloat16"},
    {"energy.type": "resnet", "energy.spectral_normalization": "true"},
], ids=lambda values: ", ".join(f"{key} {value}" for key, value in values.items()))
def test_cut_and_resumed_in_other_ways_of_training(tmp_path, uninterrupted, convnet, values):
    kind = "convnet" if "run.precision" in values or "energy.type" in values else "mlp"
    for length in (11, 20):
        trains(tmp_path / "run", {**values, "run.iterations": length}, config_of(kind, convnet))
    same_runs(uninterrupted(kind, 1, {**values, "run.iterations": 20}), tmp_path / "run", 20)


def test_falling_restart_probability_is_of_the_whole_run(tmp_path, uninterrupted):
    """It is linear over run.iterations: a stopped run must take up the line where it was."""
    values = {"chains.restart_probability": "{from: 1, to: 0}", "run.iterations": 200}
    start_and_signal(tmp_path / "run", values, 1, lambda ranks: kill(ranks[0], signal.SIGUSR1), REQUEUE)
    trains(tmp_path / "run", values)
    same_runs(uninterrupted("mlp", 1, values), tmp_path / "run", 200)


# --- stopped by a signal ---------------------------------------------------------------------------
LONG = {"run.iterations": 300, "checkpoint.every": 75, "checkpoint.keep_last": 9, "log.every": 100}


def start_and_signal(directory, values, ranks, act, code, after=20, written=0):
    """Starts a training, calls act(process numbers of the ranks) when `after` iterations are
    recorded and the checkpoint of iteration `written` is there, and checks the exit code (None: any
    but 0). Returns the result."""
    with Process(launched([PROGRAM, *train(directory, values)], ranks)) as process:
        process.wait_for(lambda: rows_so_far(directory) >= after and checkpoint(directory, written).exists(),
                         f"{after} iterations")
        found = process.ranks()
        assert len(found) == ranks
        act(found)
        result = process.finish()
    assert result.returncode != FINISHED
    if code is not None:
        ends(result, code)
    return result


@pytest.mark.parametrize("number, ranks, which", [
    (signal.SIGUSR1, 1, 0), (signal.SIGTERM, 1, 0), (signal.SIGINT, 1, 0),
    (signal.SIGUSR1, 2, 0), (signal.SIGTERM, 2, 1),
])
def test_signal_asks_for_a_checkpoint_and_a_requeue(tmp_path, uninterrupted, number, ranks, which):
    directory = tmp_path / "run"
    result = start_and_signal(directory, LONG, ranks, lambda found: kill(found[which], number), REQUEUE)
    assert "stopped after iteration" in result.stdout and result.stderr == ""
    stopped = iterations_recorded(directory)[-1]
    assert 20 <= stopped < LONG["run.iterations"] and checkpoint(directory, stopped).exists()
    assert starts_and_verdicts(directory) == ([0], ["requeue"]) and not (directory / "DONE").exists()
    record = json.loads((directory / "run.json").read_text())
    assert record["verdict"] == "requeue" and record["exit_code"] == REQUEUE
    assert record["stops"][-1]["asked_by"] == "signal"
    trains(directory, LONG, ranks=ranks)
    assert starts_and_verdicts(directory) == ([0, stopped], ["requeue", "finished"])
    same_runs(uninterrupted("mlp", ranks, LONG), directory, LONG["run.iterations"])


def test_a_second_term_leaves_at_once_but_not_too_soon(tmp_path, library):
    """Slurm sends USR1, then TERM: only one at least 5 s later is meant to end an iteration of hours."""
    directory, later = tmp_path / "run", tmp_path / "later"
    variables = faults(library, directory, tmp_path / "log", clock=later)
    with Process([PROGRAM, *map(str, train(directory, {"sampler.steps": 10 ** 9}))], **variables) as process:
        process.wait_for(checkpoint(directory, 0).exists, "checkpoint of iteration 0")
        (rank,) = process.ranks()
        for number in (signal.SIGUSR1, signal.SIGTERM):
            kill(rank, number)
            process.wait_for(lambda: not is_pending(rank, number), f"signal {number}")
        later.touch()
        kill(rank, signal.SIGTERM)
        ends(process.finish(), REQUEUE)
    assert arrays(checkpoint(directory, 0))["chains/state"].shape[0] == 64


def is_pending(process, number):
    """Was the signal sent to the process, but not yet given to it?"""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return bool(int(re.search(r"^ShdPnd:\s*(\w+)", status, re.MULTILINE)[1], 16) >> (number - 1) & 1)


def test_usr2_asks_for_a_checkpoint_alone(tmp_path):
    directory = tmp_path / "run"
    with Process(launched([PROGRAM, *train(directory, LONG)], 1)) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 20, "20 iterations")
        kill(process.ranks()[0], signal.SIGUSR2)
        ends(process.finish(), FINISHED)
    written = {int(path.stem.split("-")[1]) for path in (directory / "checkpoints").glob("iteration-*.h5")}
    assert len(written - {0, 75, 150, 225, 300}) == 1


def test_end_of_the_wall_time_asks_for_a_requeue(tmp_path):
    values = {"run.iterations": 1000000, "checkpoint.every": "null", "run.until": "2s"}
    result = run(*train(tmp_path / "run", values))
    ends(result, REQUEUE)
    assert checkpoint(tmp_path / "run", iterations_recorded(tmp_path / "run")[-1]).exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["stops"][-1]["asked_by"] == "run.until"


# --- killed ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("ranks, which", [(1, 0), (2, 0), (2, 1)])
def test_killed_and_resumed(tmp_path, uninterrupted, ranks, which):
    directory = tmp_path / "run"
    start_and_signal(directory, LONG, ranks, lambda found: kill(found[which], signal.SIGKILL), None, after=80,
                     written=75)
    lost = iterations_recorded(directory)
    assert lost[-1] >= 75 and not (directory / "DONE").exists()
    result = trains(directory, LONG, ranks=ranks)
    starts, verdicts = starts_and_verdicts(directory)
    assert starts[0] == 0 and starts[1] % 75 == 0 and starts[1] > 0 and verdicts == ["finished"]
    assert "goes on from" in result.stdout
    same_runs(uninterrupted("mlp", ranks, LONG), directory, LONG["run.iterations"])


def test_killed_again_and_again(tmp_path, uninterrupted):
    directory = tmp_path / "run"
    values = {**LONG, "checkpoint.every": 50, "checkpoint.keep_last": 2}
    for after in (60, 130, 230):
        start_and_signal(directory, values, 1, lambda found: kill(found[0], signal.SIGKILL), None, after)
    trains(directory, values)
    same_runs(uninterrupted("mlp", 1, values), directory, LONG["run.iterations"])


def test_row_that_was_cut_off_is_written_anew(tmp_path, uninterrupted):
    """What a kill may leave: rows after the newest checkpoint, the last one incomplete."""
    directory = tmp_path / "run"
    trains(directory, {"run.iterations": 14})
    for path in (directory / "DONE", checkpoint(directory, 14)):
        path.unlink()
    file = directory / "metrics.csv"
    file.write_text(file.read_text()[:-60])
    assert iterations_recorded(directory)[-1] == 14
    trains(directory)
    assert starts_and_verdicts(directory)[0] == [0, 10]
    same_runs(uninterrupted("mlp", 1, {}), directory, LENGTH)


def test_parts_of_a_killed_writer_go(tmp_path):
    directory = tmp_path / "run"
    trains(directory, {"run.iterations": 10})
    (directory / "checkpoints" / "iteration-00000020.h5.part.local").write_bytes(b"half")
    (directory / "samples" / "draws-00000020.nc.part.local").write_bytes(b"half")
    trains(directory, {"run.iterations": 12})
    assert not unfinished(directory)


def test_broken_checkpoint_is_passed_over(tmp_path, uninterrupted):
    directory = tmp_path / "run"
    trains(directory, {"run.iterations": 20})
    newest = checkpoint(directory, 20)
    content = bytearray(newest.read_bytes())
    content[content.index(arrays(newest)["chains/state"].tobytes()[:64])] ^= 1
    newest.write_bytes(content)
    result = trains(directory)
    assert f"passed over {newest}" in result.stdout and "chains/state" in result.stdout
    assert starts_and_verdicts(directory)[0] == [0, 10]
    same_runs(uninterrupted("mlp", 1, {}), directory, LENGTH)


# --- other numbers of ranks ------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_reproducible_on_every_number_of_ranks(tmp_path, uninterrupted, convnet, kind):
    values = {"run.reproducible": "true", **LIVES}
    one = uninterrupted(kind, 1, values)
    for ranks in (2, 3, 4):
        directory = tmp_path / str(ranks)
        trains(directory, {**values, "run.threads": 1 + ranks % 2}, config_of(kind, convnet), ranks=ranks)
        for iteration in (10, LENGTH):
            same_bits(checkpoint(one, iteration), checkpoint(directory, iteration))
            assert attributes(checkpoint(directory, iteration), "/")["world_size"] == ranks


def test_reproducible_when_resumed_on_other_ranks(tmp_path, uninterrupted):
    values = {"run.reproducible": "true", **LIVES}
    for length, ranks in ((9, 3), (17, 1), (LENGTH, 2)):
        trains(tmp_path / "run", {**values, "run.iterations": length}, ranks=ranks)
    same_bits(checkpoint(uninterrupted("mlp", 1, values), LENGTH), checkpoint(tmp_path / "run", LENGTH))


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_ranks_agree_to_rounding_after_one_iteration(tmp_path, convnet, kind):
    for ranks in (1, 2):
        trains(tmp_path / str(ranks), {"run.iterations": 1}, config_of(kind, convnet), ranks=ranks)
    one, two = (arrays(checkpoint(tmp_path / str(ranks), 1)) for ranks in (1, 2))
    assert one.keys() == two.keys()
    assert (one["chains/age"] == two["chains/age"]).all()
    assert numpy.allclose(one["chains/state"], two["chains/state"], rtol=1e-5, atol=1e-6)
    for name in one:
        if name.startswith("parameters/"):
            assert numpy.allclose(one[name], two[name], rtol=1e-4, atol=1e-5), name


# --- branches --------------------------------------------------------------------------------------
def test_branch_into_another_directory(tmp_path):
    trains(tmp_path / "trunk", {"run.iterations": 10})
    before = {path: path.read_bytes() for path in (tmp_path / "trunk").rglob("*") if path.is_file()}
    values = {"run.iterations": 20, "chains.shards": 2, "optimizer.learning_rate": 0.01}
    branch = ("--resume", checkpoint(tmp_path / "trunk", 10))
    result = trains(tmp_path / "branch", values, SMOKE, *branch, ranks=2)
    assert "goes on from" in result.stdout
    assert iterations_recorded(tmp_path / "branch") == list(range(11, 21))
    assert before == {path: path.read_bytes() for path in (tmp_path / "trunk").rglob("*") if path.is_file()}
    assert starts_and_verdicts(tmp_path / "branch") == ([10], ["finished"])
    chains = arrays(checkpoint(tmp_path / "branch", 20))["chains/age"]
    assert len(chains) == 64 and chains.max() > 5 * 5  # older than ten iterations of the branch can make them


def test_branch_without_changes_is_the_same_run(tmp_path, uninterrupted):
    trunk = uninterrupted("mlp", 1, {})
    trains(tmp_path / "branch", {}, SMOKE, "--resume", checkpoint(trunk, 10))
    same_bits(checkpoint(trunk, LENGTH), checkpoint(tmp_path / "branch", LENGTH))
    assert metrics(tmp_path / "branch")[1:] == metrics(trunk)[11:]


def test_another_configuration_is_no_resume(tmp_path):
    trains(tmp_path / "run", {"run.iterations": 10})
    changed = {"run.iterations": 20, "sampler.steps": 6, "data.batch": 16, "log.every": 3}
    result = ends(run(*train(tmp_path / "run", changed)), CONFIGURATION)
    assert "iteration-00000010.h5 is of another run" in result.stderr and "log.every" not in result.stderr
    assert "sampler.steps is 5 there and 6 here" in result.stderr
    assert "data.batch is 32 there and 16 here" in result.stderr
    assert iterations_recorded(tmp_path / "run") == list(range(1, 11))


def test_what_may_change_on_resume(tmp_path):
    trains(tmp_path / "run", {"run.iterations": 10})
    trains(tmp_path / "run", {"run.iterations": 20, "log.every": 5, "samples.every": 5, "checkpoint.every": 5,
                              "checkpoint.keep_last": 2, "optimizer.schedule.end": 50, "watchdog.seconds": 99,
                              "guard.attempts": 7, "run.threads": 1})
    assert iterations_recorded(tmp_path / "run") == list(range(1, 21))


def test_the_same_branching_command_again_goes_on_with_the_branch(tmp_path):
    """As a requeued job gives it; another run's directory is refused."""
    trains(tmp_path / "trunk", {"run.iterations": 10})
    branch = ["--resume", checkpoint(tmp_path / "trunk", 10)]
    trains(tmp_path / "branch", {"run.iterations": 15}, SMOKE, *branch)
    trains(tmp_path / "branch", {"run.iterations": 20}, SMOKE, *branch)
    assert starts_and_verdicts(tmp_path / "branch")[0] == [10, 15]
    trains(tmp_path / "other", {"run.iterations": 5})
    result = ends(run(*train(tmp_path / "other", {"run.iterations": 20}, SMOKE, *branch)), INPUT_OUTPUT)
    assert "already holds a run that did not begin from" in result.stderr
    assert iterations_recorded(tmp_path / "other") == list(range(1, 6))


# --- a run is what it says it is -------------------------------------------------------------------
@pytest.mark.parametrize("changed", [{"run.seed": 9}, {"energy.hidden": "[8]"}, {"optimizer.learning_rate": 0.01}])
def test_a_finished_run_with_another_configuration(tmp_path, changed):
    trains(tmp_path / "run", {"run.iterations": 10})
    assert "is finished" in trains(tmp_path / "run", {"run.iterations": 10}).stdout
    assert "is finished" in trains(tmp_path / "run", {"run.iterations": 10, "log.every": 3}).stdout
    result = ends(run(*train(tmp_path / "run", {"run.iterations": 10, **changed})), CONFIGURATION)
    (key, _), = changed.items()
    assert key in result.stderr and "is of another run" in result.stderr


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("finished", [True, False])
def test_data_that_changed(tmp_path, convnet, images, finished, ranks):
    path = tmp_path / "images.h5"
    write_images(path, images)
    values = {"data.path": path, "run.iterations": 4}
    trains(tmp_path / "run", values, convnet)
    again = {**values, "run.iterations": 4 if finished else 6}
    path.rename(tmp_path / "moved.h5")  # the same data may lie elsewhere
    trains(tmp_path / "run", {**again, "data.path": tmp_path / "moved.h5", "run.iterations": 4}, convnet, ranks=ranks)
    write_images(path, images[::-1])
    result = ends(run(*train(tmp_path / "run", again, convnet), ranks=ranks), CONFIGURATION)
    assert "was written with other data" in result.stderr and str(path) in result.stderr
    trains(tmp_path / "branch", {**values, "run.iterations": 5}, convnet, "--resume", checkpoint(tmp_path / "run", 4))


def test_a_finished_run_needs_its_data_no_more(tmp_path, convnet, images):
    path = tmp_path / "images.h5"
    write_images(path, images)
    values = {"data.path": path, "run.iterations": 2}
    trains(tmp_path / "run", values, convnet)
    path.unlink()
    assert "is finished" in trains(tmp_path / "run", values, convnet).stdout


def test_a_time_that_has_passed(tmp_path):
    result = ends(run(*train(tmp_path / "run", {"run.until": "2020-01-01T00:00:00"})), CONFIGURATION)
    assert "run.until 2020-01-01T00:00:00 has passed" in result.stderr and not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "{"])
def test_a_broken_record_is_kept_and_told(tmp_path, text):
    directory = tmp_path / "run"
    trains(directory, {"run.iterations": 10})
    (directory / "run.json").write_text(text)
    result = trains(directory, {"run.iterations": 12})
    assert "run.json was broken" in result.stdout and (directory / "run.json.broken").read_text() == text
    assert starts_and_verdicts(directory)[0] == [10]


def test_lost_rows_are_told(tmp_path):
    directory = tmp_path / "run"
    trains(directory, {"run.iterations": 10})
    lines = (directory / "metrics.csv").read_text().splitlines(keepends=True)
    (directory / "metrics.csv").write_text("".join(lines[:6]))
    result = trains(directory, {"run.iterations": 12})
    assert "metrics.csv has no rows of the iterations 6 to 10" in result.stdout


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_hangs_up(tmp_path, library, ignored, taken):
    """HUP is TERM, unless it is ignored, as nohup has it; also where a library takes it first."""
    command = [PROGRAM, *map(str, train(tmp_path / "run", {"run.iterations": 3000, "checkpoint.every": "null"}))]
    before = ["env", "--ignore-signal=HUP" if ignored else "--default-signal=HUP",
              *([f"LD_PRELOAD={library}", "STANLEY_FAULT_HUP=1"] if taken else [])]
    with Process([*before, *command]) as process:
        process.wait_for(lambda: rows_so_far(tmp_path / "run") >= 3, "iterations")
        kill(process.ranks()[0], signal.SIGHUP)
        ends(process.finish(), FINISHED if ignored else REQUEUE)


def test_a_reader_of_the_log_that_goes_away(tmp_path):
    reading, writing = os.pipe()
    command = [PROGRAM, *map(str, train(tmp_path / "run", {"run.iterations": 200, "log.every": 1}))]
    process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, env=environment(), text=True)
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == FINISHED, said
    assert iterations_recorded(tmp_path / "run")[-1] == 200
