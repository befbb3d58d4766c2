"""Evaluation during training: the KID of some chains in metrics.csv, and the best checkpoint by it."""
import csv
import math
import os
import pathlib
import signal
import subprocess

import h5py
import numpy
import pytest

from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, PROGRAM, SMOKE, Process, attributes, checkpoint, draws, ends, kill,
                     launched, metrics, rows_so_far, run, same_bits, train, trains, unfinished)
from refusals import refused
from test_evaluate import describe, evaluate, kid, listed, write_module
from test_guard import ABSURD, poison, rollbacks, starts_of


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """A data file of points in the plane, with training and test ones."""
    path = tmp_path_factory.mktemp("points") / "points.h5"
    generator = numpy.random.default_rng(3)
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = "1.0"
        file.attrs["value_range"] = [-4.0, 4.0]
        for split, count in (("train", 300), ("test", 200)):
            file[f"{split}/images"] = generator.normal(0.5, 1, (count, 2)).clip(-4, 4).astype(numpy.float32)
    return path


@pytest.fixture(scope="module")
def settings(points):
    return {"data.type": "file", "data.path": points, "run.iterations": 24, "evaluation.every": 3,
            "checkpoint.every": 10, "checkpoint.keep_last": 1, "guard.probation": 5, "sampler.steps": 2,
            "optimizer.learning_rate": 0.01}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, settings):
    directory = tmp_path_factory.mktemp("best") / "run"
    trains(directory, settings)
    return directory


def column(directory, name):
    """{iteration: number} of the rows that have one."""
    with open(directory / "metrics.csv", newline="") as file:
        numbers = {int(row["iteration"]): float(row[name]) for row in csv.DictReader(file)}
    return {iteration: number for iteration, number in numbers.items() if not math.isnan(number)}


def best_row(directory):
    kids = column(directory, "kid_train")
    return min(kids, key=kids.get)


def best_link(directory):
    """The iteration of the file that the link is at."""
    link = directory / "checkpoints" / "best"
    target = os.readlink(link)
    assert "/" not in target and link.exists()
    return int(target.split("-")[1].split(".")[0])


def kept(directory):
    return sorted(int(path.stem.split("-")[1]) for path in (directory / "checkpoints").glob("iteration-*.h5"))


def as_features(values):
    return numpy.asarray(values, dtype=numpy.float64) / 4


def test_columns_are_the_kid_of_a_sample_from_all_shards(tmp_path, settings, points):
    trains(tmp_path / "run", {**settings, "checkpoint.every": 3, "checkpoint.keep_last": 99, "evaluation.chains": 18})
    assert list(column(tmp_path / "run", "kid_train")) == list(column(tmp_path / "run", "kid_test")) == list(range(3, 25, 3))
    sample = [shard * 16 + i for shard, count in enumerate((4, 5, 4, 5)) for i in range(count)]
    with h5py.File(points) as file:
        images = {split: as_features(file[f"{split}/images"][:]) for split in ("train", "test")}
    for iteration in (3, 12, 24):
        with h5py.File(checkpoint(tmp_path / "run", iteration)) as file:
            states = file["chains/state"][:][sample].astype(float)
        for split in images:
            found = column(tmp_path / "run", f"kid_{split}")[iteration]
            assert found == pytest.approx(kid(states, images[split]), rel=1e-5, abs=1e-7), (split, iteration)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("evaluation: KID") == 8 and "of 18 chains" in log and "the best so far" in log
    seconds = column(tmp_path / "run", "seconds_evaluation")
    assert all((seconds[iteration] > 0) == (iteration % 3 == 0) for iteration in seconds)


