import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cluster import Cluster, why_not  # noqa: E402


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(f"no virtual Slurm: {reason}")
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running
