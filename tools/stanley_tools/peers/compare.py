"""Compares the speed of stanley's chains with torchebm, PyTorch and torch.compile on the same network.

Every contender is a process of its own with one thread; they take turns (A B C A B C ...), so that
a busy machine slows all of them alike, and ratios are taken within a round.

Exit codes: 0 done, 2 usage, 3 something is missing (the message says what to install), 70 a
contender failed.
"""
import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

from . import table
from .cases import BFLOAT16, CONTENDERS, FLOAT32, NOISE, STEP_SIZE, TABLE_CASES, Case

PACKAGES = pathlib.Path(__file__).resolve().parents[2]  # the folder that holds stanley_tools
ROOT = PACKAGES.parent
IN_CHECKOUT = (ROOT / "tools" / "setup.sh").is_file()  # not where pip has put the package
BUILDS = {"cpu": ROOT / ".build" / "release" / "stanley", "cuda": ROOT / ".build" / "cuda" / "stanley"}
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


class MissingError(Exception):
    """Something isn't installed or built; the message says what to do."""


class FailedError(Exception):
    """A contender didn't give a number."""


def last_line(file):
    file.seek(0)
    return (file.read().strip().splitlines() or ["no message"])[-1]


# --- contenders -----------------------------------------------------------------------------------
class PythonContender:
    """A process of contenders.py, which measures when it is asked."""

    def __init__(self, name, case, seconds):
        job = json.dumps({"contender": name, "seconds": seconds, **dataclasses.asdict(case)})
        self.name, self.errors = name, tempfile.TemporaryFile("w+", errors="replace")
        found = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen([sys.executable, "-B", "-m", "stanley_tools.peers.contenders", job],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env={**os.environ, **ONE_THREAD, "PYTHONPATH": found})

    def _line(self):
        line = self.process.stdout.readline().strip()
        if not line:
            raise FailedError(f"{CONTENDERS[self.name].what} ended before it gave a number: {last_line(self.errors)}")
        return line

    def wait_until_ready(self):
        self._line()

    def measure(self):
        try:
            print("go", file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # _line says it
        return json.loads(self._line())

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class StanleyContender:
    """`stanley benchmark` of the same network, once per round."""

    def __init__(self, name, case, seconds, binary, config):
        self.name, self.on_gpu = name, case.device == "cuda"
        # Its --seconds are for four measurements.
        self.command = [str(binary), "benchmark", str(config), "--json", "--seconds", str(4 * seconds),
                        "--set", f"run.precision={CONTENDERS[name].precision}"]

    def wait_until_ready(self):
        pass

    def measure(self):
        called = f"'{shlex.join(self.command)}'"
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
            process = subprocess.Popen(self.command, stdout=out, stderr=err, env=os.environ | ONE_THREAD)
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise FailedError(f"{called} ended with exit code {process.returncode}: {last_line(err)}")
            out.seek(0)
            text = out.read()
        try:
            found = json.loads(text[text.index("{"):])
            split = found["split"]
            weights = found["iteration_seconds"] * (split["gradient"] + split["reduction"])
            return {table.SPEED: float(found["chain_steps_per_second"]), table.WEIGHTS: weights,
                    table.MEMORY: (found["gpu_memory_bytes"] if self.on_gpu else usage.ru_maxrss * 1024) / 1e6}
        except (ValueError, KeyError, TypeError):
            raise FailedError(f"{called} printed no JSON with chain_steps_per_second, iteration_seconds and split.")

    def close(self):
        pass


def write_config(folder, case, transition):
    """A configuration of the same network, chains and step, with a small data file of noise."""
    import h5py
    import numpy as np
    import xxhash
    data = folder / "noise.h5"
    with h5py.File(data, "w") as file:
        images = np.random.default_rng(1).integers(0, 256, (4 * case.chains, *case.shape), dtype=np.uint8)
        file["train/images"] = images
        for axis, name in enumerate(("sample", "channel", "height", "width")):
            file["train/images"].dims[axis].label = name
        file["train"].attrs["checksum"] = xxhash.xxh64(images.tobytes()).hexdigest()
        file.attrs["schema_version"] = "1.0"
        file.attrs["value_range"] = np.array([0.0, 255.0])
    config = folder / "peers.yaml"
    config.write_text(
        f"run: {{name: peers, device: {case.device}, threads: 1, directory: {json.dumps(str(folder))}}}\n"
        f"energy: {{type: {case.network}, channels: {case.channels}, blocks: {case.blocks}, activation: silu}}\n"
        f"data: {{path: {json.dumps(str(data))}, split: train, batch: {case.chains}}}\n"
        f"chains: {{total: {case.chains}, active: {case.chains}, shards: 1, start: uniform}}\n"
        f"sampler: {{type: {transition}, steps: {case.steps}, step_size: {STEP_SIZE}, noise: {NOISE}, box: [-1, 1]}}\n")
    return config


# --- rounds ---------------------------------------------------------------------------------------
class Progress:
    """Lines on stderr, with the time that is left: guessed costs, scaled by what the done ones really took."""

    def __init__(self, plan, rounds, seconds):
        self.seconds, self.start, self.done = seconds, time.monotonic(), 0.0
        self.total = sum(self.start_cost(case, name) + rounds * self.cost(case)
                         for case, names in plan for name in names)

    def cost(self, case):
        """Of a measurement, in seconds, very roughly: some steps of a slow network take longer than asked."""
        return self.seconds + (case.products / 2e9 if case.device == "cpu" else 0)

    def start_cost(self, case, name):
        """Of imports, compilation and warm-up."""
        return {"stanley": 0, "compile": 60}.get(CONTENDERS[name].kind, 5 + self.cost(case))

    def minutes_left(self):
        trust = 60  # in seconds: the guesses count as much as one minute of what was seen
        passed = time.monotonic() - self.start
        return (self.total - self.done) * (passed + trust) / (self.done + trust) / 60

    def say(self, text, done=0.0):
        self.done += done
        left = self.minutes_left()
        print(text + (f"; about {left:.0f} min left" if left >= 1 else "; less than a minute left"),
              file=sys.stderr, flush=True)


def start_contender(name, case, options, folder):
    if CONTENDERS[name].kind != "stanley":
        return PythonContender(name, case, options.seconds)
    config = options.config or folder / "peers.yaml"
    if not config.exists():
        write_config(folder, case, options.transition)
    return StanleyContender(name, case, options.seconds, options.binary or program_for(case.device), config)


def measure_case(case, names, options, progress):
    """{contender: [measurement of each round]}"""
    measured = {name: [] for name in names}
    contenders = []
    with tempfile.TemporaryDirectory(prefix="stanley-peers-") as folder:
        try:
            for name in names:  # one after the other, and before anyone measures
                what = CONTENDERS[name].what
                slow = " (it calls the C++ compiler, which takes a minute or two)" if is_compiled(name) else ""
                progress.say(f"{case.title}: starting {what}{slow}")
                contenders.append(start_contender(name, case, options, pathlib.Path(folder)))
                contenders[-1].wait_until_ready()
                progress.done += progress.start_cost(case, name)
            for number in range(options.rounds):
                for contender in contenders:
                    measured[contender.name].append(contender.measure())
                    speed = measured[contender.name][-1][table.SPEED]
                    progress.say(f"{case.title}, round {number + 1} of {options.rounds}: "
                                 f"{CONTENDERS[contender.name].what}: {speed:,.0f} chain steps/s",
                                 done=progress.cost(case))
        finally:
            for contender in contenders:
                contender.close()
    return measured


def is_compiled(name):
    return CONTENDERS[name].kind == "compile"


# --- the machine ----------------------------------------------------------------------------------
def processor():
    """Its name, and those of its instructions that matter here."""
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
    return model, [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16") if f in flags]


def installed(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine(arguments, gpu):
    model, instructions = processor()
    today = datetime.date.today()
    return {"processor": model, "cores": os.cpu_count(), "instructions": instructions, "gpu": gpu,
            "torch": installed("torch"), "torchebm": installed("torchebm"), "python": platform.python_version(),
            "date": f"{today.day} {today:%B %Y}",
            "command": shlex.join([".deps/venv/bin/python", "tools/compare_peers.py", *arguments])}


def look_for_gpu():
    """The name of PyTorch's GPU, or None; in a process of its own, since torch would make this one large."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() or None


def plan_table(devices):
    """[(case, names of contenders)]: bfloat16 on processors that have instructions for it."""
    _, instructions = processor()
    has_bfloat16 = {"avx512_bf16", "amx_bf16"} & set(instructions)
    precisions = {"cpu": (FLOAT32, BFLOAT16) if has_bfloat16 else (FLOAT32,), "cuda": (FLOAT32, BFLOAT16)}
    return [(case, case.contenders(precisions[case.device])) for case in TABLE_CASES if case.device in devices]


def program_for(device):
    """Gives the stanley that is measured: a checkout's build for this device, else the one in PATH."""
    return BUILDS[device] if IN_CHECKOUT else pathlib.Path(shutil.which("stanley") or "stanley")


def check_contenders(plan, options):
    """Every program, module and file that they need, tried before anything is measured."""
    names = {name for _, names in plan for name in names}
    devices = {case.device for case, names in plan if any(CONTENDERS[n].kind == "stanley" for n in names)}
    for binary in {options.binary or program_for(device) for device in devices}:
        if not os.access(binary, os.X_OK):
            raise MissingError(f"{binary} is not there: build it (jobs/local.sh, or cmake --build --preset release, or "
                               "cuda for a GPU), name another with --binary, or leave stanley out with --contenders.")
    modules = ["h5py", "xxhash"] if devices else []
    if any(CONTENDERS[name].kind != "stanley" for name in names):
        modules += ["torch", "torchebm"]
    result = subprocess.run([sys.executable, "-c", f"import {', '.join(modules)}"], capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["it was killed"])[-1]
        advice = ("run tools/setup.sh --peers (or this tool with --setup), and start this tool with "
                  ".deps/venv/bin/python" if IN_CHECKOUT else f"install them for {sys.executable}")
        raise MissingError(f"Python can't import {', '.join(modules)} ({reason}): {advice}.")
    check_compiler({case.device for case, names in plan if any(map(is_compiled, names))})


def check_compiler(devices):
    compiler = os.environ.get("CXX", "g++")
    if devices and not shutil.which(compiler):
        raise MissingError(f"torch.compile needs a C++ compiler, and there is no {compiler}: install it, name another "
                           "in CXX, or leave torch.compile out with --contenders.")
    if "cuda" in devices and not installed("triton"):
        wanted = next(r.split(";")[0] for r in importlib.metadata.requires("torch") if r.startswith("triton"))
        raise MissingError("torch.compile needs the Python package triton on a GPU: run "
                           f".deps/venv/bin/python -m pip install --no-deps {wanted}")


# --- command line ---------------------------------------------------------------------------------
def parse_shape(text):
    try:
        shape = tuple(int(n) for n in text.lower().split("x"))
    except ValueError:
        shape = ()
    if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < 8:
        raise argparse.ArgumentTypeError(f"'{text}' is not CHANNELSxHEIGHTxWIDTH with sides of at least 8")
    return shape


def parse_contenders(text):
    names = text.split(",")
    if unknown := [n for n in names if n not in CONTENDERS]:
        raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(CONTENDERS)}")
    return list(dict.fromkeys(names))


def positive(kind):
    def parse(text):
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value
    return parse


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--table", action="store_true",
                        help="print Markdown tables of a fixed list of networks, those for a GPU where there is one")
    one = parser.add_argument_group("one network (not with --table)")
    one.add_argument("--network", choices=("convnet", "resnet"), help="energy.type (convnet)")
    one.add_argument("--channels", type=positive(int), help="of the first convolution (16)")
    one.add_argument("--blocks", type=positive(int), help="residual blocks at each resolution of a resnet (1)")
    one.add_argument("--chains", type=positive(int), help="that move together (64)")
    one.add_argument("--shape", type=parse_shape, help="of a state (1x32x32)")
    one.add_argument("--contenders", type=parse_contenders, help=f"separated by commas: {','.join(CONTENDERS)} (all)")
    one.add_argument("--config", type=pathlib.Path, help="for stanley, instead of one made from the options above")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="(cpu; with --table every one there is)")
    parser.add_argument("--rounds", type=positive(int), default=7, help="(7)")
    parser.add_argument("--seconds", type=positive(float), default=3.0,
                        help="least time of a measurement, which takes at least three chain steps (3)")
    parser.add_argument("--binary", type=pathlib.Path,
                        help="stanley (a checkout's .build/release/stanley, or .build/cuda/stanley for a GPU; else "
                             "that in PATH)")
    parser.add_argument("--transition", default="langevin",
                        help="sampler.type for stanley (langevin, as the others do)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--setup", action="store_true", help="first install what is missing (tools/setup.sh --peers)")
    options = parser.parse_args(arguments)
    if options.table:
        for name in ("network", "channels", "blocks", "chains", "shape", "contenders", "config"):
            if getattr(options, name) is not None:
                parser.error(f"--table has networks and contenders of its own: leave --{name} out")
    return options


