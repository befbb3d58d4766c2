"""Time to quality: medians with seeds that never got there, counters that begin anew, clocks over several starts."""
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

from stanley_tools.quality import clock as clocks  # noqa: E402
from stanley_tools.quality import energy, plot, summary, table  # noqa: E402
from stanley_tools.quality.clock import Clock  # noqa: E402
from stanley_tools.quality.errors import FailedError, UsageError  # noqa: E402
from stanley_tools.quality.rows import Row, Rows  # noqa: E402
from stanley_tools.quality.study import Study, check, read_configuration  # noqa: E402
from stanley_tools.quality.target import read_seeds, read_target  # noqa: E402

INFINITY = math.inf


# --- what is asked for --------------------------------------------------------------------------------
def test_the_target_is_kid_times_1000_as_people_see_it():
    assert read_target("kid=50").kid == pytest.approx(0.05) and read_target("kid=50").column == "kid_test"
    assert read_target("kid_train=2.5").column == "kid_train"
    assert read_target("kid=0.5/1000").kid == pytest.approx(0.0005)
    assert read_target("kid=50/1000") == read_target("kid=50")
    target = read_target("kid=50")
    assert target.reached(0.05) and target.reached(-0.01) and not target.reached(0.051) and not target.reached(math.nan)


@pytest.mark.parametrize("text, said", [
    ("fid=50", "wants kid=X"), ("50", "wants kid=X"), ("kid=", "not a number"), ("kid=fifty", "not a number"),
    ("kid=5e", "not a number"), ("kid=nan", "not a number"), ("kid=1e999", "from 0"), ("kid=-3", "from 0"),
    ("kid=0.05", "kid=50 for a KID of 0.05"), ("kid=50/100", "not a number")])
def test_a_target_that_may_mean_two_things_is_refused(text, said):
    with pytest.raises(UsageError, match="--target") as error:
        read_target(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_seeds_are_a_number_or_a_range():
    assert read_seeds("3") == [1, 2, 3] and read_seeds("3-5") == [3, 4, 5] and read_seeds("0-1") == [0, 1]
    for text in ("0", "-1", "5-3", "1,2", "many", "", "1-4294967296"):
        with pytest.raises(UsageError, match="--seeds"):
            read_seeds(text)


# --- medians ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("values, median", [
    ([3], 3), ([1, 3], 2), ([1, 2, 9], 2), ([1, 2, INFINITY], 2), ([1, INFINITY], INFINITY),
    ([1, 2, INFINITY, INFINITY], INFINITY), ([1, 2, 3, INFINITY], 2.5), ([INFINITY] * 3, INFINITY),
    ([INFINITY, INFINITY, 4], INFINITY)])
def test_a_seed_that_never_got_there_counts_as_infinity(values, median):
    found = summary.spread(values)
    assert found["median"] == median and found["greatest"] == max(values)
    assert ("quartile_1" in found) == (len(values) >= 4)


def test_quartiles_are_linear_between_the_nearest():
    found = summary.spread([4, 1, 2, 3, INFINITY])
    assert (found["quartile_1"], found["median"], found["quartile_3"]) == (2, 3, 4)
    assert summary.spread([1, 2, 3, INFINITY])["quartile_3"] == INFINITY  # three quarters of the way to infinity
    assert summary.spread([1, None]) is None


def test_a_ratio_needs_two_medians():
    of = lambda value: {"median": value}
    assert summary.ratio(of(6), of(2)) == 3
    assert all(summary.ratio(*pair) is None for pair in ((of(INFINITY), of(2)), (of(6), of(INFINITY)), (None, of(2))))


# --- counters -----------------------------------------------------------------------------------------
def counter(folder, name, value, most=1000):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{value}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{most}\n")


def test_a_counter_that_begins_anew_goes_on(tmp_path):
    counter(tmp_path, "intel-rapl:0", 900)
    counter(tmp_path, "intel-rapl:1", 10)
    counter(tmp_path, "intel-rapl:0:0", 5)  # a part of the first
    meter = energy.Processors(tmp_path)
    assert meter.read() == 0
    counter(tmp_path, "intel-rapl:0", 950)
    assert meter.read() == pytest.approx(50e-6)
    counter(tmp_path, "intel-rapl:0", 30)  # over 1000
    counter(tmp_path, "intel-rapl:1", 20)
    counter(tmp_path, "intel-rapl:0:0", 500)
    assert meter.read() == pytest.approx((50 + 80 + 10) * 1e-6)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.read() is None
    counter(tmp_path, "intel-rapl:1", 40)
    assert meter.read() is None  # what was missed can't be told


