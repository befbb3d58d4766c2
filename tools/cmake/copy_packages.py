"""Copies the packages that the installed tools import, and what those need, to FOLDER/python3.N of this Python 3.N.

usage: copy_packages.py FOLDER
"""
import importlib.metadata
import os
import pathlib
import re
import shutil
import sys
import tomllib

PROJECT = pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml"


def with_needs(names):
    """The distributions of these names and of all that they need, but for what this Python lacks and so needs not."""
    found, left = {}, list(names)
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in names:
                sys.exit(f"copy_packages.py: {sys.executable} has no {name}: run tools/setup.sh again")
            continue
        left += [re.match(r"[\w.-]+", need)[0] for need in found[name].requires or [] if "extra ==" not in need]
    return found.values()


def main():
    folder = pathlib.Path(sys.argv[1]) / f"python3.{sys.version_info.minor}"
    os.umask(0o022)
    shutil.rmtree(folder, ignore_errors=True)
    for distribution in with_needs(tomllib.loads(PROJECT.read_text())["project"]["dependencies"]):
        for file in distribution.files:
            if ".." in file.parts:  # its commands
                continue
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file.locate(), folder / file)
            (folder / file).chmod(0o644)


if __name__ == "__main__":
    main()
