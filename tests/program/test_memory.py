"""A rank takes the memory that the dry run says, and no second bank of chains: design §6, §8."""
import pathlib
import re
import shutil
import sys
import tempfile

import numpy
import pytest

from conftest import write_images
from program import FINISHED, LIMIT, PROGRAM, Process, ends, launched, settings

DIVERGED = 4
RANKS = 4

# A bank of 1 GB beside which nothing else is large. At this learning rate it diverges at once.
CONFIG = """
run: {iterations: 9, precision: float32, device: cpu}
energy: {type: convnet, channels: 4}
data: {path: PATH, batch: 8}
chains: {total: 1000000, active: 8, shards: 4}
sampler: {steps: 1}
optimizer: {learning_rate: 1.0e+30}
samples: {every: null, chains: 4}
checkpoint: {every: null, keep_last: 1}
guard: {attempts: 1}
"""

# Runs the command and leaves in a folder the most memory that it had, in bytes: again and again, since a launcher may
# end this one too when the first rank leaves with an error.
MEASURED = """
import os, pathlib, re, subprocess, sys, time
process = subprocess.Popen(sys.argv[2:], close_fds=False)  # a launcher may speak to its rank through one
place, status = pathlib.Path(sys.argv[1], str(os.getpid())), pathlib.Path("/proc", str(process.pid), "status")
while process.poll() is None:
    most = re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())
    if most:
        unfinished = place.with_suffix(".part")
        unfinished.write_text(str(1024 * int(most[1])))
        unfinished.rename(place)
    time.sleep(0.05)
sys.exit(process.returncode)
"""


def measured(folder, *arguments):
    """The result of the program, and the most memory of a rank in bytes."""
    folder.mkdir()
    command = launched([sys.executable, "-c", MEASURED, folder, PROGRAM, *arguments], RANKS)
    with Process(command, 5 * LIMIT) as process:
        result = process.finish()
    return result, max(int(path.read_text()) for path in folder.iterdir() if not path.suffix)


@pytest.fixture
def roomy(tmp_path):
    """A folder for a checkpoint of 1 GB: in memory where there is room, since slow disks take a minute."""
    memory = pathlib.Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 8e9:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield pathlib.Path(folder)


def test_a_rank_takes_what_the_dry_run_says(tmp_path, roomy):
    """Through a start, a checkpoint and a roll-back."""
    write_images(tmp_path / "images.h5", numpy.random.default_rng(1).integers(0, 255, (64, 1, 16, 16), numpy.uint8))
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("PATH", str(tmp_path / "images.h5")))
    command = ["train", config, "--run-directory", roomy / "run"]
    result, _ = measured(tmp_path / "dry", *command, "--dry-run")
    said = int(re.search(r"memory: (\d+) MB per rank", ends(result, FINISHED).stdout)[1]) * 1e6
    result, taken = measured(tmp_path / "wet", *command)
    assert result.returncode == DIVERGED and "goes back to iteration 0" in result.stdout + result.stderr
    assert taken == pytest.approx(said, rel=0.15), f"{taken / 1e6:.0f} MB taken, {said / 1e6:.0f} MB said"
