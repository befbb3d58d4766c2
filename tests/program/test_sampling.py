"""`stanley sample --run-directory`: chains in a run of their own, stopped, killed and resumed, bit for bit; the table at
its end; and what is refused."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import arviz
import numpy
import pytest
import xarray

from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, PROGRAM, REQUEUE, Process, arrays, attributes, checkpoint, ends,
                     kill, launched, run, settings, trains, unfinished)
from refusals import refused

WRITE_SCRIPT = os.environ["STANLEY_WRITE_SCRIPT"]

# E = |x|² in the plane: at T the law is N(0, T/2) in each coordinate.
CONFIG = """
run: {name: gaussian, seed: 4, device: cpu, precision: float32, reproducible: true, threads: 1}
energy: {type: torchscript, path: PATH}
data: {type: rings, samples: 256}
chains: {total: 24, shards: 3, start: uniform}
sampler: {type: langevin, step_size: 0.6, noise: null, temperature: 1, metropolis: true, box: null}
sampling: {warm_up: 21, draws: 50, thin: 2, draws_per_file: 16}
checkpoint: {keep_last: 2}
log: {every: 10}
"""


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """A configuration whose energy is a file."""
    folder = tmp_path_factory.mktemp("gaussian")
    subprocess.run([WRITE_SCRIPT, "gaussian", folder / "energy.pt"], check=True)
    config = folder / "gaussian.yaml"
    config.write_text(CONFIG.replace("PATH", str(folder / "energy.pt")))
    return config


def command(source, directory, values=(), *more):
    return ["sample", source, *settings(dict(values)), "--run-directory", directory, *more]


def samples(source, directory, values=(), *more, ranks=1, code=FINISHED):
    return ends(run(*command(source, directory, values, *more), ranks=ranks), code)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, gaussian):
    """Directories of runs that nobody stopped."""
    made = {}

    def make(ranks=1, **values):
        values = {name.replace("__", "."): value for name, value in values.items()}
        key = (ranks, str(sorted(values.items())))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("uninterrupted") / "run"
            samples(gaussian, made[key], values, ranks=ranks)
        return made[key]

    return make


def blocks(directory):
    return sorted((pathlib.Path(directory) / "samples").glob("draws-*.nc"))


def summary(directory):
    return json.loads((pathlib.Path(directory) / "summary.json").read_text())


def quantity(directory, name):
    [found] = [one for one in summary(directory)["quantities"] if one["name"] == name]
    return found


def drawn(directory, name="posterior/x"):
    """An array of all files, [chain, draw, ...]."""
    return numpy.concatenate([arrays(path)[name] for path in blocks(directory)], 1)


def same_draws(one, other):
    """Bitwise the same files."""
    assert [path.name for path in blocks(one)] == [path.name for path in blocks(other)] != []
    for left, right in zip(map(arrays, blocks(one)), map(arrays, blocks(other))):
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].tobytes() == right[name].tobytes(), name
    without_clocks = [{name: value for name, value in summary(directory).items() if name not in ("seconds", "quantities")}
                      for directory in (one, other)]
    assert without_clocks[0] == without_clocks[1]
    for left, right in zip(summary(one)["quantities"], summary(other)["quantities"]):
        assert {**left, "ess_bulk_per_second": 0} == {**right, "ess_bulk_per_second": 0}
    assert (pathlib.Path(other) / "DONE").exists() and not unfinished(other)


# --- what a run leaves -----------------------------------------------------------------------------
def test_a_run(gaussian, uninterrupted):
    directory = uninterrupted()
    assert {path.name for path in directory.iterdir()} == {"config.yaml", "run.json", "log.txt", "summary.json", "samples",
                                                           "checkpoints", "DONE"}
    assert [path.name for path in blocks(directory)] == [f"draws-{first:08}.nc" for first in (0, 16, 32, 48)]
    assert [arrays(path)["posterior/x"].shape for path in blocks(directory)] == [(24, 16, 2)] * 3 + [(24, 2, 2)]
    assert (drawn(directory, "sample_stats/age") == 21 + 2 * numpy.arange(1, 51)).all()
    x, energy = drawn(directory).astype(float), drawn(directory, "sample_stats/potential_energy")
    assert numpy.allclose(energy, (x ** 2).sum(-1), rtol=1e-5)
    record = json.loads((directory / "run.json").read_text())
    assert (record["kind"], record["verdict"], record["iterations"]) == ("sampling", "finished", 121)
    assert [start["iteration"] for start in record["starts"]] == [0]
    said = samples(gaussian, directory).stdout
    assert "is finished: 50 draws of each chain" in said
    status = ends(run("status", directory), FINISHED).stdout
    assert "sampling" in status and "chain step 121 of 121 (100 %)" in status
    ends(run("inspect", directory), FINISHED)


def test_the_law(tmp_path, gaussian):
    """Mean and variance within 5 of their standard errors, at T = 2."""
    samples(gaussian, tmp_path / "run", {"sampler.temperature": 2, "sampling.draws": 400, "sampling.thin": 3})
    x = drawn(tmp_path / "run").astype(float)
    for i in (0, 1):
        told = quantity(tmp_path / "run", f"x[{i}]")
        assert abs(told["mean"]) < 5 * told["mcse_mean"] and abs(told["sd"] - 1) < 5 * told["mcse_sd"]
        assert told["mean"] == pytest.approx(x[..., i].mean(), abs=1e-12)
    told = summary(tmp_path / "run")
    assert told["mixed"] and abs(told["thermometer"] - 2) < 5 * told["thermometer_error"]
    assert told["acceptance"] == pytest.approx(drawn(tmp_path / "run", "sample_stats/acceptance_rate").mean(), abs=1e-12)


def test_table_is_arviz(uninterrupted):
    directory = uninterrupted()
    values = {"energy": drawn(directory, "sample_stats/potential_energy"), "x[0]": drawn(directory)[..., 0].astype(float),
              "x[1]": drawn(directory)[..., 1].astype(float)}
    for name, draws in values.items():
        told = quantity(directory, name)
        expected = {"rhat": arviz.rhat(draws), "ess_bulk": arviz.ess(draws), "ess_tail": arviz.ess(draws, method="tail"),
                    "mcse_mean": arviz.mcse(draws), "mean": draws.mean(), "sd": draws.std(ddof=1)}
        for key, value in expected.items():
            assert told[key] == pytest.approx(float(value), rel=1e-10), (name, key)
    assert "R-hat" in (directory / "log.txt").read_text()


def test_opened_by_xarray_and_arviz(uninterrupted):
    paths = [str(path) for path in blocks(uninterrupted())]
    data = xarray.concat([xarray.open_dataset(path, group="posterior", engine="h5netcdf") for path in paths], "draw")
    assert data["x"].dims == ("chain", "draw", "dimension") and data["x"].shape == (24, 50, 2)
    assert (data["draw"] == numpy.arange(50)).all()
    parts = [arviz.from_netcdf(path) for path in paths]
    assert arviz.concat(*parts, dim="draw").posterior.sizes["draw"] == 50


# --- stopped and killed ----------------------------------------------------------------------------
LONG = {"sampling.draws": 500, "sampling.thin": 4, "sampling.draws_per_file": 64, "log.every": 50}


def cut(gaussian, directory, values, ranks, act, code):
    """Starts a run, calls act(process numbers of the ranks) once it has a file of draws, and checks the exit code."""
    with Process(launched([PROGRAM, *command(gaussian, directory, values)], ranks)) as process:
        process.wait_for(lambda: blocks(directory) and process.ranks(), "draws")
        act(process.ranks())
        result = process.finish()
    assert result.returncode != FINISHED
    if code is not None:
        ends(result, code)
    return result


@pytest.mark.parametrize("number, ranks, resumed_on", [
    (signal.SIGUSR1, 1, 1), (signal.SIGTERM, 2, 3), (signal.SIGKILL, 1, 2), (signal.SIGKILL, 2, 2)])
def test_cut_and_resumed(tmp_path, gaussian, uninterrupted, number, ranks, resumed_on):
    directory = tmp_path / "run"
    asks = number != signal.SIGKILL
    result = cut(gaussian, directory, LONG, ranks, lambda found: kill(found[-1], number), REQUEUE if asks else None)
    assert 0 < drawn(directory).shape[1] < 500 and not (directory / "DONE").exists()
    if asks:
        assert "stopped after" in result.stdout
        stop = json.loads((directory / "run.json").read_text())["stops"][-1]
        assert (stop["verdict"], stop["asked_by"]) == ("requeue", "signal")
    said = samples(gaussian, directory, LONG, ranks=resumed_on).stdout
    assert "goes on from" in said
    same_draws(uninterrupted(**{name.replace(".", "__"): value for name, value in LONG.items()}), directory)


def test_end_of_the_wall_time(tmp_path, gaussian):
    values = {**LONG, "sampling.draws": 10 ** 7, "run.until": "2s"}
    samples(gaussian, tmp_path / "run", values, code=REQUEUE)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["stops"][-1]["asked_by"] == "run.until"


WAYS = [
    {"sampling.acceptance": 0.6},
    {"sampler.type": "hmc", "sampler.trajectory.refreshment": 0.5},
    {"sampler.type": "preconditioned_langevin", "sampling.unadjusted": "true"},
]


@pytest.mark.parametrize("values", WAYS, ids=lambda values: ", ".join(values))
def test_goes_on_in_other_ways(tmp_path, gaussian, values):
    """More draws are a run that goes on, on other ranks: the same draws, whatever files they are in."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    samples(gaussian, whole, values)
    for draws, ranks in ((7, 1), (50, 2)):
        samples(gaussian, parts, {**values, "sampling.draws": draws}, ranks=ranks)
    for name in ("posterior/x", "sample_stats/potential_energy", "sample_stats/acceptance_rate"):
        assert drawn(whole, name).tobytes() == drawn(parts, name).tobytes(), name
    assert [path.name for path in blocks(parts)] == [f"draws-{first:08}.nc" for first in (0, 7, 23, 39)]
    assert summary(whole)["step_sizes"] == summary(parts)["step_sizes"]


