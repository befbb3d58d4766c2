"""What the job scripts make of a training's end and of the machine they find, with other programs in the place of
Slurm, Open MPI and stanley. tests/slurm has the real ones."""
import json
import os
import re
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ["STANLEY_PROGRAM"]

# Ends as the test says, after what a training would leave behind: FOLDER/script is its Python.
STANLEY = """
import json, os, pathlib, sys
run = pathlib.Path(sys.argv[sys.argv.index("--run-directory") + 1])
path = run / "run.json"

def checkpoint(iteration):
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "checkpoints" / f"iteration-{iteration:08}.h5").touch()

def record(starts=1, **stop):
    run.mkdir(parents=True, exist_ok=True)
    text = json.loads(path.read_text()) if path.exists() else {"starts": [], "stops": []}
    text["starts"] += [{}] * starts
    text["stops"] += [stop] if stop else []
    path.write_text(json.dumps(text | {"verdict": stop.get("verdict", "running")}))

exec((pathlib.Path(__file__).parent / "script").read_text())
"""
# What a configuration means the real program says, but where the test has said which run directory it is.
ASKED = f"""#!/bin/sh
[ "$1" = config ] || exit 0
[ -z "$RUN" ] || exec echo "$RUN"
exec "{PROGRAM}" "$@"
"""
# Runs the program after its own options, and says what the script has put into FOLDER/said.
MPIRUN = """#!/usr/bin/env bash
[ "$1" != --version ] || { echo "${MPIRUN_IS:-mpirun (Open MPI) 4.1.4}"; exit; }
echo "mpirun $*" >"$FOLDER/started"
while [ "$1" != stanley ]; do shift; done
code=0
"$PYTHON" "$FOLDER/stanley.py" "${@:2}" || code=$?
cat "$FOLDER/said" >&2 2>/dev/null
exit "$code"
"""
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]"}