def test_joules_without_counters_are_not_invented(tmp_path):
    assert energy.Processors(tmp_path).read() is None and energy.Processors(tmp_path / "none").read() is None
    assert energy.Gpus("libnothing.so").read() is None
    here = lambda: energy.Processors(tmp_path)
    counter(tmp_path, "intel-rapl:0", 1)
    meters = energy.Meters(1, processors=here, gpus=lambda: energy.Gpus("libnothing.so"))
    assert meters.read() == {"processors": 0, "gpus": None}
    assert energy.Meters(2, processors=here).read() == {"processors": None, "gpus": None}  # one node of two


NVML = r"""
#include <stdlib.h>
#include <string.h>
static unsigned long long calls = 0;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned* count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) { *handle = (void*)(1000ul + index); return index > 1; }
int nvmlDeviceGetHandleByUUID(const char* name, void** handle) { *handle = (void*)1001ul; return strcmp(name, "GPU-b"); }
int nvmlDeviceGetTotalEnergyConsumption(void* handle, unsigned long long* millijoules) {
  *millijoules = 5000 * ++calls + (handle == (void*)1001ul ? 1ul << 40 : 0);
  return getenv("NVML_FAILS") != NULL;
}
"""


@pytest.mark.parametrize("visible, joules", [("", 20), ("0", 5), ("0,1", 20), ("GPU-b", 5), ("7", None),
                                             ("GPU-c", None)])
def test_joules_of_the_visible_gpus(tmp_path, monkeypatch, visible, joules):
    """Each reading of this library takes 5 J more than the one before."""
    (tmp_path / "nvml.c").write_text(NVML)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "nvml.so", tmp_path / "nvml.c"], check=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = energy.Gpus(str(tmp_path / "nvml.so"))
    assert gpus.read() == joules
    monkeypatch.setenv("NVML_FAILS", "1")
    assert gpus.read() is None
    monkeypatch.delenv("NVML_FAILS")
    assert gpus.read() is None


# --- metrics.csv ----------------------------------------------------------------------------------------
HEADING = "iteration,gap,kid_train,kid_test,seconds_files,seconds_evaluation,seconds_iteration\n"


def text_of(iteration, kid="nan", seconds=0.5, gap=0.0):
    return f"{iteration},{gap},{kid},{kid},0,0.25,{seconds}\n"


