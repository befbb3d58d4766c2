"""A thousand random damages to a small file of each kind: `stanley inspect` finds each, or h5py sees what it saw before."""
import json
import random
import subprocess
import sys

import h5py
import numpy
import pytest

from conftest import write_idx
from program import FINISHED, INPUT_OUTPUT, ROOT, checkpoint, draws, ends, run, settings, trains
from refusals import refused

DAMAGES = 1000


# --- what a reader sees ----------------------------------------------------------------------------
def plain(file, value):
    """A value as something that can be compared: references by the names of what they lead to."""
    if isinstance(value, h5py.Reference):
        return file[value].name
    if isinstance(value, (numpy.ndarray, numpy.void, tuple)) and getattr(value, "dtype", numpy.dtype(object)).hasobject:
        return [plain(file, one) for one in value]
    return (str(getattr(value, "dtype", type(value))), numpy.asarray(value).tobytes()) \
        if not isinstance(value, (str, bytes)) else value


def seen(path):
    """All that h5py shows of a file."""
    found = {}

    def look(name, item):
        found[name, "kind"] = type(item).__name__
        for key in item.attrs:
            found[name, "attribute", key] = plain(item.file, item.attrs[key]), str(item.attrs.get_id(key).dtype)
        if isinstance(item, h5py.Group):
            found[name, "members"] = list(item)  # in their order of creation, where that is kept
            return
        found[name, "values"] = item.shape, str(item.dtype), item.maxshape, item.chunks, item[()].tobytes()
        found[name, "filters"] = item.compression, item.fletcher32, str(item.fillvalue)
        found[name, "dimensions"] = [(dimension.label, [scale.name for scale in dimension.values()])
                                     for dimension in item.dims]

    with h5py.File(path) as file:
        look("/", file)
        file.visititems(look)
    return found


# --- small files of each kind ----------------------------------------------------------------------
@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    trains(folder / "run", {"run.iterations": 2, "samples.every": 2, "energy.hidden": "[4]", "checkpoint.every": 2})
    ends(run("sample", checkpoint(folder / "run", 2), *settings({"sampler.steps": 2, "sampler.write_every": 1}),
             "--output", folder / "sample.nc"), FINISHED)
    generator = numpy.random.default_rng(1)
    write_idx(folder / "train-images-idx3-ubyte", generator.integers(0, 256, (12, 8, 8), dtype=numpy.uint8))
    write_idx(folder / "train-labels-idx1-ubyte", numpy.arange(12, dtype=numpy.uint8) % 3)
    subprocess.run([sys.executable, ROOT / "tools" / "convert_images.py", folder, "--classes", "bus,car,train",
                    "--output", folder / "data.h5"], check=True, capture_output=True, timeout=60)
    return {"checkpoint": checkpoint(folder / "run", 2), "draws": draws(folder / "run", 2),
            "sample": folder / "sample.nc", "data": folder / "data.h5"}


def damaged(whole, seed):
    """The bytes with 1 to 64 neighbouring ones replaced by others."""
    generator = random.Random(seed)
    length = generator.randint(1, min(64, len(whole)))
    begin = generator.randrange(len(whole) - length + 1)
    old = whole[begin:begin + length]
    new = bytes(byte ^ generator.randint(1, 255) for byte in old)
    return whole[:begin] + new + whole[begin + length:]


def refuse_all(paths):
    result = ends(run("inspect", *paths, "--json", limit=300), INPUT_OUTPUT)
    refused(result, INPUT_OUTPUT)
    return json.loads(result.stdout)["inspected"]


@pytest.mark.parametrize("kind", ["checkpoint", "draws", "sample", "data"])
def test_every_damage_is_found_or_harmless(tmp_path, files, kind):
    sound = files[kind]
    assert json.loads(ends(run("inspect", sound, "--json"), FINISHED).stdout)["verified"]
    before, whole = seen(sound), sound.read_bytes()
    paths = [tmp_path / f"{seed}{sound.suffix}" for seed in range(DAMAGES)]
    for seed, path in enumerate(paths):
        path.write_bytes(damaged(whole, seed))
    reports = refuse_all(paths)
    assert [report["path"] for report in reports] == [str(path) for path in paths]
    passed = [report["path"] for report in reports if report["verified"]]
    for path in passed:
        assert seen(path) == before, f"{path} passed as verified"
    # Most of a small file is in use: else this test would prove little.
    assert len(passed) < DAMAGES * 3 / 4, f"{len(passed)} of {DAMAGES} were harmless"


@pytest.mark.parametrize("kind", ["draws", "data", "checkpoint"])
def test_blocks_of_zeros_are_found_or_harmless(tmp_path, files, kind):
    """As a disk that loses a sector leaves them; HDF5 1.10 never comes back from some of these."""
    sound = files[kind]
    before, whole = seen(sound), sound.read_bytes()
    paths = []
    for begin in range(0, len(whole) - 512, 1024):
        paths.append(tmp_path / f"{begin}{sound.suffix}")
        paths[-1].write_bytes(whole[:begin] + bytes(512) + whole[begin + 512:])
    result = refuse_all(paths)
    passed = [report["path"] for report in result if report["verified"]]
    for path in passed:
        assert seen(path) == before, f"{path} passed as verified"
    assert len(passed) < len(paths)


def test_a_damaged_file_without_a_seal_hangs_no_training(tmp_path):
    """Zeros in HDF5's heap of texts make an endless loop of HDF5 1.10."""
    kept = ROOT / "tests" / "kept" / "54c7996"
    whole = (kept / "digits.h5").read_bytes()
    begin = whole.index(b"GCOL") + 16
    (tmp_path / "digits.h5").write_bytes(whole[:begin] + bytes(4096 - 16) + whole[begin + 4096 - 16:])
    command = ["train", kept / "digits.yaml", "--run-directory", tmp_path / "run",
               *settings({"data.path": tmp_path / "digits.h5"})]
    refused(run(*command), INPUT_OUTPUT, tmp_path / "digits.h5")
    refused(run("inspect", tmp_path / "digits.h5"), INPUT_OUTPUT, tmp_path / "digits.h5")
