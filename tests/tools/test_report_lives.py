"""What the report shows of the lives of chains and of noise: figures where a run has what they need, captions that are
true."""
import base64
import io
import json
import os
import re
import subprocess

import h5py
import numpy as np
import pytest
from PIL import Image

from test_report import SMOKE, make_image_run, make_plane_run, metrics, report, tools, write_metrics
from test_report_evaluation import class_result, evaluated, write_evaluations

STEPS = "40 noise-free steps"


def change(run, number, **attributes):
    """Sets attributes of the draws of an iteration; h5py stores text as the program does."""
    with h5py.File(run / "samples" / f"draws-{number:08d}.nc", "r+") as file:
        file.attrs.update(attributes)


def set_ages(run, number, ages):
    with h5py.File(run / "samples" / f"draws-{number:08d}.nc", "r+") as file:
        file["sample_stats/age"][:] = np.asarray(ages)[:, None]


def configure(run, text):
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + text)


def greys(page):
    """The greys in each picture of the page."""
    return [sorted(set(np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))).ravel()))
            for source in page.images]


def plots_of(run, title):
    """The text of the card of a title (a pattern), and how many plots it has."""
    cards = re.findall(r'<div class="card[^"]*"><h3>(.*?)</h3>(.*?)(?=<div class="card|<h2>|<footer)',
                       (run / "report.html").read_text(), re.S)
    found = [content for name, content in cards if re.fullmatch(title, name)]
    assert len(found) <= 1
    return (re.sub(r"<svg.*?</svg>|<[^>]*>", "", found[0], flags=re.S), found[0].count("<svg")) if found else None


def test_lives_that_the_program_has_are_shown(tmp_path):
    """A toy with both limits on ages and denoised draws: what its own files say stands in the page."""
    run = tmp_path / "run"
    settings = {"run.iterations": 60, "chains.burn_in": 20, "chains.maximum_age": 90, "samples.denoise": "{steps: 3}"}
    subprocess.run([os.environ["STANLEY_PROGRAM"], "train", SMOKE, "--run-directory", run,
                    *(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))],
                   check=True, capture_output=True, timeout=100)
    page, opened = report(run), tools().Run(run)
    draws, shares = opened.latest_draws(), opened.metrics["counted_share"]
    assert draws.denoised == "3 noise-free steps" and shares[0] == 1 and shares.min() < 0.9 and draws.age.max() > 60
    assert page.says(f"median {np.median(draws.age):,.0f}, after 3 noise-free steps.")
    assert page.says("The chains are without the sampler's noise: after 3 noise-free steps.")
    text, plots = plots_of(run, "Chains that count")
    assert plots == 1 and "those of 20 steps or more" in text and f"Lately {shares[-20:].mean():.2f}." in text
    text, plots = plots_of(run, "Ages")
    assert plots == 1 and "first visit from 90 steps on" in text
    text, plots = plots_of(run, "Ages of the drawn chains")
    assert plots == 1 and f"Of the {len(draws.age)} chains of the draws of iteration 60. " in text
    assert f" {(draws.age < 20).sum()} are younger than chains.burn_in and don't count yet." in text
    assert page.says("Grey: chains of less than 20 steps") == bool((draws.age < 20).any())


def test_no_limits_no_lines_and_no_share(tmp_path):
    run = make_image_run(tmp_path / "run", rows=200, size=8)
    columns = metrics(200, np.random.default_rng(1))
    columns["counted_share"] = np.ones(200)
    write_metrics(run, columns)
    page = report(run)
    assert plots_of(run, "Chains that count") is None and not page.says("burn_in") and not page.says("maximum_age")
    assert plots_of(run, "Ages of the drawn chains")[1] == plots_of(run, "Ages")[1] == 1
    configure(run, "chains: {burn_in: 0, maximum_age: null}\n")
    page = report(run)
    assert plots_of(run, "Chains that count") is None and page.says("The limit is the median age.")
    set_ages(run, 200, np.full(64, 30))
    report(run)
    assert plots_of(run, "Ages of the drawn chains") is None
    for path in (run / "samples").iterdir():
        path.unlink()
    report(run)
    assert plots_of(run, "Ages of the drawn chains") is None and plots_of(run, "Ages")[1] == 1