def test_each_row_is_read_once(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = Rows(path)
    assert rows.fresh() == []
    path.write_text(HEADING + text_of(1) + "2,0.0,0.1")  # half of the second
    assert [row.iteration for row in rows.fresh()] == [1] and rows.fresh() == []
    path.write_text(HEADING + text_of(1) + text_of(2, kid=0.1) + text_of(3))
    found = rows.fresh()
    assert [row.iteration for row in found] == [2, 3] and found[0].kid_test == 0.1 and found[0].seconds == 0.75
    assert found[0].evaluated and not found[1].evaluated


def test_a_file_that_is_written_anew_tells_what_is_new(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(HEADING + text_of(1) + text_of(2) + text_of(3))
    rows = Rows(path)
    rows.fresh()
    draft = tmp_path / "draft"
    draft.write_text(HEADING + text_of(1) + text_of(2, seconds=0.6))  # resumed after 1; 2 was computed again
    draft.rename(path)
    assert [(row.iteration, row.seconds_iteration) for row in rows.fresh()] == [(2, 0.6)]
    path.write_text(HEADING + text_of(1) + text_of(2, seconds=0.7, gap=9.5))  # cut in place
    assert [(row.iteration, row.seconds_iteration) for row in rows.fresh()] == [(2, 0.7)]


# --- clocks ---------------------------------------------------------------------------------------------
TARGET = read_target("kid=50")


def start(folder, monkeypatch, at):
    """A clock whose start began at this second; `at` moves on."""
    monkeypatch.setattr(clocks.time, "monotonic", lambda: at[0])
    monkeypatch.setattr(clocks.time, "time", lambda: 1000 + at[0])
    clock = Clock(folder)
    clock.begin(1000 + at[0])
    return clock


def row(iteration, kid=math.nan, seconds=1.0, evaluation=0.0):
    return Row(iteration, kid, kid, 0.0, evaluation, seconds - evaluation)


def test_the_time_of_a_seed_is_that_of_all_its_starts(tmp_path, monkeypatch):
    at = [100.0]
    clock = start(tmp_path, monkeypatch, at)
    at[0] = 112.0
    clock.computed([row(1), row(2, 0.2, evaluation=0.5)], TARGET)
    clock.save()
    clock.lock.close()
    at[0] = 5000.0  # a night in a queue
    clock = start(tmp_path, monkeypatch, at)
    at[0] = 5008.0
    clock.computed([row(2, 0.2), row(3), row(4, 0.04, evaluation=0.25), row(5)], TARGET)
    clock.save()
    told = json.loads((tmp_path / "time.json").read_text())
    assert [one["seconds"] for one in told["starts"]] == [12, 8]
    # Of four rows of a second each that were seen together, the third was there a second before.
    assert told["reached"]["seconds"] == 12 + 8 - 1 and told["reached"]["iteration"] == 4
    assert told["reached"]["iterations_computed"] == 5 and told["reached"]["seconds_evaluation"] == 0.75
    one = summary.read_seed(1, tmp_path, "kid_test",
                            lambda iterations, computed: {"chain_gradients": 10 * computed, "weight_gradients": 3 * computed})
    assert one.reached and one.starts == 2 and one.best == (pytest.approx(40), 4)
    assert one.numbers["chain_gradients"] == 50 and one.numbers["weight_gradients"] == 15  # iteration 2 twice
    assert [kid for _, kid in one.evaluations] == pytest.approx([200, 200, 40])


def test_what_was_written_after_the_watcher_was_killed_counts(tmp_path, monkeypatch):
    at = [0.0]
    clock = start(tmp_path, monkeypatch, at)
    at[0] = 10.0
    clock.computed([row(1)], TARGET)
    clock.save()
    clock.lock.close()
    at[0] = 900.0
    clock = start(tmp_path, monkeypatch, at)
    clock.left_behind([row(1), row(2, seconds=2.0), row(3, 0.03, seconds=4.0), row(4)], TARGET)
    assert clock.told["reached"]["seconds"] == 16 and clock.told["end"] == "reached"
    assert clock.told["reached"]["iterations_computed"] == 3


def test_joules_of_a_start_that_had_none_make_none_of_the_seed(tmp_path, monkeypatch):
    clock = start(tmp_path, monkeypatch, [0.0])
    clock.start["joules"] = {"processors": 5.0, "gpus": None}
    assert clock.joules() == {"processors": 5.0, "gpus": None}
    clock.begin(1000.0)
    assert clock.joules() == {"processors": None, "gpus": None}
    clock.start["joules"] = {"processors": 2.0, "gpus": 1.0}
    assert clock.joules() == {"processors": 7.0, "gpus": None}


def test_a_seed_has_one_watcher(tmp_path, monkeypatch):
    first = start(tmp_path, monkeypatch, [0.0])
    with pytest.raises(FailedError, match="another process"):
        start(tmp_path, monkeypatch, [0.0])
    first.lock.close()
    start(tmp_path, monkeypatch, [0.0])


def test_a_clock_that_is_damaged_is_not_overwritten(tmp_path):
    (tmp_path / "time.json").write_text("{")
    with pytest.raises(FailedError, match="time.json is not what"):
        Clock(tmp_path)


# --- watching -------------------------------------------------------------------------------------------
WATCH = """
import pathlib, sys
from stanley_tools.quality.target import read_target
from stanley_tools.quality.watch import Watch
folder = pathlib.Path(sys.argv[1])
one = Watch(folder, folder / "run", read_target("kid=50"), 0)
one.listen()
sys.exit(one.train(sys.argv[2:]))
"""
TRAINING = f"""
import pathlib, signal, sys, time
run = pathlib.Path(sys.argv[1])
run.mkdir(exist_ok=True)
signal.signal(signal.SIGUSR1, lambda *_: ((run / "asked").touch(), sys.exit(85)))
(run / "metrics.csv").write_text({HEADING!r} + sys.argv[2].replace(";", chr(10)))
(run / "ready").touch()
time.sleep(60)
"""


def watched(folder, *rows):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", WATCH, folder, sys.executable, "-c", TRAINING, folder / "run",
                             "".join(rows).replace("\n", ";")], env={**os.environ, "PYTHONPATH": str(TOOLS)})


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_a_training_is_stopped_at_the_target(tmp_path):
    assert watched(tmp_path / "seed", text_of(1, 0.2), text_of(2, 0.05)).wait(30) == 0
    assert (tmp_path / "seed" / "run" / "asked").exists()
    told = json.loads((tmp_path / "seed" / "time.json").read_text())
    assert told["end"] == "reached" and told["starts"][0]["exit_code"] == 85
    assert watched(tmp_path / "seed", text_of(1, 0.2)).wait(30) == 0  # at its end: nothing starts
    assert len(json.loads((tmp_path / "seed" / "time.json").read_text())["starts"]) == 1


