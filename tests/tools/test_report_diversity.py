"""The report's section on classes and nearest training images, from what `stanley evaluate` writes."""
import base64
import io
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from test_report import report

HISTOGRAM = {"images": 9, "shares": [0.25, 0.75], "entropy": 0.562, "confident": 0.5}
DISTANCES = {"states": 9, "reference": 9, "levels": [0, 1], "quantiles_of_states": [0, 1],
             "quantiles_of_reference": [0, 1], "nearer_than_median": 0.625, "nearer_than_5_percent": 0.125, "copies": 1}


def pairs(number, *numbers):
    return [{number: one, "training": one + 1, "distance": 0.5 * one} for one in numbers]


@pytest.fixture
def run(tmp_path):
    """A run whose checkpoint and data file hold pictures of one grey each: state i 10·i, training image i 10·i + 5."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("run: {name: greys, iterations: 30}\ndata: {range: [-1, 1]}\n")
    grey = lambda values: np.broadcast_to(np.asarray(values).reshape(-1, 1, 1, 1), (len(values), 1, 4, 4))
    with h5py.File(run / "checkpoints" / "iteration-00000030.h5", "w") as file:
        file["chains/state"] = grey(10 * np.arange(9) / 127.5 - 1).astype(np.float32)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.attrs["value_range"] = [0, 255]
        file["train/images"] = grey(10 * np.arange(9) + 5).astype(np.uint8)
        file["test/images"] = grey(10 * np.arange(9) + 100).astype(np.uint8)
    write(run, {"path": "checkpoints/iteration-00000030.h5", "time": "2026-01-02", "states": 9,
                "protocol": {"data": str(tmp_path / "data.h5"), "split": "test", "range": [-1, 1]},
                "diversity": {
                    "classes": {"classifier": "greys", "names": ["dark", "light"], "confident_from": 0.9, "right": 0.875,
                                "states": HISTOGRAM, "reference": HISTOGRAM, "labels": None, "total_variation": 0.125,
                                "total_variation_by_chance": 0.0625},
                    "neighbours": {"split": "train", "training": 9, "to_training": DISTANCES, "pairs": {
                        "nearest": pairs("state", 3, 0), "states": pairs("state", 1, 2, 7),
                        "reference": pairs("image", 6)}}}})
    return run


def write(run, *entries):
    (run / "evaluation.json").write_text(json.dumps({"format": "stanley-evaluation", "version": 1,
                                                     "evaluations": entries}))


def greys(page):
    """The grey of each tile, row by row, of the pictures that are in the page."""
    found = []
    for source in page.images:
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
        found.append(sorted(set(image.ravel()) - {128}))
    return found


def test_classes_and_pairs_are_shown(run):
    page = report(run)
    for words in ("Classes and nearest training images", "dark", "75.0 %", "right on 87.5 % of the reference",
                  "62 % of the states",
                  "Classes, checkpoints/iteration-00000030.h5: 9 states", "Others, at even steps of their number"):
        assert page.says(words), words
    assert greys(page) == [[0, 15, 30, 45], [10, 20, 25, 35, 70, 85], [75, 160]]
    assert "repeat(2, 1fr)\"><span>1.5</span><span>0</span></figcaption>" in (run / "report.html").read_text()


def test_ages_are_told_apart_where_the_evaluation_has_them(run):
    entry = json.loads((run / "evaluation.json").read_text())["evaluations"][0]
    assert not report(run).says("ages 0 to 19")
    levels = {"levels": [0, 0.5, 1], "quantiles_of_reference": [0, 0.75, 1]}
    found = entry["diversity"]
    found["classes"]["by_age"] = [{"name": "ages 0 to 19", "ages": [0, 19], "total_variation": 0.375,
                                   "total_variation_by_chance": 0.1, "states": {**HISTOGRAM, "shares": [0.0625, 0.9375]}}]
    found["neighbours"]["to_training"] = {**DISTANCES, **levels, "quantiles_of_states": [0, 0.5, 1]}
    found["neighbours"]["by_age"] = [{"name": "ages 20 to 99", "ages": [20, 99], "to_training": {
        **DISTANCES, **levels, "quantiles_of_states": [0, 0.3125, 1], "nearer_than_5_percent": 0.34}}]
    write(run, entry)
    page = report(run)
    for words in ("ages 0 to 19", "93.8 %", "0.375", "ages 20 to 99", "0.312", "34.0 %", "0.75"):
        assert page.says(words), words


def test_states_of_draws_are_numbered_chain_by_chain(run, tmp_path):
    entry = json.loads((run / "evaluation.json").read_text())["evaluations"][0]
    (run / "samples").mkdir()
    states = (10 * np.arange(8) / 127.5 - 1).astype(np.float32).reshape(4, 2, 1, 1, 1)
    with h5py.File(tmp_path / "draws.nc", "w") as file:
        file["posterior/x"] = np.broadcast_to(states, (4, 2, 1, 4, 4))
    write(run, {**entry, "path": str(tmp_path / "draws.nc")})
    assert greys(report(run))[1] == [10, 20, 25, 35, 70, 85]


def test_what_cannot_be_read_is_a_remark(run, tmp_path):
    entry = json.loads((run / "evaluation.json").read_text())["evaluations"][0]
    (tmp_path / "data.h5").rename(tmp_path / "elsewhere.h5")
    page = report(run)
    assert page.says("neighbours of evaluation.json aren't shown") and page.says("dark") and not page.images
    write(run, {**entry, "diversity": {"classes": [], "neighbours": None}})
    assert report(run).says("classes of evaluation.json aren't shown")
    write(run, {**entry, "diversity": {}})
    assert not report(run).says("aren't shown")
    (run / "evaluation.json").write_text("{")
    assert report(run).says("evaluation.json is not JSON")
