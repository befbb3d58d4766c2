"""Coarse to fine: a run of several stages is bitwise one run, whatever cuts it; every command knows its checkpoints."""
import json
import shutil
import signal

import numpy
import pytest

from conftest import write_both_splits, write_images
from digests import poison
from program import (CONFIGURATION, FINISHED, PROGRAM, REQUEUE, Process, arrays, attributes, checkpoint, draws, ends,
                     iterations_recorded, kill, launched, metrics, rows_so_far, run, same_bits, train, trains, unfinished)
from refusals import refused

LENGTH, FIRST, SECOND = 22, 7, 15  # the run's iterations; where its first stage ends, and its second

STAGES = """
run: {name: stages, seed: 3, iterations: 22, precision: float32, device: cpu}
energy: {channels: 9, levels: 3}
data: {path: PATH, batch: 16, flip: true}
chains: {total: 48, active: 24, shards: 4, start: {uniform: 0.5, data_gaussian: 0.5}, restart_probability: 0.1,
         burn_in: 3, maximum_age: 90}
sampler: {steps: 3, noise: 0.01}
optimizer: {learning_rate: 1.0e-3, gradient_clip: 1.0, betas: [0.5, 0.999], average: 0.9, schedule: {type: cosine, end: 40}}
guard: {warmup: 3}
log: {every: 10}
samples: {every: null}
checkpoint: {every: 10, keep_last: 30}
stages:
  - {size: 8, iterations: 7, steps: 6, active: 48, batch: 32, learning_rate: 2.0e-3}
  - {size: 16, iterations: 8, steps: 4}
  - {size: 32}
"""


@pytest.fixture(scope="module")
def pictures():
    """Noisy squares: uint8 (sample, channel, height, width)."""
    generator = numpy.random.default_rng(2)
    values = generator.integers(0, 60, (48, 1, 32, 32), dtype=numpy.uint8)
    for i in range(len(values)):
        values[i, :, i % 9:i % 9 + 16, i % 13:i % 13 + 12] += 180
    return values


@pytest.fixture(scope="module")
def staged(tmp_path_factory, pictures):
    """A configuration of three stages."""
    folder = tmp_path_factory.mktemp("staged")
    write_both_splits(folder / "images.h5", pictures)
    config = folder / "stages.yaml"
    config.write_text(STAGES.replace("PATH", str(folder / "images.h5")))
    return config


