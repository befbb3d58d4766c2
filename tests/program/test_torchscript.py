"""An energy of the user's own: trained, stopped, resumed and sampled like a built-in one, or refused in one sentence."""
import json
import os
import pathlib
import shutil
import subprocess

import numpy
import pytest
import xxhash

from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, SMOKE, arrays, attributes, checkpoint, ends,
                     iterations_recorded, metrics, run, same_bits, settings, train, trains)
from refusals import LIMIT, contents, refused, train_here, untouched

DIVERGED = 4

WRITE_SCRIPT = os.environ["STANLEY_WRITE_SCRIPT"]

one_and_two = pytest.mark.parametrize("ranks", [1, 2])


def write(path, kind="energy"):
    subprocess.run([WRITE_SCRIPT, kind, path], check=True)
    return path


def own(path, values=()):
    return {"energy.type": "torchscript", "energy.path": path, **dict(values)}


def digest_of(path):
    return xxhash.xxh3_64(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def energy(tmp_path_factory):
    return write(tmp_path_factory.mktemp("energy") / "energy.pt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, energy):
    """A run of 20 iterations on one rank."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    trains(directory, own(energy, {"run.iterations": 20}))
    return directory


# --- training --------------------------------------------------------------------------------------
@one_and_two
def test_trains(tmp_path, energy, ranks):
    result = trains(tmp_path / "run", own(energy), ranks=ranks)
    assert f"autograd float32, TorchScript {energy}" in result.stdout
    [start] = json.loads((tmp_path / "run" / "run.json").read_text())["starts"]
    assert start["engine"] == f"autograd float32, TorchScript {energy}"
    first, last = (arrays(checkpoint(tmp_path / "run", at)) for at in (0, 30))
    names = {f"parameters/{layer}.{part}" for layer in ("first", "second") for part in ("weight", "bias")}
    assert names == {name for name in first if name.startswith("parameters/")}
    assert first["parameters/first.weight"].shape == (8, 2)
    assert all((first[name] != last[name]).any() for name in names)
    assert numpy.isfinite([float(text) for text in metrics(tmp_path / "run")[30][1:6]]).all()


def test_a_gradient_without_bounds_ends_it(tmp_path):
    """On a face of the box it is infinite, where the energy is not: no chain may rest there unseen."""
    values = own(write(tmp_path / "steep.pt", "steep at the edge"),
                 {"sampler.type": "langevin", "sampler.box": "[-1, 1]", "guard.enabled": "false"})
    refused(run(*train(tmp_path / "run", values)), DIVERGED, "not finite")


def test_checkpoint_tells_the_file(trained, energy):
    assert attributes(checkpoint(trained, 20), "/")["energy_digest"].decode() == digest_of(energy)
    said = ends(run("inspect", checkpoint(trained, 20)), FINISHED).stdout
    assert "energy_digest" in said and digest_of(energy) in said


def test_checkpoints_of_other_networks_have_no_such_digest(tmp_path):
    trains(tmp_path / "run", {"run.iterations": 1})
    assert "energy_digest" not in attributes(checkpoint(tmp_path / "run", 1), "/")


@pytest.mark.parametrize("ranks, values", [
    (1, {}), (2, {}), (1, {"run.precision": "bfloat16"}), (1, {"energy.spectral_normalization": "true"}),
])
def test_cut_and_resumed(tmp_path, energy, ranks, values):
    values = own(energy, values)
    trains(tmp_path / "whole", {**values, "run.iterations": 20}, ranks=ranks)
    for length in (1, 7, 20):
        trains(tmp_path / "cut", {**values, "run.iterations": length}, ranks=ranks)
    same_bits(checkpoint(tmp_path / "whole", 20), checkpoint(tmp_path / "cut", 20))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_reproducible_on_every_number_of_ranks(tmp_path, energy):
    values = own(energy, {"run.reproducible": "true", "run.iterations": 12})
    trains(tmp_path / "1", values)
    trains(tmp_path / "2", values, ranks=2)
    trains(tmp_path / "moved", {**values, "run.iterations": 5}, ranks=2)
    trains(tmp_path / "moved", values, ranks=4)
    for name in ("2", "moved"):
        same_bits(checkpoint(tmp_path / "1", 12), checkpoint(tmp_path / name, 12))


def test_images(tmp_path, convnet):
    values = own(write(tmp_path / "image.pt", "image"), {"run.iterations": 3})
    trains(tmp_path / "run", values, convnet)
    trains(tmp_path / "low", {**values, "run.precision": "bfloat16"}, convnet)
    assert arrays(checkpoint(tmp_path / "run", 3))["parameters/filter"].shape == (4, 1, 3, 3)


def test_dry_run(tmp_path, energy):
    said = trains(tmp_path / "run", own(energy), SMOKE, "--dry-run").stdout
    assert f"chains' gradient by autograd float32, TorchScript {energy}" in said
    assert list(tmp_path.iterdir()) == []


def test_branch(tmp_path, trained, energy):
    trains(tmp_path / "branch", own(energy, {"run.iterations": 25, "run.seed": 2}), SMOKE, "--resume",
           checkpoint(trained, 20))
    assert iterations_recorded(tmp_path / "branch") == list(range(21, 26))


def test_the_file_may_move(tmp_path, copied, energy):
    moved = tmp_path / "moved.pt"
    shutil.copy(energy, moved)
    trains(copied, own(moved, {"run.iterations": 22}))
    assert iterations_recorded(copied) == list(range(1, 23))


# --- sample and benchmark --------------------------------------------------------------------------
SAMPLING = {"sampler.steps": 4, "sampler.write_every": 2}


def sample(path, output, values=(), ranks=1):
    return run("sample", path, *settings({**SAMPLING, **dict(values)}), "--output", output, ranks=ranks, limit=LIMIT)


def energies_of(checkpoint_path, states, weights="average"):
    """By numpy in double precision: tests/script_modules.hpp, "energy"."""
    found = {name: value.astype(float) for name, value in arrays(checkpoint_path).items() if name.startswith(weights)}
    hidden = states @ found[f"{weights}/first.weight"].T + found[f"{weights}/first.bias"]
    hidden = hidden / (1 + numpy.exp(-hidden))
    return (hidden @ found[f"{weights}/second.weight"].T + found[f"{weights}/second.bias"])[:, 0]


@one_and_two
def test_samples(tmp_path, trained, ranks):
    ends(sample(checkpoint(trained, 20), tmp_path / "draws.nc", {}, ranks), FINISHED)
    found = arrays(tmp_path / "draws.nc")
    assert found["posterior/x"].shape == (64, 2, 2)
    expected = energies_of(checkpoint(trained, 20), found["posterior/x"][:, 1].astype(float))
    assert numpy.allclose(found["sample_stats/potential_energy"][:, 1], expected, rtol=1e-5, atol=1e-6)


def test_benchmark_does_not_pretend_to_know_the_arithmetic(energy):
    values = settings(own(energy))
    found = json.loads(ends(run("benchmark", SMOKE, *values, "--json", "--seconds", 0.5), FINISHED).stdout)
    assert found["engine"] == f"autograd float32, TorchScript {energy}"
    assert found["gflops"] is None and found["chain_steps_per_second"] > 0
    assert "gradient by autograd" in {one["name"] for one in found["by_operation"]["operations"]}
    said = ends(run("benchmark", SMOKE, *values, "--seconds", 0.5, "--iterations", 2), FINISHED).stdout
    assert "GFLOP/s per rank" not in said and "one iteration" in said and f"TorchScript {energy}" in said
    said = ends(run("benchmark", SMOKE, "--seconds", 0.5), FINISHED).stdout
    assert "GFLOP/s per rank" in said


# --- another file ----------------------------------------------------------------------------------
@pytest.fixture(params=["other code", "other weights"])
def changed(request, tmp_path):
    return write(tmp_path / "changed.pt", request.param)


@one_and_two
def test_resume_with_another_file(copied, energy, changed, ranks):
    before = contents(copied)
    result = run(*train(copied, own(changed, {"run.iterations": 30})), ranks=ranks, limit=LIMIT)
    refused(result, CONFIGURATION, "iteration-00000020.h5", digest_of(energy), digest_of(changed), changed,
            "energy.path", "--run-directory")
    assert contents(copied) == before


@one_and_two
def test_branch_with_another_file(tmp_path, trained, energy, changed, ranks):
    result = train_here(tmp_path, own(changed), SMOKE, "--resume", checkpoint(trained, 20), ranks=ranks)
    refused(result, CONFIGURATION, checkpoint(trained, 20), digest_of(energy), digest_of(changed))
    untouched(tmp_path / "run")


@one_and_two
def test_sample_with_another_file(tmp_path, trained, energy, changed, ranks):
    result = sample(checkpoint(trained, 20), tmp_path / "draws.nc", {"energy.path": changed}, ranks)
    refused(result, CONFIGURATION, checkpoint(trained, 20), digest_of(energy), digest_of(changed))
    assert not (tmp_path / "draws.nc").exists()


def test_file_that_changes_under_its_path(tmp_path, energy):
    path = tmp_path / "energy.pt"
    shutil.copy(energy, path)
    trains(tmp_path / "run", own(path, {"run.iterations": 5}))
    write(path, "other code")
    refused(run(*train(tmp_path / "run", own(path)), limit=LIMIT), CONFIGURATION, digest_of(energy), digest_of(path))
    path.unlink()
    refused(run(*train(tmp_path / "run", own(path)), limit=LIMIT), INPUT_OUTPUT, path, "No such file")
    shutil.copy(energy, path)
    trains(tmp_path / "run", own(path, {"run.iterations": 6}))


def test_samples_of_another_network_with_such_a_file(tmp_path, energy):
    trains(tmp_path / "run", {"run.iterations": 1})
    result = sample(checkpoint(tmp_path / "run", 1), tmp_path / "draws.nc", own(energy))
    refused(result, CONFIGURATION, "none there", digest_of(energy))


# --- files that are no energy ----------------------------------------------------------------------
def broken(path, energy, kind):
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("import torch\n")
    elif kind == "truncated":
        path.write_bytes(energy.read_bytes()[:-200])
    elif kind != "missing":
        write(path, kind)
    return path


BROKEN = {
    "missing": (INPUT_OUTPUT, ["No such file"]),
    "directory": (INPUT_OUTPUT, ["Is a directory"]),
    "empty": (INPUT_OUTPUT, ["TorchScript module", ".save("]),
    "text": (INPUT_OUTPUT, ["TorchScript module", ".save("]),
    "truncated": (INPUT_OUTPUT, ["TorchScript module", ".save("]),
    "without parameters": (INPUT_OUTPUT, ["none of its parameters learns"]),
    "double precision": (INPUT_OUTPUT, ["'w'", "float32"]),
    "two columns": (INPUT_OUTPUT, ["[2, 2]", "[2, 1]"]),
    "batch norm": (INPUT_OUTPUT, ["depends on the others in the batch"]),
    "dropout": (INPUT_OUTPUT, ["changes from call to call"]),
    "infinite": (INPUT_OUTPUT, ["inf", "finite"]),
    "stateless": (INPUT_OUTPUT, ["does not depend on the state"]),
    "in place": (INPUT_OUTPUT, ["changes the state that it is given", "x = x * 2"]),
    "in place, detached": (INPUT_OUTPUT, ["changes the state that it is given", "x.clone()"]),
    "in place on a part": (INPUT_OUTPUT, ["changes the state that it is given"]),
    "on a GPU": (CONFIGURATION, ["names a device in its code", "cpu", "device=x.device"]),
    "moved to a GPU": (CONFIGURATION, ["names a device in its code", "cpu", "device=x.device"]),
    "asserts": (CONFIGURATION, ["[2, 2]", "seven wanted"]),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_file_that_is_no_energy(tmp_path, energy, kind):
    code, words = BROKEN[kind]
    path = broken(tmp_path / "bad.pt", energy, kind)
    refused(train_here(tmp_path, own(path)), code, path, "energy.path", *words)
    untouched(tmp_path / "run")


@pytest.mark.parametrize("kind", ["missing", "text", "two columns", "asserts"])
def test_file_that_is_no_energy_on_two_ranks(tmp_path, energy, kind):
    code, words = BROKEN[kind]
    path = broken(tmp_path / "bad.pt", energy, kind)
    refused(train_here(tmp_path, own(path), ranks=2), code, path, *words)
    refused(run("benchmark", SMOKE, *settings(own(path)), ranks=2, limit=LIMIT), code, path, *words)
    untouched(tmp_path / "run")


@one_and_two
def test_module_that_cannot_compute_in_bfloat16(tmp_path, ranks):
    path = write(tmp_path / "single.pt", "single precision")
    result = train_here(tmp_path, own(path, {"run.precision": "bfloat16"}), ranks=ranks)
    refused(result, CONFIGURATION, path, "BFloat16", "run.precision to float32")
    assert not list((tmp_path / "run").rglob("*.h5*"))
    trains(tmp_path / "single", own(path, {"run.precision": "float32", "run.iterations": 2}), ranks=ranks)


def test_keys_that_belong_together(tmp_path):
    config = tmp_path / "own.yaml"
    config.write_text(SMOKE.read_text().replace("energy: {type: mlp, hidden: [32, 32]}", "energy: {type: torchscript}"))
    refused(train_here(tmp_path, {}, config), CONFIGURATION, "own.yaml:4:16: energy.type", "energy.path must name")
    config.write_text(SMOKE.read_text().replace("type: mlp", "type: mlp, path: energy.pt"))
    refused(train_here(tmp_path, {}, config), CONFIGURATION, "own.yaml:4:27: energy.path", "energy.type is mlp")
    assert not (tmp_path / "run").exists()
