"""Lets a tool that is typed in any shell find the Python packages that it needs."""
import importlib.util
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
ENVIRONMENT_ERROR = 3  # stanley's exit code
ENTERED = "STANLEY_TOOLS_ENVIRONMENT"


def missing(packages):
    """Lists those of the packages that this Python can't find."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def enter(*packages):
    """Starts the tool again with the Python of .deps/venv where this one lacks a package.

    A Python that has them all (a cluster's module, say) is used as it is. Where neither has them, says so in one
    sentence and exits with 3. Call it before the first import of such a package.
    """
    absent = missing(packages)
    if not absent:
        return
    python = ROOT / ".deps" / "venv" / "bin" / "python"
    if ENTERED not in os.environ and python.is_file():
        os.environ[ENTERED] = "1"  # so that an environment that lacks them too doesn't start itself for ever
        os.execv(python, [str(python), *sys.argv])
    sys.exit(complaint(pathlib.Path(sys.argv[0]).name, absent, python))


def complaint(tool, absent, python):
    """Prints what is missing and how to get it; returns the exit code."""
    setup = ROOT / "tools" / "setup.sh"
    print(f"{tool}: the Python packages {', '.join(absent)} are neither in {sys.executable} nor in {python}: "
          f"run {setup} once, or install them", file=sys.stderr)
    return ENVIRONMENT_ERROR
