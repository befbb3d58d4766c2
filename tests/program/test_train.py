"""A training from its command line to its files, and what the other commands make of those."""
import csv
import json
import re

import numpy
import pytest
import xarray
import yaml

from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, SMOKE, arrays, attributes, checkpoint, draws, ends,
                     iterations_recorded, metrics, run, settings, train, trains, unfinished)

one_and_two = pytest.mark.parametrize("ranks", [1, 2])

WITH_DRAWS = {"samples.every": 10}


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def finished(request, tmp_path_factory):
    """(directory, result, ranks) of a training that ran to its end."""
    directory = tmp_path_factory.mktemp("run") / "smoke"
    return directory, trains(directory, WITH_DRAWS, ranks=request.param), request.param


def test_run_directory_holds_what_is_promised(finished):
    directory = finished[0]
    assert {path.name for path in directory.iterdir()} >= {
        "config.yaml", "run.json", "metrics.csv", "log.txt", "samples", "checkpoints", "DONE"}
    for iteration in (0, 10, 20, 30):
        assert checkpoint(directory, iteration).is_file() and draws(directory, iteration).is_file()
    latest = directory / "checkpoints" / "latest"
    assert latest.is_symlink() and latest.resolve() == checkpoint(directory, 30).resolve()
    assert not unfinished(directory)


def test_without_draws(tmp_path):
    said = trains(tmp_path / "run", {"samples.every": "null", "chains.total": 2 ** 18}, SMOKE, "--dry-run").stdout
    assert "draws 0.0 MB" in said
    trains(tmp_path / "run", {"run.iterations": 2, "samples.every": "null"})
    assert checkpoint(tmp_path / "run", 2).is_file() and list((tmp_path / "run" / "samples").iterdir()) == []


def test_record_tells_start_and_verdict(finished):
    directory, _, ranks = finished
    record = json.loads((directory / "run.json").read_text())
    assert record["verdict"] == "finished" and record["exit_code"] == 0
    assert record["iteration"] == record["iterations"] == 30
    assert record["state_shape"] == [2] and record["parameters"] == 3 * 32 + 33 * 32 + 33
    assert record["version"] and record["commit"]
    [start], [stop] = record["starts"], record["stops"]
    assert start["ranks"] == ranks == len(start["hosts"]) and start["iteration"] == 0
    assert start["precision"] in ("float32", "bfloat16") and start["devices"] and start["reduction"]
    assert stop["verdict"] == "finished" and stop["iteration"] == 30 and stop["message"] == ""


# Where they are not defined: at a run's start, between the log's lines, where the chains can't tell.
MAY_BE_NAN = ("gap_autocorrelation", "data_score", "temperature_settled", "temperature_settled_error",
              "temperature_law", "temperature_law_error", "noise_left", "kid_train", "kid_test")


