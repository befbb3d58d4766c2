"""The job scripts on a real Slurm of virtual nodes: trainings that are warned, preempted, killed or lose a
node end as if nothing had happened, and what can't be helped stops with a sentence."""
import concurrent.futures
import json
import re
import signal
import subprocess

import pytest

from jobs import Job, Place, checkpoint, iterations_recorded, ranks_of_starts, record, same_bits
from program import PROGRAM, ROOT, kill

import yaml

TWO_NODES = ("--nodes=2",)


# --- to the end ---------------------------------------------------------------------------------------
def trains_on_two_nodes_and_is_analyzed(cluster, folder):
    place = Place(cluster, folder)
    place.write_config(40)
    job = place.train(options=TWO_NODES)
    analysis = place.submit("analyze", place.run, "--set", "sampler.steps=3", "--set", "sampler.write_every=3",
                            options=[f"--dependency=afterok:{job.number}"])
    job.ends("COMPLETED", 0)
    assert ranks_of_starts(place.run) == [4]
    assert len(set(record(place.run)["starts"][0]["hosts"])) == 2
    place.check_result(40)
    assert "verified and reported" in analysis.ends("COMPLETED", 0)
    assert (place.run / "report.html").exists() and (place.run / "samples" / "analysis.nc").exists()
    branches_on_another_number_of_nodes(place)


def branches_on_another_number_of_nodes(place):
    branch = place.submit("resume", place.config, checkpoint(place.run, 40), place.folder / "branch", "--set",
                          "run.iterations=50", options=["--nodes=1"])
    branch.ends("COMPLETED", 0)
    assert ranks_of_starts(place.folder / "branch") == [2]
    assert iterations_recorded(place.folder / "branch") == list(range(41, 51))


# --- interrupted ----------------------------------------------------------------------------------------
def goes_on(place, job, starts):
    """Lets a requeued job finish; checks that its result is that of a run without interruption."""
    iterations = place.let_finish()
    job.starts_now()
    job.ends("COMPLETED", 0)
    assert ranks_of_starts(place.run) == starts
    place.check_result(iterations)


def walltime_warning_requeues(cluster, folder):
    # A restart after a new checkpoint isn't fruitless.
    place = Place(cluster, folder, site="ranks_per_node=1 fruitless_restarts=0")
    job = place.train(options=[*TWO_NODES, "--time=10"])
    job.reaches(5, place.run)
    cluster.call("scontrol", "update", f"JobId={job.number}", "TimeLimit=3")  # the warning comes 180 s before
    job.is_requeued()
    assert record(place.run)["verdict"] == "requeue" and "got USR1" in job.log()
    cluster.call("scontrol", "update", f"JobId={job.number}", "TimeLimit=10")
    goes_on(place, job, [2, 2])


def preemption_requeues(cluster, folder):
    place = Place(cluster, folder)
    job = place.train(options=[*TWO_NODES, "--partition=scavenger", "--exclusive"])
    job.reaches(5, place.run)
    urgent = cluster.call("sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive",
                          f"--output={folder}/urgent.log", "--wrap", "sleep 1")
    job.is_requeued()
    assert record(place.run)["verdict"] == "requeue"
    job.wait_for(lambda: "JobState=COMPLETED" in cluster.call("scontrol", "show", "job", urgent), "urgent job")
    goes_on(place, job, [4, 4])


def killed_rank_requeues_without_its_node(cluster, folder):
    place = Place(cluster, folder, site="exclude_failed_nodes=true")
    job = place.train(options=["--nodes=1-2"])
    job.reaches(5, place.run)
    kill(job.ranks()["node2"][0], signal.SIGKILL)
    job.is_requeued()
    assert job.field("x") == "node2", job.log()
    goes_on(place, job, [4, 2])


def lost_node_requeues_on_the_other(cluster, folder):
    place = Place(cluster, folder, site="ranks_per_node=1")
    job = place.train(options=["--nodes=1-2", "--partition=fragile"])
    job.reaches(5, place.run)
    cluster.lose_node("node6")
    job.is_requeued()
    goes_on(place, job, [2, 1])


