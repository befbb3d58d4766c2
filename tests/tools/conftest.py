import numpy as np
import pytest


@pytest.fixture
def generator():
    return np.random.default_rng(7)


@pytest.fixture
def source(tmp_path):
    """A folder for what is converted."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def output(tmp_path):
    """Where the converted file goes."""
    return tmp_path / "out.h5"
