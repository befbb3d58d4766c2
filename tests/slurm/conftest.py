import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cluster import Cluster, why_not  # noqa: E402

SKIPPED = 77  # for CTest, whose summary then names this file as skipped


def pytest_collection_modifyitems(items):
    reason = why_not()
    for item in items if reason else []:
        item.add_marker(pytest.mark.skip(reason=f"no virtual Slurm: {reason}"))


def pytest_sessionfinish(session):
    if session.exitstatus == pytest.ExitCode.OK and why_not():
        session.exitstatus = SKIPPED


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running
