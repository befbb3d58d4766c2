"""tools/report.py: the page and the picture that it makes of whole, young, broken and odd runs."""
import functools
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import h5py
import numpy as np
import pytest
from PIL import Image

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "report.py"
SMOKE = TOOL.parents[1] / "configs" / "smoke.yaml"
COLUMNS = ("iteration energy_data energy_chains energy_noise gap gap_autocorrelation loss gradient_norm parameter_norm "
           "learning_rate restart_probability restarts chain_age_mean chain_age_max state_gradient_q10 "
           "state_gradient_q50 state_gradient_q90 gain_q10 gain_q50 gain_q90 gain_below_one gain_weighted_drift "
           "distance_moved chain_scale chain_spread saturation acceptance_rate temperature_settled temperature_settled_error "
           "temperature_law temperature_law_error step_length data_score seconds_chains seconds_gradient seconds_reduction "
           "seconds_waiting seconds_guard seconds_files seconds_iteration chain_steps_per_second").split()
VOID = {"meta", "img", "br", "link"}


def run_tool(*arguments):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@functools.cache
def tools():
    """The report's own functions, for what needs no page."""
    sys.path.insert(0, str(TOOL.parent))
    from stanley_tools.files import Run
    from stanley_tools.report import checks
    from stanley_tools.report.evaluation import evaluation
    from stanley_tools.report.figures import canvas, chains, energy, evaluation as judged, learning, lives, speed
    from stanley_tools.report.figures.record import Record
    from stanley_tools.report.gain import bank, gain_card
    from stanley_tools.report.networks import StateGradient, gain
    from stanley_tools.report.page import thermometer
    from stanley_tools.report.write import main
    return types.SimpleNamespace(Run=Run, Record=Record, canvas=canvas, judged=judged,
                                 over_iterations=[energy, chains, lives, learning, speed, judged],
                                 evaluation=evaluation, bank=bank,
                                 gain_card=gain_card, StateGradient=StateGradient, gain=gain, thermometer=thermometer,
                                 checks=checks, main=main)


