"""tools/train_classifier.py: learns from labels, repeats its bits, and writes what `stanley evaluate` reads."""
import json
import pathlib
import sys

import h5py
import numpy as np
import pytest
import xxhash

torch = pytest.importorskip("torch")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))

from stanley_tools.features.classifier import main  # noqa: E402


def pictures(count, generator):
    """Stripes and spots of 9×12 pixels, noisy: uint8 (sample, channel, height, width), and their labels."""
    images = generator.integers(0, 60, (count, 1, 9, 12), dtype=np.uint8)
    labels = np.arange(count) % 2
    images[labels == 0, :, ::2] += 150
    images[labels == 1, :, 2:6, 2:6] += 150
    return images, labels


@pytest.fixture
def data(tmp_path, generator):
    path = tmp_path / "pictures.h5"
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = "1.0"
        file.attrs["class_names"] = ["stripe", "spot"]
        file.attrs["value_range"] = [0, 255]
        for split, count in (("train", 300), ("test", 70)):
            file[f"{split}/images"], file[f"{split}/labels"] = pictures(count, generator)
    return path


def train(data, output, *more):
    return main([str(data), "--output", str(output), "--epochs", "6", *more])


def test_it_learns_and_writes_a_feature_network(data, tmp_path, capsys):
    output = tmp_path / "made" / "classifier.pt"
    assert train(data, output) == 0
    described = json.loads(output.with_suffix(".json").read_text())
    assert described["digest"] == xxhash.xxh3_64(output.read_bytes()).hexdigest()
    assert described["classes"] == ["stripe", "spot"] and described["dimension"] == 64
    assert (described["input"]["channels"], described["input"]["height"], described["input"]["width"]) == (1, 9, 12)
    module = torch.jit.load(str(output))
    with h5py.File(data) as file:
        for split in ("train", "test"):
            images, labels = torch.from_numpy(file[f"{split}/images"][:] / 255.0).float(), file[f"{split}/labels"][:]
            images = (images - described["input"]["mean"][0]) / described["input"]["deviation"][0]
            features = module(images)
            found = module.logits(features).argmax(1).numpy()
            assert features.shape == (len(labels), 64)
            assert (found == labels).mean() == pytest.approx(described["accuracy"][split]) and (found == labels).mean() > 0.95
    assert f"{100 * described['accuracy']['test']:.1f} % of split test" in capsys.readouterr().out


def test_a_seed_gives_its_bits_again(data, tmp_path):
    weights = []
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert train(data, tmp_path / f"{name}.pt", "--seed", seed, "--epochs", "1") == 0
        weights.append(torch.jit.load(str(tmp_path / f"{name}.pt")).state_dict())
    same = [all(torch.equal(weights[0][name], other[name]) for name in weights[0]) for other in weights[1:]]
    assert same == [True, False]


def test_floats_without_names_and_without_a_test_split(data, tmp_path):
    with h5py.File(data, "a") as file:
        images = file["train/images"][:].astype(np.float32) / 127.5 - 1
        del file["train/images"], file["test"], file.attrs["class_names"]
        file["train/images"], file.attrs["value_range"] = images, [-1.0, 1.0]
    assert train(data, tmp_path / "floats.pt") == 0
    described = json.loads((tmp_path / "floats.json").read_text())
    assert described["classes"] == ["0", "1"] and list(described["accuracy"]) == ["train"]
    assert described["accuracy"]["train"] > 0.95 and 0 < described["input"]["mean"][0] < 0.5


def spoil(data, act):
    with h5py.File(data, "a") as file:
        act(file)


def without_labels(file):
    del file["train/labels"]


def with_one_class(file):
    file["train/labels"][:], file["test/labels"][:] = 0, 0


def with_few_labels(file):
    del file["train/labels"]
    file["train/labels"] = np.zeros(7, int)


def with_points(file):
    del file["train/images"]
    file["train/images"] = np.zeros((300, 2))


def with_a_huge_label_and_no_names(file):
    del file.attrs["class_names"]
    file["train/labels"][7] = 2**40


@pytest.mark.parametrize("act, words", [(without_labels, "no labels"), (with_one_class, "1 classes"),
                                        (with_a_huge_label_and_no_names, "training images (300)"),
                                        (with_few_labels, "don't fit"), (with_points, "(300, 2)")])
def test_refuses_what_it_cannot_learn_from(data, tmp_path, capsys, act, words):
    spoil(data, act)
    assert train(data, tmp_path / "no.pt") == 5 and not (tmp_path / "no.pt").exists()
    said = capsys.readouterr().err
    assert words in said and "pictures.h5" in said


def test_refuses_files_that_are_none(data, tmp_path, capsys):
    assert train(tmp_path / "none.h5", tmp_path / "no.pt") == 5
    assert "none.h5" in capsys.readouterr().err
    for arguments in (["--output", str(tmp_path / "no.bin")], ["--epochs", "0"], ["--seed", "-1"]):
        with pytest.raises(SystemExit) as ended:
            main([str(data), *arguments])
        assert ended.value.code == 2
    (tmp_path / "file").write_text("")
    assert train(data, tmp_path / "file" / "no.pt", "--epochs", "1") == 5
