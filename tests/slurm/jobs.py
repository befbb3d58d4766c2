"""Submits the repository's job scripts to the virtual cluster, and watches them."""
import json
import pathlib
import re
import sys
import time

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "program"))
from program import (PROGRAM, ROOT, SMOKE, checkpoint, executable, iterations_recorded, rows_so_far,  # noqa: E402
                     same_bits, trains)

ENDLESS = 20000  # more iterations than any test waits for
LIMIT = 180  # seconds for one step of a test, on a machine where they all run at once
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"}

# The site of the virtual cluster: jobs/site.sh with another program.
SITE = """
node_kind=cpu
. jobs/site.sh
program=({program})
{more}
"""

# Ends its starts in turn as ENDS says, (exit code, whether it brought a checkpoint, what run.json says of the
# stop) each. The launcher sees the code of the first rank, and that it killed the others.
PRETENDER = """
import json, os, pathlib, sys, time

ENDS = {ends!r}
run = pathlib.Path(__file__).parent / "run"
start = int(os.environ.get("SLURM_RESTART_COUNT", 0))
code, brings, said = ENDS[start]
if os.environ["SLURM_PROCID"] != "0":
    time.sleep(60)
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
if brings:
    (run / "checkpoints" / f"iteration-{{start:08}}.h5").touch()
stops = [{{"exit_code": code, **said}} for code, _, said in ENDS[:start + 1]]
(run / "run.json").write_text(json.dumps({{"starts": [{{}}] * len(stops), "stops": stops, "verdict": "stopped"}}))
sys.exit(code)
"""


class Place:
    """A test's own folder: its site, its configuration, its runs and its jobs' logs."""

    def __init__(self, cluster, folder, site="", program=PROGRAM):
        self.cluster, self.folder = cluster, folder
        folder.mkdir()
        self.config = folder / "config.yaml"
        self.write_config(ENDLESS)
        self.site = folder / "site.sh"
        program = program if program == PROGRAM else self.stand_in(program)
        self.site.write_text(SITE.format(program=program, more=site))

    def stand_in(self, command):
        """A program that trains by this command; what a configuration means, only the real one can say."""
        script = self.folder / "stand_in.sh"
        script.write_text(f'[ "$1" != config ] || exec {PROGRAM} "$@"\nexec {command} "$@"\n')
        return f"bash {script}"

    def pretend(self, ends, site=""):
        """Puts in the program's place one that only ends."""
        pretender = self.folder / "pretender.py"
        pretender.write_text(PRETENDER.format(ends=ends))
        self.site.write_text(SITE.format(program=self.stand_in(f"{sys.executable} {pretender}"), more=site))

    def write_config(self, iterations):
        """A small training that gives the same bits on any number of ranks."""
        document = yaml.safe_load(SMOKE.read_text())
        document["run"] |= {"iterations": iterations, "reproducible": True, "directory": str(self.folder),
                            "name": "run", "device": "cpu"}
        document["samples"]["every"] = None
        document["checkpoint"]["every"] = 1000
        document["sampler"]["steps"] = 50
        self.config.write_text(yaml.safe_dump(document))

    def call(self, *command, **more):
        return self.cluster.call(*command, STANLEY_SITE=str(self.site), **more)

    def chain(self, links, **more):
        """The jobs of a chain, on one node each."""
        numbers = self.call(ROOT / "jobs" / "chain.sh", links, f"--output={self.folder}/%j.log", "--nodes=1",
                            "jobs/train.sbatch", self.config, **more).split()
        return [Job(self.cluster, number, self.folder / f"{number}.log") for number in numbers]

    def submit(self, job, *arguments, options=(), **more):
        """The submitted job, through jobs/submit.sh."""
        number = self.call(ROOT / "jobs" / "submit.sh", "--parsable", f"--output={self.folder}/%j.log", *options,
                           f"jobs/{job}.sbatch", *arguments, **more)
        return Job(self.cluster, number, self.folder / f"{number}.log")

    def train(self, *arguments, options=(), **more):
        return self.submit("train", self.config, *arguments, options=options, **more)

    @property
    def run(self):
        return self.folder / "run"

    def let_finish(self, more=20):
        """What an interrupted training still has to do: so many iterations. All of them."""
        iterations = rows_so_far(self.run) + more
        self.write_config(iterations)
        return iterations

    def check_result(self, iterations, run=None):
        """The run ended bit for bit as one on a single rank that nobody interrupted."""
        run = run or self.run
        assert (run / "DONE").exists() and record(run)["verdict"] == "finished"
        assert iterations_recorded(run) == list(range(1, iterations + 1))
        trains(self.folder / "reference", {"sampler.threshold": "{quantile: 0.5}"}, self.config)
        same_bits(checkpoint(run, iterations), checkpoint(self.folder / "reference", iterations))