@pytest.mark.parametrize("sent, code", [(signal.SIGTERM, 85), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_training_does_not_outlive_its_watcher(tmp_path, sent, code):
    process = watched(tmp_path / "seed", text_of(1, 0.2))
    wait_for(tmp_path / "seed" / "run" / "ready")
    process.send_signal(sent)
    assert process.wait(30) == code
    wait_for(tmp_path / "seed" / "run" / "asked")
    assert json.loads((tmp_path / "seed" / "time.json").read_text())["end"] is None


# --- results ----------------------------------------------------------------------------------------------
def study_of(folder, seeds):
    document = {"chains": {"active": 4}, "sampler": {"steps": 5}, "data": {"batch": 3}}
    return Study(folder, document, TARGET, seeds, {"ranks": 2})


def seed(number, state, seconds, kids, joules=None):
    numbers = {"seconds": seconds, "seconds_without_evaluation": seconds - 1, "seconds_evaluation": 1.0,
               "seconds_staging": 0.0, "iterations": 10, "iterations_computed": 10, "chain_gradients": 200,
               "weight_gradients": 70, "joules_processors": joules, "joules_gpus": None}
    curve = [(seconds * (i + 1) / len(kids), kid) for i, kid in enumerate(kids)]
    return summary.Seed(number, state, 1, numbers, (min(kids), 10) if kids else None, curve)


def test_table_and_json_hide_no_seed(tmp_path):
    study = study_of(tmp_path, [1, 2, 3])
    seeds = [seed(1, "reached", 100.0, [200, 40], 5000.0), seed(2, "finished without reaching it", 400.0, [300, 90]),
             seed(3, "cut off", 7.0, [])]
    text = table.table(study, seeds, [])
    assert "1 of 3 seed(s) reached the target; the others count as infinity" in text
    assert "median not reached (1:40 – not reached)" in text and "not at their end yet: seed(s) 3" in text
    assert "finished without reaching it" in text and "not measured" in text and "5,000" in text
    found = json.loads(json.dumps(table.as_json(study, seeds, seeds[:1]), allow_nan=False))
    assert (found["reached"], found["of"], found["peer"]["of"]) == (1, 3, 1)
    assert found["summary"]["seconds"] == {"median": None, "least": 100.0, "greatest": None}
    assert found["ratio_of_medians"]["seconds"] is None and found["seeds"][2]["best_kid_times_1000"] is None
    assert table.as_json(study, seeds[:1], seeds[:1])["ratio_of_medians"]["seconds"] == 1
    for of in (seeds, [], seeds[2:], [seed(1, "reached", 9000.0, [3000, -2])]):
        plot.draw(study, of, of, tmp_path / "plot.png")
        assert (tmp_path / "plot.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize("seconds, text", [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1:00"), (3599.4, "59:59"),
                                           (3600, "1:00:00"), (INFINITY, "not reached")])
def test_times_are_read_at_a_glance(seconds, text):
    assert table.time_text(seconds) == text


# --- what can't work ----------------------------------------------------------------------------------
CONFIGURATION = """
run: {seed: 1, name: a, directory: runs, iterations: 10}
data: {type: rings, path: "", split: train, batch: 3}
chains: {active: 4}
sampler: {steps: 5}
optimizer: {epsilon: 1e-08}
evaluation: {every: 5, features: missing.pt}
"""


def asked(folder, target="kid=50", seeds=(1,), **changes):
    text = CONFIGURATION
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return Study(folder, read_configuration(text), read_target(target), list(seeds), {"ranks": 2})


