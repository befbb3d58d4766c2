#!/usr/bin/env python3
"""Compares the speed of stanley's chains with torchebm and plain PyTorch on the same network.

Every contender is a process of its own with one thread; they take turns (A B C A B C ...), so that
a busy machine slows all of them alike, and ratios are taken within a round.

Exit codes: 0 done, 2 usage, 3 something is missing (the message says what to install), 70 a
contender failed.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
WARM_UP_STEPS = 5
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
REFERENCE = "torchebm"
# The chain step that all contenders do: x ← clamp(x − (α/2)·∇E + σ·noise).
STEP_SIZE, NOISE = 20.0, 0.005
CONTENDERS = {
    "torchebm": "torchebm LangevinDynamics, float32",
    "pytorch": "PyTorch, float32",
    "pytorch-channels-last": "PyTorch, float32, channels-last, frozen weights",
    "pytorch-bfloat16": "PyTorch, bfloat16, channels-last, frozen weights",
    "stanley": "stanley, float32",
    "stanley-bfloat16": "stanley, bfloat16",
}


class MissingError(Exception):
    """Something isn't installed or built; the message says what to do."""


class FailedError(Exception):
    """A contender didn't give a number."""


# --- the PyTorch contenders: run in processes of their own ------------------------------------------
def make_network(channels, shape):
    """The convnet of `energy: {type: convnet}`: 3×3 stride 1, thrice 4×4 stride 2, a valid one to a number."""
    from torch import nn
    inputs, height, width = shape
    layers, last = [nn.Conv2d(inputs, channels, 3, 1, 1), nn.SiLU()], channels
    for _ in range(3):
        layers += [nn.Conv2d(last, 2 * last, 4, 2, 1), nn.SiLU()]
        last, height, width = 2 * last, height // 2, width // 2
    return nn.Sequential(*layers, nn.Conv2d(last, 1, (height, width), 1, 0), nn.Flatten(0))


def make_torchebm(network, shape):
    """chain steps of torchebm, as its documentation shows: (x, steps) -> x."""
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Energy(BaseModel):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x)

    step_size = STEP_SIZE / 2  # its update: x − η∇E + √(2η)·noise_scale·ξ
    sampler = LangevinDynamics(Energy(), step_size=step_size, noise_scale=NOISE / (2 * step_size)**0.5, clamp=(-1, 1))
    return lambda x, steps: sampler.sample(x=x, n_steps=steps)


def make_pytorch(network, precision, channels_last, frozen):
    """chain steps as one writes them by hand in PyTorch: (x, steps) -> x."""
    import torch
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(precision).to(memory_format=layout).requires_grad_(not frozen)

    def advance(x, steps):
        for _ in range(steps):
            y = x.to(precision).contiguous(memory_format=layout).detach().requires_grad_(True)
            gradient, = torch.autograd.grad(network(y).sum(), y)
            with torch.no_grad():
                x = (x - STEP_SIZE / 2 * gradient.float() + NOISE * torch.randn_like(x)).clamp_(-1, 1)
        return x

    return advance


def worker(name, channels, chains, shape, seconds):
    """Waits for a line on stdin, measures for `seconds`, prints chain steps per second; and again."""
    import torch
    torch.set_num_threads(1)
    torch.manual_seed(1)
    network = make_network(channels, shape)
    advance = {
        "torchebm": lambda: make_torchebm(network, shape),
        "pytorch": lambda: make_pytorch(network, torch.float32, False, False),
        "pytorch-channels-last": lambda: make_pytorch(network, torch.float32, True, True),
        "pytorch-bfloat16": lambda: make_pytorch(network, torch.bfloat16, True, True),
    }[name]()
    x = advance(torch.rand(chains, *shape) * 2 - 1, WARM_UP_STEPS)
    print("ready", flush=True)
    for _ in sys.stdin:
        x, steps, start = advance(x, 1), 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            x = advance(x, 5)
            steps += 5
        print(steps * chains / passed, flush=True)


