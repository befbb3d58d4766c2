"""stanley evaluate: its numbers are those of the formulas, the same on any number of ranks; what it refuses."""
import json
import os
import pathlib
import shutil
import subprocess

import h5py
import numpy
import pytest
import scipy.linalg
import xxhash
from PIL import Image

from conftest import write_both_splits, write_images
from program import (CONFIGURATION, FINISHED, INPUT_OUTPUT, LIMIT, PROGRAM, SMOKE, checkpoint, draws, ends,
                     environment, run, trains)
from refusals import refused

NEIGHBOURS = 5


def evaluate(*arguments, ranks=1, code=FINISHED, **variables):
    return ends(run("evaluate", *arguments, ranks=ranks, **variables), code)


def listed(path):
    text = json.loads(pathlib.Path(path).read_text())
    assert text["format"] == "stanley-evaluation" and text["version"] == 1
    return text["evaluations"]


def only(path):
    (one,) = listed(path)
    return one


def without_clocks(evaluation):
    return {key: value for key, value in evaluation.items() if key not in ("seconds", "time")}


# --- numbers: points are their own features ---------------------------------------------------------
def write_points(path, points):
    """A data file of one split, `test`."""
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = "1.0"
        file.attrs["value_range"] = [-4.0, 4.0]
        file["test/images"] = points


def write_draws(path, states, ages):
    """A draw file: states (chain, draw, dimension)."""
    command = [PROGRAM, "config", SMOKE, "--set", "data.range=[-4, 4]", "--resolved"]
    config = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with h5py.File(path, "w") as file:
        file.attrs["configuration"] = config
        file["posterior/x"] = states
        file["sample_stats/age"] = ages


def kernel(x, y):
    return (x @ y.T / x.shape[1] + 1) ** 3


def kid(x, y, per_chain=1, first=0):
    """Over pairs of states of different chains; state i is number first + i of the file."""
    def mean_of_pairs(one, together):
        chains = numpy.arange(first, first + len(one)) // together
        others = chains[:, None] != chains[None]
        return kernel(one, one)[others].mean()

    return mean_of_pairs(x, per_chain) + mean_of_pairs(y, 1) - 2 * kernel(x, y).mean()


def fid(x, y):
    a, b = numpy.cov(x.T), numpy.cov(y.T)
    root = scipy.linalg.sqrtm(a @ b)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + numpy.trace(a) + numpy.trace(b) - 2 * numpy.trace(root.real)


def distances(x, y):
    return numpy.sqrt(((x[:, None] - y[None]) ** 2).sum(2))


def radii(x):
    return numpy.sort(distances(x, x), axis=1)[:, NEIGHBOURS]  # the nearest is the sample itself


def manifold(x, y):
    to = distances(x, y)
    inside = to < radii(y)
    return {"precision": inside.any(1).mean(), "recall": (to < radii(x)[:, None]).any(0).mean(),
            "density": inside.sum(1).mean() / NEIGHBOURS, "coverage": inside.any(0).mean()}


def check(result, x, y, per_chain=1, first=0):
    assert result["states"] == len(x)
    scale = kernel(y, y).mean()
    assert result["kid"] == pytest.approx(kid(x, y, per_chain, first), rel=1e-6, abs=1e-9 * scale)
    for name, value in manifold(x, y).items():
        assert result[name] == pytest.approx(value, rel=1e-12), name
    if len(x) > x.shape[1] and len(y) > y.shape[1]:
        assert result["fid"] == pytest.approx(fid(x, y), rel=1e-6)
    else:
        assert result["fid"] is None and any("no FID" in remark for remark in result["remarks"])


