"""jobs/time_to_quality.sh: seeds that reach a target, one of them cut off on the way; a target that is never reached;
staging; the same in plain PyTorch; and what can't be asked for."""
import csv
import json
import signal
import subprocess
import sys

import h5py
import numpy
import pytest
from PIL import Image
from program import (CONFIGURATION, ENVIRONMENT, FINISHED, REQUEUE, ROOT, SMOKE, Process, checkpoint, ends, kill,
                     rows_so_far, run, settings, trains, unfinished)

sys.path.insert(0, str(ROOT / "tools"))

SCRIPT = ROOT / "jobs" / "time_to_quality.sh"
RINGS = ROOT / "configs" / "toy_rings.yaml"
# KID·1000 of chains from noise is above 50 at first, and below 10 after 200 iterations or so.
LEARNS = {"chains.start": "uniform", "data.batch": 256, "chains.total": 256, "chains.active": 256,
          "run.iterations": 600, "evaluation.every": 50, "checkpoint.every": 10, "samples.every": "null", "sampler.steps": 20,
          "optimizer.schedule.end": 600}
QUICK = {"run.iterations": 20, "evaluation.every": 5, "samples.every": "null", "evaluation.features": "states"}


def study(*arguments, values=()):
    return Process([str(part) for part in (SCRIPT, *settings(dict(values)), *arguments)])


def studies(*arguments, code=FINISHED, **more):
    with study(*arguments, **more) as process:
        return ends(process.finish(), code)


def clock(folder, seed):
    return json.loads((folder / f"seed-{seed}" / "time.json").read_text())


def result(folder):
    return json.loads((folder / "result.json").read_text())


# --- to the target ------------------------------------------------------------------------------------
def test_seeds_that_are_cut_off_go_on_and_their_time_adds_up(tmp_path):
    arguments = (RINGS, "--target", "kid=10", "--seeds", 2, "--ranks", 1, "--output", tmp_path)
    directory = tmp_path / "seed-1" / "run"
    with study(*arguments, values=LEARNS) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 25, "25 rows")
        kill(process.ranks()[0], signal.SIGKILL)
        said = process.finish()
        assert said.returncode == 137 and "seed 1 ended with exit code 137" in said.stderr, said.stderr
    first = clock(tmp_path, 1)
    assert first["end"] is None and first["starts"][0]["iterations"] >= 25 and first["starts"][0]["exit_code"] == 137

    said = studies(*arguments, values=LEARNS).stdout
    told = clock(tmp_path, 1)
    assert told["end"] == "reached" and len(told["starts"]) == 2 and told["starts"][0] == first["starts"][0]
    reached = told["reached"]
    assert first["starts"][0]["seconds"] < reached["seconds"] <= sum(one["seconds"] for one in told["starts"])
    assert reached["iterations_computed"] > reached["iteration"]  # what was lost was computed twice
    assert reached["kid_test"] <= 0.01 < told["evaluations"][0]["kid_test"]
    found = result(tmp_path)
    assert (found["reached"], found["of"]) == (2, 2) and "2 of 2 seed(s) reached the target" in said
    one = found["seeds"][0]
    assert one["chain_gradients"] == reached["iterations_computed"] * 256 * 20
    assert one["weight_gradients"] == reached["iterations_computed"] * (256 + 256)
    assert found["summary"]["seconds"]["greatest"] == max(seed["seconds"] for seed in found["seeds"])
    assert (tmp_path / "table.txt").read_text().strip() in said
    assert Image.open(tmp_path / "time_to_quality.png").size[0] > 800

    before = [clock(tmp_path, seed) for seed in (1, 2)]
    studies(*arguments, values=LEARNS)  # nothing is repeated
    assert before == [clock(tmp_path, seed) for seed in (1, 2)]
    refused = studies(*arguments, values={**LEARNS, "sampler.steps": 21}, code=CONFIGURATION).stderr
    assert "sampler.steps 20, now 21" in refused and refused.count("\n") == 1
    # The cut and the stop left the run as an undisturbed one has it.
    rows = list(csv.DictReader((directory / "metrics.csv").open()))
    trains(tmp_path / "whole", {**LEARNS, "run.iterations": len(rows), "run.seed": 1, "sampler.threshold": 3}, RINGS)
    kids = [row["kid_test"] for row in csv.DictReader((tmp_path / "whole" / "metrics.csv").open())]
    assert [row["kid_test"] for row in rows] == kids


