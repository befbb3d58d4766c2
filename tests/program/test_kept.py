"""Files that earlier versions wrote still convert, train, resume, sample and are inspected: tests/kept."""
import json
import shutil
import subprocess
import sys

import h5py
import numpy
import pytest

from program import FINISHED, ROOT, arrays, checkpoint, ends, iterations_recorded, run, settings, trains

KEPT = ROOT / "tests" / "kept"
VERSIONS = sorted(path.name for path in KEPT.iterdir() if path.is_dir())
LENGTH = 4  # iterations of the kept runs


@pytest.fixture(params=VERSIONS)
def kept(tmp_path, request):
    """A copy of what a version left, which the test may go on with."""
    shutil.copytree(KEPT / request.param, tmp_path / "kept", symlinks=True)
    return tmp_path / "kept"


@pytest.mark.parametrize("source", ["digits", "pictures"])
def test_sources_convert_to_the_same_values(kept, source):
    subprocess.run([sys.executable, ROOT / "tools" / "convert_images.py", kept / source, "-o", kept / "new.h5"],
                   check=True, capture_output=True, timeout=60)
    with h5py.File(kept / f"{source}.h5") as old, h5py.File(kept / "new.h5") as new:
        assert set(old) == set(new) == {"train", "test"}
        assert list(old.attrs["class_names"]) == list(new.attrs["class_names"])
        for name in ("train/images", "train/labels", "test/images", "test/labels"):
            assert numpy.array_equal(old[name], new[name]), name


def test_files_are_sound(kept):
    names = [*sorted(kept.glob("*.h5")), *sorted(kept.glob("*.nc")), *sorted(kept.glob("*_run"))]
    report = json.loads(ends(run("inspect", *names, "--json"), FINISHED).stdout)
    assert report["verified"] and [one["kind"] for one in report["inspected"]] == ["data", "data", "draws", "run", "run"]
    assert [one["iterations_done"] for one in report["inspected"][-2:]] == [LENGTH, LENGTH]
    assert all(len(one["checkpoints"]) == 3 for one in report["inspected"][-2:])


@pytest.mark.parametrize("name, ranks", [("digits", 1), ("digits", 2), ("rings", 1)])
def test_runs_go_on(kept, name, ranks):
    directory = kept / f"{name}_run"
    values = {"data.path": kept / "digits.h5"} if name == "digits" else {}
    command = ["train", kept / f"{name}.yaml", "--run-directory", directory]
    result = ends(run(*command, *settings({"run.iterations": LENGTH + 2, **values}), ranks=ranks), FINISHED)
    assert f"goes on from {checkpoint(directory, LENGTH)}" in result.stdout
    assert iterations_recorded(directory) == list(range(1, LENGTH + 3))
    ends(run("inspect", directory), FINISHED)


@pytest.mark.parametrize("name", ["digits", "pictures", "rings"])
def test_configurations_train(tmp_path, kept, name):
    values = {"data.path": kept / f"{name}.h5"} if name != "rings" else {}
    trains(tmp_path / "run", values, kept / f"{name}.yaml")


@pytest.mark.parametrize("name", ["digits", "rings"])
def test_checkpoints_are_sampled(kept, name):
    path = checkpoint(kept / f"{name}_run", LENGTH)
    ends(run("sample", path, *settings({"sampler.steps": 2}), "--output", kept / "draws.nc"), FINISHED)
    assert len(arrays(kept / "draws.nc")["posterior/x"]) == len(arrays(path)["chains/state"])