class Page(html.parser.HTMLParser):
    """The text of a page without style and plots; fails where tags don't nest, or where it shows Python's own words for
    nothing."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.images, self.plots = [], [], [], 0
        self.feed(text)
        assert not self.open, self.open
        shown = "".join(self.text)
        assert not re.search(r"\b(None|nan|inf)\b", shown), re.findall(r".*\b(?:None|nan|inf)\b.*", shown)

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        self.plots += tag == "svg"

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "svg" not in self.open and "style" not in self.open:
            self.text.append(data)

    def says(self, words):
        return words in re.sub(r"\s+", " ", "".join(self.text))


def report(run, *arguments):
    assert tools().main([str(run), *map(str, arguments)]) == 0
    text = (run / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text), "the page must load nothing from elsewhere"
    assert "url(http" not in text and "@import" not in text
    return Page(text)


def metrics(rows, rng):
    """Plausible columns of a run whose chains catch up and stay with the data."""
    t = np.arange(1, rows + 1)
    settle = np.exp(-t / max(rows / 6, 1))
    noise = lambda scale: scale * rng.standard_normal(rows)
    c = {name: np.full(rows, np.nan) for name in COLUMNS}
    c["iteration"] = t
    c["energy_data"] = -0.3 * (1 - settle) + noise(0.04)
    c["gap"] = 0.6 * settle + noise(0.05)
    c["energy_chains"] = c["energy_data"] + c["gap"]
    c["energy_noise"] = 1.6 * (1 - settle) + noise(0.05)
    c["gap_autocorrelation"] = np.where(t > 2, -0.1 + noise(0.05), np.nan)
    c["loss"] = -c["gap"]
    c["gradient_norm"] = 0.8 + 3 * settle + np.abs(noise(0.2))
    c["parameter_norm"] = 6 + t / rows
    c["learning_rate"] = 3e-4 * np.minimum(1, t / 50)
    c["restart_probability"] = np.full(rows, 0.05)
    c["restarts"] = rng.poisson(6, rows)
    c["chain_age_mean"], c["chain_age_max"] = 400 * (1 - settle) + 20, 20.0 * t / 16 + 20
    for q, f in ((10, 0.1), (50, 1.0), (90, 4.0)):
        c[f"state_gradient_q{q}"] = 0.007 * f * (1 + settle) * np.exp(noise(0.05))
    c["gain_q10"], c["gain_q50"], c["gain_q90"] = 0.3 + noise(0.02), 0.8 + noise(0.01), np.ones(rows)
    c["gain_below_one"], c["gain_weighted_drift"] = np.full(rows, 0.5), 0.62 + noise(0.02)
    c["distance_moved"] = 2 + 3 * settle + noise(0.1)
    c["chain_scale"], c["saturation"] = 0.7 + noise(0.01), 0.45 + noise(0.01)
    c["seconds_chains"] = 0.20 + np.abs(noise(0.01))
    c["seconds_gradient"], c["seconds_reduction"] = 0.02 + np.abs(noise(0.002)), 0.006 + np.abs(noise(0.003))
    c["seconds_waiting"] = np.abs(noise(0.002))
    c["seconds_guard"] = 1e-4 + np.abs(noise(1e-5))
    c["seconds_files"] = np.where(t % 500 == 0, 0.1, 0.0)
    c["seconds_iteration"] = 0.008 + sum(c[f"seconds_{n}"] for n in ("chains", "gradient", "reduction", "waiting", "files"))
    c["chain_steps_per_second"] = 2 * 128 * 20 / c["seconds_chains"]
    return c


def write_metrics(run, columns):
    rows = [",".join(columns)]
    for row in zip(*columns.values()):
        rows.append(",".join("" if np.isnan(v) else f"{v:.9g}" for v in row))
    (run / "metrics.csv").write_text("\n".join(rows) + "\n")


def write_draws(run, iteration, x, age, observed=None, restarts=None):
    (run / "samples").mkdir(exist_ok=True)
    with h5py.File(run / "samples" / f"draws-{iteration:08d}.nc", "w") as file:
        file.attrs.update(created_at="2026-01-01T00:00:00Z", inference_library="stanley", temperature=0.02)
        file["posterior/chain"] = np.arange(len(x))
        file["posterior/x"] = x[:, None].astype(np.float32)
        file["posterior/chain"].make_scale("chain")
        file["posterior/x"].dims[0].attach_scale(file["posterior/chain"])
        file["sample_stats/age"] = np.asarray(age)[:, None]
        file["sample_stats/restarts"] = (np.zeros(len(x), int) if restarts is None else np.asarray(restarts))[:, None]
        file["sample_stats/potential_energy"] = np.zeros((len(x), 1), np.float32)
        if observed is not None:
            file["observed_data/x"] = observed.astype(np.float32)


def blobs(count, size, rng):
    """Smooth pictures in [−1, 1] that differ."""
    y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j]
    parts = rng.uniform([-.4, -.4, .2, .2], [.4, .4, .7, .9], (count, 4))[:, :, None, None]
    inside = 1 - ((x - parts[:, 0]) / parts[:, 2])**2 - ((y - parts[:, 1]) / parts[:, 3])**2
    return np.clip(2 / (1 + np.exp(-8 * inside)) - 1, -1, 1)[:, None]


CONFIG = """run: {{name: {name}, seed: 1, iterations: {iterations}, directory: runs}}
energy:
  type: {energy}
  activation: silu
  slope: 0.2
data:
  range: [-1, 1]
sampler:
  type: stanley
  steps: 20
  step_size: {step_size}
  noise: 5e-3
  threshold: {{quantile: 0.5}}
  box: {box}