def test_limits_are_lines_in_plots_of_ages(monkeypatch):
    from stanley_tools.report.figures import lives
    drawn = []

    def axes(*arguments, **more):
        drawn.append(tools().canvas.axes(*arguments, **more)[1])
        return drawn[-1].figure, drawn[-1]
    monkeypatch.setattr(lives, "axes", axes)
    record, ages = tools().Record(metrics(100, np.random.default_rng(1))), np.arange(10, 410, 10)
    lines = lambda ax: {line.get_label() for line in ax.lines if len(set(line.get_xdata())) < 3}
    for draw in (lives.age, lambda _, *limits: lives.age_histogram(ages, *limits)):
        drawn.clear()
        for limits in ((), (60, None), (None, 500), (60, 500)):
            draw(record, *limits)
        assert [lines(ax) for ax in drawn] == [set(), {"burn-in 60"}, {"maximum age 500"}, {"burn-in 60", "maximum age 500"}]
        low, high = drawn[-1].get_ylim() if draw is lives.age else drawn[-1].get_xlim()
        assert low < 60 and high > 500


@pytest.mark.parametrize("ages, burn_in", [(np.arange(10, 760, 10), 60), (np.arange(0, 7), 3), ([0, 100000], None),
                                           (np.arange(3, 9999, 7), 61), ([50, 60], 60), ([10, 20], 500)])
def test_ages_are_counted_in_equal_bins_that_the_burn_in_divides(ages, burn_in):
    from stanley_tools.report.figures import lives
    edges, ages = lives.age_bins(ages, burn_in), np.asarray(ages)
    assert len(edges) <= lives.AGE_BINS + 3 and len(set(np.diff(edges))) == 1
    assert edges[0] <= ages.min() and ages.max() < edges[-1]
    if burn_in and ages.min() < burn_in <= ages.max():
        assert burn_in in edges
    unit = np.gcd.reduce(ages - ages.min())
    assert (edges[1] - edges[0]) % unit == 0


def test_the_limit_between_old_and_young_is_the_burn_in(tmp_path):
    run = make_image_run(tmp_path / "run", rows=200, size=8)
    configure(run, "chains: {burn_in: 60}\n")
    set_ages(run, 200, np.r_[np.full(24, 59), np.full(20, 60), np.full(20, 400)])
    page = report(run)
    assert page.says("Chains of at least 60 steps (40 of 64)") and page.says("Younger chains (24 of 64)")
    assert page.says("All of these 40 chains by their ids, none picked out") and page.says("The limit is chains.burn_in")
    assert "24 are younger than chains.burn_in" in plots_of(run, "Ages of the drawn chains")[0]
    assert report(run, "--minimum-age", 400).says("Chains of at least 400 steps (20 of 64)")
    set_ages(run, 200, np.r_[np.full(40, 10), np.full(24, 50)])  # none is that old: all count
    page = report(run)
    assert page.says("Chains of at least 10 steps (64 of 64)") and page.says("The limit is the median age.")
    assert "No chain has reached chains.burn_in: all count." in plots_of(run, "Ages of the drawn chains")[0]


def test_data_and_chains_have_one_size_and_are_not_picked(tmp_path):
    run = make_image_run(tmp_path / "run", rows=200, size=8, chains=150)
    set_ages(run, 200, np.r_[np.zeros(50, int), np.full(100, 400)])
    with h5py.File(run / "samples" / "draws-00000200.nc", "r+") as file:  # as of data that are sorted by class
        file["observed_data/x"][:] = (np.arange(256) / 127.5 - 1)[:, None, None, None]
    page, text = report(run), (run / "report.html").read_text()
    assert page.says("The first 64 of these 100 chains by their ids, none picked out")
    assert page.says("The first 32 of these 50 chains by their ids, none picked out")
    assert page.says("64 of the 256 samples that the draws have beside them, evenly spaced, none picked out")
    assert greys(page)[:64] == [[4 * i] for i in range(64)]
    grids = re.findall(r'<div class="(tiles[^"]*)">(.*?)</div>', text, re.S)
    assert [name for name, _ in grids] == ["tiles", "tiles", "tiles small"]
    assert [content.count("<figure") for _, content in grids] == [64, 64, 32]
    assert re.findall(r'<img alt="chain (\d+)"', grids[1][1]) == [str(i) for i in range(50, 114)]