# --- warm-up ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("step_size", [0.01, 40])
def test_warm_up_reaches_the_acceptance(tmp_path, gaussian, step_size):
    samples(gaussian, tmp_path / "run", {"sampling.acceptance": 0.6, "sampling.warm_up": 300, "sampler.step_size": step_size,
                                         "chains.total": 96, "chains.shards": 3, "sampling.draws": 100})
    told = summary(tmp_path / "run")
    assert abs(told["acceptance"] - 0.6) < 0.03 and len(told["step_sizes"]) == 3 == len(set(told["step_sizes"]))


def test_unadjusted_first(tmp_path, gaussian):
    """From far away the first steps are not corrected, until the thermometer reads T, for half of the warm-up at most."""
    values = {"sampling.unadjusted": "true", "sampling.warm_up": 200, "sampler.step_size": 0.05, "data.range": "[-9, 9]",
              "chains.total": 60}
    samples(gaussian, tmp_path / "run", values)
    assert 2 < summary(tmp_path / "run")["unadjusted_steps"] <= 100
    assert "were not corrected" in (tmp_path / "run" / "log.txt").read_text()
    samples(gaussian, tmp_path / "none", {**values, "sampling.unadjusted": "false"})
    assert summary(tmp_path / "none")["unadjusted_steps"] == 0