class Job:
    """A job, or a task of an array: then `number` is ARRAY_TASK, and `own` its SLURM_JOB_ID."""

    def __init__(self, cluster, number, log, own=None):
        self.cluster, self.number, self.log_file, self.own = cluster, number, log, own or number

    def field(self, letter):
        return self.cluster.call("squeue", "--noheader", "--states=all", f"--jobs={self.number}",
                                 f"--format=%{letter}")

    def state(self):
        return self.field("T")

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else "(no log)"

    def wait_for(self, condition, what):
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"no {what}; job {self.number} is {self.state()}\n{self.log()}"
            time.sleep(0.2)

    def reaches(self, rows, run):
        """Waits until a running job has recorded so many iterations."""
        def enough():
            assert self.state() not in ENDED, f"{self.state()}\n{self.log()}"
            return rows_so_far(run) >= rows
        self.wait_for(enough, f"{rows} iterations")

    def ends(self, state, code=None):
        """Waits for the job's last state; checks it, and its exit code; returns the log."""
        self.wait_for(lambda: self.state() in ENDED, "end")
        assert self.state() == state, f"{self.state()}\n{self.log()}"
        if code is not None:
            shown = self.cluster.call("scontrol", "show", "job", self.number)
            assert f"ExitCode={code}:" in shown, f"{shown}\n{self.log()}"
        return self.log()

    def is_requeued(self, restarts=1):
        """Waits until the job has been requeued so often and is all gone from its nodes."""
        def gone():
            state = self.state()
            assert state not in ENDED, f"{state}\n{self.log()}"
            return (state == "PENDING" and f"Restarts={restarts} " in self.shown()
                    and not self.processes() and not self.sockets())
        self.wait_for(gone, f"requeue number {restarts}")
        time.sleep(2)  # Slurm won't start a job in the second in which it was requeued

    def starts_now(self):
        """Slurm waits two minutes with what was requeued."""
        self.cluster.call("scontrol", "update", f"JobId={self.number}", "StartTime=now")

    def shown(self):
        return self.cluster.call("scontrol", "show", "job", self.number)

    def processes(self):
        mark = f"SLURM_JOB_ID={self.own}".encode()
        return [process for process in self.cluster.processes() if mark in variables_of(process)]

    def sockets(self):
        """What PMIx's server still listens to, seconds after its step."""
        return list(self.cluster.folder.glob(f"node*/spool/stepd.slurm.pmix.{self.own}.*"))

    def ranks(self):
        """Process numbers of the ranks, by node."""
        binary = pathlib.Path(PROGRAM).resolve()
        found = {}
        for process in self.processes():
            if executable(process) == binary:
                node = re.search(rb"SLURMD_NODENAME=(\w+)", b"\n".join(variables_of(process)))
                found.setdefault(node[1].decode(), []).append(process)
        return found


def variables_of(process):
    try:
        return pathlib.Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def record(run):
    return json.loads((pathlib.Path(run) / "run.json").read_text())


def ranks_of_starts(run):
    return [start["ranks"] for start in record(run)["starts"]]


