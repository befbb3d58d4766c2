"""Every tool runs as README shows it, from a shell without the virtual environment, or says one sentence."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
ROOT = TOOLS.parent
COMMANDS = ["convert_images.py", "report.py", "plot_scaling.py", "compare_peers.py", "export_features.py",
            "time_to_quality.py", "train_classifier.py"]


def bare(tool, *arguments, **variables):
    """Runs a tool with a Python that has no packages but its own: -S leaves site-packages out."""
    return subprocess.run([sys.executable, "-S", tool, *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **variables})


def test_all_tools_are_here():
    assert sorted(COMMANDS) == sorted(path.name for path in TOOLS.glob("*.py") if path.stat().st_mode & 0o100)


@pytest.mark.parametrize("name", COMMANDS)
def test_finds_the_environment(name):
    result = bare(TOOLS / name, "--help")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert name in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_says_what_is_missing(tmp_path, name):
    shutil.copytree(TOOLS, tmp_path / "tools")  # beside it there is no .deps
    result = bare(tmp_path / "tools" / name, "--help")
    assert result.returncode == 3 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith(f"{name}: ") and str(tmp_path / "tools" / "setup.sh") in result.stderr


@pytest.fixture
def installed(tmp_path):
    """The tools of an installed tree, and where it would keep packages for a version of Python."""
    shutil.copytree(TOOLS, tmp_path / "tools", ignore=shutil.ignore_patterns("setup.sh"))
    (tmp_path / "lib" / "stanley").mkdir(parents=True)
    return tmp_path / "lib" / "stanley"


INSTALLED_COMMANDS = [name for name in COMMANDS if name not in ("compare_peers.py", "export_features.py")]


@pytest.mark.parametrize("name", INSTALLED_COMMANDS)
def test_an_installed_tree_has_packages_of_its_own(installed, name):
    version = f"python3.{sys.version_info.minor}"
    (installed / version).symlink_to(ROOT / ".deps" / "venv" / "lib" / version / "site-packages")
    result = bare(installed.parents[1] / "tools" / name, "--help", PATH="/nowhere")  # and no other Python
    assert result.returncode == 0 and result.stderr == "" and name in result.stdout


@pytest.mark.parametrize("name", INSTALLED_COMMANDS)
def test_packages_for_another_python_are_told(installed, name):
    tool = installed.parents[1] / "tools" / name
    for version, said in ((None, "load a Python that has them"), ("python3.99", "are for python3.99")):
        if version:
            (installed / version).mkdir()
        result = bare(tool, "--help")
        assert result.returncode == 3 and result.stdout == "" and result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"{name}: ") and said in result.stderr and "setup.sh" not in result.stderr