def chain_goes_on_without_requeueing(cluster, folder):
    place = Place(cluster, folder)
    links = place.chain(3, SBATCH_EXPORT="NONE")  # as some clusters have it
    links[0].reaches(5, place.run)
    iterations = place.let_finish(more=200)
    cluster.call("scancel", "--batch", "--signal=USR1", links[0].number)
    links[0].ends("FAILED", 85)
    links[1].ends("COMPLETED", 0)
    links[2].ends("CANCELLED")
    assert ranks_of_starts(place.run) == [2, 2]
    place.check_result(iterations)


def failure_after_a_new_checkpoint_requeues(cluster, folder):
    place = Place(cluster, folder)
    place.pretend([(3, True, {"host": "node2"}), (5, True, {}), (5, False, {})],
                  site="ranks_per_node=1 exclude_failed_nodes=true fruitless_restarts=0")
    job = place.train(options=["--nodes=1-2"])
    job.is_requeued()
    assert job.field("x") == "node2", job.log()
    job.starts_now()
    job.is_requeued(2)
    job.starts_now()
    log = job.ends("FAILED", 5)
    assert "start 3 on node1:" in log and log.count("after a new checkpoint: requeues") == 2
    assert "stops: input or output failed: see above" in log


def run_until_ends_a_chain(cluster, folder):
    place = Place(cluster, folder)
    place.pretend([(85, True, {"asked_by": "run.until"})])
    first, second = place.chain(2)
    assert "stops: run.until has come" in first.ends("FAILED", 85)
    second.ends("CANCELLED")


# --- a sweep --------------------------------------------------------------------------------------------
def array_tasks_keep_apart(cluster, folder):
    # Their launcher loses the exit code: run.json has it.
    place = Place(cluster, folder, program=f"bash -c 'trap : USR1; \"$0\" \"$@\"; exit 143' {PROGRAM}")
    place.write_config(600)
    table = folder / "rates.csv"
    table.write_text('run.seed,sampler.threshold\n7,{quantile: 0.5}\n8,"0.25"\n')
    array = place.submit("sweep", place.config, table,
                         options=["--nodes=1", "--array=1-2", f"--output={folder}/%a.log"])
    runs = [folder / "rates" / str(task) for task in (1, 2)]
    # The last task of an array has the array's number for its own.
    first, last = [Job(cluster, f"{array.number}_{task}", folder / f"{task}.log", own=array.number) for task in (1, 2)]
    for task, run in zip((first, last), runs):
        task.reaches(5, run)
    cluster.call("scancel", "--batch", "--signal=USR1", last.number)
    last.is_requeued()
    last.starts_now()
    for task in (first, last):
        task.ends("COMPLETED", 0)
    assert [ranks_of_starts(run) for run in runs] == [[2], [2, 2]]
    settings = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert [one["run"]["seed"] for one in settings] == [7, 8]
    assert [one["sampler"]["threshold"] for one in settings] == [{"quantile": 0.5}, 0.25]
    assert all(iterations_recorded(run) == list(range(1, 601)) for run in runs)
    with pytest.raises(AssertionError):
        same_bits(*(checkpoint(run, 600) for run in runs))


# --- stops and tells --------------------------------------------------------------------------------------
def fruitless_restarts_are_capped(cluster, folder):
    place = Place(cluster, folder, site="fruitless_restarts=1", program="bash -c 'kill -KILL $$'")
    job = place.train(options=["--nodes=1"])
    job.is_requeued()
    job.starts_now()
    log = job.ends("FAILED", 137)
    assert log.count("start ") == 2 and "1 restarts brought no new checkpoint" in log
    for program, code, why in (("true", 1, "the launcher ended, but not the training"),
                               ("bash -c 'exit 6'", 6, "communication failed, or the run hung")):
        fruitless = Place(cluster, folder / str(code), site="fruitless_restarts=0", program=program)
        assert f"stops: {why}, and 0 restarts" in fruitless.train(options=["--nodes=1"]).ends("FAILED", code)


