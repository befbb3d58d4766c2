"""stanley evaluate --classifier and --neighbours: classes and nearest training images of the states."""
import json
import os
import subprocess
import sys

import h5py
import numpy
import pytest
import xxhash

from conftest import write_images
from program import CONFIGURATION, INPUT_OUTPUT, ROOT, checkpoint, run, trains
from refusals import refused
from test_evaluate import evaluate, listed, only, write_draws

NAMES = ["a", "b", "c", "d"]
LEVELS = [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]


# --- neighbours: points are their own features -----------------------------------------------------
@pytest.fixture
def points(tmp_path):
    """Draws of 100 chains, 3 each, which are more than one rank takes at once; test and training points; the files of
    both. Draw 5 is training point 40, and draws 60 and 240 nearly one point."""
    generator = numpy.random.default_rng(3)
    train, test, draws = (generator.normal(0, 0.9, (n, 3)).clip(-3, 3).astype(numpy.float32) for n in (90, 50, 300))
    draws[5], draws[240] = train[40], draws[60] + 1e-5
    with h5py.File(tmp_path / "points.h5", "w") as file:
        file.attrs["schema_version"] = "1.0"
        file.attrs["value_range"] = [-4.0, 4.0]
        file["test/images"], file["train/images"] = test, train
    write_draws(tmp_path / "draws.nc", draws.reshape(100, 3, 3), numpy.zeros((100, 3), dtype=int))
    return tuple(x.astype(float) / 4 for x in (draws, test, train))  # data.range as −1 to 1


def distances(x, y):
    return numpy.sqrt(((x[:, None] - y[None]) ** 2).sum(2))


def check(found, states, reference):
    """`found` is what the program says of these distances."""
    assert (found["states"], found["reference"], found["levels"]) == (len(states), len(reference), LEVELS)
    assert found["quantiles_of_states"] == pytest.approx(list(numpy.quantile(states, LEVELS)), rel=1e-9, abs=1e-15)
    assert found["quantiles_of_reference"] == pytest.approx(list(numpy.quantile(reference, LEVELS)), rel=1e-9)
    assert found["nearer_than_median"] == pytest.approx((states < numpy.median(reference)).mean())
    assert found["nearer_than_5_percent"] == pytest.approx((states < numpy.quantile(reference, 0.05)).mean())


def test_neighbours_are_those_of_all_pairs(tmp_path, points):
    draws, test, train = points
    said = evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5", "--neighbours", 80).stdout
    found = only(tmp_path / "draws.nc.evaluation.json")["diversity"]
    assert list(found) == ["neighbours"]
    found = found["neighbours"]
    assert (found["training"], found["split"]) == (80, "train")
    to_train = distances(draws, train[:80])
    check(found["to_training"], to_train.min(1), distances(test, train[:80]).min(1))
    assert found["to_training"]["copies"] == 1
    chain = numpy.arange(300) // 3
    some = numpy.arange(50) * 300 // 50  # as many as there are test points
    among = numpy.where(chain[:, None] == chain[None], numpy.inf, distances(draws, draws))[some][:, some]
    images = distances(test, test) + numpy.diag(numpy.full(50, numpy.inf))
    check(found["to_others"], among.min(1), images.min(1))
    assert found["to_others"]["copies"] == 2
    nearest = found["pairs"]["nearest"]
    assert nearest[0] == {"state": 5, "training": 40, "distance": 0.0}
    assert [pair["state"] for pair in nearest] == list(numpy.argsort(to_train.min(1), kind="stable")[:12])
    for pair in nearest + found["pairs"]["states"]:
        assert pair["training"] == to_train[pair["state"]].argmin()
        assert pair["distance"] == pytest.approx(to_train[pair["state"]].min(), rel=1e-9, abs=1e-15)
    assert [pair["state"] for pair in found["pairs"]["states"]] == [25 * i for i in range(12)]
    assert len(found["pairs"]["reference"]) == 12
    assert found["by_age"] == []  # all are of one age
    assert "of 80 images of split 'train'" in said and "1 are copies" in said


