"""Scaling: whole iterations measured, the plan for more ranks, jobs/scaling.sh with its table and plot,
and who keeps whom waiting."""
import json
import subprocess
import sys

import pytest
from PIL import Image
from program import CONFIGURATION, FINISHED, INPUT_OUTPUT, ROOT, SMOKE, ends, environment, run, settings, trains

STUDY, PLOT = ROOT / "jobs" / "scaling.sh", ROOT / "tools" / "plot_scaling.py"
PARTS = ("chains", "gradient", "reduction", "waiting", "files")


def benchmark(tmp_path, *arguments, ranks=1):
    result = ends(run("benchmark", SMOKE, "--json", "--seconds", 0.5, "--directory", tmp_path / "files", *arguments,
                      ranks=ranks), FINISHED)
    assert not list((tmp_path / "files").glob("*"))  # the checkpoint is gone
    return json.loads(result.stdout)


# --- whole iterations -----------------------------------------------------------------------------
@pytest.mark.parametrize("ranks", [1, 2])
def test_whole_iterations_are_measured(tmp_path, ranks):
    found = benchmark(tmp_path, "--iterations", 6, "--warmup", 2, ranks=ranks)
    training = found["training"]
    assert (found["nodes"], training["warmup"], training["iterations"]) == (1, 2, 6)
    assert all(training[part] >= 0 for part in PARTS) and training["chains"] > 0 and training["gradient"] > 0
    assert sum(training[part] for part in PARTS) <= 1.001 * training["iteration_seconds"]  # none is counted twice
    assert training["memory_bytes"] > 1e7 and training["checkpoint_bytes"] > 64 * 2 * 4
    assert training["waiting"] == 0 or ranks > 1


def test_weak_multiplies_the_work_by_the_ranks(tmp_path):
    large = {"chains.total": 4096, "chains.active": 2048}
    one, two = (benchmark(tmp_path, "--iterations", 2, *settings(large), *weak, ranks=ranks)["training"]
                for ranks, weak in ((1, ()), (2, ("--weak",))))
    states = 4096 * 2 * 4
    assert two["checkpoint_bytes"] - one["checkpoint_bytes"] >= states  # the bank of a rank more
    ends(run("benchmark", SMOKE, "--seconds", 0.5, "--set", "chains.shards=1", ranks=2), CONFIGURATION)
    ends(run("benchmark", SMOKE, "--seconds", 0.5, "--set", "chains.shards=1", "--weak", ranks=2), FINISHED)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    result = ends(run("benchmark", SMOKE, "--seconds", 0.5, "--iterations", 1, "--directory", tmp_path / "file"),
                  INPUT_OUTPUT)
    assert f"{tmp_path}/file" in result.stderr and "--directory" in result.stderr


# --- the plan -------------------------------------------------------------------------------------
def test_the_plan_for_more_ranks(tmp_path):
    network = ("--network-latency", 20, "--network-bandwidth", 1, "--jitter", 5)
    model = benchmark(tmp_path, "--model-ranks", "1,8,4096", *network)["model"]
    assert (model["network_latency"], model["network_bandwidth"]) == (pytest.approx(2e-5), 1e9)
    assert [p["ranks"] for p in model["weak"]] == [1, 8, 4096]
    assert [p["ranks"] for p in model["strong"]] == [1, 8]  # 32 chains find no 4096 shards
    efficiencies = [p["efficiency"] for p in model["weak"]]
    assert efficiencies[0] == pytest.approx(1)
    assert all(more <= fewer * (1 + 1e-9) for fewer, more in zip(efficiencies, efficiencies[1:]))
    for p in model["weak"] + model["strong"]:
        terms = [p[name] for name in ("chains", "gradient", "latency", "bandwidth", "waiting", "files")]
        assert p["iteration_seconds"] == pytest.approx(sum(terms)) and p["bound"]
    assert 1 <= model["strong_efficient_ranks"] and 1 <= model["strong_fastest_ranks"] <= 32


def test_a_slow_network_is_what_bounds(tmp_path):
    slow = benchmark(tmp_path, "--model-ranks", 64, "--network-latency", 1e5)["model"]
    assert slow["weak"][0]["bound"] == "network latency" and slow["strong_fastest_ranks"] == 1
    narrow = benchmark(tmp_path, "--model-ranks", 64, "--network-bandwidth", 1e-6)["model"]
    assert narrow["weak"][0]["bound"] == "network bandwidth"


def test_the_plan_speaks_to_people(tmp_path):
    said = ends(run("benchmark", SMOKE, "--seconds", 0.5, "--directory", tmp_path, "--model-ranks", "8,4096"),
                FINISHED).stdout
    for words in ("weak:", "strong: 32 active chains", "bound by", "4096", "strong scaling of 32 active chains ends at",
                  "more than 32 ranks find no shard"):
        assert words in said, said


@pytest.mark.parametrize("arguments, words", [
    (["--model-ranks", "8,none"], "--model-ranks"), (["--model-ranks", "0"], "--model-ranks"),
    (["--network-bandwidth", "0"], "--network-bandwidth"), (["--library", "mpich"], "--library")])
