"""Do the files of a run open in the tools that people use, and do they agree with each other?

STANLEY_TEST_RUN names a run directory that holds draws and checkpoints.
"""
import os
import pathlib
import subprocess

import arviz
import h5py
import netCDF4
import numpy
import pytest
import xarray

RUN = os.environ.get("STANLEY_TEST_RUN")
pytestmark = pytest.mark.skipif(RUN is None, reason="STANLEY_TEST_RUN names no run directory")

ENGINES = ["netcdf4", "h5netcdf"]
STATE_DIMENSIONS = {1: ("dimension",), 3: ("channel", "height", "width")}
STATISTICS = {"lp", "potential_energy", "age", "restarts", "acceptance_rate"}


def found(pattern):
    return sorted(pathlib.Path(RUN or "/nowhere").glob(pattern))


DRAWS = found("samples/draws-*.nc")
CHECKPOINTS = found("checkpoints/iteration-*.h5")
each_draws = pytest.mark.parametrize("path", DRAWS, ids=lambda path: path.name)
each_checkpoint = pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.name)
each_engine = pytest.mark.parametrize("engine", ENGINES)


def iteration_of(path):
    return int(path.stem.split("-")[1])


def named_state(dimensions, first):
    """Are these `first` and then the dimensions of a state?"""
    rest = tuple(dimensions[len(first):])
    return tuple(dimensions[:len(first)]) == first and rest == STATE_DIMENSIONS.get(len(rest))


def test_there_is_something_to_look_at():
    assert DRAWS and CHECKPOINTS
    assert not found("**/*.part.*")
    assert (pathlib.Path(RUN) / "checkpoints" / "latest").resolve() == CHECKPOINTS[-1].resolve()


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
        assert file.attrs["schema_version"] == "1.0"


@pytest.mark.parametrize("path", DRAWS + CHECKPOINTS, ids=lambda path: path.name)
def test_netcdf_names_every_dimension(path):
    header = subprocess.run(["ncdump", "-h", path], capture_output=True, text=True, check=True)
    assert "chain, " in header.stdout and "phony_dim" not in header.stdout
    with netCDF4.Dataset(path) as file:
        assert file.schema_version == "1.0"


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
    checkpoints = {iteration_of(path): path for path in CHECKPOINTS}
    both = [path for path in DRAWS if iteration_of(path) in checkpoints]
    assert both
    for path in both:
        with h5py.File(path) as draws, h5py.File(checkpoints[iteration_of(path)]) as checkpoint:
            x = draws["posterior/x"][:, 0]
            chains = slice(0, len(x))
            assert x.tobytes() == checkpoint["chains/state"][chains].tobytes()
            for name in ("age", "restarts"):
                stored = draws["sample_stats"][name][:, 0]
                assert (stored == checkpoint["chains"][name][chains]).all()
