"""Do the files of a run open in the tools that people use, and do they agree with each other?

Looks at two short runs of its own, in the plane and on images, or at the one that STANLEY_TEST_RUN names.
"""
import atexit
import os
import pathlib
import shutil
import subprocess
import tempfile

import arviz
import h5py
import netCDF4
import numpy
import pytest
import xarray

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = """
run: {name: images, iterations: 10}
energy: {type: convnet, channels: 2}
data: {path: PATH, batch: 16}
chains: {total: 48, active: 24, shards: 4}
sampler: {steps: 2}
samples: {every: 5, chains: null}
checkpoint: {every: 5}
"""


def make_runs():
    """Two runs of two ranks each."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="stanley-files-"))
    atexit.register(shutil.rmtree, folder)
    with h5py.File(folder / "images.h5", "w") as file:
        file.attrs["schema_version"] = "1.0"
        file.attrs["value_range"] = [0, 255]
        file["train/images"] = numpy.random.default_rng(1).integers(0, 256, (64, 3, 9, 8), dtype=numpy.uint8)
    config = folder / "images.yaml"
    config.write_text(IMAGES.replace("PATH", str(folder / "images.h5")))
    variables = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    for name, path in {"plane": ROOT / "configs" / "smoke.yaml", "images": config}.items():
        subprocess.run(["mpirun", "--quiet", "--oversubscribe", "-n", "2", os.environ["STANLEY_PROGRAM"], "train", path,
                        "--run-directory", folder / name], env={**variables, **os.environ}, check=True, timeout=120)
    return [folder / "plane", folder / "images"]


RUNS = [pathlib.Path(os.environ["STANLEY_TEST_RUN"])] if "STANLEY_TEST_RUN" in os.environ else make_runs()

ENGINES = ["netcdf4", "h5netcdf"]
STATE_DIMENSIONS = {1: ("dimension",), 3: ("channel", "height", "width")}
STATISTICS = {"lp", "potential_energy", "age", "restarts", "acceptance_rate"}


def found(pattern):
    return [path for run in RUNS for path in sorted(run.glob(pattern))]


def name_of(path):
    return f"{path.parents[1].name}-{path.name}"


DRAWS = found("samples/draws-*.nc")
CHECKPOINTS = found("checkpoints/iteration-*.h5")
each_draws = pytest.mark.parametrize("path", DRAWS, ids=name_of)
each_checkpoint = pytest.mark.parametrize("path", CHECKPOINTS, ids=name_of)
each_engine = pytest.mark.parametrize("engine", ENGINES)


def iteration_of(path):
    return int(path.stem.split("-")[1])


def named_state(dimensions, first):
    """Are these `first` and then the dimensions of a state?"""
    rest = tuple(dimensions[len(first):])
    return tuple(dimensions[:len(first)]) == first and rest == STATE_DIMENSIONS.get(len(rest))


def test_there_is_something_to_look_at():
    assert not found("**/*.part.*")
    for run in RUNS:
        assert list(run.glob("samples/draws-*.nc"))
        newest = sorted(run.glob("checkpoints/iteration-*.h5"))[-1]
        assert (run / "checkpoints" / "latest").resolve() == newest.resolve()


@each_draws
@each_engine
def test_xarray_opens_draws(path, engine):
    with xarray.open_dataset(path, group="posterior", engine=engine) as posterior:
        assert named_state(posterior["x"].dims, ("chain", "draw"))
        assert posterior["x"].dtype == numpy.float32
        assert set(posterior["x"].dims) == set(posterior.coords)
        assert iteration_of(path) in posterior["draw"]
        assert numpy.isfinite(posterior["x"]).all()
        assert posterior.attrs["inference_library"] == "stanley"
    with xarray.open_dataset(path, group="sample_stats", engine=engine) as statistics:
        assert STATISTICS <= set(statistics.data_vars)
        assert all(statistics[name].dims == ("chain", "draw") for name in STATISTICS)


@each_draws
def test_arviz_opens_draws(path):
    inference = arviz.from_netcdf(path)
    assert {"posterior", "sample_stats"} <= set(inference.groups())
    assert inference.posterior["x"].sizes["chain"] == inference.sample_stats.sizes["chain"]
    assert {"created_at", "inference_library_version", "commit", "seed", "temperature",
            "configuration"} <= set(inference.posterior.attrs)


@each_draws
def test_h5py_opens_draws(path):
    with h5py.File(path) as file:
        x = file["posterior/x"]
        assert x.fletcher32 and x.compression is None
        assert numpy.prod(x.chunks) * 4 <= 8 << 20
        assert named_state([dimension.keys()[0] for dimension in x.dims], ("chain", "draw"))
        assert file.attrs["schema_version"] == "1.1"


@pytest.mark.parametrize("path", DRAWS + CHECKPOINTS, ids=name_of)
def test_netcdf_names_every_dimension(path):
    header = subprocess.run(["ncdump", "-h", path], capture_output=True, text=True, check=True)
    assert "chain, " in header.stdout and "phony_dim" not in header.stdout
    with netCDF4.Dataset(path) as file:
        assert file.schema_version == "1.1"


@each_checkpoint
@each_engine
def test_xarray_opens_checkpoints(path, engine):
    with xarray.open_dataset(path, group="chains", engine=engine) as chains:
        assert named_state(chains["state"].dims, ("chain",))
        assert chains["age"].dims == chains["restarts"].dims == ("chain",)
    with xarray.open_datatree(path, engine=engine) as tree:
        assert set(tree["parameters"].data_vars) == set(tree["average"].data_vars)


@each_checkpoint
def test_h5py_opens_checkpoints(path):
    with h5py.File(path) as file:
        assert file.attrs["iteration"] == iteration_of(path)
        assert "run:" in file.attrs["config"].decode()
        names = []
        file["digests"].visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            array, digests = file[name], file["digests"][name]
            assert array.chunks is None and digests.dtype == numpy.uint64
            assert len(digests) == max(1, digests.attrs["shards"])
        assert {"chains/state", "chains/age", "chains/restarts"} <= set(names)


def test_draws_are_the_bank_of_the_same_iteration():
    pairs = [(path, path.parents[1] / "checkpoints" / f"iteration-{iteration_of(path):08}.h5") for path in DRAWS]
    pairs = [(path, checkpoint) for path, checkpoint in pairs if checkpoint in CHECKPOINTS]
    assert {path.parents[1] for path, _ in pairs} == set(RUNS)
    for path, saved in pairs:
        with h5py.File(path) as draws, h5py.File(saved) as checkpoint:
            x = draws["posterior/x"][:, 0]
            chains = slice(0, len(x))
            assert x.tobytes() == checkpoint["chains/state"][chains].tobytes()
            for name in ("age", "restarts"):
                stored = draws["sample_stats"][name][:, 0]
                assert (stored == checkpoint["chains"][name][chains]).all()
