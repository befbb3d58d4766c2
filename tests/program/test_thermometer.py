"""The thermometer of real trainings: metrics.csv and the log's line."""
import csv
import math
import re

import pytest

from program import trains

READINGS = ("temperature_settled", "temperature_settled_error", "temperature_law", "temperature_law_error")
# In a wide plane, where the weights stand still: chains that settle at T = 1 and stay there.
FREE = {"sampler.box": "null", "run.reproducible": "true", "chains.restart_probability": 0, "sampler.steps": 20,
        "sampler.type": "langevin", "optimizer.learning_rate": 1e-9}


def rows_of(directory):
    with open(directory / "metrics.csv", newline="") as file:
        return [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]


def lines_of(directory):
    return re.findall(r"\| T (\S+) settled (.*) law (.*) walls (\d+) % score (\S+) \|", (directory / "log.txt").read_text())


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    directory = tmp_path_factory.mktemp("free") / "run"
    trains(directory, FREE)
    return directory


def test_chains_without_a_box_are_read_in_every_row(free):
    rows, lines = rows_of(free), lines_of(free)
    assert len(rows) == 30 and len(lines) == 3
    for row in rows:
        assert all(math.isfinite(row[name]) for name in READINGS)
        # γ is 1. A step is little but its noise, σ = 0.1: the root of the mean of two squares has the mean 0.89 σ.
        assert row["temperature_settled"] == row["temperature_law"] and row["temperature_settled_error"] > 0
        assert row["step_length"] == pytest.approx(0.0886, rel=0.4)
        assert (row["data_score"] > 0) == (row["iteration"] % 10 == 0)
    for line, row in zip(lines, rows[9::10]):
        value, error = map(float, line[1].split(" ± "))
        assert line[0] == "1" and line[1] == line[2] and line[3] == "0"
        assert value == pytest.approx(row["temperature_settled"], rel=0.01)
        assert error == pytest.approx(row["temperature_settled_error"], rel=0.5)
        assert float(line[4]) == pytest.approx(row["data_score"], rel=0.01)


def test_no_reading_depends_on_ranks(free, tmp_path):
    trains(tmp_path / "run", FREE, ranks=2)
    for one, other in zip(rows_of(free), rows_of(tmp_path / "run"), strict=True):
        for name in (*READINGS, "step_length", "data_score"):
            assert one[name] == pytest.approx(other[name], rel=1e-9, nan_ok=True), name


@pytest.mark.parametrize("values", [
    # The noise throws the chains from wall to wall, as an image configuration's drift does.
    {"sampler.temperature": 1000},
    # Chains that start evenly in the box, where the mean of f′ is 0, and hardly move.
    {"sampler.temperature": 1e-6, "sampler.step_size": 1e-6, "chains.restart_probability": 1}],
    ids=["long steps", "nothing to tell"])
def test_what_cannot_be_read_is_a_dash(tmp_path, values):
    trains(tmp_path / "run", {**values, "run.iterations": 10})
    [line] = lines_of(tmp_path / "run")
    assert line[1] == line[2] == "–"
    row = rows_of(tmp_path / "run")[-1]
    assert all(math.isnan(row[name]) for name in READINGS)
    assert int(line[3]) == round(100 * row["saturation"])