# --- starts ----------------------------------------------------------------------------------------
STILL = {"sampling.warm_up": 0, "sampling.draws": 1, "sampling.thin": 1, "sampler.step_size": 1e-14,
         "sampler.metropolis": "false"}


def first_states(directory):
    return arrays(blocks(directory)[0])["posterior/x"][:, 0]


def test_super_chains_share_their_start(tmp_path, gaussian):
    for ranks in (1, 2):
        samples(gaussian, tmp_path / str(ranks), {**STILL, "sampling.chains_per_start": 4}, ranks=ranks)
    states = first_states(tmp_path / "1").reshape(6, 4, 2)
    assert numpy.allclose(states, states[:, :1], atol=1e-5)
    assert len(numpy.unique(states[:, 0].round(3), axis=0)) == 6
    assert first_states(tmp_path / "2").tobytes() == states.tobytes()
    assert quantity(tmp_path / "1", "energy")["nested_rhat"] > 100 and summary(tmp_path / "1")["not_mixed"]


def test_nested_rhat(tmp_path, gaussian):
    samples(gaussian, tmp_path / "run", {"sampling.chains_per_start": 4, "sampling.warm_up": 100})
    assert 1 < quantity(tmp_path / "run", "energy")["nested_rhat"] < 1.2
    assert " nested" in (tmp_path / "run" / "log.txt").read_text()


