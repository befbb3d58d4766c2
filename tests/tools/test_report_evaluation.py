"""The report's section on evaluations: which of them it shows, what it says of them, and the checks on them."""
import json
import os
import subprocess

import numpy as np
import pytest

from test_report import SMOKE, Page, metrics, tools, write_metrics


def class_result(name, kid, **more):
    return {"name": name, "states": 512, "kid": kid, "kid_interval_95": [kid - 0.03, kid + 0.03], "fid": 12.34,
            "fid_extrapolated": None, "precision": 0.512, "recall": None, "density": 0.3, "coverage": 0.25, **more}


def evaluated(iteration, time, name="public", states=1024, **more):
    protocol = {"name": name, "features": f"{name}-net", "features_digest": "12", "reference": 2048, "split": "test",
                "data": "d.h5"}
    results = [class_result("all", 0.7 - iteration / 1e4, remarks=["no recall: <few> images"]),
               class_result("ages 0 to 120", 0.9), class_result("ages 121 to 400", 0.5, states=19)]
    return {"path": f"checkpoints/iteration-{iteration:08d}.h5", "kind": "checkpoint", "iteration": iteration,
            "states": states, "states_available": 2048, "protocol": protocol, "results": results, "time": time, **more}


def energy_set(name, histogram, **more):
    return {"name": name, "states": 10, "histogram": histogram, **more}


ENERGIES = {"edges": [-1.0, 0.0, 1.0, 30.0], "memorisation": {"auroc": 0.541, "auroc_interval_95": [0.51, 0.57]},
            "sets": [energy_set("training", [6, 4, 0], mean=-0.2), energy_set("noise", [0, 1, 9]),
                     energy_set("broken", [1])],
            "out_of_distribution": [{"name": "noise", "auroc": 0.998, "auroc_interval_95": [None, None]}]}
LONG_RUN = {"verdict": "short-run generator", "reasons": ["noise ends <above> the bank", "data ends elsewhere"],
            "steps": 100, "chains": 256,
            "points": [{"step": step, "start": start, "energy": 0.1, "energy_interval_95": [0, 0.2], "kid": None,
                        "kid_interval_95": [None, None]} for start in ("bank", "noise") for step in (0, 10, 100)]}


def write_evaluations(run, *entries):
    (run / "evaluation.json").write_text(json.dumps({"format": "stanley-evaluation", "version": 1, "evaluations": entries}))