EACH = {"checkpoint.every": 1, "samples.every": 5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, staged):
    """A run that nothing cut, with a checkpoint of each iteration."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    trains(directory, EACH, staged)
    return directory


def cut(directory, iteration, into):
    """What a kill leaves after the checkpoint of this iteration: rows beyond it, too."""
    shutil.copytree(directory, into, symlinks=True)
    (into / "DONE").unlink()
    for path in (into / "checkpoints").glob("iteration-*.h5"):
        if path > checkpoint(into, iteration):
            path.unlink()
    return into


def same_runs(one, other):
    for iteration in (FIRST, SECOND, LENGTH):
        same_bits(checkpoint(one, iteration), checkpoint(other, iteration))
    assert metrics(one) == metrics(other)
    assert iterations_recorded(other) == list(range(1, LENGTH + 1))
    assert (other / "DONE").exists() and not unfinished(other)


# --- what a stage is -------------------------------------------------------------------------------
def test_stages_train_one_after_the_other(whole):
    directory = whole
    log = (directory / "log.txt").read_text()
    for text in ("stage 1 of 3: images of 8×8, K 6, 48 active chains, batch 32, learning rate 0.002",
                 "stage 2 of 3: images of 16×16, K 4, 24 active chains, batch 16, learning rate 0.001",
                 "stage 3 of 3: images of 32×32, K 3, 24 active chains, batch 16, learning rate 0.001"):
        assert log.count(text) == 1
    for iteration, size, layers in ((0, 8, "23"), (FIRST, 8, "23"), (FIRST + 1, 16, "123"), (SECOND, 16, "123"),
                                    (SECOND + 1, 32, "0123"), (LENGTH, 32, "0123")):
        held = arrays(checkpoint(directory, iteration))
        assert held["chains/state"].shape == (48, 1, size, size)
        weights = {name.split(".")[1] for name in held if name.startswith("parameters/")}
        assert weights == {*layers, "4"}
    with_progress = attributes(checkpoint(directory, LENGTH), "progress")
    assert with_progress["chain_steps"] == 7 * 6 + 8 * 4 + 7 * 3
    assert with_progress["samples_seen"] == 7 * 32 + 15 * 16
    assert with_progress["stage_began"] == SECOND
    shapes = [arrays(draws(directory, iteration))["posterior/x"].shape[2:] for iteration in (0, 5, 10, 15, 20)]
    assert shapes == [(1, 8, 8), (1, 8, 8), (1, 16, 16), (1, 16, 16), (1, 32, 32)]
    assert arrays(draws(directory, 10))["observed_data/x"].shape[1:] == (1, 16, 16)
    described = json.loads((directory / "run.json").read_text())
    assert described["state_shape"] == [1, 32, 32] and described["stage"] == "stage 3 of 3: images of 32×32"


def test_what_grows_goes_on(whole):
    """The first iteration of a stage: chains a visit old, restarts that count on, moments of one update."""
    directory = whole
    before, after = arrays(checkpoint(directory, FIRST)), arrays(checkpoint(directory, FIRST + 1))
    assert before["chains/restarts"].sum() > 0
    assert (after["chains/restarts_before"] == before["chains/restarts"]).all()
    assert set(after["chains/age"]) == {0, 4} and (after["chains/age"] == 4).sum() == 24
    still = (after["chains/age"] == 0) & (after["chains/restarts"] == before["chains/restarts"])
    assert still.sum() == 24
    large, small = after["chains/state"][still], before["chains/state"][still]
    assert numpy.allclose(large[:, :, 1::2, 1::2][:, :, :-1, :-1],
                          (9 * small[:, :, :-1, :-1] + 3 * small[:, :, 1:, :-1] + 3 * small[:, :, :-1, 1:]
                           + small[:, :, 1:, 1:]) / 16, atol=1e-6)
    # Moments of one gradient g, (1 - b1)·g and (1 - b2)·g², with bias corrections of one update: a step of the learning
    # rate, and an average that is the weights.
    rows = metrics(directory)
    rate, energies = (numpy.array([float(row[rows[0].index(name)]) for row in rows[1:]])
                      for name in ("learning_rate", "energy_data"))
    for name in (name.removeprefix("parameters/") for name in after if name.startswith("parameters/")):
        assert after["average/" + name].tobytes() == after["parameters/" + name].tobytes()
        first, second = (after[f"optimizer/{name}/{moment}_moment"] for moment in ("first", "second"))
        assert numpy.allclose(second, 0.001 * (first / 0.5) ** 2, rtol=1e-3, atol=1e-14)
    for name in ("layers.2.bias", "layers.3.weight", "layers.4.weight"):
        step = numpy.abs(after["parameters/" + name] - before["parameters/" + name])
        assert abs(numpy.median(step) / rate[FIRST] - 1) < 0.01
    # The energy of the data hardly moves: the grown network computes what the small one did.
    assert abs(energies[FIRST] - energies[FIRST - 1]) < 0.2


# --- cuts ------------------------------------------------------------------------------------------
def test_cut_in_each_stage_and_at_each_end(tmp_path, whole, staged):
    for iteration in (3, FIRST, FIRST + 1, SECOND, SECOND + 3):
        resumed = cut(whole, iteration, tmp_path / str(iteration))
        trains(resumed, EACH, staged)
        same_runs(whole, resumed)


SLOW = {"checkpoint.every": 10, "run.reproducible": "true",
        "stages": "[{size: 8, iterations: 7, steps: 150}, {size: 16, iterations: 8, steps: 50}, {size: 32, steps: 20}]"}


def signalled(directory, values, config, ranks, number, iteration):
    """Starts or resumes a training and signals it in the iteration after this one, so that USR1 stops it there."""
    with Process(launched([PROGRAM, *train(directory, values, config)], ranks)) as process:
        process.wait_for(lambda: rows_so_far(directory) == iteration, f"{iteration} iterations")
        kill(process.ranks()[-1], number)
        return process.finish()


@pytest.fixture(scope="module")
def slow(tmp_path_factory, staged):
    directory = tmp_path_factory.mktemp("slow") / "run"
    trains(directory, SLOW, staged)
    return directory


@pytest.mark.parametrize("number, ranks, stops", [
    (signal.SIGUSR1, 1, [FIRST, SECOND]), (signal.SIGUSR1, 2, [FIRST, 11, SECOND]),
    (signal.SIGKILL, 2, [FIRST, SECOND + 2]),
])
def test_signals_in_stages_and_at_their_ends(tmp_path, slow, staged, number, ranks, stops):
    directory = tmp_path / "run"
    for iteration in stops:
        result = signalled(directory, SLOW, staged, ranks, number, iteration - 1)
        if number == signal.SIGUSR1:
            ends(result, REQUEUE)
            # It came while this one was computed, or before the one of the last row was decided upon.
            assert rows_so_far(directory) in (iteration - 1, iteration)
        else:
            assert result.returncode != FINISHED
    trains(directory, SLOW, staged, ranks=ranks)
    same_runs(slow, directory)


def test_reproducible_on_every_number_of_ranks(tmp_path, staged):
    values = {"run.reproducible": "true"}
    for ranks in (1, 2, 3, 4):
        trains(tmp_path / str(ranks), {**values, "run.threads": 1 + ranks % 2}, staged, ranks=ranks)
        same_runs(tmp_path / "1", tmp_path / str(ranks))


# --- roll-backs and branches -----------------------------------------------------------------------
def test_goes_back_to_an_earlier_stage(tmp_path, staged):
    """NaN in a chain of the second stage: back to a checkpoint of the first, and over its end again."""
    values = {"checkpoint.every": 5, "guard.probation": 5}
    trains(tmp_path / "whole", values, staged)
    directory = cut(tmp_path / "whole", 10, tmp_path / "run")
    for chain in range(48):
        poison(directory, 10, chain)
    trains(directory, values, staged)
    (one,) = json.loads((directory / "run.json").read_text())["rollbacks"]
    assert (one["iteration"], one["target"]) == (11, 5)
    assert iterations_recorded(directory) == list(range(1, LENGTH + 1))
    log = (directory / "log.txt").read_text().split("goes back to iteration 5")[1]
    assert [f"stage {i} of 3" in log for i in (1, 2, 3)] == [True] * 3
    assert attributes(checkpoint(directory, LENGTH), "progress")["attempt"] == 1
    again = cut(directory, FIRST, tmp_path / "again")  # with what it computed after that in another attempt
    trains(again, values, staged)
    same_runs(directory, again)


def test_branches_from_an_early_stage(tmp_path, whole, staged):
    trunk = whole
    # Another plan of what follows, from within a stage and from its end.
    plan = {"stages": "[{size: 8, iterations: 9}, {size: 16, iterations: 3, steps: 2}, {size: 32}]", "chains.shards": 2}
    for iteration in (5, FIRST):
        branch = tmp_path / str(iteration)
        trains(branch, plan, staged, "--resume", checkpoint(trunk, iteration))
        assert iterations_recorded(branch) == list(range(iteration + 1, LENGTH + 1))
        assert arrays(checkpoint(branch, 9))["chains/state"].shape[2:] == (8, 8)
        assert arrays(checkpoint(branch, 10))["chains/state"].shape[2:] == (16, 16)
    # The stage alone, as a plain configuration, and the same plan from the stage's end, which changes nothing.
    plain = {"stages": "[]", "data.size": 8, "energy.levels": 1, "energy.channels": 36, "run.iterations": 12}
    trains(tmp_path / "plain", plain, staged, "--resume", checkpoint(trunk, FIRST))
    assert arrays(checkpoint(tmp_path / "plain", 12))["chains/state"].shape[2:] == (8, 8)
    trains(tmp_path / "same", {}, staged, "--resume", checkpoint(trunk, FIRST))
    same_bits(checkpoint(trunk, LENGTH), checkpoint(tmp_path / "same", LENGTH))
    # From the end of another stage than the plan's.
    early = {"stages": "[{size: 8, iterations: 4}, {size: 16, iterations: 9}, {size: 32}]"}
    refused(run(*train(tmp_path / "other", early, staged, "--resume", checkpoint(trunk, FIRST))), CONFIGURATION,
            "energy.levels is 1 there and 2 here", "here iteration 7 is of stage 2 of 3: images of 16×16")


def test_another_plan_is_no_resume(tmp_path, whole, staged):
    directory = cut(whole, 4, tmp_path / "run")
    changed = {**EACH, "stages": "[{size: 16, iterations: 9}, {size: 32}]"}
    refused(run(*train(directory, changed, staged)), CONFIGURATION, "is of another run", "stages is [{size: 8")


# --- what does not fit the data --------------------------------------------------------------------
@pytest.mark.parametrize("shape, values, words", [
    ((1, 16, 16), {}, "stages end with images of 32×32, and PATH has states of 1×16×16"),
    ((1, 32, 28), {}, "stages end with images of 32×32, and PATH has states of 1×32×28"),
    ((3, 32, 32), {}, "energy.channels 9 is too small for stages: with energy.downsampling strides and 3 channel(s) in an "
                      "image the convnet needs 24"),
    ((1, 32, 32), {"energy.downsampling": "means"}, "the convnet needs 18 to pass the image on; raise it"),
    ((1, 32, 32), {"stages": "[]", "data.size": 12}, "data.size 12 must divide the side of the images of PATH, which is 32"),
    ((1, 32, 28), {"stages": "[]", "data.size": 4}, "data.size 4 reduces square images, and PATH has states of 1×32×28"),
])
@pytest.mark.parametrize("dry", [True, False])
def test_data_that_do_not_fit(tmp_path, staged, shape, values, words, dry):
    path = tmp_path / "images.h5"
    write_images(path, numpy.zeros((20, *shape), dtype=numpy.uint8))
    more = ["--dry-run"] if dry else []
    refused(run(*train(tmp_path / "run", {"data.path": path, **values}, staged, *more)), CONFIGURATION,
            words.replace("PATH", str(path)))


# --- commands --------------------------------------------------------------------------------------
def test_commands_on_an_early_stage(tmp_path, whole, staged):
    directory = whole
    digests = set()
    for iteration, size in ((FIRST, 8), (10, 16)):
        file = checkpoint(directory, iteration)
        result = ends(run("sample", file, "--output", tmp_path / "draws.nc", "--set", "sampler.steps=4", "--set",
                          "chains.start=data"), FINISHED)
        assert "48 chains" in result.stdout
        assert arrays(tmp_path / "draws.nc")["posterior/x"].shape[2:] == (1, size, size)
        for subject in (file if size == 8 else draws(directory, iteration), tmp_path / "draws.nc"):
            output = tmp_path / "evaluation.json"
            output.unlink(missing_ok=True)
            ends(run("evaluate", subject, "--features", "states", "--fresh", 3, "--output", output), FINISHED)
            (one,) = json.loads(output.read_text())["evaluations"]
            assert one["energies"]["sets"] and one["protocol"]["dimension"] == size * size
            digests.add(one["protocol"]["data_digest"])  # what is kept of a reference goes by it
    assert len(digests) == 2
    shown = ends(run("inspect", checkpoint(directory, FIRST)), FINISHED).stdout
    assert "stage 1 of 3: images of 8×8" in shown
    (report,) = json.loads(ends(run("inspect", checkpoint(directory, 10), "--json"), FINISHED).stdout)["inspected"]
    assert report["texts"]["stage"] == "stage 2 of 3: images of 16×16"
    told = ends(run("status", directory), FINISHED).stdout
    assert "finished" in told and "\n  stage       stage 3 of 3: images of 32×32\n" in told


def test_a_comparison_with_data_waits_for_the_last_stage(tmp_path, staged):
    values = {"evaluation.every": 2, "evaluation.features": "states", "evaluation.chains": 8}
    trains(tmp_path / "run", values, staged)
    rows = metrics(tmp_path / "run")
    column = rows[0].index("kid_train")
    compared = [int(row[0]) for row in rows[1:] if row[column] not in ("", "nan")]
    assert compared == [16, 18, 20, 22]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("evaluation.every: chains are compared with data in the last stage alone") == 1


def test_a_dry_run_tries_each_stage(tmp_path, staged):
    said = trains(tmp_path / "run", {}, staged, "--dry-run").stdout
    for text in ("stage 1 of 3: images of 8×8, ", "stage 2 of 3: images of 16×16, ", "stage 3 of 3: images of 32×32, ",
                 " for all stages (measured now)", "stages: [{size: 8, iterations: 7, steps: 6"):
        assert text in said
    assert " for 7\n" in said and " for 8\n" in said
    benchmark = json.loads(ends(run("benchmark", staged, "--seconds", "0.2", "--json"), FINISHED).stdout)
    last = trains(tmp_path / "run", {}, staged).stdout
    assert benchmark["reduction_bytes"] == 4 * int(last.split("stage 3 of 3")[1].split(" parameters")[0].split()[-1])
