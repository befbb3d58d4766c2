"""`stanley config`: what a configuration means, its schema, and files that inherit from each other."""
import json
import os
import re
import signal
import subprocess

import pytest
import yaml

from program import CONFIGURATION, FINISHED, LIMIT, PROGRAM, ROOT, SMOKE, checkpoint, ends, run, settings, trains
from refusals import refused

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
RUNS = sorted((ROOT / "configs").glob("*.yaml"))
SCHEMA = ROOT / "configs" / "schema.json"
TINY = {"run.iterations": 1, "samples.every": "null", "checkpoint.every": 1}


class Core(yaml.SafeLoader):
    """Numbers as YAML 1.2 and editors have them: 1e-08 too."""


Core.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def read(text):
    return yaml.load(text, Core)


def says(*arguments, **more):
    return ends(run("config", *arguments, **more), FINISHED).stdout


# --- values -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("config", RUNS, ids=lambda path: path.stem)
def test_resolved_configuration_resolves_to_itself(tmp_path, config):
    resolved = says(config, "--resolved")
    (tmp_path / "config.yaml").write_text(resolved)
    assert says(tmp_path / "config.yaml", "--resolved") == resolved
    assert "base" not in read(resolved)


def test_resolved_is_the_configuration_of_the_run_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("STANLEY_TEST_RUNS", str(tmp_path))
    values = {**TINY, "run.directory": "$STANLEY_TEST_RUNS/runs", "sampler.threshold": "3"}
    arguments = [ROOT / "configs" / "toy_rings.yaml", *settings(values)]
    ends(run("train", *arguments), FINISHED)
    assert says(*arguments, "--resolved") == (tmp_path / "runs" / "toy_rings" / "config.yaml").read_text()


@pytest.mark.parametrize("overrides", [
    ["run={name: foo}"], ["run.name='foo'"], ["run.name=\"on\""], ["run.name=on", "run.directory=deep/er"],
    ["run.directory=$STANLEY_TEST_RUNS/x"], ["--run-directory", "$STANLEY_TEST_RUNS/a b"], ["--run-directory", "here/"]])
def test_directory_is_where_train_writes(tmp_path, monkeypatch, overrides):
    monkeypatch.setenv("STANLEY_TEST_RUNS", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    more = overrides if overrides[0].startswith("--") else [part for one in overrides for part in ("--set", one)]
    arguments = [SMOKE, *settings(TINY), *more]
    directory = says(*arguments, "--directory").removesuffix("\n")
    ends(run("train", *arguments), FINISHED)
    assert checkpoint(directory, 1).exists() and len(list(tmp_path.rglob("run.json"))) == 1


@pytest.mark.parametrize("key, value, more", [
    ("run.name", "smoke", []), ("run.name", "a.b-c", ["run.name='a.b-c'"]), ("run.seed", "7", ["run.seed=7"]),
    ("energy.hidden", "[32, 32]", []), ("sampler.noise", "null", []), ("sampler.temperature", "1", []),
    ("sampler.threshold", "{quantile: 0.5}", []), ("sampler.box", "[-1.5, 1.5]", []), ("data.path", "", []),
    ("data.path", "/a b/\"c\"", ["data.path='/a b/\"c\"'"]), ("sampler.type", "stanley", []),
    ("run.reproducible", "false", []), ("samples.chains", "null", []), ("run.until", "3h30m", ["run.until=3h30m"])])
def test_one_value(key, value, more):
    overrides = [part for one in more for part in ("--set", one)]
    assert says(SMOKE, *overrides, "--get", key) == value + "\n"


def test_every_key_of_the_resolved_configuration_can_be_asked_for():
    keys = json.loads(SCHEMA.read_text())["properties"]["watchdog"]["properties"]
    assert keys and all(says(SMOKE, "--get", f"watchdog.{key}") for key in keys)


# --- command line -----------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments, words", [
    ([SMOKE], ["exactly one of --resolved, --get KEY, --directory and --schema"]),
    ([SMOKE, "--resolved", "--directory"], ["exactly one of"]),
    (["--schema", "--get", "run.name"], ["exactly one of"]),
    (["--resolved"], ["a configuration file", "stanley config CONFIG --resolved"]),
    ([SMOKE, "--get", "run.nam"], ["run.nam: unknown key", "run.name"]),
    ([SMOKE, "--get", "sampler"], ["sampler: expected a key, found a section", "sampler.type, sampler.steps"]),
    ([SMOKE, "--get", "optimizer.schedule"], ["found a section", "optimizer.schedule.warmup"]),
    ([SMOKE, "--get", "sampler.threshold.quantile"], ["found a part of sampler.threshold: ask for that"]),
    ([SMOKE, "--get", "run.name\nrun.seed"], ["run.name\\x0arun.seed: unknown key"]),
    ([SMOKE, "--get", ""], ["--get: expected a value, found an empty text"]),
    ([SMOKE, "--get", "run.name", "--get", "run.seed"], ["--get is given 2 times: give it once"]),
    ([SMOKE, "--directory", "--run-directory", ""], ["--run-directory: expected a value"]),
    ([SMOKE, "--schema"], ["neither a configuration nor --set with --schema"]),
    (["--schema", "--set", "run.seed=1"], ["neither a configuration nor --set"]),
    (["", "--resolved"], ["config: expected a value, found an empty text"]),
    ([SMOKE, "--resolved", "--set", "run.name=a\nb"], ["--set run.name=a\\x0ab: run.name: expected"]),
    ([SMOKE, "--resolved", "--set", "sampler.type=hmc"],
     ["--set sampler.type=hmc: sampler.type", "set sampler.metropolis to true"]),
    ([SMOKE, "--resolved", "--set", "evaluation.every=3", "--set", "evaluation.chains=65"],
     ["--set evaluation.chains=65: evaluation.chains", "chains.total 64"]),
    ([SMOKE, "--directory", "--set", "run.directory="], ["run.directory: expected the path of a folder"]),
    ([SMOKE, "--directory", "--set", "run.directory=''"], ["run.directory: expected the path of a folder"]),
    ([SMOKE, "--resolved", "--set", "sampler.steps=0"], ["--set sampler.steps=0", "sampler.steps: expected"]),
    (["nowhere.yaml", "--directory"], ["nowhere.yaml", "No such file"]),
    ([SMOKE, "--directory", "--run-directory", "~somebody/x"], ["--run-directory", "~somebody/x"]),
], ids=str)
def test_wrong_command_line_gets_one_sentence(arguments, words):
    refused(run("config", *arguments), CONFIGURATION, *words)


