#!/usr/bin/env python3
"""Prints data.path and the run directory that 'stanley train CONFIG OPTIONS...' will use, a line each.

usage: tools/run_settings.py CONFIG [OPTIONS of stanley train...]

Configuration, then --set, then --run-directory, as the program reads them. A broken configuration is for
the program to explain: here it has the defaults.
"""
import argparse
import os
import pathlib
import sys

import environment

environment.enter("yaml")

import yaml  # noqa: E402


def expanded(path):
    """Writes out ~ and $NAME, as the program does."""
    return os.path.expandvars(os.path.expanduser(str(path)))


def parsed(text):
    """What YAML says, with each scalar as it is written: 007 is a name, too."""
    try:
        return yaml.load(text, yaml.BaseLoader)
    except (UnicodeError, yaml.YAMLError):
        return None


def merged(document, more):
    if not isinstance(document, dict) or not isinstance(more, dict):
        return more
    return {**document, **{key: merged(document.get(key), value) for key, value in more.items()}}


def read(path, overrides):
    """The configuration with its overrides, key.path=value, merged into it."""
    try:
        document = parsed(pathlib.Path(path).read_bytes())
    except OSError:
        document = None
    for override in overrides:
        key, _, text = override.partition("=")
        value = parsed(text)
        for name in reversed(key.split(".")):
            value = {name: value}
        document = merged(document, value)
    return document if isinstance(document, dict) else {}


def main():
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        sys.exit(__doc__.strip() if len(sys.argv) < 2 else print(__doc__.strip()))
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--run-directory")
    options, _ = parser.parse_known_args(sys.argv[2:])
    document = read(sys.argv[1], options.set)

    def setting(section, key, default):
        part = document.get(section)
        value = part.get(key) if isinstance(part, dict) else None
        return default if value is None else value

    print(expanded(setting("data", "path", "")))
    directory = f"{setting('run', 'directory', 'runs')}/{setting('run', 'name', 'run')}"
    print(expanded(options.run_directory or os.path.normpath(directory)))


if __name__ == "__main__":
    main()