@pytest.fixture
def judged(tmp_path):
    """A run of 100 iterations that evaluated itself, the best at iteration 50; shown(*entries) is its page on them."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "best").symlink_to("iteration-00000050.h5")
    columns = metrics(100, np.random.default_rng(1))
    columns["kid_train"], columns["kid_test"] = np.full((2, 100), np.nan)
    columns["kid_train"][49::50], columns["kid_test"][49::50] = [0.6, 0.8], [0.82, 0.63]
    write_metrics(run, columns)
    (run / "config.yaml").write_text("evaluation: {features: some/where/public-net.pt}")

    def shown(*entries):
        write_evaluations(run, *entries)
        opened = tools().Run(run)
        return Page(tools().checks.checks(opened, tools().Record(opened.metrics))
                    + tools().evaluation(opened, tools().Record(opened.metrics), ""))
    return shown


def test_what_was_evaluated_is_shown(judged):
    page = judged(evaluated(50, "2026-01-01T11:00:00Z"),
                  evaluated(100, "2026-01-01T12:00:00Z", energies=ENERGIES, long_run=LONG_RUN,
                            fresh=[{"steps": 2000, "result": class_result("all", 0.45)}]))
    for words in ("KID over iterations", "checkpoints/best, of iteration 50", "690.0 (660.0 to 720.0)", "12.3", "0.512",
                  "KID by age, protocol public, checkpoint of iteration 100: 1,024 states", "19 – too few",
                  "Distances to the data, protocol public, checkpoint of iteration 100: 1,024 states against 2,048 (test)",
                  "Distances to the data, protocol public, checkpoint of iteration 50, the best", "695.0",
                  "Chains that start afresh", "2,000 steps", "450.0 (420.0 to 480.0)", "all: no recall: <few> images",
                  "1,024 of 2,048 states in the features public-net, against 2,048 of split 'test' of d.h5",
                  "Energies of kinds of states, checkpoint of iteration 100", "noise above test", "0.998",
                  "test above training", "0.541 (0.510 to 0.570)", "78 % of noise above", "equal counts",
                  "short-run generator or not met after 100 steps (the training's own chains are 4",
                  "noise ends <above> the bank", "have not met after 100 steps", "rose again: 800 at the end, 600 at best"):
        assert page.says(words), words
    assert page.plots == 5  # KID over iterations, by age twice, energies, long runs


def test_a_quick_look_hides_no_thorough_one(judged):
    """Each part comes from the newest file that has it, and there from the entry with most states."""
    draws = {"path": "samples/draws-00000100.nc", "kind": "draws"}
    page = judged(evaluated(100, "1", long_run=LONG_RUN | {"steps": 10000}, energies=ENERGIES),
                  evaluated(100, "2", states=100, long_run=LONG_RUN | {"verdict": "stable", "steps": 10}),
                  evaluated(75, "3", fresh=[{"steps": 20, "result": class_result("all", 0.1)}]),
                  evaluated(100, "4", name="mine", states=300), evaluated(100, "5", states=64, **draws))
    for words in ("checkpoint of iteration 100: 1,024 states", "left out: 100 states against 2,048 (test).",
                  "Distances to the data, protocol mine, checkpoint of iteration 100: 300 states",
                  "Distances to the data, protocol public, draws of iteration 100: 64 states",
                  "Chains that start afresh, protocol public, checkpoint of iteration 75",
                  "Long runs of 10,000 steps, protocol public, checkpoint of iteration 100: short-run generator",
                  "A long run of 10,000 steps", "KID over iterations, features mine-net"):
        assert page.says(words), words
    for words in ("100: 100 states", "iteration 75: 1,024", "not met"):
        assert not page.says(words), words


def test_kid_over_iterations_has_a_plot_for_each_network(tmp_path, judged):
    panels = []
    draw = tools().judged.kid
    tools().judged.kid = lambda record, told, best, with_own: panels.append((told, best, with_own)) or ""
    try:
        judged(evaluated(100, "1"), evaluated(100, "2", states=100), evaluated(50, "3", name="mine"))
        (tmp_path / "run" / "config.yaml").write_text("evaluation: {features: some/where/mine-net.pt}")
        judged(evaluated(100, "1"), evaluated(50, "3", name="mine"))
    finally:
        tools().judged.kid = draw
    of = lambda told: {name: [(point[0], point[1]) for point in points] for name, points in told.items()}
    public, mine = {"stanley evaluate, public, to test": [(100, 0.69)]}, {"stanley evaluate, mine, to test": [(50, 0.695)]}
    assert [(of(told), best, own) for told, best, own in panels] == [
        (public, 50, True), (mine, None, False), (mine, 50, True), (public, None, False)]


def test_histograms_of_energies_are_drawn_in_equal_bins():
    figures = tools().judged
    edges = np.array([0.0, 1.0, 1.5, 2.0, 100.0])
    sets = [("training", np.array([5, 3, 2, 0]), 1.0), ("noise", np.array([0, 0, 0, 10]), 51.0)]
    low, high = figures.energy_range(edges, sets)
    assert -0.1 < low < 0.02 and 5 < high < 6.5  # data take a third of the width, noise the rest
    assert np.allclose(figures.cumulated(edges, sets[0][1], np.array([-1, 0.5, 1.25, 7])), [0, 0.25, 0.65, 1])
    assert figures.energy_histograms(edges, sets)[1] == ["96 % of noise above"]
    assert figures.energy_histograms(np.array([2.0, 2.0]), [("test", np.array([4]), 2.0)])[1] == []


def test_checks_see_what_speaks_against(judged):
    checks = tools().checks
    rows = lambda **columns: tools().Record({"iteration": np.arange(1, 101.0)} | {
        name: np.broadcast_to(np.asarray(values, float), 100) for name, values in columns.items()})
    late = lambda factor: np.where(np.arange(100) < 80, 1.0, factor)
    assert [checks.gap(rows(gap=late(factor)))[0] for factor in (0.5, 1.05, 1.3, 2.2, 4)] == ["good", "good", "", "warn", "warn"]
    energies = lambda chains, noise: checks.noise(rows(energy_data=0, energy_chains=chains, energy_noise=noise))[0]
    assert [energies(0.1, 1), energies(0.134, 0.131), energies(-1, -0.5)] == ["good", "warn", "bad"]
    few, many = np.array([3.0, 1, 2]), np.array([30.0, 12, 9, 13, 8, 12, 9, 13])
    assert few[-1] > checks.kid_limit(few) and checks.kid_limit(-few) == np.inf
    assert many[-1] < checks.kid_limit(many) < 40
    stable = LONG_RUN | {"verdict": "stable"}
    assert judged(evaluated(100, "1", long_run=stable)).says("100), but the training's own are 4")
    assert judged(evaluated(100, "1", long_run=stable | {"steps": 9000})).says("9,000 steps (checkpoint of iteration 100): stable.")


def test_what_the_program_evaluates_is_shown(tmp_path):
    """The entries above are made by hand: these are the program's."""
    program, run = os.environ["STANLEY_PROGRAM"], tmp_path / "run"
    for command in (["train", SMOKE, "--run-directory", run, "--set", "run.iterations=20"],
                    ["evaluate", run, "--fresh", 2, "--long-run", 2, "--chains", 16]):
        subprocess.run([program, *map(str, command)], check=True, capture_output=True, timeout=100)
    opened = tools().Run(run)
    page = Page(tools().evaluation(opened, tools().Record(opened.metrics), ""))
    for words in ("KID over iterations, features states", "KID by age, protocol states, checkpoint of iteration 20: 64 states",
                  "64 of 64 states in the features states, against 2,048 of split 'fresh' of eight_gaussians",
                  "Chains that start afresh", "too few", "noise above test", "Long runs of 2 steps, protocol states"):
        assert page.says(words), words
    assert page.plots == 4


@pytest.mark.parametrize("text", ["{", "[]", '{"evaluations": 3}', '{"evaluations": [1, {}, {"results": [3, {}], "energies": '
                                  '{"edges": ["x"], "sets": [3]}, "long_run": {"points": [1, {"step": "x"}]}}]}'])
def test_evaluations_that_are_odd(tmp_path, text):
    (tmp_path / "evaluation.json").write_text(text)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("run: {name: odd}")
    run = tools().Run(tmp_path)
    tools().evaluation(run, tools().Record({}), "")
    assert bool(run.remarks) == (text == "{")