def what_a_restart_does_not_help_stops(cluster, folder):
    place = Place(cluster, folder)
    unknown = place.train("--set", "run.sede=3", options=["--nodes=1"])
    gpus = [place.train("--set", "run.device=auto", "--run-directory", folder / name, options=["--nodes=1", *options])
            for name, options in {"node": ["--gpus-per-node=2"], "task": ["--ntasks=2", "--gpus-per-task=1"],
                                  "neither": ["--partition=whole", "--exclusive"]}.items()]
    why = {4: "the training diverged", 5: "input or output failed", 70: "a bug of stanley"}
    others = {code: Place(cluster, folder / str(code), program=f"bash -c 'exit {code}'").train(options=["--nodes=1"])
              for code in why}
    assert "run.seed" in unknown.ends("FAILED", 2)
    for job in gpus:
        log = job.ends("FAILED", 3)
        assert "this job was given GPUs" in log and "stops: environment" in log
    for code, job in others.items():
        assert f"stops: {why[code]}" in job.ends("FAILED", code)
    assert not list(folder.rglob("restarts.tsv"))


def launcher_that_is_not_there_is_told(cluster, folder):
    missing = Place(cluster, folder, site="srun_mpi=pmix_v1").train(options=["--nodes=1"])
    wrong = Place(cluster, folder / "wrong", site="launcher=aprun").train(options=["--nodes=1"])
    assert "no 'pmix_v1'" in missing.ends("FAILED", 3) and "launcher=mpirun" in missing.log()
    assert "it takes srun or mpirun" in wrong.ends("FAILED", 3)
    bare = subprocess.run(["srun", "--nodes=1", "--ntasks=2", "--mpi=none", PROGRAM, "train",
                           folder / "config.yaml"], env=cluster.environment, capture_output=True, text=True, timeout=60)
    assert bare.returncode == 3 and "`srun --mpi=pmix`" in bare.stderr, bare


def mpirun_hands_the_warning_on(cluster, folder):
    place = Place(cluster, folder, site="launcher=mpirun")
    job = place.train(options=["--nodes=1"])
    job.reaches(5, place.run)
    cluster.call("scancel", "--batch", "--signal=USR1", job.number)
    job.is_requeued()
    goes_on(place, job, [2, 2])