def test_the_same_study_goes_on_and_another_is_refused(tmp_path):
    asked(tmp_path).begin()
    asked(tmp_path, seeds=(1, 2, 3), a=("seed: 1, name: a", "seed: 9, name: b")).begin()
    assert Study.read(tmp_path).seeds == [1, 2, 3] and Study.read(tmp_path).gradients(10, 15) == {
        "chain_gradients": 15 * 20, "weight_gradients": 15 * 7}
    denoised = asked(tmp_path, a=("optimizer:", "objective: {denoising: 0.5}\noptimizer:"))
    assert denoised.gradients(1, 1) == {"chain_gradients": 20 + 3, "weight_gradients": 7 + 2 * 3}
    staged = asked(tmp_path / "staged", a=("optimizer:", "stages: [{size: 8, iterations: 2, steps: 7, active: 2, batch: 1}, "
                                           "{size: 16}]\noptimizer:"))
    assert staged.gradients(2, 2) == {"chain_gradients": 2 * 14, "weight_gradients": 2 * 3}
    assert staged.gradients(5, 5) == {"chain_gradients": 2 * 14 + 3 * 20, "weight_gradients": 2 * 3 + 3 * 7}
    (tmp_path / "staged").mkdir()
    staged.begin()
    assert Study.read(tmp_path / "staged").gradients(5, 5) == staged.gradients(5, 5)
    with pytest.raises(UsageError, match="sampler.steps 5, now 6.*another --output"):
        asked(tmp_path, a=("steps: 5", "steps: 6")).begin()
    with pytest.raises(UsageError, match="has the target KID·1000 to test images ≤ 50, and this is"):
        asked(tmp_path, "kid=60").begin()
    study = asked(tmp_path)
    study.settings["ranks"] = 4
    with pytest.raises(UsageError, match="ranks 2, now 4"):
        study.begin()


def test_what_would_never_tell_a_kid_is_refused(tmp_path):
    def refused(study, converts=False):
        with pytest.raises(UsageError) as error:
            check(study, "a.yaml", converts, peer=False)
        return str(error.value)

    check(asked(tmp_path), "a.yaml", False, peer=False)  # points need no network
    assert "--set evaluation.every=" in refused(asked(tmp_path, a=("every: 5", "every: null")))
    assert "above run.iterations 10" in refused(asked(tmp_path, a=("every: 5", "every: 11")))
    images = {"a": ('type: rings, path: ""', f"type: file, path: {tmp_path}/images.h5")}
    assert "there is no data file" in refused(asked(tmp_path, **images))
    assert "tools/setup.sh --evaluate" in refused(asked(tmp_path, **images), converts=True)


def test_the_plain_pytorch_training_says_what_it_has_not():
    from stanley_tools.peers import recipe
    energy_section = {"type": "mlp", "activation": "leaky_relu", "downsampling": "strides",
                      "spectral_normalization": False}
    sampler = {"type": "stanley", "metropolis": False, "drift_correction": False}
    document = {"data": {"type": "rings"}, "energy": energy_section, "sampler": sampler, "samples": {"denoise": None},
                "chains": {"start": {"uniform": 0.5, "data_gaussian": 0.5}, "principal_components": 30},
                "objective": {"energy_penalty": 0, "denoising": 30, "denoising_noise": 0.3}}
    recipe.refuse(document, "kid_test")
    with pytest.raises(UsageError, match="kid=X"):
        recipe.refuse(document, "kid_train")
    document["energy"] |= {"type": "convnet", "spectral_normalization": True}
    document["sampler"] = sampler | {"metropolis": True}
    with pytest.raises(UsageError, match="leaky_relu, energy.spectral_normalization: true, sampler.metropolis: true;"):
        recipe.refuse(document, "kid_test")
    energy_section |= {"spectral_normalization": False, "activation": "silu", "levels": 2}
    document |= {"sampler": sampler, "data": {"type": "file", "size": 16}, "stages": [{"size": 16}]}
    with pytest.raises(UsageError, match="has no energy.levels: 2, data.size: 16, stages;"):
        recipe.refuse(document, "kid_test")
    document |= {"data": {"type": "file", "size": None}, "stages": [], "energy": energy_section | {"levels": 3}}
    recipe.refuse(document | {"samples": {"denoise": {"steps": 3}}}, "kid_test")
    document |= {"sampler": sampler | {"type": "tamed", "drift_correction": True}, "samples": {"denoise": {"fitted": True}}}
    with pytest.raises(UsageError, match="samples.denoise: {fitted: true}, sampler.type: tamed, sampler.drift_correction"):
        recipe.refuse(document, "kid_test")
    assert recipe.between({"from": 0.1, "to": 0.3}, 5, 10) == pytest.approx(0.2) and recipe.between(0.05, 5, 10) == 0.05