def test_a_target_that_is_never_reached_is_infinity(tmp_path):
    arguments = (SMOKE, "--target=kid_train=0", "--seeds=2-3", "--ranks", 2, "--output", tmp_path)
    said = studies(*arguments, values=QUICK).stdout
    assert "0 of 2 seed(s) reached the target" in said and "finished without reaching it" in said
    found = result(tmp_path)
    assert found["summary"]["seconds"]["median"] is None
    assert [(seed["seed"], len(seed["evaluations"])) for seed in found["seeds"]] == [(2, 4), (3, 4)]
    assert "2 rank(s)" in said


def test_a_study_is_stopped_with_a_checkpoint(tmp_path):
    arguments = (RINGS, "--target", "kid=0", "--seeds", 2, "--ranks", 2, "--output", tmp_path)
    with study(*arguments, values={**LEARNS, "run.iterations": 100000}) as process:
        process.wait_for(lambda: rows_so_far(tmp_path / "seed-1" / "run") >= 3, "3 rows")
        kill(process.process.pid, signal.SIGTERM)
        said = ends(process.finish(), REQUEUE)
    assert "the same command goes on" in said.stdout and not (tmp_path / "seed-2").exists()
    assert clock(tmp_path, 1)["end"] is None and not unfinished(tmp_path)


# --- staging ------------------------------------------------------------------------------------------
def test_staging_is_part_of_the_time(tmp_path):
    images = numpy.random.default_rng(3).integers(0, 256, (40, 1, 8, 8), dtype=numpy.uint8)
    numpy.savez(tmp_path / "images.npz", x_train=images[:30, 0], x_test=images[30:, 0])
    values = {**QUICK, "run.iterations": 5, "data.type": "file", "data.path": tmp_path / "images.h5", "data.batch": 8,
              "sampler.box": "[-1, 1]", "energy.hidden": "[8]"}
    convert = ("--target", "kid=0", "--seeds", 1, "--ranks", 1, "--convert", f"{tmp_path}/images.npz")
    studies(SMOKE, *convert, "--output", tmp_path / "converted", values=values)
    told = clock(tmp_path / "converted", 1)
    assert told["end"] == "finished without reaching it"
    assert 0 < told["starts"][0]["staging"] < told["starts"][0]["seconds"]
    assert not list((tmp_path / "converted").glob("*.h5*"))  # the copy is gone
    missing = studies(SMOKE, *convert[:6], "--output", tmp_path / "none", values=values, code=CONFIGURATION).stderr
    assert "there is no data file" in missing and not (tmp_path / "none").exists()


# --- the same in plain PyTorch -----------------------------------------------------------------------
def imports_torch():
    return subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode == 0


needs_torch = pytest.mark.skipif(not imports_torch(), reason="PyTorch for Python isn't here (tools/setup.sh --peers)")