class Site:
    """A folder with a site, programs of the test's own in PATH, and a run in `run`."""

    def __init__(self, folder):
        self.folder, self.run, self.commands = folder, folder / "run", folder / "commands"
        (folder / "bin").mkdir()
        (folder / "stanley.py").write_text(STANLEY)
        self.more()
        self.program("mpirun", MPIRUN)
        self.program("stanley", ASKED)
        self.tells("scontrol", '[ "$1" != show ] || printf "%s\\n" node1 node2')
        self.tells("squeue", 'case "$*" in *PENDING*) printf "%s\\n" 8 9 ;; esac')
        self.tells("scancel")

    def program(self, name, text):
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)

    def tells(self, name, does=""):
        """A command that notes how it was called."""
        self.program(name, f'#!/usr/bin/env bash\necho "{name} $*" >>"$FOLDER/commands"\n{does}\n')

    def more(self, text=""):
        (self.folder / "site.sh").write_text(
            f"node_kind=cpu\n. jobs/site.sh\nlauncher=mpirun program=(stanley) python=({sys.executable})\n{text}\n")

    def call(self, *command, cwd=ROOT, **variables):
        """Exit code and everything it said."""
        unset = ("SLURM", "SBATCH", "OMP_", "STANLEY_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
        with open(self.folder / "log", "w") as log:
            result = subprocess.run([str(part) for part in command], cwd=cwd, stdout=log, stderr=log, timeout=60, env={
                **inherited, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "FOLDER": str(self.folder),
                "PYTHON": sys.executable, "STANLEY_SITE": str(self.folder / "site.sh"), **variables})
        return result.returncode, (self.folder / "log").read_text()

    def train(self, script, said="", **variables):
        (self.folder / "script").write_text(script)
        (self.folder / "said").write_text(said)
        self.commands.unlink(missing_ok=True)
        return self.call("bash", "jobs/train.sbatch", "configs/smoke.yaml", "--run-directory", self.run,
                         **{"RUN": str(self.run), **SLURM, **variables})

    def told(self):
        return self.commands.read_text() if self.commands.exists() else ""


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def stop(code, **more):
    words = {0: "finished", 3: "environment", 5: "input_output", 85: "requeue"}
    return f"record(**{dict(verdict=words[code], exit_code=code, **more)!r}); sys.exit({code})"


# --- requeue, or stop ------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [3, 5])
def test_a_training_that_got_on_is_requeued(site, code):
    assert site.train(f"checkpoint(1); {stop(code)}")[0] == code
    assert "scontrol requeue 7" in site.told()
    left, log = site.train(stop(code))  # the checkpoint of before is no new one
    assert left == code and "stops: " in log and "requeue" not in site.told()
    # The launcher loses the code: run.json has it.
    assert site.train(f"checkpoint(2); {stop(code).replace('sys.exit', 'print')}; sys.exit(1)")[0] == code
    assert "scontrol requeue 7" in site.told()


def test_a_start_that_was_refused_is_not_requeued_for_the_checkpoints_of_another(site):
    site.train("checkpoint(1); record()")
    for starts in (0, 2):  # refused; taken over
        code, log = site.train(f"checkpoint({starts} + 2); record(starts={starts}); sys.exit(5)")
        assert code == 5 and "stops: input or output" in log and "requeue" not in site.told()


@pytest.mark.parametrize("code", [3, 5])
def test_the_node_that_told_of_its_environment_is_left_out(site, code):
    site.more("exclude_failed_nodes=true")
    site.train(f"checkpoint(1); {stop(code, host='node2.cluster')}")
    assert ("scontrol update JobId=7 ExcNodeList=node2\n" in site.told()) == (code == 3)


def test_a_host_that_is_no_node_of_the_job_is_not_left_out(site):
    site.more("exclude_failed_nodes=true")
    site.train(f"checkpoint(1); {stop(3, host='login')}")
    assert "requeue" in site.told() and "update" not in site.told()


@pytest.mark.parametrize("said, node", [
    ("mpirun noticed that process rank 1 with PID 5 on node node2 exited on signal 9 (Killed).", "node2"),
    ("prterun noticed that process rank 1 with PID 5 on node node2 exited on\nsignal 9 (Killed).", "node2"),
    ("=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n=   PID 5 RUNNING AT node2\n=   EXIT CODE: 9\n"
     "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)", "node2"),
    ("=   PID 5 RUNNING AT node2\n=   EXIT CODE: 3", None),
    ("srun: error: node2: task 2: Killed\nsrun: error: node1: tasks 0-1: Killed", "node2"),
    ("srun: error: node1: task 0: Exited with exit code 6\nsrun: error: node2: task 1: Terminated", None),
    ("srun: error: node[1-2]: tasks 0-3: Killed", None)])
def test_the_node_of_the_rank_that_was_killed_first_is_left_out(site, said, node):
    site.more("exclude_failed_nodes=true")
    site.train("sys.exit(137)", said)
    assert "scontrol requeue 7" in site.told()
    assert ("update" in site.told()) == (node is not None)
    assert node is None or f"scontrol update JobId=7 ExcNodeList={node}\n" in site.told()


def test_the_options_are_those_of_the_mpirun_that_is_there(site):
    hydra = "HYDRA build details:\n    Version:                                 4.0.2"
    started = site.folder / "started"
    script = stop(0).replace("record", "checkpoint(1); record")
    assert site.train(script)[0] == 0
    assert "mpirun --bind-to none --map-by ppr:2:node stanley" in started.read_text()
    assert site.train(script, MPIRUN_IS=hydra)[0] == 0
    assert "mpirun -n 2 -ppn 2 stanley" in started.read_text()
    assert site.train(script, MPIRUN_IS=hydra, SLURM_JOB_NUM_NODES="3")[0] == 0
    assert "mpirun -n 6 -ppn 2 stanley" in started.read_text()
    assert site.train(script, MPIRUN_IS="Intel(R) MPI Library for Linux* OS", SLURM_NTASKS="5")[0] == 0
    assert "mpirun -n 5 stanley" in started.read_text()
    (site.run / "checkpoints").mkdir(parents=True, exist_ok=True)
    for kind, options in (("", "--bind-to none --map-by ppr:2:node -n 1"), (hydra, "-n 1 -ppn 2")):
        site.call("bash", "jobs/analyze.sbatch", site.run, MPIRUN_IS=kind)
        assert f"mpirun {options} stanley inspect" in started.read_text()
    site.more("mpirun=mpirun.other")
    code, log = site.train(script)
    assert code == 3 and "there is no mpirun.other" in log


def test_the_signal_that_mpichs_mpirun_tells_is_no_exit_code_of_the_program(site):
    """4 would be a training that diverged, and it is the number of SIGILL."""
    said = "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Illegal instruction (signal 4)"
    code, log = site.train("checkpoint(1); record(); sys.exit(4)", said)
    assert code == 132 and "diverged" not in log and "requeue 7" in site.told()


def test_a_chain_goes_on_without_the_node(site):
    site.more("exclude_failed_nodes=true")
    code, log = site.train(f"checkpoint(1); {stop(3, host='node2')}", STANLEY_CHAIN="chain")
    assert code == 3 and "the chain's next job goes on" in log
    assert [line for line in site.told().splitlines() if "update" in line] == [
        f"scontrol update JobId={job} ExcNodeList=node2" for job in (8, 9)]
    assert "scancel" not in site.told() and "requeue" not in site.told()


def test_run_until_ends_the_job_and_its_chain(site):
    code, log = site.train(f"checkpoint(1); {stop(85, asked_by='run.until')}", STANLEY_CHAIN="chain")
    assert code == 85 and "stops: run.until has come" in log
    assert "scancel --quiet --state=PENDING --name=chain" in site.told()
    assert "requeue" not in site.told()
    # Of an earlier start; of Slurm.
    for script in ("checkpoint(3); record(); sys.exit(85)", stop(85, asked_by="signal"),
                   stop(85, asked_by="Slurm's end of the job")):
        assert site.train(script)[0] == 85 and "scontrol requeue 7" in site.told()


# --- what is on the disk ---------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["{", '{"stops": 3}', '{"starts": [], "stops": [{"exit_code": null}]}'])
def test_a_record_that_cannot_be_read_says_nothing(site, text):
    broken = f"run.mkdir(exist_ok=True); path.write_text({text!r})"
    assert site.train(f"{broken}; sys.exit(4)")[0] == 4
    site.run.joinpath("run.json").write_text('{"starts": [{}], "stops": [{"exit_code": 85}], "verdict": "requeue"}')
    assert site.train(f"{broken}; sys.exit(6)")[0] == 6 and "requeue" in site.told()


def test_checkpoints_count_where_latest_points_nowhere(site):
    site.more("fruitless_restarts=1")
    dangle = "os.symlink('iteration-00000009.h5', run / 'checkpoints' / 'latest')"
    site.train(f"checkpoint(1); {dangle}; {stop(85)}")
    assert site.train(f"checkpoint(2); {stop(85)}")[0] == 85 and "requeue" in site.told()
    # A roll-back makes an older one the newest: nothing new.
    gone = "(run / 'checkpoints' / 'iteration-00000002.h5').unlink()"
    assert site.train(f"{gone}; {stop(5)}")[0] == 5 and "requeue" not in site.told()
    rows = [line.split("\t") for line in (site.run / "restarts.tsv").read_text().splitlines()]
    assert [row[4].split("@")[0] for row in rows] == ["iteration-00000001.h5", "iteration-00000002.h5"]


def test_a_restart_that_cannot_be_counted_stops(site):
    (site.run / "restarts.tsv").mkdir(parents=True)
    code, log = site.train(stop(85))
    assert code == 85 and "restarts.tsv can't be written" in log and "requeue" not in site.told()
    assert site.train(f"checkpoint(1); {stop(85)}")[0] == 85 and "requeue" in site.told()


def test_checkpoints_and_draws_alone_are_striped(site):
    site.more("stripe_count=8")
    site.tells("lfs")
    site.train(stop(0))
    striped = [f"lfs setstripe --stripe-count 8 {site.run}/{name}" for name in ("checkpoints", "samples")]
    assert site.told().splitlines() == striped
    site.train(stop(0))
    assert site.told() == ""


# --- where they run --------------------------------------------------------------------------------------
def test_a_job_script_runs_without_slurm(site):
    code, log = site.train(stop(85), SLURM_JOB_ID="", SLURM_JOB_NODELIST="")
    assert code == 85 and "the same command goes on" in log
    (site.folder / "script").write_text("sys.exit(6)")
    code, log = site.call("bash", "jobs/train.sbatch", "configs/smoke.yaml", "--run-directory", site.run)
    assert code == 6 and "unbound" not in log and "requeue" not in site.told()


def test_a_list_of_plugins_that_comes_slowly_is_read_to_its_end(site):
    site.more("launcher=srun")
    site.tells("srun", '[ "$*" = --mpi=list ] || exit 4; for name in pmix none pmi2; do echo "$name"; sleep 0.2; done')
    assert site.train("")[0] == 4
    assert "--export=ALL" in site.told()
    for named in ("srun_mpi=pmix_v1", "pmix=pmix_v1\nunset srun_mpi mpirun"):  # the second as release 0.1 named it
        site.more(f"launcher=srun {named}")
        code, log = site.train("")
        assert code == 3 and "no 'pmix_v1'" in log


def test_jobs_get_the_variables_of_the_submission(site):
    site.tells("sbatch", "echo 12")
    assert site.call("jobs/chain.sh", "2", "jobs/train.sbatch", "configs/smoke.yaml")[0] == 0
    assert site.told().count("sbatch --export=ALL ") == 2


def test_a_job_whose_log_is_a_pipe_ends(site):
    """As in salloc's terminal: what stands in its log can't be read again there."""
    for name in ("script", "said"):
        (site.folder / name).write_text("")
    script = 'bash jobs/train.sbatch configs/smoke.yaml --run-directory "$0" 2>&1 | cat'
    log = site.call("bash", "-c", script, site.run, **SLURM)[1]
    assert "the launcher ended" in log, log


def test_a_submission_asks_for_what_the_site_names(site):
    """The file as a user edits it."""
    names = ["account", "partition", "qos", "constraint", "time"]
    text = (ROOT / "jobs" / "site.sh").read_text()
    for name in names:
        text, found = re.subn(rf"^{name}=(?=\s)", f"{name}=my-{name}", text, flags=re.MULTILINE)
        assert found == 1, name
    (site.folder / "site.sh").write_text(text)
    site.tells("sbatch", "echo 12")
    assert site.call("jobs/submit.sh", "jobs/train.sbatch", "configs/smoke.yaml")[0] == 0
    assert [name for name in names if f" --{name}=my-{name} " not in site.told()] == []


def test_a_sweep_reads_what_a_spreadsheet_saves(site):
    table = site.folder / "table.csv"
    table.write_bytes(b"\xef\xbb\xbfrun.seed,run.name\r\n5,x\r\n")
    (site.folder / "script").write_text("print(sys.argv[1:]); sys.exit(4)")
    code, log = site.call("bash", "jobs/sweep.sbatch", "configs/smoke.yaml", table, "--set",
                          f"run.directory={site.folder}", SLURM_ARRAY_TASK_ID="1")
    assert code == 4 and "'--set', 'run.seed=5'" in log, log


# --- what the program says of a configuration ------------------------------------------------------------
def test_the_program_is_asked_with_what_is_about_the_configuration(site):
    options = ["--set", "a={x: 1, y: 'b c'}", "--resume", "never", "--set=d=2", "--dry-run", "--run-directory", "r 1"]
    script = '. tools/steps.bash; program=(printf "%s|"); ask_program --directory "$@"'
    code, said = site.call("bash", "-euc", script, "bash", "c.yaml", *options)
    assert code == 0 and said == "config|c.yaml|--set|a={x: 1, y: 'b c'}|--set=d=2|--run-directory|r 1|--directory|"


def test_the_run_directory_is_the_programs(site):
    (site.folder / "script").write_text("")
    options = ["--set", f"run={{directory: {site.folder}, name: 007}}"]
    code, log = site.call("bash", "jobs/train.sbatch", "configs/smoke.yaml", *options, **SLURM)
    assert code == 1 and (site.folder / "007" / "restarts.tsv").exists(), log


def test_a_configuration_that_is_refused_starts_no_ranks_and_ends_the_chain(site):
    code, log = site.call("bash", "jobs/train.sbatch", "configs/smoke.yaml", "--set", "sampler.foo=1",
                          **{**SLURM, "STANLEY_CHAIN": "chain"})
    assert code == 2 and "sampler.foo" in log and "stops: usage or configuration" in log
    assert "scancel" in site.told() and not (site.folder / "started").exists()
    table = site.folder / "table.csv"
    table.write_text("run.seed\n5\n")
    code, log = site.call("bash", "jobs/sweep.sbatch", "no-such.yaml", table, SLURM_ARRAY_TASK_ID="1")
    assert code == 2 and not (site.folder / "started").exists(), log


# --- a checkout of the test's own ------------------------------------------------------------------------
@pytest.fixture
def checkout(site):
    """The scripts, with a project that CMake configures at once in stanley's place, and no network."""
    root = site.folder / "checkout"
    for name in ("tools", "jobs", "configs"):
        shutil.copytree(ROOT / name, root / name)
    (root / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(small NONE)\n"
                                         "add_custom_target(stanley COMMAND ${CMAKE_COMMAND} -E echo built)\n")
    preset = {"name": "release", "generator": "Ninja", "binaryDir": "${sourceDir}/.build/release"}
    presets = {"configurePresets": [preset], "buildPresets": [{"name": "release", "configurePreset": "release"}]}
    (root / "CMakePresets.json").write_text(json.dumps({"version": 4, **presets}))
    venv = root / ".deps" / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (root / ".build" / "release").mkdir(parents=True)
    (root / ".build" / "release" / "stanley").symlink_to(PROGRAM)
    return root


def test_a_checkout_that_was_copied_after_its_build_is_built_anew(site, checkout):
    build = ["bash", "-c", "set -euo pipefail; . tools/steps.bash; build stanley"]
    assert site.call(*build, cwd=checkout)[0] == 0
    assert "anew" not in site.call(*build, cwd=checkout)[1]
    copy = site.folder / "copy"
    shutil.copytree(checkout, copy, symlinks=True)
    for said in (True, False):
        code, log = site.call(*build, cwd=copy)
        assert code == 0 and ("builds anew" in log) == said, log
    link = site.folder / "link"
    link.symlink_to(checkout)
    code, log = site.call(*build, cwd=link)
    assert code == 0 and "anew" not in log


def test_openmps_threads_do_not_limit_the_ranks_cores(site, checkout):
    (checkout / "tools" / "setup.sh").write_text("#!/bin/sh\n")
    site.program("lscpu", "#!/bin/sh\nprintf '# comment\\n0,0\\n1,0\\n'\n")
    site.program("nproc", '#!/bin/sh\necho "${OMP_NUM_THREADS:-${OMP_THREAD_LIMIT:-2}}"\n')
    site.tells("mpirun", '[ "$1" != --version ] || echo "mpirun (Open MPI) 4.1.4"')
    for variable in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
        code, log = site.call(checkout / "jobs" / "local.sh", "configs/toy_rings.yaml", cwd=checkout, **{variable: "1"})
        assert code == 0 and "share" not in log, log
    assert site.told().count("--map-by slot:PE=1 --bind-to core") == 2
