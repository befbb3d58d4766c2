"""Wrong configurations: one message that says where and what, exit 2, and nothing touched."""
import pytest

from program import CONFIGURATION, SMOKE, checkpoint, run, settings, train
from refusals import LIMIT, refused, train_here, untouched

one_and_two = pytest.mark.parametrize("ranks", [1, 2])

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
    {"sampler.noise": 0.1}, {"sampler.type": "hmc"}, {"sampler.trajectory.steps": 0},
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
    untouched(tmp_path / "run")


@pytest.mark.parametrize("command", [("benchmark",), ("train", "--dry-run")], ids=" ".join)
def test_other_commands_refuse_alike(tmp_path, command):
    refused(run(command[0], tmp_path / "nowhere.yaml", *command[1:], limit=LIMIT), CONFIGURATION, "nowhere.yaml")
    refused(run(command[0], SMOKE, *command[1:], *settings({"sampler.steps": 0}), limit=LIMIT), CONFIGURATION,
            "sampler.steps")