def test_the_best_is_kept_and_every_command_takes_it(trained, tmp_path):
    best = best_link(trained)
    assert best == best_row(trained)
    kids = column(trained, "kid_train")
    best_then = {min((at for at in kids if at <= target), key=kids.get) for target in (10, 20)}
    assert set(kept(trained)) == {0, 10, 20, 24} | {best} | best_then  # the run may go back to 10 or 20
    progress = attributes(checkpoint(trained, 24), "progress")
    assert progress["best_iteration"] == best and progress["best_kid"] == column(trained, "kid_train")[best]
    link = trained / "checkpoints" / "best"
    ends(run("inspect", link), FINISHED)
    ends(run("sample", link, "--set", "sampler.steps=2", "--set", "sampler.write_every=1", "--output",
             tmp_path / "draws.nc"), FINISHED)
    evaluate(link, "--output", tmp_path / "list.json")
    assert listed(tmp_path / "list.json")[0]["iteration"] == best


def test_another_number_of_ranks_finds_the_same(tmp_path, settings):
    values = {**settings, "run.reproducible": "true"}
    for ranks in (1, 2):
        trains(tmp_path / str(ranks), values, ranks=ranks)
    for name in ("kid_train", "kid_test"):
        assert column(tmp_path / "1", name) == column(tmp_path / "2", name)
    assert best_link(tmp_path / "1") == best_link(tmp_path / "2")
    same_bits(checkpoint(tmp_path / "1", 24), checkpoint(tmp_path / "2", 24))


@pytest.mark.parametrize("stops", [(2, 3, 13), (14, 23)])
def test_a_resumed_run_ends_as_an_undisturbed_one(tmp_path, settings, trained, stops):
    for stop in (*stops, 24):
        trains(tmp_path / "run", {**settings, "run.iterations": stop})
    assert metrics(tmp_path / "run") == metrics(trained)
    same_bits(checkpoint(trained, 24), checkpoint(tmp_path / "run", 24))
    assert best_link(tmp_path / "run") == best_link(trained)


def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path, settings):
    values = {**settings, "run.iterations": 600, "evaluation.every": 7, "checkpoint.every": 100}
    trains(tmp_path / "undisturbed", values)
    directory = tmp_path / "run"
    for start, after in enumerate((60, 130, 300)):
        with Process(launched([PROGRAM, *train(directory, values)], 1)) as process:
            process.wait_for(lambda: starts_of(directory) > start and rows_so_far(directory) >= after,
                             f"iteration {after}")
            kill(process.ranks()[0], signal.SIGKILL)
            process.finish()
    trains(directory, values)
    assert metrics(directory) == metrics(tmp_path / "undisturbed")
    same_bits(checkpoint(directory, 600), checkpoint(tmp_path / "undisturbed", 600))
    assert best_link(directory) == best_link(tmp_path / "undisturbed") == best_row(directory)
    assert not unfinished(directory)


def test_a_link_that_was_left_behind_is_mended(tmp_path, settings, trained):
    """Killed between a checkpoint's name and its link."""
    subprocess.run(["cp", "-a", trained, tmp_path / "run"], check=True)
    link = tmp_path / "run" / "checkpoints" / "best"
    best = best_link(trained)
    link.unlink()
    link.symlink_to("iteration-00000000.h5")
    trains(tmp_path / "run", {**settings, "run.iterations": 25})
    assert best_link(tmp_path / "run") == best


def test_a_roll_back_goes_back_to_what_was_best_before(tmp_path, settings):
    """The newest checkpoint is poisoned: the run goes back to iteration 10, where nothing after it was known."""
    directory = tmp_path / "run"
    values = {**settings, "run.iterations": 20, "evaluation.every": 4, "checkpoint.keep_last": 1}
    trains(directory, values)
    before = best_link(directory)
    assert before > 10
    poison(directory, 20, chain=60)
    # No evaluation in between tells anything new.
    trains(directory, {**values, "run.iterations": 31, "evaluation.every": 1000})
    (step,) = rollbacks(directory)
    assert step["target"] == 10
    kids = column(directory, "kid_train")
    assert max(kids) <= 10
    assert best_link(directory) == min(kids, key=kids.get)
    assert (directory / "rejected" / "1" / f"iteration-{before:08}.h5").exists()
    assert attributes(checkpoint(directory, 31), "progress")["best_kid"] == min(kids.values())