def test_pytorch_that_is_missing_is_told(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = studies(SMOKE, "--target", "kid=5", "--seeds", 1, "--peer", "--output", tmp_path / "study", values=QUICK,
                   code=ENVIRONMENT).stderr
    assert "(no torch here): 'tools/setup.sh --peers' installs it" in said and said.count("\n") == 1


@needs_torch
def test_the_same_in_plain_pytorch(tmp_path):
    arguments = (RINGS, "--target", "kid=30", "--seeds", 1, "--ranks", 1, "--peer", "--output", tmp_path)
    said = studies(*arguments, values=LEARNS).stdout
    found = result(tmp_path)
    assert found["peer"]["reached"] == 1 and found["ratio_of_medians"]["seconds"] > 0
    assert "the same recipe in plain PyTorch" in said and "PyTorch's median / stanley's, wall time: " in said
    peer, = found["peer"]["seeds"]
    assert peer["evaluations"][-1]["kid_times_1000"] <= 30 and peer["iterations"] % 50 == 0


@needs_torch
def test_the_plain_pytorch_training_goes_on_where_it_was(tmp_path):
    """With the same bits: weights, chains, orders and random numbers are kept."""
    import torch
    from stanley_tools.peers.train import Training
    from stanley_tools.quality.study import read_configuration
    config = read_configuration(resolved({**LEARNS, "run.iterations": 12, "evaluation.every": 600,
                                          "chains.maximum_age": 100, "chains.principal_components": 1,
                                          "objective.denoising": 0.1, "objective.denoising_noise": 0.5,
                                          "chains.start": "{uniform: 0.5, data_gaussian: 0.5}",
                                          "chains.restart_probability": 0.05}))

    def trained(folder, *ends):
        for end in ends:
            config["run"]["iterations"] = end
            training = Training(config, tmp_path / folder, [], "test", 1)
            training.train()
        return torch.cat([parameter.flatten() for parameter in training.average.parameters()]), training.bank.states

    whole, cut = trained("whole", 12), trained("cut", 5, 12)
    assert all(torch.equal(one, other) for one, other in zip(whole, cut))
    rows = list(csv.DictReader((tmp_path / "cut" / "metrics.csv").open()))
    assert [int(row["iteration"]) for row in rows] == list(range(1, 13))


@needs_torch
@pytest.mark.parametrize("kind", ["mlp", "convnet", "resnet"])
@pytest.mark.parametrize("sampler", [{"sampler.threshold": "{quantile: 0.6}"}, {"sampler.refresh": "iteration"},
                                     {"sampler.threshold": 0.003}, {"sampler.type": "langevin"}])
def test_chain_steps_of_plain_pytorch_are_those_of_the_program(tmp_path, convnet, kind, sampler):
    """Next to no noise: then a step is a number."""
    import torch
    from stanley_tools.peers import recipe, train
    from stanley_tools.quality.study import read_configuration
    values = {"run.iterations": 1, "chains.restart_probability": 0, "chains.active": 48, "sampler.noise": 1e-7,
              "sampler.refresh": "step", "energy.type": kind, "checkpoint.every": 1, **sampler}
    trains(tmp_path / "run", values, convnet)
    config = read_configuration((tmp_path / "run" / "config.yaml").read_text())
    before, after = (h5py.File(checkpoint(tmp_path / "run", iteration)) for iteration in (0, 1))
    states, moved = (torch.from_numpy(file["chains/state"][:]) for file in (before, after))
    network = train.make_network(config["energy"], tuple(states.shape[1:]))
    names = dict(network.named_parameters())
    for name, parameter in zip(before["parameters"] if kind == "mlp" else names, names.values()):
        parameter.data = torch.from_numpy(before[f"parameters/{name}"][:])
    network.requires_grad_(False)
    found = train.advance(network, recipe.Step.of(config["sampler"]), torch.float32, states, config["sampler"]["steps"])
    assert (moved - states).abs().max() > 1e-3
    # A pixel at the quantile may round to the other side of it.
    assert ((found - moved).abs() > 2e-5).float().mean() < 1e-3


@needs_torch
def test_the_plain_pytorch_training_has_the_law_of_the_program(tmp_path):
    """Null hypothesis: spread and energies of the chains after 15 iterations have the same mean over 8 seeds. Fixed
    seeds; Welch's |t| above 6 has a chance of 1e-5 or so. It was seen to reject half the noise, and noise by
    γ for √γ; the drift has the test above."""
    import torch
    from stanley_tools.peers.train import Training
    from stanley_tools.quality.study import read_configuration
    values = {**LEARNS, "run.iterations": 15, "evaluation.every": 600, "chains.restart_probability": 0,
              "sampler.threshold": 0.05, "sampler.noise": 0.3, "sampler.temperature": "null", "sampler.box": "null"}
    config = read_configuration(resolved(values))
    ours, theirs = [], []
    for seed in range(1, 9):
        trains(tmp_path / str(seed), {**values, "run.seed": seed, "evaluation.every": "null"}, RINGS)
        row = list(csv.DictReader((tmp_path / str(seed) / "metrics.csv").open()))[-1]
        ours.append([float(row[name]) for name in ("chain_scale", "energy_chains", "distance_moved")])
        config["run"]["seed"] = seed
        training = Training(config, tmp_path / f"peer-{seed}", [], "test", 1)
        told = []
        loss = training._loss

        def spy(x, z, counted):
            with torch.no_grad():
                told[:] = [z.std().item(), training.network(z).mean().item(), (z - before).norm(dim=1).mean().item()]
            return loss(x, z, counted)

        training._loss = spy
        for iteration in range(15):
            # All chains are active, but in an order of their own.
            state = torch.get_rng_state()
            left = training.bank.left
            rows = torch.randperm(256) if not len(left) else left
            torch.set_rng_state(state)
            before = training.bank.states[rows].clone()
            training._iterate(15)
            training.iteration += 1
        theirs.append(told)
    ours, theirs = numpy.array(ours), numpy.array(theirs)
    errors = numpy.sqrt((ours.var(0, ddof=1) + theirs.var(0, ddof=1)) / 8)
    assert (abs(ours.mean(0) - theirs.mean(0)) / errors).max() < 6, (ours.mean(0), theirs.mean(0), errors)


@needs_torch
def test_the_plain_pytorch_training_takes_off_as_much_noise_as_the_program(tmp_path):
    """Null hypothesis: noise_left of the last of 40 iterations has the same mean over 4 seeds. Fixed seeds; Welch's
    |t| above 7 has a chance of 4e-4 or so. It was seen to reject the strongest noise alone, and noises of equal
    weight."""
    from stanley_tools.peers.train import Training
    from stanley_tools.quality.study import read_configuration
    values = {**LEARNS, "run.iterations": 40, "evaluation.every": "null", "checkpoint.every": "null", "sampler.steps": 1,
              "objective.denoising": 1000, "objective.denoising_noise": 4, "data.noise": 1, "data.range": "[-2, 2]",
              "optimizer.learning_rate": 0.002, "chains.active": 64}
    config = read_configuration(resolved(values))
    ours, theirs = [], []
    for seed in range(1, 5):
        trains(tmp_path / str(seed), {**values, "run.seed": seed}, RINGS)
        ours.append(float(list(csv.DictReader((tmp_path / str(seed) / "metrics.csv").open()))[-1]["noise_left"]))
        config["run"]["seed"] = seed
        training = Training(config, tmp_path / f"peer-{seed}", [], "test", 1)
        for training.iteration in range(40):
            training._iterate(40)
        theirs.append(training.denoising.left)
    error = numpy.sqrt((numpy.var(ours, ddof=1) + numpy.var(theirs, ddof=1)) / 4)
    assert abs(numpy.mean(ours) - numpy.mean(theirs)) < 7 * error and numpy.mean(ours) < 0.4, (ours, theirs, error)


@needs_torch
def test_starts_of_plain_pytorch_lie_where_those_of_the_program_do(tmp_path, convnet):
    """In the planes of largest variance through the means of the classes, as far from these as chance has them."""
    import torch
    from stanley_tools.peers.states import Starts, load_data
    from stanley_tools.quality.study import read_configuration
    trains(tmp_path / "run", {"run.iterations": 1, "checkpoint.every": 1, "chains.start": "data_gaussian",
                              "chains.principal_components": 2, "chains.total": 480, "sampler.box": "[-9, 9]"}, convnet)
    config = read_configuration((tmp_path / "run" / "config.yaml").read_text())
    samples, labels = load_data(config["data"], torch.default_generator)
    gaussians = Starts(config, samples, labels, torch.default_generator).gaussians
    with h5py.File(checkpoint(tmp_path / "run", 0)) as file:
        states = torch.from_numpy(file["chains/state"][:]).flatten(1)
    inverses = [torch.linalg.pinv(root, rtol=1e-3) for _, root in gaussians]
    normal = torch.stack([(states - mean) @ inverse for (mean, _), inverse in zip(gaussians, inverses)])
    found = torch.stack([mean + of_class @ root for (mean, root), of_class in zip(gaussians, normal)])
    away, which = (found - states).norm(dim=2).min(0)
    assert len(gaussians) == 2 and away.max() < 1e-3
    squares = normal[which, torch.arange(480)].square().sum(1)  # χ² of two degrees: its mean is 2 ± 0.09
    assert 1.6 < squares.mean() < 2.4 and 180 < which.sum() < 300


def resolved(values):
    return ends(run("config", RINGS, *settings(values), "--resolved"), FINISHED).stdout


@pytest.mark.parametrize("schedule", ["{type: cosine, warmup: 3, final: 0.1}", "{type: exponential, decay: 0.9}",
                                      "{type: linear_warmup, warmup: 4}"])
def test_schedules_of_plain_pytorch_are_those_of_the_program(tmp_path, schedule):
    from stanley_tools.peers import recipe
    from stanley_tools.quality.study import read_configuration
    trains(tmp_path / "run", {"run.iterations": 8, "optimizer.schedule": schedule,
                              "chains.restart_probability": "{from: 0.4, to: 0.1}"})
    config = read_configuration((tmp_path / "run" / "config.yaml").read_text())
    for row in csv.DictReader((tmp_path / "run" / "metrics.csv").open()):
        iteration = int(row["iteration"]) - 1
        assert float(row["learning_rate"]) == pytest.approx(recipe.learning_rate(config["optimizer"], iteration, 8))
        assert float(row["restart_probability"]) == pytest.approx(
            recipe.between(config["chains"]["restart_probability"], iteration, 8))


# --- refused --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments, words", [
    ([], "names no configuration"), (["none.yaml", "--target", "kid=5", "--seeds", "2"], "none.yaml"),
    ([SMOKE, "--seeds", "2"], "--target kid=X"), ([SMOKE, "--target", "kid=5"], "--seeds"),
    ([SMOKE, "--target", "fid=5", "--seeds", "2", "--set", "evaluation.every=5"], "wants kid=X"),
    ([SMOKE, "--target", "kid=low", "--seeds", "2", "--set", "evaluation.every=5"], "'low' is not a number"),
    ([SMOKE, "--target", "kid=0.5", "--seeds", "2", "--set", "evaluation.every=5"], "kid=0.5/1000"),
    ([SMOKE, "--target", "kid=5", "--seeds", "0", "--set", "evaluation.every=5"], "--seeds 0"),
    ([SMOKE, "--target", "kid=5", "--seeds", "2"], "--set evaluation.every="),
    ([SMOKE, "--target", "kid=5", "--seeds", "2", "--set", "run.seed=3"], "--seeds and --output"),
    ([SMOKE, "--target", "kid=5", "--seeds", "2", "--ranks", "0"], "--ranks"),
    ([SMOKE, "--target", "kid=5", "--seeds", "2", "--nodes=2"], "go with --slurm"),
    ([SMOKE, "--target", "kid=5", "--seeds", "2", "--slurm", "--peer"], "--peer"),
    ([SMOKE, "--target"], "--target wants a value"), ([SMOKE, "--fast"], "--fast"), ([SMOKE, SMOKE], "second")])
def test_a_study_that_cannot_be_is_refused(tmp_path, arguments, words):
    said = studies("--output", tmp_path / "study", *arguments, code=CONFIGURATION).stderr
    assert words in said and said.count("\n") == 1 and not (tmp_path / "study").exists()


def test_a_configuration_that_cannot_be_is_refused(tmp_path):
    said = studies(SMOKE, "--target", "kid=5", "--seeds", 2, "--output", tmp_path, values={"chains.totl": 3},
                   code=CONFIGURATION).stderr
    assert "chains.totl" in said


def test_images_without_their_network_are_refused(tmp_path):
    images = numpy.zeros((8, 1, 8, 8), numpy.uint8)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file.attrs["value_range"] = [0, 255]
        file["train/images"] = images
    asked = (SMOKE, "--seeds", 1, "--output", tmp_path / "study", "--target")
    values = {"data.type": "file", "data.path": tmp_path / "images.h5", "evaluation.every": 5,
              "evaluation.features": tmp_path / "none.pt"}
    assert "tools/setup.sh --evaluate" in studies(*asked, "kid_train=5", values=values, code=CONFIGURATION).stderr
    assert "--target kid_train=X" in studies(*asked, "kid=5", values=values, code=CONFIGURATION).stderr