def test_metrics_hold_each_iteration_once(finished):
    with open(finished[0] / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == list(range(1, 31))
    for row in rows:
        values = {name: float(text) for name, text in row.items()}
        assert all(numpy.isfinite(value) for name, value in values.items() if name not in MAY_BE_NAN), row
        # A temperature has an error or neither is told; the score of the data stands where the log has a line.
        for name in ("temperature_settled", "temperature_law"):
            assert numpy.isfinite(values[name]) == (values[f"{name}_error"] > 0)
        assert (values["data_score"] > 0) == (values["iteration"] % 10 == 0)
        assert values["gap"] == pytest.approx(values["energy_chains"] - values["energy_data"], abs=1e-6)
        assert 0 < values["gain_weighted_drift"] < 1 and 0 <= values["saturation"] <= 1
        assert values["distance_moved"] > 0 and values["chain_steps_per_second"] > 0


def test_configuration_in_the_run_directory_is_complete(finished):
    config = yaml.safe_load((finished[0] / "config.yaml").read_text())
    assert {"run", "energy", "data", "chains", "sampler", "objective", "optimizer", "log", "samples", "checkpoint",
            "guard", "watchdog", "evaluation"} <= config.keys()
    assert config["optimizer"]["betas"] == [0, 0.999] and config["sampler"]["threshold"] == {"quantile": 0.5}


def test_log_line_says_what_one_looks_for(finished):
    directory, result, ranks = finished
    log = (directory / "log.txt").read_text()
    for text in (result.stdout, log):
        lines = [line for line in text.splitlines() if re.search(r"\b\d+/30 ", line)]
        assert len(lines) == 3
        for words in ("data", "chains", "gap", "grad", "gain", "< 1", "moved", "age", "chain steps/s",
                      "gradient", "reduction", "files", "left"):
            assert all(words in line for line in lines), words
        assert "finished: 30 iterations" in text and "\x1b" not in text
    assert result.stderr == ""
    assert len(re.findall("finished: 30", result.stdout)) == 1  # one rank speaks


def test_draws_are_the_bank_of_the_same_iteration(finished):
    for iteration in (0, 10, 20, 30):
        bank = arrays(checkpoint(finished[0], iteration))
        drawn = arrays(draws(finished[0], iteration))
        assert drawn["posterior/x"].shape == (64, 1, 2) and drawn["posterior/x"].dtype == numpy.float32
        assert drawn["posterior/x"][:, 0].tobytes() == bank["chains/state"].tobytes()
        for name in ("age", "restarts"):
            assert (drawn[f"sample_stats/{name}"][:, 0] == bank[f"chains/{name}"]).all()
        energy, lp = drawn["sample_stats/potential_energy"], drawn["sample_stats/lp"]
        assert numpy.allclose(lp, -energy, rtol=1e-12)  # T = 1


def test_checkpoint_tells_its_world(finished):
    directory, _, ranks = finished
    found = attributes(checkpoint(directory, 30), "/")
    assert found["world_size"] == ranks and found["iteration"] == 30
    assert yaml.safe_load(found["config"].decode())["run"]["iterations"] == 30


def test_running_a_finished_run_again_says_so(finished):
    directory, _, ranks = finished
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
    result = trains(directory, WITH_DRAWS, ranks=ranks)
    assert "is finished" in result.stdout and result.stdout.count("\n") == 1
    assert before == {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_resume_never_refuses_a_directory_with_a_run(finished):
    directory, _, ranks = finished
    result = run(*train(directory, {}, SMOKE, "--resume", "never"), ranks=ranks)
    ends(result, INPUT_OUTPUT)
    assert str(directory) in result.stderr and "--run-directory" in result.stderr
    assert iterations_recorded(directory) == list(range(1, 31))
    assert (directory / "DONE").exists() and not unfinished(directory)
    start = json.loads((directory / "run.json").read_text())["starts"][0]
    assert start["iteration"] == 0
    assert start["instruction_set"] in ("plain", "v3", "v4", "v4_bfloat16", "amx")


def test_more_iterations_go_on_from_the_end(tmp_path):
    trains(tmp_path / "run", {"run.iterations": 10})
    result = trains(tmp_path / "run", {"run.iterations": 20})
    assert "goes on from" in result.stdout and iterations_recorded(tmp_path / "run") == list(range(1, 21))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [start["iteration"] for start in record["starts"]] == [0, 10]
    assert "iteration-00000010" in record["starts"][1]["resumed_from"]


@one_and_two
def test_dry_run_touches_nothing(tmp_path, ranks):
    values = {"sampler.threshold": 0.5, "sampler.step_size": 0.04, "run.seed": 77}
    result = trains(tmp_path / "run", values, SMOKE, "--dry-run", ranks=ranks)
    assert list(tmp_path.iterdir()) == []
    said = result.stdout
    assert "seed: 77" in said and "refresh: step" in said and "write_every:" in said
    assert re.search(r"temperature T = .*= 1,", said)
    assert re.search(r"reach .* = 0\.05\b", said)  # 5 steps · 0.04 · 0.5 / 2
    assert re.search(r"memory: \d+ MB per rank", said) and re.search(r"disk: [\d.]+ MB", said)
    assert re.search(r"time: [\d.]+ s for one iteration, about .* for 30", said)


@pytest.mark.parametrize("options", [["--dry-run"], []], ids=["dry run", "log"])
def test_threads_without_work_are_told(tmp_path, options):
    values = {"run.iterations": 1, "run.reproducible": "true"}
    for threads in (1, 2):
        said = trains(tmp_path / str(threads), {**values, "run.threads": threads}, SMOKE, *options).stdout
        assert ("1 of 2 threads have work in the chain steps (32 chains a rank)" in said) == (threads == 2)


def test_dry_run_leaves_an_existing_run_alone(tmp_path):
    trains(tmp_path / "run", {"run.iterations": 10})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    trains(tmp_path / "run", {"run.iterations": 20}, SMOKE, "--dry-run")
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_last_of_two_overrides_counts(tmp_path):
    trains(tmp_path / "run", {"run.iterations": 7, "chains.active": 16}, SMOKE, "--set", "run.iterations=4")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["run"]["iterations"] == 4 and config["chains"]["active"] == 16
    assert iterations_recorded(tmp_path / "run") == [1, 2, 3, 4]


def test_name_and_directory_of_the_configuration(tmp_path):
    values = {"run.directory": tmp_path / "all", "run.name": "first", "run.iterations": 2}
    ends(run("train", SMOKE, *settings(values)), FINISHED)
    assert (tmp_path / "all" / "first" / "DONE").exists()


def test_retention(tmp_path):
    values = {"run.iterations": 24, "checkpoint.every": 2, "checkpoint.keep_last": 2, "checkpoint.keep_every": 8}
    trains(tmp_path / "run", values)
    kept = {int(path.stem.split("-")[1]) for path in (tmp_path / "run" / "checkpoints").glob("iteration-*.h5")}
    assert kept == {0, 8, 16, 22, 24}


@pytest.mark.parametrize("values", [
    {"sampler.type": "langevin"}, {"sampler.type": "gradient_descent"}, {"sampler.refresh": "iteration"},
    {"sampler.threshold": 0.1}, {"sampler.box": "null"}, {"optimizer.type": "sgd", "optimizer.momentum": 0.9},
    {"optimizer.schedule": "{type: linear_warmup, warmup: 5}", "energy.spectral_normalization": "true"},
    {"optimizer.schedule": "{type: exponential, decay: 0.99}", "energy.activation": "leaky_relu"},
    {"chains.start": "data"}, {"chains.start": "normal"}, {"chains.start": "data_gaussian"},
    {"chains.restart_probability": "{from: 0.5, to: 0}"}, {"run.reproducible": "true"},
    {"data.type": "checkerboard"}, {"data.type": "pinwheel"}, {"data.type": "rings"},
], ids=lambda values: ", ".join(f"{key} {value}" for key, value in values.items()))
def test_every_kind_of_training_runs(tmp_path, values):
    trains(tmp_path / "run", {"run.iterations": 3, **values})
    assert iterations_recorded(tmp_path / "run") == [1, 2, 3]


@pytest.mark.parametrize("values", [
    {}, {"energy.type": "resnet"}, {"energy.type": "resnet", "energy.spectral_normalization": "true"},
    {"energy.type": "mlp"}, {"run.precision": "bfloat16"}, {"energy.activation": "leaky_relu"},
    {"chains.start": "data"}, {"chains.start": "data_gaussian"},
], ids=lambda values: ", ".join(f"{key} {value}" for key, value in values.items()) or "convnet")
def test_every_kind_of_image_training_runs(tmp_path, convnet, values):
    trains(tmp_path / "run", {"run.iterations": 3, "samples.every": 3, **values}, convnet)
    assert arrays(draws(tmp_path / "run", 3))["posterior/x"].shape == (48, 1, 1, 8, 8)
    assert numpy.isfinite([float(value) for value in metrics(tmp_path / "run")[3][6:9]]).all()


# --- sample ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(tmp_path_factory, convnet):
    """{"mlp": checkpoint, "convnet": checkpoint} of short trainings."""
    folder = tmp_path_factory.mktemp("trained")
    trains(folder / "mlp", {"run.iterations": 20})
    trains(folder / "convnet", {"run.iterations": 10}, convnet)
    return {"mlp": checkpoint(folder / "mlp", 20), "convnet": checkpoint(folder / "convnet", 10)}


SAMPLING = {"sampler.steps": 6, "sampler.write_every": 2}


def sample(path, output, values=(), ranks=1, *more):
    result = run("sample", path, *settings({**SAMPLING, **dict(values)}), "--output", output, *more, ranks=ranks)
    return ends(result, FINISHED)


SHAPES = {"mlp": (64, 3, 2), "convnet": (48, 3, 1, 8, 8)}


@pytest.mark.parametrize("start", ["uniform", "normal", "data", "data_gaussian"])
@pytest.mark.parametrize("network", ["mlp", "convnet"])
def test_samples_from_other_starts(tmp_path, trained, network, start):
    sample(trained[network], tmp_path / "draws.nc", {"chains.start": start})
    found = arrays(tmp_path / "draws.nc")
    assert found["posterior/x"].shape == SHAPES[network] and numpy.isfinite(found["posterior/x"]).all()
    assert numpy.isfinite(found["sample_stats/potential_energy"]).all()


@pytest.mark.parametrize("network, values", [
    ("mlp", {}), ("mlp", {"run.reproducible": "true"}), ("convnet", {}), ("convnet", {"chains.start": "uniform"}),
    ("convnet", {"chains.start": "data_gaussian"}),
], ids=str)
def test_samples_do_not_depend_on_the_ranks(tmp_path, trained, network, values):
    for ranks in (1, 2):
        sample(trained[network], tmp_path / f"{ranks}.nc", values, ranks)
    one, two = arrays(tmp_path / "1.nc"), arrays(tmp_path / "2.nc")
    assert one.keys() == two.keys()
    assert one["posterior/x"].shape == SHAPES[network]
    for name in one:
        # The convnet's engine computes each chain alone, whatever the batch; else batches are the shards'.
        if network == "convnet" or values:
            assert one[name].tobytes() == two[name].tobytes(), name
        else:
            assert numpy.allclose(one[name], two[name], rtol=1e-5, atol=1e-6), name


def test_samples_open_in_xarray(tmp_path, trained):
    sample(trained["mlp"], tmp_path / "draws.nc", {"chains.total": 32}, 2)
    for engine in ("netcdf4", "h5netcdf"):
        with xarray.open_dataset(tmp_path / "draws.nc", group="posterior", engine=engine) as posterior:
            assert posterior["x"].dims == ("chain", "draw", "dimension")
            assert posterior["x"].shape == (32, 3, 2) and list(posterior["draw"]) == [2, 4, 6]
            assert posterior.attrs["inference_library"] == "stanley"
        with xarray.open_dataset(tmp_path / "draws.nc", group="sample_stats", engine=engine) as statistics:
            assert {"lp", "potential_energy", "age", "restarts", "acceptance_rate"} <= set(statistics.data_vars)


def test_chains_of_gradient_descent_from_the_bank_lower_the_energy(tmp_path, trained):
    sample(trained["mlp"], tmp_path / "down.nc",
           {"sampler.type": "gradient_descent", "sampler.steps": 40, "sampler.write_every": 20,
            "sampler.box": "null"})
    energy = arrays(tmp_path / "down.nc")["sample_stats/potential_energy"]
    assert (energy[:, 1] < energy[:, 0]).all()


def test_last_weights_are_other_weights(tmp_path, trained):
    sample(trained["mlp"], tmp_path / "average.nc")
    sample(trained["mlp"], tmp_path / "last.nc", (), 1, "--last-weights")
    one, other = (arrays(tmp_path / f"{name}.nc")["sample_stats/potential_energy"] for name in ("average", "last"))
    assert not numpy.array_equal(one, other)


# --- benchmark and the command line ---------------------------------------------------------------
@one_and_two
def test_benchmark_speaks_json(ranks):
    result = ends(run("benchmark", SMOKE, "--json", "--seconds", 1, ranks=ranks), FINISHED)
    found = json.loads(result.stdout)
    assert found["ranks"] == ranks and found["chain_steps_per_second"] > 0 and found["gflops"] > 0
    assert found["chain_steps_per_second"] == pytest.approx(
        ranks * found["chain_steps_per_second_per_rank"], rel=0.01)
    shares = [found["split"][name] for name in ("chains", "gradient", "reduction")]
    assert all(share >= 0 for share in shares) and sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("network, parts", [
    ("mlp", {"matrix products", "activations", "multiplications", "output layer"}),
    ("convnet", {"input convolution", "matrix products", "activations", "output layer"}),
])
def test_benchmark_tells_what_a_chain_step_is_spent_on(network, parts, convnet):
    config = {"mlp": SMOKE, "convnet": convnet}[network]
    result = ends(run("benchmark", config, "--json", "--seconds", 0.5), FINISHED)
    found = json.loads(result.stdout)["by_operation"]
    milliseconds = {one["name"]: one["milliseconds"] for one in found["operations"]}
    assert parts | {"gain", "noise and update", "rest"} <= set(milliseconds)
    assert sum(milliseconds.values()) == pytest.approx(found["milliseconds"])
    assert all(milliseconds[name] > 0 for name in parts) and all(value >= 0 for value in milliseconds.values())
    assert found["peak_gflops"] > 0 and found["copy_gbytes_per_second"] > 0


def test_benchmark_speaks_to_people():
    said = ends(run("benchmark", SMOKE, "--seconds", 1), FINISHED).stdout
    assert all(words in said for words in ("chain steps/s", "GFLOP/s", "chains", "reduction"))


@pytest.mark.parametrize("ranks, arguments, words", [
    (1, ["--help"], ["train", "sample", "benchmark", "85"]),
    (2, ["--help"], ["train", "sample", "benchmark", "85"]),
    (1, ["--version"], ["stanley "]),
    (1, ["train", "--help"], ["--run-directory", "--resume", "--dry-run", "--set"]),
    (1, ["sample", "--help"], ["--output", "--set"]),
    (1, ["benchmark", "--help"], ["--json", "--set"]),
])
def test_help(ranks, arguments, words):
    result = ends(run(*arguments, ranks=ranks), FINISHED)
    assert all(word in result.stdout for word in words) and result.stderr == ""
    assert result.stdout.count("Usage") <= 1  # one rank speaks


@pytest.mark.parametrize("ranks, arguments, words", [
    (1, [], "subcommand"),
    (1, ["trian"], "trian"),
    (1, ["train"], "stanley train wants a configuration file (YAML): stanley train CONFIG;"),
    (1, ["train", SMOKE, "--resum", "never"], "--resum"),
    (1, ["train", SMOKE, "--set"], "--set"),
    (1, ["sample"], "stanley sample wants a checkpoint file, or the configuration (.yaml) of an energy from a file: "
                    "stanley sample CHECKPOINT;"),
    (1, ["sample", "nowhere.h5"], "give one of --run-directory, for a run that streams its draws to files"),
    (1, ["inspect"], "stanley inspect wants files or run directories: stanley inspect PATHS;"),
    (2, ["train"], "stanley train wants a configuration file (YAML): stanley train CONFIG;"),
])
def test_wrong_usage(ranks, arguments, words):
    result = ends(run(*arguments, ranks=ranks), CONFIGURATION)
    assert words in result.stderr and "--help" in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("stanley: ")]) == 1