def test_captions_say_what_took_the_noise_off(tmp_path):
    run = make_image_run(tmp_path / "run", rows=300, size=8)
    assert not report(run).says("the sampler's noise")
    for iteration in (100, 200, 300):
        change(run, iteration, denoise="")
    assert not report(run).says("the sampler's noise")
    change(run, 300, denoise=STEPS)
    page = report(run)
    assert page.says(f"after {STEPS}.Data")  # the section's lead
    assert f"The chains are without the sampler's noise: after {STEPS}." in plots_of(run, r"Younger chains .*")[0]
    assert "noise, but for those of iterations 100, 200, which have it." in plots_of(run, "Chains over time")[0]
    change(run, 100, denoise=STEPS)
    change(run, 200, denoise=np.bytes_(STEPS))
    report(run)
    assert f"The chains are without the sampler's noise: after {STEPS}." in plots_of(run, "Chains over time")[0]
    change(run, 300, denoise="one step of 3·∇E, fitted <by chance>")
    assert report(run).says("the newest: after one step of 3·∇E, fitted <by chance>.")


def test_points_say_what_took_the_noise_off(tmp_path):
    run = make_plane_run(tmp_path / "run")
    assert not report(run).says("the sampler's noise")
    change(run, 300, denoise=STEPS)
    page = report(run)
    assert page.says(f"their start. The chains are without the sampler's noise: after {STEPS}. Healthy: the bright regions")
    assert page.says("The chains are without the sampler's noise, but for those of iterations 100, 200, which have it.")


def test_raw_states_stand_beside_those_without_noise(tmp_path):
    run = make_image_run(tmp_path / "run", rows=200, size=8)
    entry = evaluated(200, "1", states_younger=24, states_denoised="")
    for c in entry["results"]:
        c["ages"] = [60, 400]
    write_evaluations(run, entry)
    page = report(run)
    assert page.says("24 states were too young to be judged: the youngest that were are 60 chain steps old.")
    assert not page.says("denoised") and not page.says("raw, ") and not page.says("sampler's noise")
    denoised = {"how": STEPS, "seconds": 1.0, "results": [class_result("all", 0.25), class_result("ages 0 to 120", 0.3)]}
    write_evaluations(run, entry | {"denoised": denoised})
    page = report(run)
    for words in ("raw, all", "680.0 (650.0 to 710.0)", "raw, ages 121 to 400", "denoised, all", "250.0 (220.0 to 280.0)",
                  "denoised, ages 0 to 120", f"Raw: with the sampler's noise. Denoised: the same states after {STEPS}.",
                  "raw, all: no recall: <few> images.", "With the sampler's noise; the table has denoised states, too."):
        assert page.says(words), words
    entry["results"][1]["remarks"] = entry["results"][0]["remarks"]
    write_evaluations(run, entry | {"denoised": denoised})
    assert report(run).says("raw, all; raw, ages 0 to 120: no recall: <few> images.")


@pytest.mark.parametrize("denoised", [None, [], {"how": STEPS}, {"how": 3, "results": [3]}])
def test_odd_or_no_denoised_states(tmp_path, denoised):
    run = make_image_run(tmp_path / "run", rows=100, size=8)
    write_evaluations(run, evaluated(100, "1", states_younger=0, states_denoised=STEPS, denoised=denoised))
    page = report(run)
    assert page.says(f"The states are without the sampler's noise: after {STEPS}.")
    assert not page.says("too young to be judged") and not page.says("Raw:") and not page.says("denoised, ")


def test_noise_that_a_step_leaves(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"name": "quiet"}))
    columns, title = metrics(100, np.random.default_rng(1)), "Noise that a denoising step leaves"

    def shown():
        write_metrics(run, columns)
        page = report(run)
        assert page.says("Tweedie") == (plots_of(run, title) is not None)
        return plots_of(run, title)
    assert shown() is None
    columns["noise_left"] = np.full(100, np.nan)
    assert shown() is None
    columns["noise_left"][20:] = np.linspace(1, 0.4, 80)
    text, plots = shown()
    assert plots == 1 and "1: E says nothing of noise" in text
