"""Lets a tool that is typed in any shell find the Python packages that it needs."""
import importlib
import importlib.util
import os
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
INSTALLED = ROOT / "lib" / "stanley"
ENVIRONMENT_ERROR = 3  # stanley's exit code
ENTERED = "STANLEY_TOOLS_ENVIRONMENT"


def missing(packages):
    """Lists those of the packages that this Python can't find."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def enter(*packages):
    """Finds the packages of stanley where this Python lacks one: the environment of a checkout, or what an installed
    tree holds for one version of Python.

    A Python that has them all (a cluster's module, say) is used as it is. Where neither has them, says so in one
    sentence and exits with 3. Call it before the first import of such a package.
    """
    if not missing(packages):
        return
    version = f"python3.{sys.version_info.minor}"
    own = INSTALLED / version if (INSTALLED / version).is_dir() else next(INSTALLED.glob("python3.*"), None)
    if own and own.name == version:
        sys.path.insert(1, str(own))  # behind the tool's own folder
        importlib.invalidate_caches()
    absent = missing(packages)
    if not absent:
        return
    python = ROOT / ".deps" / "venv" / "bin" / "python"
    if own:
        python = pathlib.Path(shutil.which(own.name) or own.name)
    if ENTERED not in os.environ and python.is_file():
        os.environ[ENTERED] = "1"  # so that an environment that lacks them too doesn't start itself for ever
        os.execv(python, [str(python), *sys.argv])
    sys.exit(complaint(absent, python, own))


def complaint(absent, python, own):
    """Prints what is missing and how to get it; returns the exit code."""
    said = f"{pathlib.Path(sys.argv[0]).name}: the Python packages {', '.join(absent)} are "
    setup = ROOT / "tools" / "setup.sh"
    if own:
        said += (f"not in {sys.executable}, and those in {own} are for {own.name}: load that, or install them for "
                 "your Python")
    elif setup.is_file():
        said += f"neither in {sys.executable} nor in {python}: run {setup} once, or install them"
    else:
        said += f"not in {sys.executable}: load a Python that has them, or install them"
    print(said, file=sys.stderr)
    return ENVIRONMENT_ERROR