def test_a_network_that_cannot_be_is_refused(arguments, words):
    assert words in ends(run("benchmark", SMOKE, *arguments), CONFIGURATION).stderr


# --- jobs/scaling.sh ------------------------------------------------------------------------------
def study(*arguments, **variables):
    return subprocess.run([STUDY, *map(str, arguments)], capture_output=True, text=True, timeout=600,
                          env=environment(**variables))


@pytest.mark.parametrize("kind, repeats", [("weak", 2), ("strong", 1)])
def test_a_study_leaves_lines_table_and_plot(tmp_path, kind, repeats):
    result = ends(study(kind, SMOKE, "--nodes", "1,2", "--local", "--repeats", repeats, "--warmup", 1, "--iterations", 3,
                        "--output", tmp_path, "--", "--set", "sampler.steps=2"), FINISHED)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["study"], line["ranks"], line["repeat"]) for line in lines] == [
        (kind, ranks, repeat) for repeat in range(1, repeats + 1) for ranks in (1, 2)]
    small, large = ({line["training"]["checkpoint_bytes"] for line in lines if line["ranks"] == ranks} for ranks in (1, 2))
    assert len(small) == len(large) == 1 and (max(large) > max(small)) == (kind == "weak")  # of the banks
    table = (tmp_path / "table.txt").read_text()
    assert f"{kind} scaling; baseline: 1 rank(s), median of {repeats} runs" in table and table.strip() in result.stdout
    assert Image.open(tmp_path / "scaling.png").size[0] > 800


@pytest.mark.parametrize("arguments, words", [
    ([], "weak|strong"), (["medium"], "weak or strong"), (["weak"], "no configuration"),
    (["weak", "none.yaml", "--nodes", "1"], "none.yaml"), (["weak", SMOKE], "--nodes"),
    (["weak", SMOKE, "--nodes", "1,,2"], "--nodes"), (["weak", SMOKE, "--nodes", "1", "--repeats", "0"], "--repeats"),
    (["weak", SMOKE, "--nodes", "1", "--fast"], "--fast"), (["weak", SMOKE, SMOKE], "second")])
def test_a_study_that_cannot_be_is_refused(arguments, words):
    assert words in ends(study(*arguments), CONFIGURATION).stderr


def test_a_study_ends_with_the_program(tmp_path):
    result = study("strong", SMOKE, "--nodes", "1", "--local", "--output", tmp_path, "--", "--set", "chains.total=1")
    assert "chains.total" in ends(result, CONFIGURATION).stderr


# --- tools/plot_scaling.py ------------------------------------------------------------------------
def line(ranks, seconds, **more):
    training = {"iteration_seconds": seconds, "chains": 0.8 * seconds, "gradient": 0.1 * seconds, "reduction": 0,
                "waiting": 0.05 * seconds, "files": 0, "chain_steps_per_second": 100 * ranks / seconds,
                "memory_bytes": 5e8, "joules": None, **more}
    return json.dumps({"study": "weak", "repeat": 1, "ranks": ranks, "nodes": ranks, "device": "cpu", "threads": 1,
                       "training": training})


def plot(folder):
    return subprocess.run([sys.executable, PLOT, folder], capture_output=True, text=True, timeout=100)


def test_the_table_counts_in_the_smallest_size(tmp_path):
    runs = [line(2, 1.0), line(2, 1.1), line(2, 0.9), line(8, 1.25, joules=40), line(8, 1.0), line(8, 2.0)]
    (tmp_path / "results.jsonl").write_text("\n".join(runs) + "\n")
    said = ends(plot(tmp_path), FINISHED).stdout.splitlines()
    assert "baseline: 2 rank(s), median of 3 runs" in said[0]
    assert said[3].split() == ["8", "8", "1250.0", "640", "3.20", "0.800", "(0.500", "-", "1.000)", "80.0", "10.0",
                               "0.0", "5.0", "0.0", "500", "40.0"]


def test_results_that_are_none_are_named(tmp_path):
    assert "results.jsonl" in ends(plot(tmp_path), INPUT_OUTPUT).stderr
    (tmp_path / "results.jsonl").write_text(line(1, 1.0) + "\n{}\n")
    assert "line 2" in ends(plot(tmp_path), INPUT_OUTPUT).stderr


# --- stragglers -----------------------------------------------------------------------------------
def test_the_report_shows_who_waits_for_whom(tmp_path):
    trains(tmp_path, {"run.iterations": 5}, ranks=2)
    record = json.loads((tmp_path / "run.json").read_text())
    start = record["starts"][0]
    assert len(start["seconds_waited"]) == 2 and all(0 <= waited < start["seconds"] for waited in start["seconds_waited"])
    start["seconds_waited"] = [0.01 * start["seconds"], 0.5 * start["seconds"]]  # as if rank 0 had had more to do
    (tmp_path / "run.json").write_text(json.dumps(record))
    subprocess.run([sys.executable, ROOT / "tools" / "report.py", tmp_path], check=True, capture_output=True, timeout=100)
    page = (tmp_path / "report.html").read_text()
    assert "Who waits for whom" in page and page.index("<td>0</td>") < page.index("<td>1</td>")