def test_a_run_that_diverges_again_and_again_ends_with_its_best(tmp_path):
    values = {**ABSURD, "evaluation.every": 3, "checkpoint.keep_last": 1}
    trains(tmp_path / "run", values, ranks=2)
    assert rollbacks(tmp_path / "run")
    assert best_link(tmp_path / "run") == best_row(tmp_path / "run")
    progress = attributes(checkpoint(tmp_path / "run", 60), "progress")
    assert progress["best_kid"] == min(column(tmp_path / "run", "kid_train").values())


def test_what_could_not_be_written_is_not_the_best(tmp_path, settings):
    """Chains that walk away from the data are best at first; a folder stands where that checkpoint would be."""
    directory = tmp_path / "run"
    values = {**settings, "run.iterations": 1200, "evaluation.every": 400, "checkpoint.every": 400, "chains.start": "data",
              "chains.restart_probability": 0, "sampler.temperature": 0.02, "optimizer.learning_rate": 1e-9}
    with Process(launched([PROGRAM, *train(directory, values)], 1)) as process:
        process.wait_for(checkpoint(directory, 0).exists, "the first checkpoint")
        (checkpoint(directory, 400) / "full").mkdir(parents=True)
        ends(process.finish(), FINISHED)
    assert best_row(directory) == 400
    assert best_link(directory) == 800 == attributes(checkpoint(directory, 1200), "progress")["best_iteration"]


def test_states_are_those_of_draws(tmp_path, settings, points):
    """Without the sampler's noise where draws are; a KID of states with it is another number."""
    values = {**settings, "run.iterations": 6, "evaluation.every": 3, "evaluation.chains": 18, "samples.every": 3,
              "samples.chains": "null", "samples.denoise": "{steps: 4}"}
    trains(tmp_path / "run", values)
    trains(tmp_path / "more", {**values, "run.reproducible": "true"}, ranks=2)
    sample = [shard * 16 + i for shard, count in enumerate((4, 5, 4, 5)) for i in range(count)]
    with h5py.File(points) as file:
        images = as_features(file["test/images"][:])
    for directory in (tmp_path / "run", tmp_path / "more"):
        with h5py.File(draws(directory, 6)) as file:
            states = file["posterior/x"][:][sample, 0]
        found = column(directory, "kid_test")[6]
        assert found == pytest.approx(kid(states.astype(float), images), rel=1e-5, abs=1e-7)
        with h5py.File(checkpoint(directory, 6)) as file:
            assert abs(kid(file["chains/state"][:][sample].astype(float), images) - found) > 1e-4
    said = trains(tmp_path / "run", {**values, "run.iterations": 9, "samples.denoise": "{steps: 5}"}).stdout
    assert "counts as the first" in said


def test_how_often_may_change_and_a_branch_begins_anew(tmp_path, settings, trained):
    subprocess.run(["cp", "-a", trained, tmp_path / "run"], check=True)
    best = column(trained, "kid_train")[best_row(trained)]
    trains(tmp_path / "run", {**settings, "run.iterations": 27, "evaluation.every": "null"})
    assert attributes(checkpoint(tmp_path / "run", 27), "progress")["best_kid"] == best
    assert best_link(tmp_path / "run") == best_link(trained)
    trains(tmp_path / "run", {**settings, "run.iterations": 30, "evaluation.every": 30})
    assert attributes(checkpoint(tmp_path / "run", 30), "progress")["best_kid"] <= best
    trains(tmp_path / "branch", {**settings, "run.iterations": 26}, SMOKE, "--resume", checkpoint(trained, 24))
    assert not (tmp_path / "branch" / "checkpoints" / "best").exists()


# --- images, in the features of a network -------------------------------------------------------------
@pytest.fixture(scope="module")
def network(tmp_path_factory):
    module = tmp_path_factory.mktemp("features") / "mine.pt"
    subprocess.run([os.environ["STANLEY_WRITE_SCRIPT"], "features", module], check=True)
    describe(module)
    return module


