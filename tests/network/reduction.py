#!/usr/bin/env python3
"""Measures the reduction between hosts of namespaces (hosts.py) and compares it with the prediction of
'stanley benchmark --model-ranks'. As a program it goes through a grid and prints a table:

  reduction.py [--hosts 2,4] [--megabits 20,50,100] [--milliseconds 0,2,10] [--kilobytes 100,400,1600]
               [--seconds 8]

It needs root, and STANLEY_PROGRAM or a release build. Open MPI sends without asking first (TCP below):
by default the receiver of a long message answers, or asks for it piece by piece, and over a slow link
its words wait behind what it sends itself.
"""
import argparse
import itertools
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = HERE.parents[1] / "configs" / "smoke.yaml"
# Contents in what tbf counts: 1448 bytes of TCP's in a frame of 1514.
PAYLOAD = 1448 / 1514
EAGER_KILOBYTES = 2048  # longer than any message here
TCP = {"btl_tcp_flags": 1, "btl_tcp_eager_limit": 1024 * EAGER_KILOBYTES}


def width_of(kilobytes):
    """Of the two hidden layers of a network on the plane with so many KB of weights."""
    return max(1, round(-2.5 + math.sqrt(6.25 + 250 * kilobytes)))


def compare(hosts, kilobytes, reproducible=False, seconds=2, program=None, environment=None):
    """(bytes, seconds measured, seconds predicted) of the reduction over `hosts`."""
    width = width_of(kilobytes)
    command = [program or os.environ["STANLEY_PROGRAM"], "benchmark", CONFIG, "--json", "--seconds", seconds,
               "--iterations", 1, "--warmup", 0, "--directory", tempfile.gettempdir(), "--model-ranks", hosts.count,
               "--set", f"energy.hidden=[{width}, {width}]", "--set", "run.threads=1", "--set",
               f"run.reproducible={str(reproducible).lower()}", "--network-latency", 1e6 * hosts.link.latency,
               "--network-bandwidth", hosts.link.megabits / 8000 * PAYLOAD, "--eager-kilobytes", EAGER_KILOBYTES]
    environment = {**(environment or os.environ), **hosts.environment()}
    result = subprocess.run(hosts.mpirun(command, **TCP), capture_output=True, text=True,
                            timeout=150, env=environment)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    return found["reduction_bytes"], found["reduction_seconds"], found["model"]["reduction_seconds"]


def numbers(text):
    return [float(word) for word in text.split(",")]


def main():
    from conftest import build_forwarder
    from hosts import Hosts, Link, reason_to_skip
    from program import environment
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hosts", "2,4"), ("megabits", "20,50,100"), ("milliseconds", "0,2,10"),
                          ("kilobytes", "100,400,1600")):
        parser.add_argument(f"--{name}", type=numbers, default=numbers(default))
    parser.add_argument("--seconds", type=float, default=8, help="of measuring, for each line; a quarter is the reduction's")
    options = parser.parse_args()
    if reason := reason_to_skip():
        sys.exit(f"reduction: {reason}")
    print(f"{'hosts':>5} {'Mbit/s':>7} {'ms':>5} {'KB':>6}  {'sum':<16} {'measured':>9} {'predicted':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        forwarder = build_forwarder(pathlib.Path(folder))
        for count, megabits, milliseconds in itertools.product(options.hosts, options.megabits, options.milliseconds):
            with Hosts(int(count), Link(megabits, milliseconds / 1e3), forwarder) as hosts:
                for kilobytes, reproducible in itertools.product(options.kilobytes, (False, True)):
                    size, measured, predicted = compare(hosts, kilobytes, reproducible, options.seconds,
                                                        environment=environment())
                    print(f"{count:>5.0f} {megabits:>7.0f} {milliseconds:>5.0f} {size / 1e3:>6.0f}  "
                          f"{'ordered by shard' if reproducible else 'plain':<16} {1e3 * measured:>6.1f} ms "
                          f"{1e3 * predicted:>6.1f} ms {measured / predicted:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
