"""What a resume keeps, and what it tells: device, precision, schedules, files of other releases."""
import shutil

import h5py
import numpy
import pytest
import xxhash

from digests import reseal
from program import (CONFIGURATION, ENVIRONMENT, INPUT_OUTPUT, SMOKE, checkpoint, ends, iterations_recorded, metrics,
                     run, same_bits, train, trains)
from refusals import contents, no_gpu, refused

TEN = {"run.iterations": 10}
TWENTY = {"run.iterations": 20}


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ten") / "run"
    trains(directory, TEN)
    return directory


@pytest.fixture()
def stopped(tmp_path, ten):
    """A run of ten iterations, whose newest checkpoint a test may forge."""
    return shutil.copytree(ten, tmp_path / "run", symlinks=True)


def forge(directory, **texts):
    """Gives the newest checkpoint other texts, as another release or machine would have written them."""
    path = checkpoint(directory, 10)
    with h5py.File(path, "r+") as file:
        for name, text in texts.items():
            file.attrs[name] = numpy.bytes_(text(file.attrs[name].decode()) if callable(text) else text)
        stored = {name: text for name, text in sorted(file.attrs.items())
                  if isinstance(text, bytes) and name != "schema_version"}
        joined = b"".join(name.encode() + b"\0" + text + b"\0" for name, text in stored.items())
        file.attrs["texts_digest"] = numpy.uint64(xxhash.xxh3_64_intdigest(joined))
    reseal(path)


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
def test_a_run_that_began_on_gpus_does_not_go_on_without(stopped):
    forge(stopped, device="cuda")
    before = contents(stopped)
    refused(run(*train(stopped, TWENTY)), ENVIRONMENT, "the run began on GPUs", "run.device: cpu")
    assert contents(stopped) == before
    result = trains(stopped, {**TWENTY, "run.device": "cpu"})
    assert "computed with device cuda, and goes on with cpu, as run.device asks" in result.stdout


def test_precision_stays_what_auto_meant(stopped, tmp_path):
    forge(stopped, precision="bfloat16")
    branch = shutil.copytree(stopped, tmp_path / "changed", symlinks=True)
    assert "bfloat16" in trains(stopped, TWENTY).stdout
    result = trains(branch, {**TWENTY, "run.precision": "float32"})
    assert "computed with precision bfloat16, and goes on with float32, as run.precision asks" in result.stdout


@pytest.mark.parametrize("schedule", [{"optimizer.schedule": "{type: cosine, final: 0.1}"},
                                      {"chains.restart_probability": "{from: 1, to: 0}"}])
def test_schedules_end_where_the_run_was_planned_to_end(tmp_path, schedule):
    """More iterations add to the run; the iterations that were planned are what they would have been."""
    plan = {**TWENTY, **schedule}
    directory = tmp_path / "run"
    trains(directory, plan)
    first = trains(directory, {**plan, "run.iterations": 30})
    assert first.stdout.count("run.iterations is 30, but") == 1 and "at iteration 20" in first.stdout
    assert "at iteration 20" in trains(directory, {**plan, "run.iterations": 40}).stdout  # over any number of starts
    columns, *rows = metrics(directory)
    for name in ("learning_rate", "restart_probability"):
        place = columns.index(name)
        assert rows[20][place] == rows[39][place]
    assert iterations_recorded(directory) == list(range(1, 41))


def test_raising_the_iterations_changes_nothing_before(stopped, tmp_path):
    plan = {"optimizer.schedule": "{type: cosine}"}
    trains(tmp_path / "whole", {**plan, "optimizer.schedule.end": 10, "run.iterations": 30})
    trains(tmp_path / "parts", {**plan, "run.iterations": 10})
    trains(tmp_path / "parts", {**plan, "run.iterations": 30})
    same = [checkpoint(tmp_path / name, 30) for name in ("whole", "parts")]
    with h5py.File(same[0]) as whole, h5py.File(same[1]) as parts:
        assert (whole["chains/state"][:] == parts["chains/state"][:]).all()


def test_a_checkpoint_of_a_newer_release_is_read_as_far_as_it_goes(stopped, ten, tmp_path):
    forge(stopped, config=lambda text: text + "future: {key: 1}\n")
    result = trains(stopped, TWENTY)
    assert "has keys that this release doesn't know, and goes on without: future" in result.stdout
    plain = shutil.copytree(ten, tmp_path / "plain", symlinks=True)
    trains(plain, TWENTY)
    same_bits(checkpoint(plain, 20), checkpoint(stopped, 20))
    ends(run("sample", checkpoint(ten, 10), "--output", tmp_path / "draws.nc", "--set", "sampler.steps=2"), 0)


def test_a_checkpoint_that_only_its_release_can_read(stopped):
    forge(stopped, config=lambda text: text.replace("type: stanley", "type: hmc"))
    refused(run(*train(stopped, TWENTY)), INPUT_OUTPUT, "sampler.type", "use the one that wrote it")


def test_an_override_that_does_not_fit_is_no_matter_of_the_release(ten, tmp_path):
    result = run("sample", checkpoint(ten, 10), "--output", tmp_path / "s.nc", "--set", "chains.shards=7")
    assert "release" not in refused(result, CONFIGURATION, "chains.shards 7 must divide", lines=None)


def test_a_branch_that_has_nothing_left_to_train(ten, tmp_path):
    result = run(*train(tmp_path / "branch", {"run.iterations": 5}, SMOKE, "--resume", checkpoint(ten, 10)))
    refused(result, CONFIGURATION, "is of iteration 10, and run.iterations is 5")


def test_a_branch_plans_anew(ten, tmp_path):
    result = trains(tmp_path / "branch", {"run.iterations": 20, "optimizer.schedule": "{type: cosine}"}, SMOKE,
                    "--resume", checkpoint(ten, 10))
    assert "as the run was planned" not in result.stdout