@pytest.fixture
def points(tmp_path):
    """Writes a data file and draws of one chain each; returns their numbers, and the files."""
    def make(seed, n, m, dimension, per_chain=1, duplicates=False):
        generator = numpy.random.default_rng(seed)
        y = generator.normal(0, 0.6, (m, dimension)).clip(-3, 3).astype(numpy.float32)
        x = generator.normal(0.2, 0.5, (n, dimension)).clip(-3, 3).astype(numpy.float32)
        if duplicates:
            x[1::2] = x[::2][:len(x[1::2])]
        ages = numpy.arange(n).reshape(-1, per_chain) * 10
        write_points(tmp_path / "points.h5", y)
        write_draws(tmp_path / "draws.nc", x.reshape(-1, per_chain, dimension), ages)
        return x.astype(float) / 4, y.astype(float) / 4  # data.range as −1 to 1

    return make


@pytest.mark.parametrize("n, m, dimension, per_chain", [
    (60, 50, 3, 1), (90, 200, 8, 3), (24, 400, 40, 1), (130, 30, 40, 1), (300, 257, 2, 5),
    (600, 530, 3, 2)])
def test_numbers_are_those_of_the_formulas(tmp_path, points, n, m, dimension, per_chain):
    x, y = points(n + m, n, m, dimension, per_chain)
    evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5")
    found = only(tmp_path / "draws.nc.evaluation.json")
    assert (found["states"], found["chains"], found["kind"]) == (n, n // per_chain, "draws")
    assert found["protocol"]["features"] == "states" and found["protocol"]["reference"] == m
    everything, *by_age = found["results"]
    check(everything, x, y, per_chain)
    assert everything["kid_interval_95"][0] < everything["kid"] < everything["kid_interval_95"][1]
    quarter = n // 4
    assert len(by_age) == 4 and [one["ages"][0] for one in by_age] == [10 * (i * n // 4) for i in range(4)]
    check(by_age[0], x[:quarter], y, per_chain)
    check(by_age[3], x[3 * n // 4:], y, per_chain, 3 * n // 4)


def test_the_same_bits_on_any_number_of_ranks_and_threads(tmp_path, points):
    points(3, 1100, 700, 4)  # several blocks of rows for each
    results = []
    for ranks, threads in ((1, 1), (1, 2), (2, 1), (4, 1)):
        output = tmp_path / f"{ranks}-{threads}.json"
        evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5", "--output", output, ranks=ranks,
                 OMP_NUM_THREADS=str(threads))
        results.append(without_clocks(only(output)))
    assert all(one == results[0] for one in results)


def test_chains_that_stand_twice_are_no_surprise(tmp_path, points):
    x, y = points(5, 80, 60, 3, duplicates=True)
    evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5")
    found = only(tmp_path / "draws.nc.evaluation.json")["results"][0]
    assert found["kid"] == pytest.approx(kid(x, y), rel=1e-6, abs=1e-9)
    assert found["fid"] == pytest.approx(fid(x, y), rel=1e-6)


def test_fewer_states_and_images_on_demand(tmp_path, points):
    x, y = points(9, 80, 60, 3)
    evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5", "--draws", 31, "--reference", 40)
    found = only(tmp_path / "draws.nc.evaluation.json")
    assert (found["states"], found["states_available"]) == (31, 80)
    check(found["results"][0], x[:31], y[:40])


def test_draws_of_one_chain_are_no_evidence(tmp_path, points):
    """Forty chains that stand still in the law of the data: by all pairs they would seem far from it."""
    _, y = points(11, 40, 400, 2)
    x = y[:40].repeat(10, axis=0)
    write_draws(tmp_path / "draws.nc", 4 * x.reshape(40, 10, 2).astype(numpy.float32), numpy.zeros((40, 10), dtype=int))
    evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5")
    found = only(tmp_path / "draws.nc.evaluation.json")["results"][0]
    assert found["kid"] == pytest.approx(kid(x, y, 10), rel=1e-6, abs=1e-9) and found["kid"] < 0.5 * kid(x, y)
    points(11, 12, 400, 2, per_chain=12)
    evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5", "--output", tmp_path / "alone.json")
    found = only(tmp_path / "alone.json")["results"][0]
    assert found["kid"] is None and any("two chains" in remark for remark in found["remarks"])


@pytest.mark.parametrize("n, missing", [(1, ["kid", "precision", "fid"]), (4, ["kid_interval", "precision"])])
def test_too_few_states_give_no_number_and_say_so(tmp_path, points, n, missing):
    points(1, n, 50, 2)
    said = evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5").stdout
    found = only(tmp_path / "draws.nc.evaluation.json")["results"][0]
    remarks = " ".join(found["remarks"])
    if "kid" in missing:
        assert found["kid"] is None and "no KID" in remarks
    assert found["precision"] is None and "no precision" in remarks and remarks.split(":")[0] in said


# --- a run, in the features of a network --------------------------------------------------------------
@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A feature network of 6 features, with its description."""
    folder = tmp_path_factory.mktemp("features")
    for name, kind in (("mine.pt", "features"), ("other.pt", "other features")):
        subprocess.run([os.environ["STANLEY_WRITE_SCRIPT"], kind, folder / name], check=True)
    describe(folder / "mine.pt")
    return folder / "mine.pt"


def describe(module, **changes):
    text = {"name": "mine", "dimension": 6, "digest": xxhash.xxh3_64(module.read_bytes()).hexdigest(),
            "input": {"channels": 3, "height": 12, "width": 12, "range": [0.0, 1.0], "mean": [0.4, 0.5, 0.6],
                      "deviation": [0.2, 0.2, 0.3]}}
    module.with_suffix(".json").write_text(json.dumps({**text, **changes}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, convnet, images):
    """A short run on images, whose data file has a split `test` too."""
    folder = tmp_path_factory.mktemp("evaluated")
    data = folder / "images.h5"
    write_both_splits(data, images)
    trains(folder / "run", {"data.path": data, "run.iterations": 20, "samples.every": 20, "samples.chains": 24}, convnet)
    return folder / "run"


def write_module(kind, path):
    subprocess.run([os.environ["STANLEY_WRITE_SCRIPT"], kind, path], check=True)
    describe(path)
    return path


def own(network):
    return "--features", network, "--protocol", "mine"


def test_a_run_its_checkpoint_and_its_draws(trained, network):
    said = evaluate(trained, *own(network), ranks=2).stdout
    for name in (checkpoint(trained, 20), trained / "checkpoints" / "latest", f"{trained}/"):
        evaluate(name, *own(network))  # the same question: one answer is kept
    found = only(trained / "evaluation.json")
    assert found["path"] == "checkpoints/iteration-00000020.h5" and found["iteration"] == 20
    protocol = found["protocol"]
    assert (protocol["name"], protocol["features"], protocol["dimension"]) == ("mine", "mine", 6)
    assert protocol["input"]["mean"] == [0.4, 0.5, 0.6] and protocol["input"]["height"] == 12
    assert protocol["split"] == "test" and len(protocol["features_digest"]) == 16
    assert "KID" in said and f"{1000 * found['results'][0]['kid']:.1f}" in said
    evaluate(draws(trained, 20), *own(network))
    of_bank, of_draws = listed(trained / "evaluation.json")
    assert (of_bank["states"], of_draws["states"]) == (48, 24) and of_draws["kind"] == "draws"


def features_in_numpy(images, network):
    """What the network of the fixture makes of 8×8 pixels of one channel, from the protocol's words."""
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(images.astype(numpy.float32)).expand(-1, 3, -1, -1)
    x = torch.nn.functional.interpolate(x, size=(12, 12), mode="bilinear", align_corners=False)
    mean, deviation = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.2, 0.3])
    x = (x - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    with torch.no_grad():
        return torch.jit.load(str(network))(x).double().numpy()


def test_states_reach_the_network_as_the_protocol_says(trained, network, images):
    evaluate(trained, *own(network))
    with h5py.File(checkpoint(trained, 20)) as file:
        states = file["chains/state"][:]
    x = features_in_numpy((states.clip(-1, 1) + 1) / 2, network)
    y = features_in_numpy(images[::-1] / 255.0, network)
    found = listed(trained / "evaluation.json")[-1]["results"][0]
    assert found["kid"] == pytest.approx(kid(x, y), rel=1e-4)  # features are float32
    assert found["fid"] == pytest.approx(fid(x, y), rel=1e-4)


def kept_beside(data):
    """Features of the reference, and what follows from them."""
    statistics, features = sorted(pathlib.Path(f"{data}.features").iterdir(), key=lambda file: file.suffix, reverse=True)
    assert (features.suffix, statistics.suffix) == ("", ".statistics-5") and features.stem == statistics.stem
    return features, statistics


def pixels_of_reference(run_directory, folder, images, **described):
    """What reaches a feature network, for the images of a data file of their own: float32 (n, height, width)."""
    data, module = folder / "data.h5", folder / "pixels.pt"
    write_images(data, images)
    subprocess.run([os.environ["STANLEY_WRITE_SCRIPT"], "pixels", module], check=True)
    size = described["input"]["height"], described["input"]["width"]
    describe(module, dimension=size[0] * size[1], **described)
    evaluate(run_directory, *own(module), "--data", data, "--split", "train")
    return numpy.frombuffer(kept_beside(data)[0].read_bytes()[16:], numpy.float32).reshape(-1, *size)


def resized_as_pillow(image, size, rule):
    """Floats: nothing is rounded."""
    resized = Image.fromarray(image.astype(numpy.float32)).resize((size[1], size[0]), resample=rule)
    return numpy.asarray(resized).clip(0, 255)


def resized_as_tensorflow_1(image, size):
    """Pixel i of the new image lies at i·scale."""
    for axis in (0, 1):
        place = numpy.arange(size[axis]) * (image.shape[axis] / size[axis])
        low = place.astype(int)
        high = (low + 1).clip(max=image.shape[axis] - 1)
        share = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


def resized_between_centres(image, size):
    """Pixel i of the new image has its centre at (i + ½)·scale."""
    for axis in (0, 1):
        place = ((numpy.arange(size[axis]) + 0.5) * (image.shape[axis] / size[axis]) - 0.5).clip(0)
        low = place.astype(int)
        high = (low + 1).clip(max=image.shape[axis] - 1)
        share = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


@pytest.mark.parametrize("rule, resize", [
    ("bilinear", resized_between_centres), ("bilinear_tensorflow1", resized_as_tensorflow_1),
    ("bilinear_antialias", lambda image, size: resized_as_pillow(image, size, Image.BILINEAR)),
    ("bicubic_antialias", lambda image, size: resized_as_pillow(image, size, Image.BICUBIC))])
def test_images_are_resized_by_the_rule_of_the_description(trained, tmp_path, images, rule, resize):
    size = 13, 5  # larger and smaller
    made = pixels_of_reference(trained, tmp_path, images, input={
        "channels": 1, "height": size[0], "width": size[1], "range": [0, 255], "mean": [128], "deviation": [128],
        "resize": rule, "eight_bits": True})
    expected = numpy.stack([resize(image[0].astype(float), size) for image in images])
    numpy.testing.assert_allclose(128 * made + 128, expected, atol=2e-3)


def test_states_become_files_of_8_bits_where_the_description_says_so(trained, network, tmp_path):
    """Half a level up or down: both are the same file."""
    with h5py.File(checkpoint(trained, 20)) as file:
        states = file["chains/state"][:][:, None].clip(-1, 1)
    rounded = (numpy.round((states + 1) * 127.5) / 127.5 - 1).astype(numpy.float32)
    command = [PROGRAM, "config", SMOKE, "--set", "data.range=[-1, 1]", "--resolved"]
    config = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    module, data = tmp_path / "mine.pt", tmp_path / "images.h5"
    module.write_bytes(network.read_bytes())
    shutil.copy(trained.parent / "images.h5", data)  # keeps features of its own
    for bits in (True, False):
        describe(module)
        text = json.loads(module.with_suffix(".json").read_text())
        text["input"]["eight_bits"] = bits
        module.with_suffix(".json").write_text(json.dumps(text))
        for name, x in (("exact", states), ("rounded", rounded)):
            with h5py.File(tmp_path / f"{name}.nc", "w") as file:
                file.attrs["configuration"], file["posterior/x"] = config, x
            output = tmp_path / f"{name}-{bits}.json"
            evaluate(tmp_path / f"{name}.nc", *own(module), "--data", data, "--output", output)
            found.append(only(output)["results"][0]["kid"])
    assert found[0] == found[1] and found[2] != found[3]


def test_what_follows_from_the_reference_is_kept_and_damage_is_no_answer(trained, network):
    evaluate(trained, *own(network))
    features, statistics = kept_beside(trained.parent / "images.h5")
    first = without_clocks(listed(trained / "evaluation.json")[-1])
    for damaged, count in (((), 0), ((features,), 1), ((statistics,), 1), ((features, statistics), 2)):
        for kept in damaged:
            whole = kept.read_bytes()
            kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            kept.with_name(kept.name + ".part").mkdir()  # who writes the same has a file of its own
        again = evaluate(trained, *own(network), ranks=2)
        for kept in damaged:
            kept.with_name(kept.name + ".part").rmdir()
        assert (again.stderr + again.stdout).count("kept in") == count
        assert without_clocks(listed(trained / "evaluation.json")[-1]) == first


def test_numbers_of_the_reference_are_not_made_twice(trained, network, tmp_path):
    """What is read in their place shows in the results."""
    data = tmp_path / "images.h5"
    shutil.copy(trained.parent / "images.h5", data)
    command = trained, *own(network), "--data", data, "--output", tmp_path / "found.json"
    evaluate(*command)
    first = only(tmp_path / "found.json")["results"][0]
    _, statistics = kept_beside(data)
    numbers = numpy.frombuffer(statistics.read_bytes()[16:]).copy()
    images = only(tmp_path / "found.json")["protocol"]["reference"]
    assert len(numbers) == images + 1 + 1 + 6 + 36
    numbers[images] += 0.25  # the mean of the kernel
    numbers[images + 1] += 0.5  # the trace of the covariance
    numbers[:images] = 0  # no ball has an inside
    statistics.write_bytes(xxhash.xxh3_64(numbers.tobytes()).hexdigest().encode() + numbers.tobytes())
    evaluate(*command)
    again = only(tmp_path / "found.json")["results"][0]
    assert again["kid"] == pytest.approx(first["kid"] + 0.25, rel=1e-12)
    assert again["fid"] == pytest.approx(first["fid"] + 0.5, rel=1e-12)
    assert again["coverage"] == again["density"] == again["precision"] == 0


def test_another_input_or_network_is_another_question(trained, network, tmp_path):
    """Nothing that was kept of one serves the other."""
    output = tmp_path / "list.json"
    for name, changes in (("a.pt", {}), ("b.pt", {"dimension": 6, "name": "mine"})):
        (tmp_path / name).write_bytes(network.read_bytes())
        describe(tmp_path / name, **changes)
    text = json.loads((tmp_path / "b.json").read_text())
    text["input"]["mean"] = [0.1, 0.5, 0.6]
    (tmp_path / "b.json").write_text(json.dumps(text))
    for name in ("a.pt", "b.pt"):
        evaluate(trained, *own(tmp_path / name), "--output", output)
    first, second = (one["results"][0]["kid"] for one in listed(output))
    evaluate(trained, *own(tmp_path / "b.pt"), "--output", tmp_path / "again.json")
    assert first != second == only(tmp_path / "again.json")["results"][0]["kid"]


def test_other_code_with_the_same_weights_is_another_network(trained, network, tmp_path):
    output, protocols = tmp_path / "list.json", []
    for kind in ("features", "greatest features"):
        evaluate(trained, *own(write_module(kind, tmp_path / f"{kind}.pt")), "--output", output)
        protocols.append(listed(output)[-1]["protocol"])
    evaluate(trained, *own(network), "--output", output)  # written under another name: the first one's question
    protocols.append(listed(output)[-1]["protocol"])
    assert len({one["features_digest"] for one in protocols}) == 1 and len(listed(output)) == 2
    assert protocols[0]["features_code_digest"] == protocols[2]["features_code_digest"] != protocols[1]["features_code_digest"]


def test_features_too_large_for_the_kernel_give_no_number_and_say_so(tmp_path, points):
    x, _ = points(1, 40, 30, 2)
    write_draws(tmp_path / "draws.nc", numpy.where(x > 0, 3e38, -3e38).astype(numpy.float32)[:, None], numpy.zeros((40, 1)))
    evaluate(tmp_path / "draws.nc", "--data", tmp_path / "points.h5")
    found = only(tmp_path / "draws.nc.evaluation.json")["results"][0]
    assert found["kid"] is None and found["kid_interval_95"] == [None, None]
    assert any("too large" in remark for remark in found["remarks"])
def test_a_list_that_is_a_link_stays_one_and_a_file_has_one_name(tmp_path, points, monkeypatch):
    points(3, 60, 50, 2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "draws.nc.evaluation.json").symlink_to("lists/list.json")
    for data in ("points.h5", "./points.h5", tmp_path / "points.h5"):
        evaluate("draws.nc", "--data", data)
        assert (tmp_path / "draws.nc.evaluation.json").is_symlink()
    assert only(tmp_path / "lists" / "list.json")["protocol"]["data"] == str(tmp_path / "points.h5")
    said = evaluate("draws.nc", "--data", "points.h5", "--protocol", "mine\nand\x07").stdout
    assert "protocol mine\\x0aand\\x07: features" in said
    assert [path.name for path in (tmp_path / "lists").iterdir()] == ["list.json"]


def test_several_at_once_keep_all_results(tmp_path, points):
    points(3, 60, 50, 2)
    commands = [[PROGRAM, "evaluate", tmp_path / "draws.nc", "--data", tmp_path / "points.h5", "--draws", str(count),
                 "--output", tmp_path / "list.json"] for count in range(40, 46)]
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment()) for command in commands]
    assert [one.wait(LIMIT) for one in started] == [FINISHED] * 6
    assert sorted(one["states"] for one in listed(tmp_path / "list.json")) == list(range(40, 46))


def test_a_newer_checkpoint_that_is_damaged_is_told(trained, network, tmp_path):
    run_directory = tmp_path / "run"
    shutil.copytree(trained, run_directory, symlinks=True)
    with h5py.File(checkpoint(run_directory, 20)) as file:
        place = file["chains/state"].id.get_offset() + 5
    with open(checkpoint(run_directory, 20), "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    said = evaluate(run_directory, *own(network)).stdout
    assert "passed over" in said and "iteration-00000020.h5" in said
    assert listed(run_directory / "evaluation.json")[-1]["iteration"] == 10


# --- refusals -------------------------------------------------------------------------------------------
def test_refuses_a_feature_network_that_changed(trained, network, tmp_path):
    module = tmp_path / "mine.pt"
    module.write_bytes(network.with_name("other.pt").read_bytes())
    module.with_suffix(".json").write_text(network.with_suffix(".json").read_text())
    refused(run("evaluate", trained, *own(module), ranks=2), INPUT_OUTPUT, module, "digest")
    describe(module)
    refused(run("evaluate", trained, "--features", module), CONFIGURATION, "protocol public", "--protocol")
    refused(run("evaluate", trained, "--features", module, "--protocol", "clean-fid"), CONFIGURATION, "another input")
    describe(module, input={"channels": 3})
    refused(run("evaluate", trained, *own(module)), INPUT_OUTPUT, "mine.json", "height")
    for change, word in (({"dimension": 7}, "(8, 7)"), ({"height": -3}, "from 1 to 4096"), ({"mean": [0.5]}, "each channel"),
                         ({"range": [0, 1, 2]}, "two numbers"), ({"deviation": [0, 1, 1]}, "above 0"),
                         ({"resize": "nearest"}, "bicubic_antialias"), ({"height": 2}, "takes the input"),
                         ({"dimension": 0}, "from 1"), ({"height": 12.5}, "12.5"), ({"channels": True}, "true"),
                         ({"mean": [True, 0, 0]}, "numbers"), ({"resise": "bilinear"}, "'resise'"),
                         ({"classes ": []}, "'classes '")):
        describe(module)
        text = json.loads(module.with_suffix(".json").read_text())
        (text if {"dimension", "classes "} & set(change) else text["input"]).update(change)
        module.with_suffix(".json").write_text(json.dumps(text))
        refused(run("evaluate", trained, *own(module)), INPUT_OUTPUT, "mine.json", word)
    module.with_suffix(".json").unlink()
    refused(run("evaluate", trained, *own(module)), INPUT_OUTPUT, "mine.json")
    refused(run("evaluate", trained, "--features", tmp_path / "none.pt"), INPUT_OUTPUT, "none.pt", "tools/setup.sh")


@pytest.mark.parametrize("kind, word", [("noisy features", "call to call"), ("counting features", "call to call"),
                                        ("centred features", "other images"), ("features of one image", "one wanted")])
def test_refuses_features_that_are_no_function_of_an_image(trained, tmp_path, kind, word):
    module = write_module(kind, tmp_path / "bad.pt")
    refused(run("evaluate", trained, *own(module)), INPUT_OUTPUT, "bad.pt", word)


def test_refuses_ages_that_are_none(tmp_path, points):
    x, _ = points(9, 40, 60, 3)
    states = (4 * x).reshape(20, 2, 3).astype(numpy.float32)
    ages = numpy.arange(40).reshape(20, 2)
    about = ("evaluate", tmp_path / "draws.nc", "--data", tmp_path / "points.h5")
    for wrong, word in ((numpy.nan, "nan"), (2.5, "2.5"), (-1.0, "-1"), (numpy.inf, "inf"), (1e300, "1e+300")):
        spoilt = ages.astype(float)
        spoilt[3, 1] = wrong
        write_draws(tmp_path / "draws.nc", states, spoilt)
        refused(run(*about, ranks=2), INPUT_OUTPUT, "draws.nc", "sample_stats/age", f"holds {word} for state 7",
                "whole numbers")
    write_draws(tmp_path / "draws.nc", states, -ages)
    refused(run(*about), INPUT_OUTPUT, "holds -1 for state 1", "whole numbers")
    write_draws(tmp_path / "draws.nc", states, numpy.full((20, 2), b"old"))
    refused(run(*about), INPUT_OUTPUT, "sample_stats/age", "whole numbers")
    # Whole ones are ages in any type.
    found = []
    for kind in (int, float, numpy.uint8):
        write_draws(tmp_path / "draws.nc", states, ages.astype(kind))
        evaluate(*about[1:])
        found.append(only(tmp_path / "draws.nc.evaluation.json")["results"])
    assert found[0] == found[1] == found[2] and found[0][-1]["ages"][1] == 39


def test_refuses_what_does_not_fit(trained, network, tmp_path, images, points):
    points(1, 20, 30, 2)
    refused(run("evaluate", trained, "--data", tmp_path / "points.h5", ranks=2), CONFIGURATION, "(1, 8, 8)", "(2)")
    refused(run("evaluate", trained, "--split", "validation"), CONFIGURATION, "validation", "test, train")
    refused(run("evaluate", tmp_path / "nowhere"), INPUT_OUTPUT, "nowhere")
    refused(run("evaluate", tmp_path / "points.h5"), INPUT_OUTPUT, "is a data file")
    refused(run("evaluate", tmp_path), INPUT_OUTPUT, "no checkpoint")
    refused(run("evaluate", trained, "--draws", 0), CONFIGURATION, "--draws")
    refused(run("evaluate", trained, "--chains", 10, ranks=2), CONFIGURATION, "--chains", "--fresh", "--draws")
    points(1, 20, 5, 2)
    refused(run("evaluate", tmp_path / "draws.nc", "--data", tmp_path / "points.h5"), CONFIGURATION, "5 images")
    points(2, 20, 30, 2)
    refused(run("evaluate", tmp_path / "draws.nc", "--data", tmp_path / "points.h5", "--features", "net.pt"), CONFIGURATION,
            "--features net.pt", "own features")
    refused(run("evaluate", tmp_path / "draws.nc", "--protocol", "tensorflow"), CONFIGURATION, "protocol tensorflow",
            "--protocol")
    refused(run("evaluate", trained, "--features", "states", "--protocol", "clean-fid", ranks=2), CONFIGURATION,
            "protocol clean-fid")
    refused(run("evaluate", tmp_path / "draws.nc", "--split", "train"), CONFIGURATION, "--split train", "law", "--data")
    with h5py.File(tmp_path / "draws.nc", "a") as file:
        del file.attrs["configuration"]
    refused(run("evaluate", tmp_path / "draws.nc"), INPUT_OUTPUT, "no configuration", "attribute 'configuration'")


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_refuses_states_that_are_no_numbers(tmp_path, points, value):
    points(1, 40, 30, 2)
    with h5py.File(tmp_path / "draws.nc", "a") as file:
        file["posterior/x"][7, 0, 1] = value
    refused(run("evaluate", tmp_path / "draws.nc", "--data", tmp_path / "points.h5", ranks=2), INPUT_OUTPUT, "finite")


@pytest.mark.parametrize("shape", [(0, 2, 2), (3, 0, 2)])
def test_refuses_draws_without_states(tmp_path, points, shape):
    points(1, 40, 30, 2)
    write_draws(tmp_path / "draws.nc", numpy.zeros(shape, dtype=numpy.float32), numpy.zeros(shape[:2], dtype=int))
    refused(run("evaluate", tmp_path / "draws.nc", "--data", tmp_path / "points.h5"), INPUT_OUTPUT, "draws.nc")


def test_refuses_a_damaged_checkpoint_and_a_list_that_is_none(trained, network, tmp_path):
    damaged = tmp_path / "damaged.h5"
    whole = bytearray(checkpoint(trained, 20).read_bytes())
    with h5py.File(checkpoint(trained, 20)) as file:
        whole[file["chains/state"].id.get_offset() + 5] ^= 1
    damaged.write_bytes(whole)
    refused(run("evaluate", damaged, *own(network), ranks=2), INPUT_OUTPUT, damaged, "not to be trusted")
    notes = tmp_path / "notes.json"
    notes.write_text("[1, 2]")
    refused(run("evaluate", trained, *own(network), "--output", notes), INPUT_OUTPUT, notes, "--output")
    assert notes.read_text() == "[1, 2]"
    for text in ('{"format": 3}', '{"format": "stanley-evaluation", "version": 1.5, "evaluations": []}', "",
                 *('{"format": "stanley-evaluation", "version": 1, "evaluations": [%s]}' % entry for entry in (
                     '3, null', '{"energy": 5}', '{"fresh": {}}', '{"fresh": [5]}', '{"diversity": [1]}'))):
        notes.write_text(text)
        refused(run("evaluate", trained, *own(network), "--output", notes), INPUT_OUTPUT, notes, "no list")
        assert notes.read_text() == text
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe"):
        refused(run("evaluate", trained, *own(network), "--output", other), INPUT_OUTPUT, other, "no regular file")
    refused(run("evaluate", trained, *own(network), "--output", tmp_path / "no" / "list.json"), INPUT_OUTPUT,
            "list.json")