class PythonContender:
    """A worker process that measures when it is asked."""

    def __init__(self, name, options):
        command = [sys.executable, __file__, "--worker", name, "--channels", options.channels, "--chains",
                   options.chains, "--shape", "x".join(map(str, options.shape)), "--seconds", options.seconds]
        self.name = name
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=os.environ | ONE_THREAD)
        self._line()

    def _line(self):
        line = self.process.stdout.readline().strip()
        if not line:
            raise FailedError(f"{CONTENDERS[self.name]} ended before it gave a number (its message is above).")
        return line

    def measure(self):
        try:
            print("go", file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # _line says it
        return float(self._line())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# --- stanley --------------------------------------------------------------------------------------
class StanleyContender:
    """`stanley benchmark` of the same network, once per round."""

    def __init__(self, name, options, config):
        self.name = name
        precision = "bfloat16" if name.endswith("bfloat16") else "float32"
        self.command = [str(options.binary), "benchmark", str(config), "--json", "--set", f"run.precision={precision}"]

    def measure(self):
        result = subprocess.run(self.command, capture_output=True, text=True, env=os.environ | ONE_THREAD)
        if result.returncode:
            message = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise FailedError(f"'{' '.join(self.command)}' ended with exit code {result.returncode}: {message}")
        try:
            text = result.stdout
            return float(json.loads(text[text.index("{"):])["chain_steps_per_second"])
        except (ValueError, KeyError, TypeError):
            raise FailedError(f"'{' '.join(self.command)}' printed no JSON with chain_steps_per_second.")

    def close(self):
        pass


def write_config(folder, options):
    """A configuration of the same network, chains and step, with a small data file of noise."""
    import h5py
    import numpy as np
    import xxhash
    data = folder / "noise.h5"
    with h5py.File(data, "w") as file:
        images = np.random.default_rng(1).integers(0, 256, (4 * options.chains, *options.shape), dtype=np.uint8)
        file["train/images"] = images
        for axis, name in enumerate(("sample", "channel", "height", "width")):
            file["train/images"].dims[axis].label = name
        file["train"].attrs["checksum"] = xxhash.xxh64(images.tobytes()).hexdigest()
        file.attrs["schema_version"] = "1.0"
        file.attrs["value_range"] = np.array([0.0, 255.0])
    config = folder / "peers.yaml"
    config.write_text(
        f"run: {{name: peers, device: cpu, threads: 1, directory: {json.dumps(str(folder))}}}\n"
        f"energy: {{type: convnet, channels: {options.channels}, activation: silu}}\n"
        f"data: {{path: {json.dumps(str(data))}, split: train, batch: {options.chains}}}\n"
        f"chains: {{total: {options.chains}, active: {options.chains}, shards: 1, start: uniform}}\n"
        f"sampler: {{type: {options.transition}, steps: 20, step_size: {STEP_SIZE}, noise: {NOISE}, box: [-1, 1]}}\n")
    return config


# --- rounds and table -----------------------------------------------------------------------------
def start_all(options, folder):
    contenders = []
    try:
        if any(name.startswith("stanley") for name in options.contenders):
            config = options.config or write_config(folder, options)
        for name in options.contenders:
            contenders.append(StanleyContender(name, options, config) if name.startswith("stanley")
                              else PythonContender(name, options))
    except FailedError:
        for contender in contenders:
            contender.close()
        raise
    return contenders


def run_rounds(options, folder):
    """{contender: [chain steps per second of each round]}"""
    contenders = start_all(options, folder)
    speeds = {c.name: [] for c in contenders}
    try:
        for number in range(options.rounds):
            for contender in contenders:
                speeds[contender.name].append(contender.measure())
                print(f"round {number + 1} of {options.rounds}: {CONTENDERS[contender.name]}: "
                      f"{speeds[contender.name][-1]:,.0f} chain steps/s", file=sys.stderr, flush=True)
    finally:
        for contender in contenders:
            contender.close()
    return speeds


def summary(values):
    return {"median": statistics.median(values), "minimum": min(values), "maximum": max(values)}


def results(speeds):
    found = []
    for name, values in speeds.items():
        entry = {"name": name, "what": CONTENDERS[name], "chain_steps_per_second": summary(values), "rounds": values}
        if REFERENCE in speeds:
            entry["ratio"] = summary([v / r for v, r in zip(values, speeds[REFERENCE])])
        found.append(entry)
    return found


def machine():
    model, flags = platform.processor() or platform.machine(), set()
    try:
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    except OSError:
        pass  # not Linux: the model name has to do
    known = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16") if f in flags]
    import torch
    from importlib.metadata import version
    return {"processor": model, "cores": os.cpu_count(), "instructions": known, "torch": torch.__version__,
            "torchebm": version("torchebm"), "python": platform.python_version()}


def print_table(found, options, facts):
    shape = "×".join(map(str, options.shape))
    print(f"\n{options.chains} chains of {shape}, convnet of {options.channels} channels, one thread, "
          f"{options.rounds} rounds of {options.seconds:g} s: median (least – greatest)\n")
    width = max(len(entry["what"]) for entry in found)
    print(f"{'':{width}}  {'chain steps/s':>27}  {'times ' + REFERENCE:>22}")
    for entry in found:
        s = entry["chain_steps_per_second"]
        speed = f"{s['median']:,.0f} ({s['minimum']:,.0f} – {s['maximum']:,.0f})"
        r = entry.get("ratio")
        ratio = f"{r['median']:.2f} ({r['minimum']:.2f} – {r['maximum']:.2f})" if r else "–"
        print(f"{entry['what']:{width}}  {speed:>27}  {ratio:>22}")
    print(f"\n{facts['processor']}, {facts['cores']} cores, {' '.join(facts['instructions']) or 'no vector units known'}; "
          f"torch {facts['torch']}, torchebm {facts['torchebm']}")


# --- command line ---------------------------------------------------------------------------------
def check_environment(options):
    """Every module and file that the contenders need, tried before anything is measured."""
    setup = "run tools/setup.sh --peers (or this tool with --setup), and start this tool with .deps/venv/bin/python"
    modules = "import torch, torchebm, h5py, xxhash"
    result = subprocess.run([sys.executable, "-c", modules], capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise MissingError(f"Python can't import torch and torchebm ({reason}): {setup}.")
    if any(name.startswith("stanley") for name in options.contenders) and not os.access(options.binary, os.X_OK):
        raise MissingError(f"{options.binary} is not there: build it (jobs/local.sh, or cmake --build --preset release), "
                           "name another with --binary, or leave stanley out with --contenders.")


def parse_shape(text):
    try:
        shape = tuple(int(n) for n in text.lower().split("x"))
    except ValueError:
        shape = ()
    if len(shape) != 3 or min(shape) < 1 or shape[1] % 8 or shape[2] % 8:
        raise argparse.ArgumentTypeError(f"'{text}' is not CHANNELSxHEIGHTxWIDTH with sides that 8 divides")
    return shape


def parse_contenders(text):
    names = text.split(",")
    if unknown := [n for n in names if n not in CONTENDERS]:
        raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(CONTENDERS)}")
    return names


def positive(kind):
    def parse(text):
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value
    return parse


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--channels", type=positive(int), default=16, help="of the first convolution (16)")
    parser.add_argument("--chains", type=positive(int), default=64, help="that move together (64)")
    parser.add_argument("--shape", type=parse_shape, default=(1, 32, 32), help="of a state (1x32x32)")
    parser.add_argument("--rounds", type=positive(int), default=7, help="(7)")
    parser.add_argument("--seconds", type=positive(float), default=3.0, help="per measurement of a PyTorch contender (3)")
    parser.add_argument("--contenders", type=parse_contenders, default=list(CONTENDERS),
                        help=f"separated by commas: {','.join(CONTENDERS)} (all)")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / ".build" / "release" / "stanley")
    parser.add_argument("--config", type=pathlib.Path, help="for stanley, instead of one made from the options above")
    parser.add_argument("--transition", default="stanley", help="sampler.type for stanley (stanley)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--setup", action="store_true", help="first install what is missing (tools/setup.sh --peers)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    if options.worker:
        worker(options.worker, options.channels, options.chains, options.shape, options.seconds)
        return 0
    try:
        if options.setup and subprocess.run([ROOT / "tools" / "setup.sh", "--peers"]).returncode:
            raise MissingError("tools/setup.sh --peers failed; its message is above.")
        check_environment(options)
        with tempfile.TemporaryDirectory(prefix="stanley-peers-") as folder:
            found = results(run_rounds(options, pathlib.Path(folder)))
        facts = machine()
        if options.json:
            print(json.dumps({"machine": facts, "channels": options.channels, "chains": options.chains,
                              "shape": list(options.shape), "results": found}, indent=1))
        else:
            print_table(found, options, facts)
        return 0
    except MissingError as error:
        print(f"compare_peers: {error}", file=sys.stderr)
        return 3
    except FailedError as error:
        print(f"compare_peers: {error}", file=sys.stderr)
        return 70
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