def test_neighbours_by_age(tmp_path, points):
    draws, test, train = points
    ages = numpy.arange(300).reshape(100, 3) // 150 * 40 + 5  # of two classes
    write_draws(tmp_path / "draws.nc", (4 * draws).reshape(100, 3, 3).astype(numpy.float32), ages)
    said = evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5", "--neighbours", 80, ranks=2).stdout
    found = only(tmp_path / "draws.nc.evaluation.json")
    by_age = found["diversity"]["neighbours"]["by_age"]
    assert [(one["name"], one["ages"]) for one in by_age] == [("ages 5 to 5", [5, 5]), ("ages 45 to 45", [45, 45])]
    assert [one["name"] for one in by_age] == [one["name"] for one in found["results"][1:]]
    nearest, of_test = distances(draws, train[:80]).min(1), distances(test, train[:80]).min(1)
    for one, some in zip(by_age, (nearest[:150], nearest[150:])):
        check(one["to_training"], some, of_test)
        assert f"{one['name']}: states {numpy.median(some):.3g} (" in said
    assert [one["to_training"]["copies"] for one in by_age] == [1, 0]
    # What was found of these states is nothing that other states of the same file's name have.
    write_draws(tmp_path / "draws.nc", (-4 * draws).reshape(100, 3, 3).astype(numpy.float32), ages)
    evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5")
    other = only(tmp_path / "draws.nc.evaluation.json")
    assert other["states_digest"] != found["states_digest"] and other["diversity"] == {}


def test_the_same_bits_on_any_number_of_ranks_and_threads(tmp_path, points):
    results = []
    for ranks, threads in ((1, 1), (1, 2), (2, 1)):
        output = tmp_path / f"{ranks}-{threads}.json"
        evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5", "--neighbours", 90, "--output", output,
                 ranks=ranks, OMP_NUM_THREADS=str(threads))
        results.append(only(output)["diversity"])
    assert results[0] == results[1] == results[2]


def test_refuses_neighbours_that_are_not_there(tmp_path, points):
    about = ("evaluate", tmp_path / "draws.nc", "--data", tmp_path / "points.h5")
    refused(run(*about, "--neighbours", 91, ranks=2), CONFIGURATION, "--neighbours 91", "90 images")
    refused(run(*about, "--neighbours", 9, "--split", "train"), CONFIGURATION, "held-out", "--split")
    refused(run(*about, "--classifier", tmp_path / "none.pt"), CONFIGURATION, "--classifier", "(3)")
    with h5py.File(tmp_path / "points.h5", "a") as file:
        del file["train"]
    refused(run(*about, "--neighbours", 9, ranks=2), CONFIGURATION, "no split 'train'", "test")


# --- classes of images -------------------------------------------------------------------------------
def describe(module, **changes):
    text = {"name": "quarters", "dimension": 4, "classes": NAMES,
            "digest": xxhash.xxh3_64(module.read_bytes()).hexdigest(),
            "input": {"channels": 1, "height": 8, "width": 8, "range": [-1, 1], "mean": [0], "deviation": [1]}}
    module.with_suffix(".json").write_text(json.dumps({**text, **changes}))


@pytest.fixture
def classifier(tmp_path):
    """Four pixels are the features of a state, and the brightest one is its class."""
    path = tmp_path / "quarters.pt"
    subprocess.run([os.environ["STANLEY_WRITE_SCRIPT"], "classifier", path], check=True)
    describe(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, convnet, images):
    """A short run on images, whose data file has a split `test` of four classes too."""
    folder = tmp_path_factory.mktemp("diverse")
    write_images(folder / "images.h5", images)
    with h5py.File(folder / "images.h5", "a") as file:
        file.attrs["class_names"] = NAMES
        file["test/images"] = images[::-1].copy()
        file["test/labels"] = numpy.arange(len(images), dtype=numpy.int64) % 3
    trains(folder / "run", {"data.path": folder / "images.h5", "run.iterations": 10}, convnet)
    return folder / "run"


def logits(states):
    """Of states (n, 1, 8, 8)."""
    return 3 * states[:, 0, ::4, ::4].reshape(len(states), -1).astype(float)


def check_histogram(found, labels, classes=4):
    shares = numpy.bincount(labels, minlength=classes) / len(labels)
    assert found["images"] == len(labels) and found["shares"] == pytest.approx(list(shares))
    some = shares[shares > 0]
    assert found["entropy"] == pytest.approx(-(some * numpy.log(some)).sum(), abs=1e-15)
    return shares


def sure(logit):
    e = numpy.exp(logit)
    return (e.max(1) / e.sum(1) >= 0.9).mean()