def test_of_images_it_tells_what_evaluate_tells(tmp_path, convnet, images, network, data_file):
    with h5py.File(data_file, "a") as file:
        file["test/images"] = images[::-1].copy()
    values = {"data.path": data_file, "run.iterations": 20, "evaluation.every": 10, "evaluation.features": network}
    said = trains(tmp_path / "run", values, convnet, ranks=2).stdout
    assert "a network of your own" in said
    for split in ("train", "test"):
        output = tmp_path / f"{split}.json"
        evaluate(checkpoint(tmp_path / "run", 20), "--features", network, "--protocol", "mine", "--split", split,
                 "--output", output)
        (found,) = listed(output)
        assert found["states"] == 48
        assert column(tmp_path / "run", f"kid_{split}")[20] == pytest.approx(found["results"][0]["kid"], rel=1e-9)
    features = [file for file in pathlib.Path(f"{data_file}.features").iterdir() if not file.suffix]
    assert len(features) == 2  # evaluate found both


def test_other_features_cannot_be_compared(tmp_path, convnet, network, data_file):
    values = {"data.path": data_file, "run.iterations": 10, "evaluation.every": 10, "evaluation.features": network}
    trains(tmp_path / "run", values, convnet)
    assert not column(tmp_path / "run", "kid_test")  # the data have no such split
    said = trains(tmp_path / "run", {**values, "run.iterations": 20, "evaluation.features": "states"}, convnet).stdout
    assert "counts as the first" in said
    assert best_link(tmp_path / "run") == 20
    values = {**values, "run.iterations": 30, "evaluation.features": "states", "evaluation.chains": 24}
    assert "counts as the first" in trains(tmp_path / "run", values, convnet).stdout
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count(" warning evaluation.features") == 2
    assert "counts as the first" not in trains(tmp_path / "run", {**values, "run.iterations": 40}, convnet).stdout


def test_the_dry_run_says_what_it_costs(tmp_path, settings):
    values = {**settings, "evaluation.every": 25}
    said = ends(run(*train(tmp_path / "run", values), "--dry-run"), FINISHED).stdout
    assert "evaluation: " in said and "of 64 chains" in said
    assert "evaluation.every 25 is above run.iterations 24" in said
    assert not (tmp_path / "run").exists()


def test_refuses_features_of_single_images_before_there_is_a_run(tmp_path, convnet, data_file):
    module = write_module("features of one image", tmp_path / "one.pt")
    values = {"data.path": data_file, "evaluation.every": 10, "evaluation.features": module}
    for more in ([], ["--dry-run"]):
        refused(run(*train(tmp_path / "run", values, convnet, *more)), INPUT_OUTPUT, "evaluation.features", "one.pt",
                "one wanted")
    assert not (tmp_path / "run").exists()


def test_one_test_image_is_none(tmp_path, settings):
    data = tmp_path / "points.h5"
    with h5py.File(settings["data.path"]) as source, h5py.File(data, "w") as file:
        file.attrs.update(source.attrs)
        file["train/images"], file["test/images"] = source["train/images"][:], source["test/images"][:1]
    said = trains(tmp_path / "run", {**settings, "data.path": data, "run.iterations": 3}).stdout
    assert "the split 'test' has one image" in said and "nan to test" not in said
    assert column(tmp_path / "run", "kid_train") and not column(tmp_path / "run", "kid_test")


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("values, code, words", [
    ({"evaluation.features": "nowhere.pt"}, INPUT_OUTPUT, ["evaluation.features", "nowhere.pt", "tools/setup.sh --evaluate"]),
    ({"evaluation.chains": 49}, CONFIGURATION, ["evaluation.chains 49", "chains.total 48"]),
    ({"evaluation.chains": 1}, CONFIGURATION, ["evaluation.chains", "2"]),
    ({"evaluation.features": "''"}, CONFIGURATION, ["evaluation.features", "states"])])
def test_refuses_before_there_is_a_run(tmp_path, convnet, data_file, ranks, values, code, words):
    values = {"data.path": data_file, "evaluation.every": 10, **values}
    refused(run(*train(tmp_path / "run", values, convnet), ranks=ranks), code, *words, lines=None)
    assert not (tmp_path / "run").exists()
