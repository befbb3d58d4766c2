"""tools/compare_peers.py: ratios and tables, options, how it fails; its networks and steps against stanley's.

What needs PyTorch in Python (tools/setup.sh --peers) is skipped where it is missing.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import h5py
import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "compare_peers.py"
sys.path.insert(0, str(ROOT / "tools"))

from stanley_tools.peers import cases, compare, table  # noqa: E402

PROGRAM = os.environ["STANLEY_PROGRAM"]
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **os.environ}
TINY = ["--channels", "2", "--chains", "4", "--shape", "1x8x8", "--rounds", "2", "--seconds", "0.05"]
CASE = cases.Case("convnet", 2, (3, 9, 8), 4)
SETUP = "tools/setup.sh --peers"


def run(*arguments, **variables):
    return subprocess.run([sys.executable, "-B", TOOL, *map(str, arguments)], capture_output=True, text=True,
                          timeout=300, env={**ENVIRONMENT, **variables})


def refused(code, *arguments, **variables):
    """Checks the exit code, one sentence and no traceback; returns the sentence."""
    result = run(*arguments, **variables)
    assert result.returncode == code, result.stderr
    assert result.stdout == "" and "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


# --- arithmetic -----------------------------------------------------------------------------------
def measurements(speeds, weights=None, memories=None):
    weights, memories = weights or [None] * len(speeds), memories or [None] * len(speeds)
    return [{table.SPEED: s, table.WEIGHTS: w, table.MEMORY: m}
            for s, w, m in zip(speeds, weights, memories, strict=True)]


def measured():
    return {
        "torchebm": measurements([100, 200, 50], memories=[500, 510, 505]),
        "pytorch": measurements([100, 200, 50], [0.2, 0.4, 0.9]),
        "pytorch-channels-last": measurements([200, 200, 100], [0.4, 0.2, 0.8], [600, 600, 601]),
        "pytorch-bfloat16": measurements([400, 300, 1000], [0.3, 0.3, 0.3]),
        "compile": measurements([150, 150, 150]),
        "stanley": measurements([300, 400, 600], [0.1, 0.2, 0.9], [90, 110, 100]),
        "stanley-bfloat16": measurements([800, 900, 1000], [0.2, 0.2, 0.6]),
    }


def test_ratios_are_taken_within_a_round():
    found = {(c["precision"], c["peer"]): c["ratio"] for c in table.comparisons(measured())}
    assert found["float32", "torchebm"] == {"median": 3, "minimum": 2, "maximum": 12}
    assert found["float32", "pytorch-channels-last"] == {"median": 2, "minimum": 1.5, "maximum": 6}
    assert found["bfloat16", "pytorch-bfloat16"] == {"median": 2, "minimum": 1, "maximum": 3}


def test_stanley_meets_torchebm_and_those_of_its_own_precision():
    found = [(c["precision"], c["peer"]) for c in table.comparisons(measured())]
    assert found == [("float32", "torchebm"), ("float32", "pytorch-channels-last"), ("float32", "compile"),
                     ("bfloat16", "torchebm"), ("bfloat16", "pytorch-bfloat16")]


def test_weight_step_is_compared_with_the_fastest_of_pytorch_in_each_round():
    found = {c["precision"]: c for c in table.weight_comparisons(measured())}
    assert found["float32"]["ratio"] == {"median": pytest.approx(1), "minimum": pytest.approx(0.5),
                                         "maximum": pytest.approx(3)}
    assert found["bfloat16"]["ratio"]["maximum"] == pytest.approx(2)
    assert found["float32"][table.WEIGHTS] == [0.2, 0.2]
    assert table.weight_comparisons({"stanley": measured()["stanley"]}) == []


def test_results_hold_speed_ratio_and_the_largest_memory():
    found = {entry["name"]: entry for entry in table.results(measured())}
    assert found["stanley"][table.SPEED] == {"median": 400, "minimum": 300, "maximum": 600}
    assert found["stanley"]["ratio"]["median"] == 3 and found["stanley"][table.MEMORY] == 110
    assert found["compile"][table.WEIGHTS] is None and found["compile"][table.MEMORY] is None
    assert "ratio" not in table.results({"stanley": measured()["stanley"]})[0]


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


FACTS = {"processor": "A processor", "cores": 2, "instructions": ["avx2"], "gpu": None, "torch": "2.0",
         "torchebm": "0.8", "date": "1 May 2027", "command": "tools/compare_peers.py --table"}


def test_page_is_markdown_with_machine_date_versions_and_command():
    page = table.page([(CASE, measured())], FACTS)
    head, rule, *rows = cells(table.chain_table([(CASE, measured())]))
    assert set(rule) == {"---"} and all(len(row) == len(head) == len(rule) for row in rows)
    assert rows[0] == ["convnet of 2 channels, 4 chains of 3×9×8", "float32", "torchebm LangevinDynamics, float32",
                       "3.00 (2.00 – 12.00)", "400", "100", "110", "510"]
    assert rows[-1][-2:] == ["–", "–"]
    assert cells(table.weight_table([(CASE, measured())]))[2:][0] == [
        "convnet of 2 channels, 4 chains of 3×9×8", "float32", "1.00 (0.50 – 3.00)", "200.0", "200.0"]
    for text in ("3 rounds", "1 May 2027", "A processor, 2 cores, avx2; torch 2.0, torchebm 0.8",
                 "```\ntools/compare_peers.py --table\n```"):
        assert text in page


# --- the table's run ------------------------------------------------------------------------------
class Steady:
    """A contender that measures in no time."""

    def __init__(self, name, speed):
        self.name, self.speed, self.closed = name, speed, False

    def wait_until_ready(self):
        pass

    def measure(self):
        return measurements([self.speed], [0.5])[0]

    def close(self):
        self.closed = True


@pytest.fixture
def steady(monkeypatch):
    """Replaces the processes; the list of those that were started."""
    started = []

    def start(name, case, options, folder):
        if name in failing:
            raise compare.FailedError(f"{name} failed")
        started.append((case, Steady(name, 2 if name.startswith("stanley") else 1)))
        return started[-1][1]

    failing = []
    monkeypatch.setattr(compare, "start_contender", start)
    monkeypatch.setattr(compare, "check_contenders", lambda plan, options: None)
    monkeypatch.setattr(compare, "look_for_gpu", lambda: None)
    monkeypatch.setattr(compare, "processor", lambda: ("A processor", ["avx512_bf16"]))
    return started, failing


def test_table_runs_every_network_of_the_processor(steady, capsys):
    assert compare.main(["--table", "--rounds", "2", "--seconds", "0.5"]) == 0
    out, err = capsys.readouterr()
    on_cpu = [case for case in cases.TABLE_CASES if case.device == "cpu"]
    rows = [line for line in out.splitlines() if "2.00 (2.00 – 2.00)" in line]
    assert len(rows) == len(on_cpu) * 6 and all(any(case.title in row for row in rows) for case in on_cpu)
    assert "--table --rounds 2 --seconds 0.5" in out and "GPU" not in out
    assert all(contender.closed for _, contender in steady[0])
    assert "round 2 of 2" in err and "starting torch.compile" in err and "C++ compiler" in err
    assert re.search(r"; about \d+ min left$", err.splitlines()[0])
    assert err.splitlines()[-1].endswith("; less than a minute left")


def test_table_has_rows_for_a_gpu_and_none_in_bfloat16_on_processors_without(steady, capsys, monkeypatch):
    monkeypatch.setattr(compare, "look_for_gpu", lambda: "A GPU")
    monkeypatch.setattr(compare, "processor", lambda: ("A processor", ["avx2"]))
    assert compare.main(["--table", "--rounds", "1"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| convnet", "| resnet"))]
    assert {("GPU" in row, "| bfloat16 |" in row) for row in rows} == {(True, True), (False, False)}


def test_what_was_measured_is_printed_when_a_later_network_fails(steady, capsys, monkeypatch):
    measure_case = compare.measure_case

    def fail_at_resnet(case, *others):
        if case.network == "resnet":
            steady[1].append("torchebm")
        return measure_case(case, *others)

    monkeypatch.setattr(compare, "measure_case", fail_at_resnet)
    assert compare.main(["--table", "--rounds", "1"]) == 70
    out, err = capsys.readouterr()
    assert "| convnet of 32" in out and "| resnet" not in out
    assert err.splitlines()[-1] == "compare_peers: torchebm failed"


def test_progress_goes_to_nothing_left():
    plan = [(cases.TABLE_CASES[0], ["stanley", "compile"]), (cases.TABLE_CASES[2], ["stanley"])]
    progress = compare.Progress(plan, 3, 2.0)
    for case, names in plan:
        progress.done += sum(progress.start_cost(case, name) for name in names) + 3 * len(names) * progress.cost(case)
    assert progress.done == pytest.approx(progress.total)
    assert progress.minutes_left() == pytest.approx(0, abs=1e-6)


# --- options and failures -------------------------------------------------------------------------
@pytest.mark.parametrize("arguments, expected", [
    (["--contenders", "stanley,jax"], "'jax' is none of torchebm, "),
    (["--shape", "32x32"], "'32x32' is not CHANNELSxHEIGHTxWIDTH"),
    (["--shape", "1x7x8"], "sides of at least 8"),
    (["--rounds", "0"], "0 is not above zero"),
    (["--network", "mlp"], "invalid choice: 'mlp'"),
    (["--table", "--channels", "4"], "--table has networks and contenders of its own: leave --channels out"),
])
def test_wrong_options_are_refused(arguments, expected):
    assert expected in refused(2, *arguments)


def test_a_binary_that_is_not_there(tmp_path):
    message = refused(3, "--contenders", "stanley", "--binary", tmp_path / "stanley")
    assert f"{tmp_path / 'stanley'} is not there: build it" in message


def test_packages_that_are_missing(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no such luck')")
    message = refused(3, "--contenders", "torchebm", PYTHONPATH=str(tmp_path))
    assert "no such luck" in message and SETUP in message


def test_a_compiler_that_is_missing(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(compare.MissingError, match="there is no no-such-compiler: install it"):
        compare.check_compiler({"cpu"})
    compare.check_compiler(set())


@pytest.mark.parametrize("script, expected", [
    ("echo 'the first line' >&2; echo 'data.path: no such file' >&2; exit 5",
     "ended with exit code 5: data.path: no such file"),
    ("echo '{\"chain_steps_per_second\": 3}'", "printed no JSON with chain_steps_per_second, iteration_seconds"),
    ("echo nonsense", "printed no JSON with"),
])
def test_a_stanley_that_fails(tmp_path, script, expected):
    binary = tmp_path / "stanley"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    message = refused(70, "--contenders", "stanley", "--binary", binary)
    assert expected in message and f"{binary} benchmark" in message


def test_stanley_alone_needs_no_pytorch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no such luck')")
    result = run(*TINY, "--contenders", "stanley,stanley-bfloat16", "--binary", PROGRAM, "--json",
                 PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["network"], found["channels"], found["chains"]) == ("convnet", 2, 4)
    for entry in found["results"]:
        assert len(entry["rounds"]) == 2 and "ratio" not in entry
        for number in (entry["chain_steps_per_second"]["minimum"], entry["weight_step_seconds"]["minimum"]):
            assert number > 0
        assert 10 < entry["peak_megabytes"] < 4000


# --- against stanley and each other: needs PyTorch ------------------------------------------------
@pytest.fixture(scope="module")
def contenders():
    try:
        import torch  # noqa: F401
        import torchebm  # noqa: F401
    except Exception as error:  # where CUDA libraries are missing, torch ends with an OSError or a ValueError
        pytest.skip(f"Python can't import torch and torchebm ({error}): {SETUP} installs what they need")
    from stanley_tools.peers import contenders
    return contenders


@pytest.mark.parametrize("network, blocks", [("convnet", 1), ("resnet", 1), ("resnet", 2)])
def test_networks_have_stanleys_parameters_and_energies(contenders, tmp_path, network, blocks):
    """Of a checkpoint, by name, and on the draws beside it."""
    import torch
    case = cases.Case(network, 3, (3, 18, 11), 4, blocks=blocks)
    config = compare.write_config(tmp_path, case, "langevin")
    settings = ["run.iterations=2", "run.precision=float32", "samples.every=2", "checkpoint.every=2",
                "optimizer.learning_rate=0.01", "data.noise=0.1"]
    subprocess.run([PROGRAM, "train", config, "--run-directory", tmp_path / "run",
                    *(part for setting in settings for part in ("--set", setting))], check=True, timeout=120,
                   capture_output=True, env=ENVIRONMENT)
    python = contenders.make_network(case)
    with h5py.File(tmp_path / "run" / "checkpoints" / "iteration-00000002.h5") as file:
        weights = {}
        file["parameters"].visititems(lambda name, item: weights.update({name: torch.from_numpy(item[()])})
                                      if isinstance(item, h5py.Dataset) else None)
    python.load_state_dict(weights)  # every name and shape, and none left over
    with h5py.File(tmp_path / "run" / "samples" / "draws-00000002.nc") as file:
        states = torch.from_numpy(file["posterior/x"][:, 0])
        expected = file["sample_stats/potential_energy"][:, 0]
    with torch.no_grad():
        energies = python(states).numpy()
    assert len(expected) == 4 and numpy.ptp(expected) > 1e-4
    numpy.testing.assert_allclose(energies, expected, rtol=1e-4, atol=1e-6)


def steps_without_noise(contenders, monkeypatch, contender, count, layout):
    import torch
    monkeypatch.setattr(contenders, "NOISE", 1e-9)  # torchebm takes no zero
    torch.manual_seed(3)
    network = contenders.make_network(CASE).requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(3)  # steps that are far above rounding
    x = (torch.rand(4, *CASE.shape) * 2 - 1).contiguous(memory_format=layout)
    make = {"torchebm": lambda: contenders.make_torchebm(network, "cpu"),
            "pytorch": lambda: contenders.make_pytorch(network, torch.float32, layout),
            "compile": lambda: contenders.make_compiled(network, torch.float32, layout, "cpu"),
            "compile for a GPU": lambda: contenders.make_compiled(network, torch.float32, layout, "cuda")}[contender]
    return make()(x, count), x


def test_all_contenders_do_the_same_step(contenders, monkeypatch):
    import torch
    monkeypatch.setattr(torch, "compile", lambda **options: lambda step: step)  # a minute of compiling
    flat, last = torch.contiguous_format, torch.channels_last
    expected, start = steps_without_noise(contenders, monkeypatch, "pytorch", 3, flat)
    assert (expected - start).abs().max() > 0.1
    for contender, layout in (("pytorch", last), ("torchebm", flat), ("compile", last), ("compile for a GPU", last)):
        found, _ = steps_without_noise(contenders, monkeypatch, contender, 3, layout)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_noise_has_stanleys_size(contenders, monkeypatch):
    import torch
    case = cases.Case("convnet", 1, (1, 64, 64), 16)
    network = contenders.make_network(case).requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    x = torch.zeros(case.chains, *case.shape)
    for advance in (contenders.make_torchebm(network, "cpu"),
                    contenders.make_pytorch(network, torch.float32, torch.contiguous_format)):
        # 65,536 normals: the standard error of their deviation is 0.3 %.
        assert advance(x, 1).std().item() == pytest.approx(cases.NOISE, rel=0.02)


def test_weight_step_moves_weights_average_and_the_chains_copy(contenders):
    import copy

    import torch
    network = contenders.make_network(CASE)
    frozen = copy.deepcopy(network).to(torch.bfloat16).requires_grad_(False)
    before = copy.deepcopy(network)
    data, chains = (torch.rand(4, *CASE.shape) * 2 - 1 for _ in range(2))
    step = contenders.WeightStep(network, data, torch.float32, torch.channels_last, frozen)
    step.optimizer.param_groups[0]["lr"] = 0.01
    loss = [(network(data).mean() - network(chains).mean()).item()]
    for _ in range(5):
        step(chains)
    loss.append((network(data).mean() - network(chains).mean()).item())
    assert loss[1] < loss[0]
    for old, new, average, copied in zip(before.parameters(), network.parameters(), step.average.module.parameters(),
                                         frozen.parameters()):
        assert torch.equal(copied, new.to(torch.bfloat16))
        if not torch.equal(old, new):  # the last bias cancels in the difference of energies
            assert (average - new).abs().max() > 0


def test_everyone_is_measured(contenders):
    names = "torchebm,pytorch-bfloat16,stanley"
    result = run(*TINY, "--network", "resnet", "--contenders", names, "--binary", PROGRAM)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith(("torchebm", "PyTorch", "stanley"))]
    assert len(lines) == 3 and "1.00 (1.00 – 1.00)" in lines[0]
    number = r"[\d.,]+"
    spread = rf"{number} \({number} – {number}\)"
    for line in lines:  # speed, ratio, weight step, memory
        assert re.search(rf" {spread} +{spread} +({number}|–) +{number}$", line), line


def test_a_worker_that_dies_is_reported(contenders, tmp_path):
    (tmp_path / "torchebm.py").write_text("")  # imports, and has no sampler
    message = refused(70, *TINY, "--contenders", "torchebm", PYTHONPATH=str(tmp_path))
    assert "torchebm LangevinDynamics, float32 ended before it gave a number: ModuleNotFoundError" in message
