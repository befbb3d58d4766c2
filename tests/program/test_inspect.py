"""stanley inspect: what it says of files and runs, what damage it finds, how it compares two checkpoints."""
import json
import os
import shutil

import h5py
import numpy
import pytest

from conftest import as_old, write_images
from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, PROGRAM, SMOKE, Process, arrays, attributes,
                     checkpoint, draws, ends, iterations_recorded, rows_so_far, run, train, trains)
from refusals import refused

one_and_two = pytest.mark.parametrize("ranks", [1, 2])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "run"
    trains(directory, {"run.iterations": 20, "samples.every": 10})
    return directory


@pytest.fixture(scope="module")
def twin(tmp_path_factory, trained):
    """The same run once more, elsewhere."""
    directory = tmp_path_factory.mktemp("twin") / "run"
    trains(directory, {"run.iterations": 20, "samples.every": 10})
    return directory


def inspected(*arguments, code=FINISHED, ranks=1):
    """The JSON that the program prints, whatever it thinks of the files."""
    result = ends(run("inspect", *arguments, "--json", ranks=ranks), code)
    if code == FINISHED:
        assert result.stderr == ""
    else:
        refused(result, code)
    return json.loads(result.stdout)


def only(report):
    (one,) = report["inspected"]
    return one


def flip(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def place_of(path, name):
    with h5py.File(path) as file:
        return file[name].id.get_offset()


# --- sound files -----------------------------------------------------------------------------------
@one_and_two
def test_checkpoint(trained, ranks):
    path = checkpoint(trained, 20)
    report = inspected(path, ranks=ranks)
    assert report["verified"] is True
    one = only(report)
    assert (one["path"], one["kind"], one["verified"], one["problems"]) == (str(path), "checkpoint", True, [])
    assert (one["iteration"], one["world_size"], one["schema_version"]) == (20, 1, "1.1")
    assert one["bytes"] == path.stat().st_size
    assert one["progress"] == {name: value.item() for name, value in attributes(path, "progress").items()}
    assert one["texts"]["config"] == attributes(path, "/")["config"].decode()
    with h5py.File(path) as file:
        digested = []
        file["digests"].visititems(
            lambda name, item: digested.append(name) if isinstance(item, h5py.Dataset) else None)
        stored = {name: (str(file[name].dtype), list(file[name].shape)) for name in digested}
    assert {array["name"]: (array["type"], array["shape"]) for array in one["arrays"]} == stored
    assert {array["name"]: array["shards"] for array in one["arrays"]}["chains/state"] == 4
    assert not any(array["damaged"] for array in one["arrays"])


@one_and_two
def test_checkpoint_as_text(trained, ranks):
    path = checkpoint(trained, 20)
    result = ends(run("inspect", path, ranks=ranks), FINISHED)
    assert result.stderr == "" and result.stdout.count(str(path)) == 1
    for words in ("iteration 20", "schema 1.1", "written by 1 rank", "complete, verified", "samples_seen",
                  "chains/state", "(64, 2), 4 shards"):
        assert words in result.stdout
    assert "restart_probability" not in result.stdout
    long = ends(run("inspect", path, "--configuration", ranks=ranks), FINISHED).stdout
    assert long.startswith(result.stdout.rstrip("\n")) and "restart_probability" in long


@one_and_two
def test_run_directory(trained, ranks):
    one = only(inspected(trained, ranks=ranks))
    assert (one["kind"], one["verified"], one["verdict"]) == ("run", True, "finished")
    assert (one["iterations_done"], one["iterations"]) == (20, 20)
    assert [(event["what"], event["iteration"]) for event in one["events"]] == [("start", 0), ("finished", 20)]
    assert [file["path"] for file in one["checkpoints"]] == [str(checkpoint(trained, i)) for i in (20, 10, 0)]
    assert [file["iteration"] for file in one["draws"]] == [20, 10, 0]
    assert all(file["verified"] for file in one["checkpoints"] + one["draws"])
    text = ends(run("inspect", trained, ranks=ranks), FINISHED).stdout
    for words in ("run: finished", "20 of 20", "iteration-00000010.h5", "draws-00000020.nc", "finished at iteration 20"):
        assert words in text


def test_draw_file(trained):
    path = draws(trained, 10)
    one = only(inspected(path))
    assert (one["kind"], one["verified"], one["iteration"]) == ("draws", True, 10)
    assert one["values"]["seed"] == 1 and "restart_probability" in one["texts"]["configuration"]
    (states,) = [array for array in one["arrays"] if array["name"] == "posterior/x"]
    assert (states["type"], states["shape"]) == ("float32", [64, 1, 2])


@pytest.mark.parametrize("kind", [numpy.uint8, numpy.float32])
def test_data_file(tmp_path, images, kind):
    write_images(tmp_path / "images.h5", images.astype(kind))
    one = only(inspected(tmp_path / "images.h5"))
    assert (one["kind"], one["verified"], one["schema_version"]) == ("data", True, "1.0")
    assert one["values"] == {"highest": 255.0, "lowest": 0.0}
    assert one["texts"] == {"class_names": "stripe, spot", "provenance": "made by a test"}
    assert [(array["name"], array["shape"]) for array in one["arrays"]] == [
        ("train/images", [64, 1, 8, 8]), ("train/labels", [64])]


def test_several_files_keep_their_order(trained):
    paths = [draws(trained, 10), checkpoint(trained, 0), trained, checkpoint(trained, 20)]
    assert [one["path"] for one in inspected(*paths)["inspected"]] == [str(path) for path in paths]


def test_run_that_goes_on(tmp_path):
    """Files come and go while they are read; the run doesn't notice."""
    values = {"run.iterations": 10000, "checkpoint.every": 2, "checkpoint.keep_last": 1, "samples.every": 2}
    directory = tmp_path / "run"
    with Process([PROGRAM, *map(str, train(directory, values))], 60) as process:
        process.wait_for(lambda: rows_so_far(directory) >= 10, "iterations")
        for _ in range(10):
            one = only(inspected(directory))
            assert one["verdict"] == "running" and 10 <= one["iterations_done"] <= 10000
            assert one["checkpoints"] and one["checkpoints"][-1]["iteration"] == 0
        assert process.process.poll() is None
    assert only(inspected(directory))["verdict"] == "cut off"  # the end of the block killed it
    assert iterations_recorded(directory)[-1] > one["iterations_done"] - 1


# --- damage ----------------------------------------------------------------------------------------
@one_and_two
@pytest.mark.parametrize("name, row_bytes, shard", [("chains/state", 8, 2), ("parameters/layers.1.weight", 128, None)])
def test_flipped_byte_of_an_array(copied, name, row_bytes, shard, ranks):
    path = checkpoint(copied, 10)
    flip(path, place_of(path, name) + 16 * row_bytes * (shard or 1) + 5)
    report = inspected(path, checkpoint(copied, 20), code=INPUT_OUTPUT, ranks=ranks)
    broken, sound = report["inspected"]
    assert report["verified"] is False and broken["verified"] is False and sound["verified"] is True
    assert [array["name"] for array in broken["arrays"] if array["damaged"]] == [name]
    where = "" if shard is None else f" in shard {shard}"
    assert broken["problems"] == [f"array '{name}' doesn't agree with its digest{where}"]
    assert broken["iteration"] == 10
    said = refused(run("inspect", path, checkpoint(copied, 20), ranks=ranks), INPUT_OUTPUT, path, name)
    assert str(checkpoint(copied, 20)) not in said


def test_flipped_bytes_are_all_named(copied):
    path = checkpoint(copied, 10)
    for name in ("chains/state", "chains/age"):
        for shard in (1, 3):
            flip(path, place_of(path, name) + 16 * 8 * shard)
    assert only(inspected(path, code=INPUT_OUTPUT))["problems"] == [
        "array 'chains/age' doesn't agree with its digest in shards 1, 3",
        "array 'chains/state' doesn't agree with its digest in shards 1, 3"]


@one_and_two
def test_flipped_byte_of_a_digest(copied, ranks):
    path = checkpoint(copied, 10)
    flip(path, place_of(path, "digests/chains/age") + 8 * 3)
    one = only(inspected(path, code=INPUT_OUTPUT, ranks=ranks))
    assert one["problems"][0] == "array 'chains/age' doesn't agree with its digest in shard 3"
    assert len(one["problems"]) == 2 and "seal" in one["problems"][1]


def changed(path, act):
    with h5py.File(path, "a") as file:
        act(file)


BROKEN = {
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), ["no regular file"], "unknown"),
    "no progress": (lambda path: as_old(path, lambda file: file["progress"].attrs.__delitem__("iteration")),
                    ["incomplete", "progress"], "checkpoint"),
    "another progress": (lambda path: as_old(path, lambda file: file["progress"].attrs.modify("iteration", 7)),
                         ["progress"], "checkpoint"),
    "progress that is empty": (lambda path: as_old(path, lambda file: file["progress"].attrs.__setitem__(
        "iteration", h5py.Empty("i8"))), ["'iteration'", "no number"], "checkpoint"),
    "no digests of states": (lambda path: as_old(path, lambda file: file.__delitem__("digests/chains/state")),
                             ["chains/state"], "checkpoint"),
    "missing": (lambda path: path.unlink(), ["No such file"], "unknown"),
    "text": (lambda path: path.write_text("hello\n"), [], "unknown"),
    "empty": (lambda path: (path.unlink(), path.touch()), [], "unknown"),
    "truncated": (lambda path: os.truncate(path, path.stat().st_size // 2), ["truncated"], "unknown"),
    "cut by a byte": (lambda path: os.truncate(path, path.stat().st_size - 1), ["seal", "truncated"], "checkpoint"),
    "another program's": (lambda path: h5py.File(path, "w").close(), ["no checkpoint"], "unknown"),
    "no digests": (lambda path: changed(path, lambda file: file.__delitem__("digests")), ["no checkpoint"], "checkpoint"),
    "no configuration": (lambda path: changed(path, lambda file: file.attrs.__delitem__("config")), ["texts"],
                         "checkpoint"),
    "no chains": (lambda path: changed(path, lambda file: file.__delitem__("digests/chains")),
                  ["incomplete", "/chains"], "checkpoint"),
    "array gone": (lambda path: changed(path, lambda file: file.__delitem__("chains/age")), ["chains/age"], "checkpoint"),
    "future schema": (lambda path: changed(path, lambda file: file.attrs.modify(
        "schema_version", numpy.bytes_("2.0"))), ["2.0"], "checkpoint"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_checkpoint(copied, kind):
    act, words, kind_found = BROKEN[kind]
    path, sound = checkpoint(copied, 10), checkpoint(copied, 20)
    act(path)
    broken, other = inspected(path, sound, code=INPUT_OUTPUT)["inspected"]
    assert broken["kind"] == kind_found and not broken["verified"] and other["verified"]
    for word in words:
        assert word in broken["problems"][0]
    refused(run("inspect", sound, path), INPUT_OUTPUT, path)


def test_flipped_bytes_of_names(tmp_path):
    """HDF5 1.10 crashes over those of groups with many members, unless they lie under its checksums."""
    trains(tmp_path / "run", {"run.iterations": 1, "energy.hidden": "[4, 4, 4, 4, 4, 4, 4, 4, 4]"})
    path = checkpoint(tmp_path / "run", 1)
    whole = path.read_bytes()
    for name in (b"digests", b"progress", b"size_4", b"layers.9.bias"):
        places = [place for place in range(len(whole)) if whole.startswith(name, place)]
        codes = set()
        # The name, and the first byte of the link that has it.
        for place in [place - before for place in places for before in (0, 11)]:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
            # Memory that was not set holds no zeros then: without it, luck may hide the crash.
            codes.add(run("inspect", path, MALLOC_PERTURB_="85").returncode)
        assert codes <= {FINISHED, INPUT_OUTPUT} and INPUT_OUTPUT in codes, name


def test_broken_checkpoint_on_two_ranks(copied):
    missing, cut = checkpoint(copied, 0), checkpoint(copied, 10)
    missing.unlink()
    os.truncate(cut, cut.stat().st_size - 1)
    all_of_them = inspected(missing, cut, checkpoint(copied, 20), code=INPUT_OUTPUT, ranks=2)["inspected"]
    assert [one["verified"] for one in all_of_them] == [False, False, True]
    refused(run("inspect", missing, cut, checkpoint(copied, 20), ranks=2), INPUT_OUTPUT, "2 of 3 files", missing, cut)


def test_damage_in_a_run_directory(copied):
    flip(checkpoint(copied, 20), place_of(checkpoint(copied, 20), "chains/state"))
    one = only(inspected(copied, code=INPUT_OUTPUT))
    assert [file["verified"] for file in one["checkpoints"]] == [False, True, True] and one["verified"] is False
    refused(run("inspect", copied), INPUT_OUTPUT, checkpoint(copied, 20), "chains/state")


def test_run_record_that_is_broken(copied):
    (copied / "run.json").write_text("{")
    one = only(inspected(copied, code=INPUT_OUTPUT))
    assert "run.json" in one["problems"][0] and len(one["checkpoints"]) == 3


def test_directory_that_is_no_run(tmp_path):
    refused(run("inspect", tmp_path), INPUT_OUTPUT, tmp_path, "run.json")


def test_unfinished_file(copied):
    part = copied / "checkpoints" / "iteration-00000030.h5.part.local"
    shutil.copy(checkpoint(copied, 20), part)
    one = only(inspected(part, code=INPUT_OUTPUT))
    assert one["kind"] == "unfinished" and "unfinished" in one["problems"][0]
    # A living run has one whenever it writes: its directory is none the worse.
    one = only(inspected(copied))
    assert one["unfinished"] == [str(part)] and len(one["checkpoints"]) == 3
    assert str(part) in ends(run("inspect", copied), FINISHED).stdout


def chunk_of(path, name):
    with h5py.File(path) as file:
        return file[name].id.get_chunk_info(0).byte_offset


@one_and_two
def test_damaged_draws(copied, ranks):
    path = draws(copied, 10)
    flip(path, chunk_of(path, "posterior/x") + 3)
    one = only(inspected(path, code=INPUT_OUTPUT, ranks=ranks))
    assert [array["name"] for array in one["arrays"] if array["damaged"]] == ["posterior/x"]
    assert "posterior/x" in one["problems"][0]


def test_draws_that_do_not_fit(copied):
    path = draws(copied, 10)
    with h5py.File(path, "a") as file:
        del file["sample_stats/lp"]
        file["sample_stats/lp"] = numpy.zeros((63, 1))
    assert "(63, 1)" in only(inspected(path, code=INPUT_OUTPUT))["problems"][0]
    with h5py.File(path, "a") as file:
        del file["posterior/x"]
    assert "posterior/x" in only(inspected(path, code=INPUT_OUTPUT))["problems"][0]


DATA = {
    "damaged": (lambda file: file["train/images"].write_direct(255 - file["train/images"][()]), "checksum"),
    "label of no class": (lambda file: file["train/labels"].__setitem__(3, 7), "label 7"),
    "too few labels": (lambda file: (file.__delitem__("train/labels"), file.__setitem__(
        "train/labels", numpy.zeros(3, numpy.int64))), "labels"),
    "another range": (lambda file: file.attrs.modify("value_range", [0, 15]), "value_range"),
    "future schema": (lambda file: file.attrs.modify("schema_version", "2.0"), "2.0"),
}


@pytest.mark.parametrize("act, word", DATA.values(), ids=DATA.keys())
def test_broken_data_file(data_file, act, word):
    with h5py.File(data_file, "a") as file:
        act(file)
    one = only(inspected(data_file, code=INPUT_OUTPUT))
    assert one["kind"] == "data" and word in one["problems"][0]


def test_data_file_with_a_number_that_is_none(tmp_path, images):
    values = images.astype(numpy.float32)
    values[3, 0, 2, 2] = numpy.nan
    write_images(tmp_path / "images.h5", values)
    assert "sample 3" in only(inspected(tmp_path / "images.h5", code=INPUT_OUTPUT))["problems"][0]


# --- differences -----------------------------------------------------------------------------------
def expected_difference(one, other):
    """{name: (elements that differ, largest difference, its first index)} of two checkpoints, by numpy."""
    left, right = arrays(one), arrays(other)
    found = {}
    for name in {name[len("digests/"):] for name in left if name.startswith("digests/")}:
        a, b = left[name], right[name]
        if a.tobytes() == b.tobytes():
            continue
        gap = numpy.abs(a.astype(numpy.float64) - b.astype(numpy.float64))
        place = numpy.unravel_index(numpy.argmax(gap), a.shape)
        found[name] = (int((a != b).sum()), float(gap.max()), [int(i) for i in place])
    return found


@one_and_two
def test_equal_checkpoints(trained, twin, ranks):
    report = inspected("--diff", checkpoint(trained, 20), checkpoint(twin, 20), ranks=ranks)
    assert report["equal"] is True and report["progress"] == [] and report["texts"] == []
    assert len(report["arrays"]) == 27 and all(array["equal"] for array in report["arrays"])
    text = ends(run("inspect", "--diff", checkpoint(trained, 20), checkpoint(twin, 20), ranks=ranks), FINISHED).stdout
    assert "27 of 27 arrays equal" in text and "progress: equal" in text


@one_and_two
def test_different_checkpoints(trained, ranks):
    one, other = checkpoint(trained, 10), checkpoint(trained, 20)
    report = inspected("--diff", one, other, code=INPUT_OUTPUT, ranks=ranks)
    assert report["equal"] is False and report["iterations"] == [10, 20]
    assert {array["name"]: (array["differing"], array["largest_difference"], array["index"])
            for array in report["arrays"] if not array["equal"]} == expected_difference(one, other)
    before, after = attributes(one, "progress"), attributes(other, "progress")
    assert {value["name"] for value in report["progress"]} == {name for name in before if before[name] != after[name]}
    refused(run("inspect", "--diff", one, other, ranks=ranks), INPUT_OUTPUT, one, other, "of 27 arrays", "progress")


@one_and_two
def test_one_element_differs(copied, trained, ranks):
    path = checkpoint(copied, 20)
    with h5py.File(path, "a") as file:
        file["chains/state"][37, 1] += 0.25
    report = inspected("--diff", checkpoint(trained, 20), path, code=INPUT_OUTPUT, ranks=ranks)
    (array,) = [array for array in report["arrays"] if not array["equal"]]
    expected = expected_difference(checkpoint(trained, 20), path)["chains/state"]
    assert (array["name"], array["elements"], array["index"]) == ("chains/state", 128, [37, 1])
    assert (array["differing"], array["largest_difference"]) == (1, expected[1])
    refused(run("inspect", "--diff", path, checkpoint(trained, 20)), INPUT_OUTPUT, "1 of 27 arrays")


def test_nan_equals_nan(copied, tmp_path):
    path = checkpoint(copied, 20)
    with h5py.File(path, "a") as file:
        file["chains/state"][5, 0] = numpy.nan
    shutil.copy(path, tmp_path / "copy.h5")
    assert inspected("--diff", path, tmp_path / "copy.h5")["equal"] is True
    with h5py.File(path, "a") as file:
        file["chains/state"][5, 0] = 1
    report = inspected("--diff", path, tmp_path / "copy.h5", code=INPUT_OUTPUT)
    (array,) = [array for array in report["arrays"] if not array["equal"]]
    assert (array["largest_difference"], array["index"]) == ("inf", [5, 0])


@one_and_two
def test_other_shapes_and_arrays(tmp_path, trained, ranks):
    trains(tmp_path / "run", {"run.iterations": 20, "energy.hidden": "[32]", "samples.every": 10})
    one, other = checkpoint(trained, 20), checkpoint(tmp_path / "run", 20)
    found = {array["name"]: array for array in
             inspected("--diff", one, other, code=INPUT_OUTPUT, ranks=ranks)["arrays"]}
    assert "only in " + str(one) in found["parameters/layers.2.bias"]["mismatch"]
    mismatch = found["parameters/layers.1.weight"]["mismatch"]
    assert "(32, 32)" in mismatch and "(1, 32)" in mismatch
    assert "differing" in found["chains/state"]
    text = run("inspect", "--diff", one, other, ranks=ranks).stdout
    assert "texts that differ, which doesn't count: config" in text


def test_number_of_ranks_is_no_difference(tmp_path, trained):
    """With run.reproducible two ranks end with the bits of one."""
    paths = []
    for ranks in (1, 2):
        trains(tmp_path / str(ranks), {"run.iterations": 5, "run.reproducible": "true"}, ranks=ranks)
        paths.append(checkpoint(tmp_path / str(ranks), 5))
    report = inspected("--diff", *paths)
    assert report["equal"] is True and report["world_sizes"] == [1, 2]


def test_clocks_are_no_difference(copied, trained):
    path = checkpoint(copied, 20)
    with h5py.File(path, "a") as file:
        file["progress"].attrs["seconds_used"] = 3.5
    report = inspected("--diff", checkpoint(trained, 20), path)
    assert report["progress"] == [{"name": "seconds_used", "first": "none", "second": "3.5", "clock": True}]
    with h5py.File(path, "a") as file:
        file["progress"].attrs["attempt"] = numpy.int64(1)
    report = inspected("--diff", checkpoint(trained, 20), path, code=INPUT_OUTPUT)
    assert {"name": "attempt", "first": "0", "second": "1", "clock": False} in report["progress"]


@one_and_two
def test_difference_that_cannot_be_read(copied, ranks):
    missing = copied / "none.h5"
    refused(run("inspect", "--diff", checkpoint(copied, 20), missing, ranks=ranks), INPUT_OUTPUT, missing)
    refused(run("inspect", "--diff", copied, checkpoint(copied, 20), ranks=ranks), INPUT_OUTPUT,
            f"{copied}/checkpoints/latest")


# --- usage -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments", [[], ["--diff"], ["--diff", SMOKE], ["--diff", SMOKE, SMOKE, SMOKE],
                                       [SMOKE, "--differ"]])
def test_usage(arguments):
    refused(run("inspect", *arguments), CONFIGURATION, "--help")


def test_reads_only(trained):
    """Neither bytes nor times of the files change."""
    def state():
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in trained.rglob("*") if path.is_file()}
    before = state()
    inspected(trained)
    inspected("--diff", checkpoint(trained, 10), checkpoint(trained, 10))
    assert state() == before
