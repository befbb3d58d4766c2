import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "program"))  # program.py

from hosts import reason_to_skip  # noqa: E402


def pytest_collection_modifyitems(items):
    reason = reason_to_skip()
    for item in items if reason else []:
        item.add_marker(pytest.mark.skip(reason=reason))


def build_forwarder(folder):
    path = folder / "forwarder"
    source = pathlib.Path(__file__).with_name("forwarder.cpp")
    subprocess.run(["c++", "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, source], check=True)
    return path


@pytest.fixture(scope="session")
def forwarder(tmp_path_factory):
    return build_forwarder(tmp_path_factory.mktemp("forwarder"))