def test_a_pipe_that_nobody_writes_into_can_be_left(tmp_path):
    """`stanley config` has nothing to bring to an end: the first TERM is the last."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "child.yaml").write_text("base: pipe\n")
    with subprocess.Popen([PROGRAM, "config", tmp_path / "child.yaml", "--resolved"]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.terminate()
        assert process.wait(LIMIT) == -signal.SIGTERM


def test_one_answer_whatever_launcher_is_there(tmp_path):
    """Under mpirun one rank tells; what a launcher left in the environment starts no MPI."""
    assert says(SMOKE, "--get", "run.name", ranks=2) == "smoke\n"
    refused(run("config", SMOKE, "--get", "x", ranks=2), CONFIGURATION, "x: unknown key")
    for variables in ({"PMI_RANK": "0", "PMI_SIZE": "4", "PMI_FD": "77"}, {"STANLEY_MPI": "yes"},
                      {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}):
        assert says(SMOKE, "--get", "run.name", **variables) == "smoke\n"
    assert says(SMOKE, "--get", "run.name", SLURM_STEP_NUM_TASKS="2", SLURM_PROCID="1") == ""


# --- schema -----------------------------------------------------------------------------------------
TYPES = {"integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
         "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
         "string": lambda v: isinstance(v, str), "boolean": lambda v: isinstance(v, bool),
         "null": lambda v: v is None, "array": lambda v: isinstance(v, list), "object": lambda v: isinstance(v, dict)}
KNOWN = {"$schema", "title", "description", "default", "type", "enum", "anyOf", "minimum", "maximum", "exclusiveMinimum",
         "exclusiveMaximum", "pattern", "items", "minItems", "maxItems", "properties", "required", "additionalProperties"}


def complaints(schema, value, path=""):
    """What JSON Schema has to say, as far as the schema of the configuration uses it."""
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    if "anyOf" in schema:
        return [] if any(not complaints(one, value, path) for one in schema["anyOf"]) else [path]
    if "enum" in schema:
        return [] if value in schema["enum"] else [path]
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(TYPES[name](value) for name in types):
        return [path]
    found = []
    if TYPES["number"](value):
        good = (schema.get("minimum", value) <= value <= schema.get("maximum", value)
                and value > schema.get("exclusiveMinimum", value - 1) and value < schema.get("exclusiveMaximum", value + 1))
        found += [] if good else [path]
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(path)
    if isinstance(value, list):
        fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        found += [] if fits else [path]
        found += [one for item in value for one in complaints(schema["items"], item, path)]
    if isinstance(value, dict):
        found += [path for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            below = schema.get("properties", {}).get(name, schema["additionalProperties"])
            found += [f"{path}.{name}"] if below is False else complaints(below, item, f"{path}.{name}")
    return found


@pytest.fixture(scope="module")
def schema():
    return json.loads(says("--schema"))


def test_shipped_schema_is_that_of_the_program():
    assert SCHEMA.read_text() == says("--schema"), "renew it: stanley config --schema > configs/schema.json"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_name_the_schema_and_fit_it(schema, config):
    text = config.read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named and (config.parent / named[1]).resolve() == SCHEMA
    assert complaints(schema, read(text)) == []


@pytest.mark.parametrize("config", RUNS, ids=lambda path: path.stem)
def test_resolved_configurations_fit_the_schema(schema, config):
    resolved = read(says(config, "--resolved"))
    assert complaints(schema, resolved) == []
    # Every key is in both.
    for name, section in schema["properties"].items():
        assert name in ("base", "stages") or section["properties"].keys() == resolved[name].keys()


@pytest.mark.parametrize("text, wrong", [
    ("sampler: {step: 3}", ".sampler.step"), ("smapler: {steps: 3}", ".smapler"), ("sampler: 3", ".sampler"),
    ("sampler: {steps: 0}", ".sampler.steps"), ("sampler: {steps: many}", ".sampler.steps"),
    ("sampler: {step_size: 0}", ".sampler.step_size"), ("energy: {type: convnets}", ".energy.type"),
    ("energy: {hidden: []}", ".energy.hidden"), ("energy: {hidden: [0]}", ".energy.hidden"),
    ("data: {range: [1, 2, 3]}", ".data.range"), ("sampler: {threshold: {quantile: 0}}", ".sampler.threshold"),
    ("sampler: {threshold: {quantiles: 0.5}}", ".sampler.threshold"), ("run: {seed: null}", ".run.seed"),
    ("chains: {restart_probability: {from: 0.5}}", ".chains.restart_probability"), ("run: {name: a/b}", ".run.name"),
    ("run: {directory: ''}", ".run.directory"), ("run: {until: sometime}", ".run.until"), ("base: [a.yaml]", ".base"),
    ("optimizer: {schedule: {kind: cosine}}", ".optimizer.schedule.kind")])
def test_schema_refuses_what_the_program_refuses(tmp_path, schema, text, wrong):
    assert complaints(schema, read(text)) == [wrong]
    (tmp_path / "bad.yaml").write_text(text + "\n")
    refused(run("config", tmp_path / "bad.yaml", "--resolved"), CONFIGURATION, wrong[1:], lines=None)


@pytest.mark.parametrize("text", ["run: {until: 3h30m, name: a.b-c}", "sampler: {threshold: 3, box: null}", "base: ../a b.yaml",
                                  "chains: {restart_probability: {from: 0.5, to: 0}}", "checkpoint: {hints: {a: 1, b: x}}",
                                  "run: {until: '2026-11-30T12:00:00'}", "optimizer: {gradient_clip: 1}"])
def test_schema_takes_every_form_of_a_value(schema, text):
    assert complaints(schema, read(text)) == []


# --- base -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ranks", [1, 2])
def test_mistakes_of_base_and_child_at_once(tmp_path, ranks):
    (tmp_path / "base.yaml").write_text(f"base: {SMOKE}\nsampler:\n  step: 3\n")
    (tmp_path / "child.yaml").write_text("base: base.yaml\nlog: {every: 0}\n")
    result = run("train", tmp_path / "child.yaml", "--run-directory", tmp_path / "run", ranks=ranks)
    said = refused(result, CONFIGURATION, f"{tmp_path}/child.yaml:2:14: log.every", lines=2)
    assert f"\n{tmp_path}/base.yaml:3:3: sampler.step: unknown key; the nearest known key is sampler.steps\n" in said
    assert not (tmp_path / "run").exists()


def test_child_of_a_shipped_configuration_trains_on_two_ranks(tmp_path):
    (tmp_path / "child.yaml").write_text(f"base: {SMOKE}\nrun: {{name: child, iterations: 1}}\nsampler: {{noise: 0.1}}\n")
    trains(tmp_path / "run", {"checkpoint.every": 1}, tmp_path / "child.yaml", ranks=2)
    resolved = read((tmp_path / "run" / "config.yaml").read_text())
    assert resolved["sampler"]["noise"] == 0.1 and resolved["sampler"]["temperature"] is None
    assert resolved["run"]["name"] == "child" and "base" not in resolved
    # The base may go: a checkpoint holds the whole configuration.
    trains(tmp_path / "run", {"checkpoint.every": 1, "run.iterations": 2}, tmp_path / "run" / "config.yaml")
