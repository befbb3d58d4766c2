"""Writes RUN/report.html: one self-contained page on a run of stanley, and RUN/samples/chains.png.

Works on finished runs and on runs that have just begun.
Exit codes: 0 done, 2 usage, 5 a file or directory that can't be read or written.
"""
import argparse
import datetime
import os
import pathlib
import sys

import numpy as np

from ..files import Run, RunError, number
from . import page, pictures

MAXIMUM_TILES = 64


class Selection:
    """The newest draws, divided by age: old (chain indices), young, and the limit between them. `limit_is` says what
    that is, where nobody gave it."""

    def __init__(self, run, minimum_age):
        self.draws = run.latest_draws()
        self.old = self.young = np.array([], int)
        self.minimum_age, self.limit_is = minimum_age, ""
        if self.draws is None:
            return
        age = self.draws.age
        if age is None:
            self.old = np.arange(len(self.draws.x))
            return
        burn_in = number(run.setting("chains.burn_in")) or 0
        if minimum_age is None and burn_in > 0 and (age >= burn_in).any():
            self.minimum_age, self.limit_is = int(burn_in), "<code>chains.burn_in</code>: younger chains don't count"
        elif minimum_age is None:
            self.minimum_age, self.limit_is = int(np.median(age)), "the median age"
        self.old, self.young = np.flatnonzero(age >= self.minimum_age), np.flatnonzero(age < self.minimum_age)

    @property
    def are_images(self):
        return self.draws is not None and self.draws.x.ndim == 4

    @property
    def are_points(self):
        return self.draws is not None and self.draws.x.ndim == 2 and self.draws.x.shape[1] == 2


def write_atomically(path, content):
    part = path.with_name(f"{path.name}.part.{os.getpid()}")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        if part.exists():
            part.unlink()


def grid_of_chains(run, selection):
    """The first of the old chains."""
    states = selection.draws.x[selection.old[:MAXIMUM_TILES]]
    return pictures.mosaic(pictures.to_pixels(states, run.interval("data.range", (-1.0, 1.0))))


def data_beside_chains(run, selection):
    """As many samples of the data, where the draws have some, and the first of the old chains, at one size."""
    chains, draws = grid_of_chains(run, selection), selection.draws
    if draws.observed is None or not len(draws.observed):
        return chains
    shown = pictures.evenly_spaced(draws.observed, min(MAXIMUM_TILES, len(selection.old)))
    data = pictures.mosaic(pictures.to_pixels(shown, run.interval("data.range", (-1.0, 1.0))))
    return pictures.beside(data, chains)


def write_picture(path, picture):
    part = path.with_name(f"{path.name}.part.{os.getpid()}")
    try:
        picture.save(part, format="PNG")
        os.replace(part, path)
    finally:
        if part.exists():
            part.unlink()


def make(options):
    run = Run(options.run)
    selection = Selection(run, options.minimum_age)
    written = []
    if selection.are_images and len(selection.old):
        written.append(run.directory / "samples" / "chains.png")
        write_picture(written[0], grid_of_chains(run, selection))
        if options.png:
            written.append(options.png)
            write_picture(options.png, data_beside_chains(run, selection))
    elif options.png:
        raise RunError(f"{options.run} holds no draws of images with chains of age {options.minimum_age or 0} "
                       f"or more, so {options.png} isn't written.")
    report = run.directory / "report.html"
    written_at = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    write_atomically(report, page.build(run, selection, written_at).encode())
    for path in [report] + written:
        print(path)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="directory of a run")
    parser.add_argument("--minimum-age", type=int, help="chains of at least this age (chain steps) count as old; "
                                                        "default: chains.burn_in, or where it is 0, or no drawn chain "
                                                        "is that old, their median age")
    parser.add_argument("--png", type=pathlib.Path, metavar="FILE", help="write samples of the data and old chains beside each other here")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    try:
        make(options)
        return 0
    except RunError as error:
        print(f"report: {error}", file=sys.stderr)
    except OSError as error:
        print(f"report: {error.filename or options.run} can't be read or written: {error.strerror or error}.",
              file=sys.stderr)
    return 5