def test_given_states(tmp_path, gaussian):
    """In turn: more chains than states."""
    samples(gaussian, tmp_path / "first", {**STILL, "chains.total": 6})
    given = first_states(tmp_path / "first")
    for ranks in (1, 2):
        samples(gaussian, tmp_path / str(ranks), {**STILL, "run.seed": 9, "sampling.states": blocks(tmp_path / "first")[0]},
                ranks=ranks)
        assert numpy.allclose(first_states(tmp_path / str(ranks)), numpy.tile(given, (4, 1)), atol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "run"
    trains(directory, {"run.iterations": 10})
    return directory


def test_bank_of_a_training(tmp_path, trained):
    bank = arrays(checkpoint(trained, 10))["chains/state"]
    still = {**STILL, "sampler.noise": "null", "sampler.temperature": 1}
    for ranks in (1, 2):
        samples(checkpoint(trained, 10), tmp_path / str(ranks), still, ranks=ranks)
        assert numpy.allclose(first_states(tmp_path / str(ranks)), bank, atol=1e-5)
    said = attributes(blocks(tmp_path / "1")[0], "/")
    assert said["weights"] == "average" and said["iteration"] == 10
    samples(checkpoint(trained, 10), tmp_path / "last", {}, "--last-weights")
    assert attributes(blocks(tmp_path / "last")[0], "/")["weights"] == "last"
    other = run(*command(checkpoint(trained, 10), tmp_path / "last", {"sampling.draws": 200}))
    refused(other, CONFIGURATION, "another energy", tmp_path / "last")


def test_output_of_a_configuration(tmp_path, gaussian):
    ends(run("sample", gaussian, *settings({"sampler.steps": 4, "sampler.write_every": 2}), "--output", tmp_path / "draws.nc"),
         FINISHED)
    assert arrays(tmp_path / "draws.nc")["posterior/x"].shape == (24, 2, 2)


# --- refusals --------------------------------------------------------------------------------------
@pytest.mark.parametrize("values, words", [
    ({"energy.type": "mlp", "energy.path": "''"}, ["energy.type mlp", "never trained", "checkpoint"]),
    ({"chains.start": "bank"}, ["chains.start: bank", "configuration"]),
    ({"sampling.chains_per_start": 3}, ["sampling.chains_per_start 3 must divide the 8 chains"]),
    ({"sampling.acceptance": 0.6, "sampler.metropolis": "false"}, ["sampling.acceptance", "sampler.metropolis is false"]),
    ({"sampling.acceptance": 0.6, "sampling.warm_up": 0}, ["sampling.acceptance needs a warm-up"]),
    ({"sampling.unadjusted": "true", "sampler.type": "barker"}, ["sampling.unadjusted", "barker"]),
    ({"sampler.type": "preconditioned_langevin", "sampling.warm_up": 0}, ["preconditioned_langevin", "sampling.warm_up"]),
    ({"sampling.drows": 3}, ["sampling.draws"]),
])
def test_refused(tmp_path, gaussian, values, words):
    refused(run(*command(gaussian, tmp_path / "run", values)), CONFIGURATION, *words)
    assert not (tmp_path / "run").exists()


def test_one_of_two_places(tmp_path, gaussian):
    for places in ((), ("--run-directory", tmp_path / "run", "--output", tmp_path / "draws.nc")):
        refused(run("sample", gaussian, *places), CONFIGURATION, "--run-directory", "--output")


def test_another_run_in_its_directory(tmp_path, gaussian, uninterrupted):
    directory = shutil.copytree(uninterrupted(), tmp_path / "run", symlinks=True)
    refused(run(*command(gaussian, directory, {"sampling.thin": 3})), CONFIGURATION, "sampling.thin is 2 there and 3 here")
    refused(run(*command(gaussian, directory, {}, "--resume", "never")), INPUT_OUTPUT, "--resume never")


def test_states_of_another_shape(tmp_path, gaussian, trained, convnet):
    trains(tmp_path / "images", {"run.iterations": 1}, convnet)
    refused(run(*command(gaussian, tmp_path / "run", {"sampling.states": checkpoint(tmp_path / "images", 1)})),
            INPUT_OUTPUT, "states")
