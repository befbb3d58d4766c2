"""Prints how the numbers of stanley evaluate move as images of the training split are spoiled: a Markdown table.

usage: calibration.py [DATA]   (.data/fashion_mnist.h5; from the repository's root, after tools/setup.sh --evaluate)
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy
from scipy import ndimage

PROGRAM = os.environ.get("STANLEY_PROGRAM", ".build/release/stanley")
COUNT = 2048
COLUMNS = ("kid", "fid", "precision", "recall", "density", "coverage")


def noisy(states, deviation):
    return states + deviation * numpy.random.default_rng(1).normal(size=states.shape).astype(numpy.float32)


def blurred(states, deviation):
    return ndimage.gaussian_filter(states, (0, 0, deviation, deviation), mode="nearest")


def spoiled(data):
    """Yields the name of a case and its states, of training images of a data file."""
    with h5py.File(data) as file:
        images = file["train/images"][:4 * COUNT].astype(numpy.float32) / 127.5 - 1
        labels = file["train/labels"][:4 * COUNT]
    states = images[:COUNT]
    yield "training images", states
    for deviation in (0.03, 0.05, 0.1, 0.2, 0.4):
        yield f"with noise of {deviation}", noisy(states, deviation)
    yield "means over 3×3", ndimage.uniform_filter(states, (1, 1, 3, 3), mode="constant")
    for deviation in (0.4, 0.6, 0.8, 1.2, 2.0):
        yield f"blurred by {deviation} pixels", blurred(states, deviation)
    yield "half of the classes missing", images[labels % 2 == 0][:COUNT]
    yield "each of 1,024 images twice", numpy.repeat(states[:COUNT // 2], 2, axis=0)
    yield "each of 128 images 16 times", numpy.repeat(states[:COUNT // 16], 16, axis=0)


def evaluate(states, configuration, data, folder):
    with h5py.File(folder / "draws.nc", "w") as file:
        file.attrs["configuration"] = configuration
        file["posterior/x"] = states[:, None]
        file["sample_stats/age"] = numpy.zeros((len(states), 1), dtype=numpy.int64)
    output = folder / "evaluation.json"
    output.unlink(missing_ok=True)
    subprocess.run([PROGRAM, "evaluate", folder / "draws.nc", "--data", data, "--output", output], check=True,
                   stdout=subprocess.DEVNULL)
    return json.loads(output.read_text())["evaluations"][0]["results"][0]


def main():
    data = sys.argv[1] if len(sys.argv) > 1 else ".data/fashion_mnist.h5"
    configuration = subprocess.run([PROGRAM, "config", "configs/fashion_mnist.yaml", "--resolved"], check=True,
                                   capture_output=True, text=True).stdout
    print("| states | KID·1000 (95 %) | FID | precision | recall | density | coverage |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for case, states in spoiled(data):
            found = evaluate(states, configuration, data, pathlib.Path(name))
            low, high = found["kid_interval_95"]
            numbers = [f"{1000 * found['kid']:.1f} ({1000 * low:.1f} to {1000 * high:.1f})", f"{found['fid']:.1f}"]
            numbers += [f"{found[name]:.3f}" for name in COLUMNS[2:]]
            print(f"| {case} | {' | '.join(numbers)} |", flush=True)


if __name__ == "__main__":
    main()