def test_classes_are_those_of_the_classifier(trained, classifier, images, tmp_path):
    output = tmp_path / "list.json"
    about = (trained, "--features", "states", "--output", output)
    said = evaluate(*about, "--classifier", classifier, ranks=2).stdout
    evaluate(*about, "--neighbours", 64)  # keeps what is known of classes
    found = only(output)["diversity"]
    assert set(found) == {"classes", "neighbours"}
    found = found["classes"]
    with h5py.File(checkpoint(trained, 10)) as file:
        of_states = logits(file["chains/state"][:].clip(-1, 1))
    of_reference = logits(images[::-1] / 127.5 - 1)
    labels = numpy.arange(len(images)) % 3
    p = check_histogram(found["states"], of_states.argmax(1))
    q = check_histogram(found["reference"], of_reference.argmax(1))
    check_histogram(found["labels"], labels)
    assert found["states"]["confident"] == pytest.approx(sure(of_states))
    assert found["reference"]["confident"] == pytest.approx(sure(of_reference))
    assert found["right"] == pytest.approx((of_reference.argmax(1) == labels).mean())
    assert found["total_variation"] == pytest.approx(abs(p - q).sum() / 2)
    assert (found["classifier"], found["names"]) == ("quarters", NAMES)
    assert "quarters" in said and f"{100 * p[0]:.1f} %" in said
    # By the classes of ages that the distances have.
    results = only(output)["results"][1:]
    with h5py.File(checkpoint(trained, 10)) as file:
        ages = file["chains/age"][:]
    assert len(found["by_age"]) == len(results) > 1
    for one, of_results in zip(found["by_age"], results):
        assert (one["name"], one["ages"]) == (of_results["name"], of_results["ages"])
        some = of_states[(one["ages"][0] <= ages) & (ages <= one["ages"][1])]
        shares = check_histogram(one["states"], some.argmax(1))
        assert one["states"]["confident"] == pytest.approx(sure(some))
        assert one["total_variation"] == pytest.approx(abs(shares - q).sum() / 2)
        assert 0 < one["total_variation_by_chance"] < 1 and "{}–{}".format(*one["ages"]) in said


def test_features_of_a_classifier_tell_classes_by_themselves(trained, classifier, tmp_path):
    output = tmp_path / "list.json"
    evaluate(trained, "--features", classifier, "--protocol", "quarters", "--output", output)
    evaluate(trained, "--features", "states", "--classifier", classifier, "--output", output)
    first, second = (one["diversity"]["classes"] for one in listed(output))
    assert first == second


def test_neighbours_in_the_features_of_a_network_come_from_the_cache(trained, classifier, tmp_path):
    about = (trained, "--features", classifier, "--protocol", "quarters", "--neighbours", 60, "--output")
    first = evaluate(*about, tmp_path / "1.json")
    again = evaluate(*about, tmp_path / "2.json", ranks=2)
    assert "kept in" in first.stdout and "kept in" not in again.stdout + again.stderr
    found = only(tmp_path / "1.json")["diversity"]
    assert found == only(tmp_path / "2.json")["diversity"]
    assert found["neighbours"]["to_training"]["states"] == 48


def test_refuses_a_classifier_that_does_not_fit(trained, classifier, tmp_path):
    about = ("evaluate", trained, "--features", "states", "--classifier", classifier)
    described = {"channels": 1, "height": 12, "width": 12, "range": [-1, 1], "mean": [0], "deviation": [1]}
    describe(classifier, input=described)
    refused(run(*about, ranks=2), CONFIGURATION, "no classifier of states of shape (1, 8, 8)", "train_classifier")
    describe(classifier, classes=[])
    refused(run(*about), CONFIGURATION, "no classifier")
    describe(classifier, classes=NAMES[:3])
    refused(run(*about), INPUT_OUTPUT, "--classifier", "(8, 3)")
    describe(classifier)
    with h5py.File(trained.parent / "images.h5") as file:
        images = file["test/images"][:]
    other = tmp_path / "more.h5"
    write_images(other, images)
    with h5py.File(other, "a") as file:
        file["test/images"], file["test/labels"] = images, numpy.full(len(images), 4)
        file.attrs["class_names"] = [*NAMES, "e"]
    refused(run(*about, "--data", other, ranks=2), CONFIGURATION, "are a, b, c, d, and", "are a, b, c, d, e: train")
    with h5py.File(other, "a") as file:
        del file.attrs["class_names"]
    refused(run(*about, "--data", other), CONFIGURATION, "knows 4 classes", "label 4")
    features = tmp_path / "features.pt"
    subprocess.run([os.environ["STANLEY_WRITE_SCRIPT"], "features", features], check=True)
    describe(features, dimension=6)
    refused(run("evaluate", trained, "--features", "states", "--classifier", features), INPUT_OUTPUT, "logits")
    refused(run("evaluate", trained, "--classifier", tmp_path / "none.pt", "--features", "states"), INPUT_OUTPUT,
            "none.pt", "tools/train_classifier.py")
    subprocess.run([os.environ["STANLEY_WRITE_SCRIPT"], "classifier without numbers", classifier], check=True)
    describe(classifier)
    refused(run(*about), INPUT_OUTPUT, "--classifier", "logits", "finite")


def test_the_report_shows_the_pairs(trained, classifier):
    evaluate(trained, "--features", classifier, "--protocol", "quarters", "--neighbours", 64)
    made = subprocess.run([sys.executable, ROOT / "tools" / "report.py", trained], capture_output=True, text=True)
    page = (trained / "report.html").read_text()
    assert made.returncode == 0 and "Classes" in page and "Nearest training images" in page