samples: {{every: 100, chains: 64}}
"""


def write_record(run, rows, iterations, shape, name, finished):
    start = {"time": "2026-01-01T10:00:00Z", "iteration": 0, "ranks": 2, "hosts": ["node1", "node1"],
             "devices": ["cpu", "cpu"], "precision": "bfloat16", "versions": {"torch": "2.11.0", "HDF5": "1.10.8"}}
    again = start | {"time": "2026-01-01T11:00:00Z", "iteration": rows // 2, "resumed_from": "iteration-00000600.h5"}
    stops = [{"time": "2026-01-01T10:30:00Z", "iteration": rows // 2, "verdict": "checkpointed", "exit_code": 85,
              "message": "TERM: checkpointed <soon> to be requeued"}]
    if finished:
        stops.append({"time": "2026-01-01T11:30:00Z", "iteration": rows, "verdict": "finished", "exit_code": 0})
        (run / "DONE").touch()
    record = {"name": name, "version": "0.1.0", "commit": "abc1234", "verdict": "finished" if finished else "running",
              "iteration": rows, "iterations": iterations, "starts": [start, again], "stops": stops,
              "state_shape": list(shape), "parameters": 123456}
    (run / "run.json").write_text(json.dumps(record))


def make_image_run(run, rows=1200, channels=1, size=32, chains=64):
    rng = np.random.default_rng(3)
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG.format(name="fashion", iterations=1200, energy="convnet", step_size=20,
                                                   box="[-1, 1]"))
    write_metrics(run, metrics(rows, rng))
    write_record(run, rows, 1200, (channels, size, size), "fashion", rows >= 1200)
    final = np.repeat(blobs(chains, size, rng), channels, axis=1)
    observed = np.repeat(blobs(256, size, rng), channels, axis=1)
    restarts = np.zeros(chains, int)
    for iteration in range(100, rows + 1, 100):
        restarts += rng.random(chains) < 0.15
        age = np.minimum(rng.integers(0, 1500, chains), iteration * 20 // 16)
        share = np.exp(-age / 200)[:, None, None, None]
        x = (1 - share) * np.roll(final, iteration // 100, axis=0) + share * rng.uniform(-1, 1, final.shape)
        write_draws(run, iteration, x, age, observed, restarts)
    return run


def ring(count, rng, radius=0.6):
    angle = rng.integers(0, 8, count) * np.pi / 4
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.03 * rng.standard_normal((count, 2))


def write_mlp_checkpoint(run, iteration, rng):
    """An MLP whose energy is about 4·| |x| − 0.6 |: 64 directions of a ridge each."""
    (run / "checkpoints").mkdir(exist_ok=True)
    path = run / "checkpoints" / f"iteration-{iteration:08d}.h5"
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    with h5py.File(path, "w") as file:
        file.attrs["iteration"] = iteration
        for group in ("parameters", "average"):
            file[f"{group}/layers.0.weight"] = (20 * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)
            file[f"{group}/layers.0.bias"] = np.full(64, -12, np.float32)
            file[f"{group}/layers.1.weight"] = np.eye(64, dtype=np.float32)
            file[f"{group}/layers.1.bias"] = np.zeros(64, np.float32)
            file[f"{group}/layers.2.weight"] = np.full((1, 64), 0.01, np.float32)
            file[f"{group}/layers.2.bias"] = np.zeros(1, np.float32)
    latest = run / "checkpoints" / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(path.name)


def make_plane_run(run, rows=300, box="[-1, 1]"):
    rng = np.random.default_rng(4)
    run.mkdir(parents=True)
    text = CONFIG.format(name="toy", iterations=rows, energy="mlp", step_size=2.5e-4, box=box)
    (run / "config.yaml").write_text(text)
    write_metrics(run, metrics(rows, rng))
    write_record(run, rows, rows, (2,), "toy", True)
    for iteration in range(100, rows + 1, 100):
        age = rng.integers(0, 800, 256)
        share = np.exp(-age / 100)[:, None]
        x = (1 - share) * ring(256, rng) + share * rng.uniform(-1, 1, (256, 2))
        write_draws(run, iteration, x, age, ring(256, rng))
    write_mlp_checkpoint(run, rows, rng)
    return run


def test_a_whole_run_of_images(tmp_path):
    run = make_image_run(tmp_path / "run")
    page = report(run)
    for words in ("fashion", "finished", "1,200 of 1,200", "Energies", "Gap", "Gain γ", "Where the time goes",
                  "Throughput", "Chains over time", "Younger chains", "γ is at work", "TERM: checkpointed <soon>",
                  "node1 ×2", "torch", "abc1234", "123,456 weights", "quantile: 0.5", "the run was resumed there"):
        assert page.says(words), words
    assert page.plots == 13
    with h5py.File(run / "samples" / "draws-00001200.nc") as file:
        age = file["sample_stats/age"][:, 0]
    old = int((age >= int(np.median(age))).sum())
    assert page.says(f"at least {int(np.median(age)):,} steps ({old} of 64)")
    assert len(page.images) == old + old + (64 - old) + 6 * 10  # data, old, young, over time
    with Image.open(run / "samples" / "chains.png") as picture:
        assert picture.mode == "L" and picture.width >= 256
    assert not list(run.rglob("*.part.*"))


def test_minimum_age_and_png(tmp_path):
    run = make_image_run(tmp_path / "run", rows=200, channels=3, size=8)
    assert report(run, "--minimum-age", 100, "--png", tmp_path / "grid.png").says("at least 100 steps")
    with Image.open(tmp_path / "grid.png") as picture, Image.open(run / "samples" / "chains.png") as chains:
        assert picture.mode == "RGB" and picture.size == (2 * chains.width + 24, chains.height)
        right = picture.crop((chains.width + 24, 0, *picture.size))
        assert right.tobytes() == chains.tobytes()  # on the left data, at the same size
    page = report(run, "--minimum-age", 1000000)
    assert page.says("No chain is that old yet")
    result = run_tool(run, "--minimum-age", 1000000, "--png", tmp_path / "none.png")
    assert result.returncode == 5 and "isn't written" in result.stderr and not (tmp_path / "none.png").exists()


def test_the_plane_shows_the_learned_density(tmp_path):
    page = report(make_plane_run(tmp_path / "run"))
    assert page.says("Learned density (average weights, iteration 300)") and page.says("Grey: chains of less than")
    assert not page.says("isn't shown")
    page = report(make_plane_run(tmp_path / "open", box="null"))
    assert page.says("Learned density (average")


def test_the_plane_without_a_checkpoint(tmp_path):
    run = make_plane_run(tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    page = report(run)
    assert page.says("no checkpoint is there yet") and page.says("Data and chains")


@pytest.mark.parametrize("values", [{"energy.activation": "silu"},
                                    {"energy.activation": "leaky_relu", "energy.slope": 0.3}],
                         ids=lambda values: values["energy.activation"])
def test_energy_in_numpy_equals_the_network(tmp_path, values):
    """As the program itself computes it, with the average weights of a checkpoint that it wrote."""
    sys.path.insert(0, str(TOOL.parent))
    from stanley_tools.files import MlpEnergy, Run
    program, run = os.environ["STANLEY_PROGRAM"], tmp_path / "run"
    values = {**values, "run.iterations": 20, "optimizer.learning_rate": 0.1, "optimizer.average": 0.5,
              "samples.every": "null"}
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    for command in (["train", SMOKE, "--run-directory", run, *settings],
                    ["sample", run / "checkpoints" / "latest", "--set", "sampler.steps=2", "--output", tmp_path / "x.nc"]):
        subprocess.run([program, *map(str, command)], check=True, capture_output=True, timeout=100)
    with h5py.File(tmp_path / "x.nc") as file:
        x = file["posterior/x"][:].reshape(-1, 2).astype(float)
        expected = file["sample_stats/potential_energy"][:].ravel()
    assert np.ptp(expected) > 1e-3 and np.allclose(MlpEnergy(Run(run))(x), expected, rtol=1e-4, atol=1e-5)


TINY = """
run: {{name: tiny, seed: 3, iterations: 5, precision: float32, device: cpu}}
energy: {energy}
data: {{path: {data}, batch: 8, range: [-1, 1]}}
chains: {{total: 16, active: 16, shards: 4, restart_probability: 0}}
sampler: {{type: stanley, steps: 3, step_size: 20, noise: 0.01, threshold: {threshold}, box: [-1, 1]}}
optimizer: {{learning_rate: 0.001}}
samples: {{every: 5}}
checkpoint: {{every: 4, keep_last: 9}}
"""


@pytest.mark.parametrize("energy, threshold", [
    ("{type: convnet, channels: 2}", "{quantile: 0.7}"),
    ("{type: convnet, channels: 2, downsampling: means, activation: leaky_relu}", "1e-4"),
    ("{type: resnet, channels: 3, blocks: 2}", "{quantile: 0.3}"),
    ("{type: mlp, hidden: [16, 8]}", "{quantile: 0.7}")])
def test_gain_in_numpy_equals_the_program(tmp_path, energy, threshold):
    """The row after a checkpoint is of its bank under its weights: all chains move, and none restarts."""
    run, data, config = tmp_path / "run", tmp_path / "images.h5", tmp_path / "tiny.yaml"
    with h5py.File(data, "w") as file:
        file.attrs["schema_version"] = "1.0"
        file["train/images"] = np.random.default_rng(1).integers(0, 255, (32, 2, 8, 16), dtype=np.uint8)
    config.write_text(TINY.format(energy=energy, data=data, threshold=threshold))
    subprocess.run([os.environ["STANLEY_PROGRAM"], "train", config, "--run-directory", run], check=True, capture_output=True,
                   timeout=100)
    card = tools().gain_card(tools().Run(run))
    assert "γ beside its image (iteration 5)" in card and "the mean over the channels" in card
    assert 2 * 8 <= card.count("<img") - 1 <= 2 * 16  # pairs of those at the median age or above, and the scale
    for name in ("iteration-00000005.h5", "latest"):
        (run / "checkpoints" / name).unlink()
    opened = tools().Run(run)
    row = {name: values[-1] for name, values in opened.metrics.items()}
    gradient = tools().StateGradient(opened)
    with h5py.File(gradient.path) as file:
        x = file["chains/state"][:]
    g = gradient(x)
    gamma = tools().gain(opened, g)
    assert tools().bank(gradient.path)[2] == 4
    expected = {"gain_weighted_drift": (gamma * abs(g)).sum((1, 2, 3)) / abs(g).sum((1, 2, 3)),
                "gain_below_one": (gamma < 1).mean((1, 2, 3)),
                "state_gradient_q50": np.quantile(abs(g), 0.5, axis=(1, 2, 3), method="inverted_cdf")}
    assert 0.1 < row["gain_weighted_drift"] < 0.99
    for name, values in expected.items():
        assert np.isclose(values.mean(), row[name], rtol=2e-3), name


def test_gain_that_can_not_be_computed_is_told(tmp_path):
    def told(config):
        (run / "config.yaml").write_text(config)
        opened = tools().Run(run)
        assert tools().gain_card(opened) == ""
        return " ".join(opened.remarks)
    run = tmp_path / "run"
    run.mkdir()
    config = CONFIG.format(name="x", iterations=9, energy="torchscript", step_size=1, box="null")
    assert "no checkpoint is there yet" in told(config)
    write_mlp_checkpoint(run, 100, np.random.default_rng(1))
    assert "neither draws nor checkpoints store it or γ" in told(config)
    assert "normalised spectrally" in told(config.replace("slope: 0.2", "spectral_normalization: true"))
    assert told(config.replace("type: stanley", "type: langevin")) == ""


def test_the_thermometer(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(CONFIG.format(name="warm", iterations=50, energy="mlp", step_size=20, box="null"))
    columns = metrics(50, np.random.default_rng(1))
    for name in ("settled", "law"):
        columns[f"temperature_{name}"], columns[f"temperature_{name}_error"] = np.full((2, 50), np.nan)
    columns["data_score"] = np.full(50, np.nan)
    columns["saturation"][-1] = 0.45

    def shown():
        write_metrics(run, columns)
        opened = tools().Run(run)
        return Page("".join(tools().thermometer(opened, tools().Record(opened.metrics))))
    assert shown().says("It reads nothing") and shown().plots == 0
    columns["temperature_law"][10:], columns["data_score"][24] = 1.3e-6, 3
    page = shown()
    assert page.says("T = 1.25e-06 was asked for") and page.says("45 % of the elements are on a wall")
    assert page.says("Score at the data") and page.plots == 2


def test_restarts_and_roll_backs_are_in_every_plot_over_iterations(monkeypatch):
    columns = metrics(100, np.random.default_rng(1))
    columns |= {name: np.full(100, 0.5) for name in ("kid_train", "temperature_settled", "temperature_law", "data_score",
                                                     "counted_share", "noise_left")}
    record, marked, canvas = tools().Record(columns, [0, 40], [70]), [], tools().canvas
    more = {"kid": ({}, None, True), "temperature": (None,)}

    def axes(*arguments, **more):
        figure, ax = canvas.axes(*arguments, **more)
        marked.extend((line.get_xdata()[0], line.get_color()) for line in ax.lines)
        return figure, ax
    for module in tools().over_iterations:
        monkeypatch.setattr(module, "axes", axes)
    for name in ("energies gap gain state_gradient movement age shares learning_rate norms autocorrelation throughput "
                 "time_split data_score kid temperature counted_share noise_left").split():
        marked.clear()
        draw = next(getattr(module, name) for module in tools().over_iterations if hasattr(module, name))
        draw(record, *more.get(name, ()))
        assert marked == [(40, canvas.MUTED), (70, canvas.RED)], name


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_a_run_just_begun(tmp_path, rows):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(CONFIG.format(name="young", iterations=50, energy="mlp", step_size=1, box="null"))
    write_metrics(run, metrics(rows, np.random.default_rng(1)))
    page = report(run)
    assert page.says("No draws yet")
    assert page.says("No iteration is recorded yet" if rows == 0 else "too early to judge")
    assert page.plots == (0 if rows == 0 else 12 if rows > 2 else 11)
    if rows == 0:
        (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("every: 100,", "every: null,"))
        assert report(run).says("samples.every is null")


def test_columns_of_nan_are_left_out_and_broken_energies_are_told(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    columns = metrics(100, np.random.default_rng(1))
    for name in COLUMNS:
        if name.startswith("gain") or name == "energy_noise":
            columns[name][:] = np.nan
    columns["energy_data"][40:43] = np.nan
    write_metrics(run, columns)
    page = report(run)
    assert not page.says("γ slows elements") and page.says("3 iterations have energies that are not finite")


def test_many_rows_are_decimated(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    write_metrics(run, metrics(30000, np.random.default_rng(1)))
    assert report(run).says("30,000 rows are drawn as 300 medians")
    assert (run / "report.html").stat().st_size < 1_500_000


def test_warnings_of_a_bad_run(tmp_path):
    run = make_image_run(tmp_path / "run", rows=200)
    columns = metrics(200, np.random.default_rng(1))
    columns["gain_weighted_drift"][:] = 0.99
    columns["gap_autocorrelation"][:] = -0.8
    columns["gap"] = np.exp(np.arange(200) / 30)
    columns["energy_noise"] = columns["energy_data"] - 0.01
    write_metrics(run, columns)
    (run / "rejected" / "1").mkdir(parents=True)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"verdict": "diverged", "rollbacks": [
        {"time": "2026-01-01T00:00:00Z", "attempt": 1, "iteration": 37, "target": 20, "seen": "the gap is <wide>"}]}))
    page = report(run)
    for words in ("diverged", "nearly plain Langevin", "lower the learning rate", "no longer keep up", "does not know the data",
                  "rolled back once", "Roll-backs", "the gap is <wide>", "Dashed red ones: it was rolled back to there"):
        assert page.says(words), words


def test_broken_files_become_remarks(tmp_path):
    run = make_image_run(tmp_path / "run", rows=300)
    newest = run / "samples" / "draws-00000300.nc"
    newest.write_bytes(newest.read_bytes()[:700])
    (run / "run.json").write_text("{")
    (run / "config.yaml").write_text("a: [")
    text = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text(text[:-30])  # the last line is being written
    page = report(run)
    assert page.says("draws-00000300.nc can't be read") and page.says("Draws of iteration 200")
    assert page.says("run.json is not JSON") and page.says("config.yaml is not YAML")
    assert page.says("299")


def test_no_run_is_refused_in_one_sentence(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        result = run_tool(place)
        assert result.returncode == 5 and result.stderr.count("\n") == 1 and str(place) in result.stderr
    assert run_tool().returncode == 2
