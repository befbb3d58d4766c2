"""The tools as a Python package: pip installs it, its commands run, and it needs what pyproject.toml says."""
import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import h5py
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
PROJECT = tomllib.loads((TOOLS / "pyproject.toml").read_text())["project"]
COMMANDS = sorted(PROJECT["scripts"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where pip has put the package, without a network; pip builds in the folder that it is given."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(TOOLS, folder / "tools")
    result = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps",
         "--no-build-isolation", "--no-compile", "--target", folder / "target", folder / "tools"],
        capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (folder / "torch.py").write_text("raise ImportError('no torch here')\n")
    return folder


def call(installed, command, *arguments):
    """Runs an installed command where no torch can be imported."""
    path = os.pathsep.join([str(installed), str(installed / "target")])
    return subprocess.run([installed / "target" / "bin" / command, *map(str, arguments)], capture_output=True,
                          text=True, timeout=100, cwd=installed, env={**os.environ, "PYTHONPATH": path})


@pytest.mark.parametrize("command", COMMANDS)
def test_pip_installs_every_command(installed, command):
    result = call(installed, command, "--help")
    assert result.returncode == 0 and result.stderr == "" and f"usage: {command}" in result.stdout, result.stderr


def test_an_installed_converter_and_report_do_their_work(installed, tmp_path):
    for number in range(4):
        Image.new("L", (32, 32), 60 * number).save(tmp_path / f"{number}.png")
    result = call(installed, "stanley-convert-images", tmp_path, "--output", installed / "images.h5")
    assert result.returncode == 0, result.stderr
    with h5py.File(installed / "images.h5") as file:
        assert file["train/images"].shape == (4, 1, 32, 32)
        assert "stanley-convert-images" in file.attrs["provenance"]
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("run: {name: small, iterations: 2}\n")
    (run / "metrics.csv").write_text("iteration,loss\n1,0.5\n2,0.25\n")
    result = call(installed, "stanley-report", run)
    assert result.returncode == 0, result.stderr
    assert ":root" in (run / "report.html").read_text()  # the style sheet came along


def test_each_command_is_a_script_of_a_checkout_too():
    scripts = {f"stanley-{path.stem.replace('_', '-')}" for path in TOOLS.glob("*.py") if path.stat().st_mode & 0o100}
    assert set(COMMANDS) == scripts


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0] for line in requirements if re.match(r"\w", line)}


def test_what_it_needs_is_what_set_up_installs():
    pinned = names((TOOLS / "requirements.txt").read_text().splitlines())
    assert names(PROJECT["dependencies"]) <= pinned
    for extra in ("peers", "evaluate"):
        texts = [(TOOLS / f"requirements-{name}.txt").read_text() for name in ("torch", extra)]
        assert names(PROJECT["optional-dependencies"][extra]) <= names("\n".join(texts).splitlines())


def imports(path):
    """Lists the names of the packages that a module imports, its own aside."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_it_imports_nothing_that_it_does_not_name():
    package = TOOLS / "stanley_tools"
    paths = [path for path in package.rglob("*.py") if path.parent.name not in ("peers", "features")]
    found = {name for path in paths for name in imports(path)} - set(sys.stdlib_module_names)
    distributions = importlib.metadata.packages_distributions()
    assert {distributions[name][0] for name in found} == names(PROJECT["dependencies"])


def test_its_version_is_the_programs():
    text = (ROOT / "CMakeLists.txt").read_text()
    assert PROJECT["version"] == re.search(r"set\(next_version (\S+)\)", text)[1]
