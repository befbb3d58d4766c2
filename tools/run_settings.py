#!/usr/bin/env python3
"""Prints data.path and the run directory that 'stanley train CONFIG OPTIONS...' will use, a line each.

usage: tools/run_settings.py CONFIG [OPTIONS of stanley train...]

Configuration, then --set, then --run-directory, as the program reads them. A broken configuration is for
the program to explain: here it has the defaults.
"""
import argparse
import os
import sys

import environment

environment.enter("yaml")

import yaml  # noqa: E402


def expanded(path):
    """Writes out ~ and $NAME, as the program does."""
    return os.path.expandvars(os.path.expanduser(str(path)))


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
    except (OSError, UnicodeError, yaml.YAMLError):
        document = None
    return document if isinstance(document, dict) else {}


def main():
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        sys.exit(__doc__.strip() if len(sys.argv) < 2 else print(__doc__.strip()))
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--run-directory")
    document = read(sys.argv[1])
    options, _ = parser.parse_known_args(sys.argv[2:])
    overrides = dict(text.partition("=")[::2] for text in options.set)

    def setting(section, key, default):
        part = document.get(section)
        value = part.get(key) if isinstance(part, dict) else None
        return overrides.get(f"{section}.{key}", default if value is None else value)

    print(expanded(setting("data", "path", "")))
    directory = f"{setting('run', 'directory', 'runs')}/{setting('run', 'name', 'run')}"
    print(expanded(options.run_directory or os.path.normpath(directory)))


if __name__ == "__main__":
    main()