def scripts_would_be_taken(cluster, folder):
    place = Place(cluster, folder)
    for script in sorted((ROOT / "jobs").glob("*.sbatch")):
        options = ["--array=1-3"] if script.stem in ("sweep", "quality") else []
        place.call("sbatch", "--test-only", *options, script, place.config)
        place.call(ROOT / "jobs" / "submit.sh", "--test-only", "--nodes=2", *options, script, place.config)
    document = (ROOT / "jobs" / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(?:jobs/submit.sh|jobs/chain.sh \d|salloc) [^#\n]*", document, re.MULTILINE)
    assert len(lines) == 6
    for line in lines:  # what the document says of four nodes and many hours
        script = line.index("jobs/", 1)
        options = [word for word in line[:script].split() if word.startswith("--") and "JOB" not in word]
        place.call(ROOT / "jobs" / "submit.sh", "--test-only", "--partition=all", *options, *line[script:].split())


def debug_tells_all(cluster, folder):
    place = Place(cluster, folder)
    place.write_config(3)
    said = place.call("salloc", "--quiet", "--ntasks=2", ROOT / "jobs" / "debug.sbatch", place.config,
                      "--run-directory", place.run)
    assert "ended with exit code 0" in said and ranks_of_starts(place.run) == [2]


# --- a scaling study --------------------------------------------------------------------------------------
def a_scaling_study_is_a_job_for_each_size(cluster, folder):
    place = Place(cluster, folder, site='sbatch_options+=(--partition=whole --output="$STANLEY_LOGS/%j.log")')
    said = place.call(ROOT / "jobs" / "scaling.sh", "weak", place.config, "--nodes", "1,2", "--repeats", "2",
                      "--warmup", "1", "--iterations", "3", "--output", folder / "study", STANLEY_LOGS=str(folder))
    for number in re.findall(r"Submitted batch job (\d+)", said):
        Job(cluster, number, folder / f"{number}.log").ends("COMPLETED", 0)
    runs = [json.loads(line) for line in (folder / "study" / "results.jsonl").read_text().splitlines()]
    assert sorted((run["nodes"], run["ranks"], run["repeat"]) for run in runs) == [
        (1, 2, 1), (1, 2, 2), (2, 4, 1), (2, 4, 2)]
    assert "weak scaling; baseline: 2 rank(s), median of 2 runs" in (folder / "study" / "table.txt").read_text()
    assert (folder / "study" / "scaling.png").exists()


# --- time to quality --------------------------------------------------------------------------------------
def seeds_of_a_target_are_an_array(cluster, folder):
    place = Place(cluster, folder)
    place.config.write_text(yaml.safe_dump({
        "base": str(ROOT / "configs" / "toy_rings.yaml"), "run": {"iterations": 600, "device": "cpu"},
        "data": {"batch": 256}, "chains": {"start": "uniform", "total": 256, "active": 256}, "sampler": {"steps": 60},
        "evaluation": {"every": 50}, "samples": {"every": None}}))
    study = folder / "study"
    asked = (ROOT / "jobs" / "time_to_quality.sh", place.config, "--target", "kid=20", "--seeds", 2, "--output", study,
             "--slurm", "--nodes=1")
    said = place.call(*asked)
    array = re.search(r"^job (\d+) trains the seeds 1,2;", said, re.MULTILINE)[1]
    first, last = [Job(cluster, f"{array}_{seed}", study / f"seed-{seed}.log", own=array) for seed in (1, 2)]
    table = Job(cluster, re.search(r"Submitted batch job (\d+)", said)[1], study / "table.log")
    last.reaches(5, study / "seed-2" / "run")
    cluster.call("scancel", "--batch", "--signal=USR1", last.number)
    last.is_requeued()
    assert table.state() == "PENDING"
    last.starts_now()
    for task in (first, last):
        assert "has reached the target" in task.ends("COMPLETED", 0)
    assert "2 of 2 seed(s) reached the target" in table.ends("COMPLETED", 0)
    found = json.loads((study / "result.json").read_text())
    assert [(seed["state"], seed["starts"]) for seed in found["seeds"]] == [("reached", 1), ("reached", 2)]
    assert (study / "time_to_quality.png").exists() and "nothing is submitted" in place.call(*asked)


SCENARIOS = [walltime_warning_requeues, lost_node_requeues_on_the_other, preemption_requeues,
             killed_rank_requeues_without_its_node, trains_on_two_nodes_and_is_analyzed,
             chain_goes_on_without_requeueing, mpirun_hands_the_warning_on, array_tasks_keep_apart,
             fruitless_restarts_are_capped, failure_after_a_new_checkpoint_requeues,
             what_a_restart_does_not_help_stops, a_scaling_study_is_a_job_for_each_size, run_until_ends_a_chain,
             launcher_that_is_not_there_is_told, scripts_would_be_taken, debug_tells_all,
             seeds_of_a_target_are_an_array]


@pytest.fixture(scope="module")
def scenarios(cluster, tmp_path_factory, request):
    """All that were asked for, some at a time: most of each is waiting for Slurm."""
    folder = tmp_path_factory.mktemp("scenarios")
    asked = {item.callspec.params["scenario"] for item in request.session.items if hasattr(item, "callspec")}
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        yield {scenario: pool.submit(scenario, cluster, folder / scenario.__name__)
               for scenario in SCENARIOS if scenario in asked}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_slurm(scenarios, scenario):
    scenarios[scenario].result()