def one_case(options):
    case = Case(options.network or "convnet", options.channels or 16, options.shape or (1, 32, 32),
                options.chains or 64, options.device or "cpu", options.blocks or 1)
    return case, options.contenders or list(CONTENDERS)


def make_plan(options, gpu):
    if not options.table:
        return [one_case(options)]
    return plan_table([options.device] if options.device else ["cpu", "cuda"] if gpu else ["cpu"])


def present(cases, options, facts):
    if options.json:
        entries = [{**dataclasses.asdict(case), "results": table.results(measured)} for case, measured in cases]
        body = {"cases": entries} if options.table else entries[0]
        return json.dumps({"machine": facts, **body}, indent=1)
    if options.table:
        return table.page(cases, facts)
    (case, measured), = cases
    return table.plain_table(case, table.results(measured), options.rounds, options.seconds, facts)


def compare(options, arguments):
    if options.setup and not IN_CHECKOUT:
        raise MissingError("--setup is for a checkout of stanley: install torch and torchebm with pip here.")
    if options.setup and subprocess.run([ROOT / "tools" / "setup.sh", "--peers"]).returncode:
        raise MissingError("tools/setup.sh --peers failed; its message is above.")
    gpu = look_for_gpu() if options.table or options.device == "cuda" else None
    if options.device == "cuda" and not gpu:
        raise MissingError("--device cuda: PyTorch sees no GPU here; look at nvidia-smi, or take --device cpu.")
    plan = make_plan(options, gpu)
    check_contenders(plan, options)
    progress, cases = Progress(plan, options.rounds, options.seconds), []
    try:
        for case, names in plan:
            cases.append((case, measure_case(case, names, options, progress)))
    finally:  # what has been measured isn't lost when a later network fails
        if cases:
            print(present(cases, options, machine(arguments, gpu)), flush=True)


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    try:
        compare(options, arguments)
        return 0
    except MissingError as error:
        print(f"compare_peers: {error}", file=sys.stderr)
        return 3
    except FailedError as error:
        print(f"compare_peers: {error}", file=sys.stderr)
        return 70
    except KeyboardInterrupt:
        return 130
