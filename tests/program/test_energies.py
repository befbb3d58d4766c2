"""stanley evaluate with the trained energy: energies of data, chains and noise, fresh chains, and chains that run on."""
import math
import os
import re
import shutil
import signal
import subprocess

import h5py
import numpy
import pytest

from conftest import write_both_splits
from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, PROGRAM, Process, checkpoint, draws, ends, faults, kill,
                     launched, run, trains)
from refusals import refused
from test_evaluate import evaluate, listed, only
from test_guard import poison


def without_clocks(value):
    """In all parts."""
    if isinstance(value, list):
        return [without_clocks(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: without_clocks(one) for key, one in value.items() if key not in ("seconds", "time")}


def write_points(path, **splits):
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = "1.0"
        file.attrs["value_range"] = [-4.0, 4.0]
        for name, points in splits.items():
            file[f"{name}/images"] = points.astype(numpy.float32)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """A run whose energy is |x|² and does not learn, at T = 1, with data of its own law; a file of points further out."""
    folder = tmp_path_factory.mktemp("gaussian")
    generator = numpy.random.default_rng(2)

    def normal(count, deviation):
        return generator.normal(0, deviation, (count, 2)).clip(-4, 4)

    write_points(folder / "points.h5", train=normal(3000, math.sqrt(0.5)), test=normal(700, math.sqrt(0.5)))
    write_points(folder / "wider.h5", all=normal(500, 1.5))
    subprocess.run([os.environ["STANLEY_WRITE_SCRIPT"], "gaussian", folder / "energy.pt"], check=True)
    trains(folder / "run", {
        "energy.type": "torchscript", "energy.path": folder / "energy.pt", "data.type": "file",
        "data.path": folder / "points.h5", "data.range": "[-4, 4]", "data.noise": 0, "optimizer.learning_rate": 1e-12,
        "sampler.type": "langevin", "sampler.box": "[-4, 4]", "sampler.step_size": 0.05, "sampler.steps": 40,
        "chains.restart_probability": 0, "samples.every": 30})
    return folder


def energy_of(points):
    return (points.astype(numpy.float32) ** 2).sum(1).astype(numpy.float64)


def auroc(below, above):
    above = numpy.asarray(above)[:, None]
    return ((above > below) + 0.5 * (above == below)).mean()


def named(report, name):
    (found,) = [one for one in report["sets"] if one["name"] == str(name)]
    return found


def test_energies_are_those_of_the_states(gaussian):
    said = evaluate(gaussian / "run", "--ood", gaussian / "wider.h5").stdout
    found = only(gaussian / "run" / "evaluation.json")
    assert found["energy"]["iteration"] == 30 and found["energy"]["weights"] == "average"
    report = found["energies"]
    with h5py.File(gaussian / "points.h5") as file, h5py.File(gaussian / "wider.h5") as wider, \
            h5py.File(checkpoint(gaussian / "run", 30)) as bank:
        expected = {"training": energy_of(file["train/images"][:]), "test": energy_of(file["test/images"][:]),
                    "chains": energy_of(bank["chains/state"][:]), gaussian / "wider.h5": energy_of(wider["all/images"][:])}
    for name, energies in expected.items():
        one = named(report, name)
        assert one["states"] == one["available"] == len(energies)
        for key, value in (("mean", energies.mean()), ("deviation", energies.std(ddof=1)), ("min", energies.min()),
                           ("max", energies.max())):
            assert one[key] == pytest.approx(value, rel=1e-5), (name, key)
        for q, value in one["quantiles"].items():
            assert value == pytest.approx(numpy.quantile(energies, float(q)), rel=1e-5, abs=1e-6)
        assert sum(one["histogram"]) == len(energies) and len(one["histogram"]) + 1 == len(report["edges"])
        counts = numpy.histogram(energies, report["edges"])[0]
        assert abs(counts - one["histogram"]).sum() <= 4  # last bits of numbers that are edges
    test = expected["test"]
    assert report["gap"]["value"] == pytest.approx(test.mean() - expected["training"].mean(), abs=1e-5)
    assert report["gap"]["interval_95"][0] < 0 < report["gap"]["interval_95"][1]
    assert report["memorisation"]["auroc"] == pytest.approx(auroc(expected["training"], test), abs=1e-4)
    contrasts = {one["name"]: one for one in report["out_of_distribution"]}
    assert set(contrasts) == {"chains", "noise", str(gaussian / "wider.h5")}
    for name in ("chains", gaussian / "wider.h5"):
        contrast = contrasts[str(name)]
        assert contrast["auroc"] == pytest.approx(auroc(test, expected[name]), abs=1e-4)
        assert contrast["auroc_interval_95"][0] < contrast["auroc"] < contrast["auroc_interval_95"][1]
    # |x|² of noise uniform in [−4, 4]²: mean 32/3, and it is told for as many states as the test set has.
    noise = named(report, "noise")
    assert noise["states"] == 700 and noise["mean"] == pytest.approx(32 / 3, rel=0.05)
    assert "gap, test above training" in said and f"AUROC, noise above test: {contrasts['noise']['auroc']:.3f}" in said


def test_a_gaussian_is_stable(gaussian):
    """Its chains stay in their law, T/2 for each dimension, wherever they start."""
    said = evaluate(gaussian / "run", "--long-run", 300, "--chains", 64, "--output", gaussian / "long.json", ranks=2).stdout
    found = only(gaussian / "long.json")["long_run"]
    assert (found["verdict"], found["reasons"]) == ("stable", []) and "verdict after 300 steps: stable" in said
    steps = [point["step"] for point in found["points"][::3]]
    assert steps[0] == 0 and steps[-1] == 300 and sorted(steps) == steps and len(steps) >= 8
    starts = {point["start"]: point for point in found["points"][:3]}
    with h5py.File(checkpoint(gaussian / "run", 30)) as bank:
        assert starts["bank"]["energy"] == pytest.approx(energy_of(bank["chains/state"][:]).mean(), rel=1e-5)
    assert starts["noise"]["energy"] > 8 and starts["data"]["energy"] < 2
    for point in found["points"][-3:]:
        low, high = point["energy_interval_95"]
        assert low - 0.1 < 1 < high + 0.1 and point["kid_interval_95"][0] < point["kid"]


def test_fresh_chains_are_those_of_sample(gaussian, tmp_path):
    """The same starts and the same noise: a draw file of them has the same distances."""
    ends(run("sample", checkpoint(gaussian / "run", 30), "--set", "chains.start=uniform", "--set", "chains.total=64",
             "--set", "sampler.steps=60", "--set", "sampler.write_every=60", "--output", tmp_path / "fresh.nc"), FINISHED)
    evaluate(tmp_path / "fresh.nc")
    of_draws = only(tmp_path / "fresh.nc.evaluation.json")
    said = evaluate(gaussian / "run", "--fresh", 60, "--fresh", 0, "--chains", 64, "--output", tmp_path / "list.json").stdout
    fresh, started = only(tmp_path / "list.json")["fresh"]
    assert (fresh["steps"], fresh["chains"], fresh["start"]) == (60, 64, "uniform")
    for key in ("kid", "precision", "recall", "fid"):
        assert fresh["result"][key] == pytest.approx(of_draws["results"][0][key], rel=1e-5), key
    assert fresh["energy"]["value"] == pytest.approx(named(of_draws["energies"], "chains")["mean"], rel=1e-5)
    assert started["result"]["kid"] > fresh["result"]["kid"] and "fresh, 60 steps" in said


def test_states_without_noise_are_judged_beside_those_with_it(gaussian, tmp_path):
    """Of bank and fresh chains: those of a draw file that was written without noise."""
    ends(run("sample", checkpoint(gaussian / "run", 30), "--set", "chains.start=uniform", "--set", "chains.total=64",
             "--set", "sampler.steps=60", "--set", "sampler.write_every=60", "--set", "samples.denoise={steps: 10}",
             "--output", tmp_path / "fresh.nc"), FINISHED)
    evaluate(tmp_path / "fresh.nc", "--denoise", 3)  # again would be twice
    of_draws = only(tmp_path / "fresh.nc.evaluation.json")
    assert of_draws["states_denoised"] == "10 noise-free steps" and "denoised" not in of_draws
    command = (gaussian / "run", "--fresh", 60, "--chains", 64)
    said = evaluate(*command, "--denoise", 10, "--output", tmp_path / "list.json").stdout
    found = only(tmp_path / "list.json")
    (fresh,) = found["fresh"]
    for key in ("kid", "precision", "recall", "fid"):
        assert fresh["denoised"][key] == pytest.approx(of_draws["results"][0][key], rel=1e-5), key
    assert fresh["denoised"]["fid"] > 2 * fresh["result"]["fid"]  # narrower than the data
    (bank, *_) = found["denoised"]["results"]
    assert found["denoised"]["how"] == "10 noise-free steps" and bank["fid"] > 2 * found["results"][0]["fid"]
    assert "\ndenoised, all " in said and "\ndenoised, fresh, 60 steps " in said
    evaluate(*command, "--denoise", 0, "--output", tmp_path / "raw.json")
    raw = only(tmp_path / "raw.json")
    assert "denoised" not in raw and "denoised" not in raw["fresh"][0]


def test_the_same_bits_on_any_number_of_ranks_and_threads(gaussian, tmp_path):
    results = []
    for ranks, threads in ((1, 1), (1, 2), (3, 1)):
        output = tmp_path / f"{ranks}-{threads}.json"
        evaluate(gaussian / "run", "--long-run", 7, "--fresh", 5, "--chains", 64, "--draws", 400, "--output", output,
                 ranks=ranks, OMP_NUM_THREADS=str(threads))
        results.append(without_clocks(only(output)))
    assert all(one == results[0] for one in results)
    assert {"energies", "fresh", "long_run"} <= results[0].keys()


def test_parts_are_kept_as_long_as_their_weights(gaussian, tmp_path):
    output = ("--output", tmp_path / "list.json")
    evaluate(gaussian / "run", "--long-run", 3, "--chains", 20, *output)
    first = only(tmp_path / "list.json")
    evaluate(gaussian / "run", *output)
    assert only(tmp_path / "list.json")["long_run"] == first["long_run"]
    for fresh in ((5, 3, 3), (9,), (5,)):
        evaluate(gaussian / "run", "--chains", 20, *output, *(part for steps in fresh for part in ("--fresh", steps)))
    evaluate(gaussian / "run", "--chains", 21, "--fresh", 3, *output)
    assert [(one["steps"], one["chains"]) for one in only(tmp_path / "list.json")["fresh"]] == [
        (3, 20), (9, 20), (5, 20), (3, 21)]
    evaluate(gaussian / "run", "--weights", "last", *output)
    found = only(tmp_path / "list.json")
    assert "long_run" not in found and found["energy"]["weights"] == "last"


# --- beside a living run ----------------------------------------------------------------------------------
def test_a_checkpoint_that_its_run_takes_away_stays_readable(gaussian, tmp_path):
    shutil.copytree(gaussian / "run", tmp_path / "run", symlinks=True)
    output = tmp_path / "list.json"
    command = ("evaluate", tmp_path / "run", "--fresh", 2000, "--long-run", 30, "--chains", 64, "--output", output)
    with Process(launched([PROGRAM, *command], 1)) as process:
        process.wait_for(lambda: kept(output), "chains that are kept")
        checkpoint(tmp_path / "run", 30).unlink()
        ends(process.finish(), FINISHED)
    found = only(output)
    assert found["long_run"]["verdict"] == "stable" and named(found["energies"], "chains")


@pytest.mark.parametrize("opening", [1, 3, 5, 7])
def test_the_next_checkpoint_is_taken_where_one_goes_at_once(gaussian, tmp_path, library, opening):
    """It goes after it was opened so many times."""
    shutil.copytree(gaussian / "run", tmp_path / "run", symlinks=True)
    newest = checkpoint(tmp_path / "run", 30)
    variables = faults(library, tmp_path / "run", tmp_path / "log", gone=newest, openings=opening)
    evaluate(tmp_path / "run", "--output", tmp_path / "list.json", **variables)
    assert not newest.exists() and "spoiled open" in (tmp_path / "log").read_text()
    found = only(tmp_path / "list.json")
    assert named(found["energies"], "chains") and found["energy"]["checkpoint"].endswith(found["path"])
    shutil.copy(checkpoint(gaussian / "run", 30), newest)
    result = run("evaluate", newest, "--output", tmp_path / "list.json", **variables)
    if result.returncode != FINISHED:  # else its states at least were open
        refused(result, INPUT_OUTPUT, newest, "give its run")


# --- cut off --------------------------------------------------------------------------------------------
def kept(output):
    """{file: when it was written} of the chains that are kept beside a list of results."""
    return {path: path.stat().st_mtime_ns for path in output.parent.glob(output.name + ".chains-*")
            if ".part." not in path.name}


def cut_off(command, output, ranks, number):
    """Ends one rank of an evaluation of fresh chains and a long run, once chains of the long run were kept some times."""
    with Process(launched([PROGRAM, *command, "--output", output], ranks)) as process:
        before, seen = kept(output), set()

        def moving():
            seen.update(set(kept(output).items()) - set(before.items()))
            return len(kept(output)) == 2 and len(seen) > 15
        process.wait_for(moving, "chains that are kept")
        kill(process.ranks()[0], number)
        assert process.finish().returncode != FINISHED


def gone_on(said, part):
    """At which step a part goes on; None where it begins anew."""
    found = re.search(rf"{part}: goes on at step (\d+), of ", said)
    return found and int(found[1])


def test_chains_go_on_where_they_were_cut_off(gaussian, tmp_path):
    """By each signal, on any number of ranks; and what is whole and of these settings alone serves."""
    command = ("evaluate", gaussian / "run", "--fresh", 400, "--chains", 64, "--long-run", 6000)
    ends(run(*command, "--output", tmp_path / "whole.json"), FINISHED)
    assert not kept(tmp_path / "whole.json")
    output = tmp_path / "cut.json"
    cut_off(command, output, 1, signal.SIGTERM)
    other = ends(run(*command[:2], "--chains", 63, "--long-run", 6000, "--output", output), FINISHED).stdout
    assert gone_on(other, "long run") is None and len(kept(output)) == 2
    cut_off(command, output, 2, signal.SIGKILL)
    (fresh, long_run) = sorted(kept(output), key=lambda path: kept(output)[path])
    copies = {path: path.read_bytes() for path in (fresh, long_run)}
    said = ends(run(*command, "--output", output), FINISHED).stdout
    assert gone_on(said, "fresh chains") == 400 and 0 < gone_on(said, "long run") < 6000 and not kept(output)
    whole = without_clocks(only(tmp_path / "whole.json"))
    assert without_clocks(only(output)) == whole
    # Damage is told by the file's digest.
    for path, content in copies.items():
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    said = ends(run(*command, "--output", output, ranks=2), FINISHED).stdout
    assert gone_on(said, "fresh chains") is gone_on(said, "long run") is None and not kept(output)
    assert without_clocks(only(output)) == whole


def test_a_bank_of_no_numbers_is_no_verdict_on_chains(gaussian, tmp_path):
    shutil.copytree(gaussian / "run", tmp_path / "run", symlinks=True)
    poison(tmp_path / "run", 30, chain=40)
    said = evaluate(tmp_path / "run", "--draws", 30, "--long-run", 40, "--output", tmp_path / "list.json").stdout
    found = only(tmp_path / "list.json")["long_run"]
    (reason,) = found["reasons"]
    assert found["verdict"] == "none" and "chains from bank are no finite numbers" in reason and reason in said


# --- images: chains that were trained for some steps only -----------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory, convnet, images):
    folder = tmp_path_factory.mktemp("short")
    data = folder / "images.h5"
    write_both_splits(data, images)
    trains(folder / "run", {"data.path": data, "run.iterations": 40, "samples.every": 20, "samples.chains": 24,
                            "chains.start": "data", "checkpoint.keep_last": 1}, convnet)
    return folder / "run"


STATES = ("--features", "states")


def test_chains_of_a_few_steps_are_a_short_run_generator(trained):
    evaluate(trained, *STATES, "--long-run", 2000, "--chains", 40, "--output", trained / "long.json")
    found = only(trained / "long.json")["long_run"]
    assert found["verdict"] == "short-run generator" and found["reasons"] and "stable where" in found["rule"]


def test_draws_take_the_weights_of_their_iteration(trained):
    evaluate(draws(trained, 40), *STATES)
    found = listed(trained / "evaluation.json")[-1]
    assert found["energy"]["checkpoint"].endswith("iteration-00000040.h5")
    assert named(found["energies"], "chains")["states"] == 24
    # That of iteration 20 is no longer there: one remark, and no energies.
    said = evaluate(draws(trained, 20), *STATES).stdout
    found = listed(trained / "evaluation.json")[-1]
    (remark,) = found["energies"]["remarks"]
    assert "aren't there" in remark and remark in said and "energy" not in found and not found["energies"]["sets"]
    for option, ranks in ((("--ood", trained.parent / "images.h5"), 1), (("--long-run", "9"), 2)):
        refused(run("evaluate", draws(trained, 20), *STATES, *option, ranks=ranks), INPUT_OUTPUT, "weights", "aren't there")


def test_draws_say_which_weights_made_them(trained, tmp_path):
    ends(run("sample", checkpoint(trained, 40), "--set", "sampler.steps=2", "--set", "sampler.write_every=1",
             "--last-weights", "--output", tmp_path / "last.nc"), FINISHED)
    evaluate(tmp_path / "last.nc", *STATES)
    found = only(tmp_path / "last.nc.evaluation.json")
    assert found["energy"]["weights"] == "last"
    assert any("too narrow" in remark for remark in found["energies"]["remarks"])
    with h5py.File(tmp_path / "last.nc") as file:
        energies = file["sample_stats/potential_energy"][:]
    assert named(found["energies"], "chains")["mean"] == pytest.approx(energies.mean(), rel=1e-5)


def test_draws_of_another_run_have_no_weights_here(trained, tmp_path):
    """In a run's folder, or of a checkpoint that another run has written anew: one remark, and no energies."""
    with h5py.File(draws(trained, 40)) as file:
        config, states = file.attrs["configuration"], file["posterior/x"][:]
    sampled = trained / "samples" / "sampled.nc"
    ends(run("sample", trained / "checkpoints" / "latest", "--set", "sampler.steps=1", "--set", "sampler.write_every=1",
             "--set", "run.seed=9", "--output", sampled), FINISHED)
    with h5py.File(sampled) as file:
        made = dict(file.attrs)
    assert made["checkpoint"].endswith("iteration-00000040.h5")
    common = {"configuration": config, "iteration": 40}
    of_sample = {key: made[key] for key in ("configuration", "iteration", "checkpoint", "weights", "weights_digest")}
    for attributes, words in (
            (common, None), (of_sample, None),
            ({**common, "configuration": re.sub("seed: [0-9]+", "seed: 77", config)}, "run.seed is 77 there"),
            ({**of_sample, "configuration": re.sub("channels: [0-9]+", "channels: 77", made["configuration"])},
             "energy.channels is 77 there"),
            ({**of_sample, "weights_digest": "0123456789abcdef"}, "digest is 0123456789abcdef there")):
        copied = trained / "samples" / "copied.nc"
        with h5py.File(copied, "w") as file:
            file.attrs.update(attributes)
            file["posterior/x"] = states
        evaluate(copied, *STATES, "--output", tmp_path / "list.json")
        found = only(tmp_path / "list.json")["energies"]
        assert bool(found["sets"]) == (words is None)
        assert words is None or any("another run" in remark and words in remark for remark in found["remarks"])
    copied.unlink(), sampled.unlink()


def test_training_data_that_are_gone_cost_no_more_than_their_numbers(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run", symlinks=True)
    test = tmp_path / "test.h5"
    shutil.copy(trained.parent / "images.h5", test)
    hidden = trained.parent / "images.h5"
    hidden.rename(trained.parent / "hidden.h5")
    try:
        evaluate(tmp_path / "run", *STATES, "--data", test, "--output", tmp_path / "list.json")
        report = only(tmp_path / "list.json")["energies"]
        assert report["gap"] is None and any("training data" in remark for remark in report["remarks"])
        assert [one["name"] for one in report["sets"]] == ["test", "chains", "noise"]
        refused(run("evaluate", tmp_path / "run", *STATES, "--data", test, "--long-run", 5), INPUT_OUTPUT, "images.h5")
    finally:
        (trained.parent / "hidden.h5").rename(hidden)


# --- refusals -------------------------------------------------------------------------------------------
def test_refuses_what_does_not_fit(gaussian, trained, tmp_path):
    refused(run("evaluate", trained, *STATES, "--ood", gaussian / "wider.h5", ranks=2), CONFIGURATION, "wider.h5",
            "(1, 8, 8)", "(2)")
    refused(run("evaluate", trained, *STATES, "--ood", tmp_path / "none.h5"), INPUT_OUTPUT, "none.h5")
    write_points(tmp_path / "two.h5", left=numpy.zeros((9, 2)), right=numpy.zeros((9, 2)))
    refused(run("evaluate", gaussian / "run", "--ood", tmp_path / "two.h5"), CONFIGURATION, "two.h5", "left, right")
    for wrong in (("--weights", "best"), ("--long-run", 0)):
        refused(run("evaluate", trained, *STATES, *wrong), CONFIGURATION, wrong[0])
