"""stanley_tools.data: which folders are splits and classes; what is ambiguous is refused, and nothing is lost."""
import os

import numpy as np
import pytest
from PIL import Image

from converter import complaint, convert, converted


def make(root, **folders):
    """Makes pictures: make(root, train__cat=2) makes train/cat/0.png and 1.png, each of a colour of its own."""
    for number, (folder, count) in enumerate(folders.items()):
        place = root / folder.replace("__", "/")
        place.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("L", (4, 4), 10 * number + i).save(place / f"{i}.png")
    return root


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


def colours(split):
    return split.images[:, 0, 0, 0].tolist()


# --- splits and classes -------------------------------------------------------------------------------
@pytest.mark.parametrize("names, splits", [
    (("train", "test"), ["test", "train"]), (("Train", "TEST"), ["test", "train"]),
    (("training", "testing"), ["test", "train"]), (("train", "val"), ["train", "val"]),
    (("Training", "Validation"), ["train", "validation"]), (("train", "valid"), ["train", "valid"])])
def test_split_folders_by_every_name(source, output, names, splits):
    for name in names:
        make(source, **{f"{name}__cat": 2, f"{name}__dog": 1})
    data = converted(source, output)
    assert sorted(data.splits) == splits and data.names == ["cat", "dog"]
    assert all(split.labels == [0, 0, 1] and colours(split) == [0, 1, 10] for split in data.splits.values())


@pytest.mark.parametrize("classes", [("bus", "car", "train"), ("cat", "dog", "test"), ("cat", "Val"),
                                     ("a", "training")])
def test_a_class_called_as_a_split(source, output, classes):
    make(source, **{name: 3 for name in classes})
    message = complaint(5, source, output)
    assert all(name in message for name in (*classes, "--layout classes", "--layout splits"))
    data = converted(source, output, "--layout", "classes")
    assert data.names == sorted(classes) and len(data.train.images) == 3 * len(classes)
    assert sorted(colours(data.train)) == sorted(10 * n + i for n in range(len(classes)) for i in range(3))
    data = converted(source, output, "--layout", "splits")
    assert len(data.splits) == 1
    assert f"left out: {3 * len(classes) - 3} pictures in folders that are no splits" in data.said


def test_two_folders_for_one_split(source, output):
    for other in ("Train", "training"):
        make(source, train__cat=1, **{f"{other}__cat": 1})
        message = complaint(5, source, output)
        assert f"source/{other}" in message and "source/train" in message
        assert "both the train split" in complaint(5, source, output, "--layout", "flat")
        (source / other).rename(source.parent / other)


def test_layouts_that_a_source_does_not_have(source, output):
    make(source, cat=1, dog=1)
    assert "no split folders" in complaint(5, source, output, "--layout", "splits")
    assert "no class folders" in complaint(5, source / "cat", output, "--layout", "classes")


# --- depth --------------------------------------------------------------------------------------------
def test_pictures_at_any_depth_of_a_class(source, output):
    make(source, cat=3, cat__more=2, dog__2021=2, dog__2021__may=1, n01__images=2)
    data = converted(source, output)
    assert data.names == ["cat", "dog", "n01"] and data.train.labels == [0] * 5 + [1] * 3 + [2] * 2
    assert colours(data.train) == [0, 1, 2, 10, 11, 20, 21, 30, 40, 41]


@pytest.mark.parametrize("folders, parent, layout", [
    ({"data__train__cat": 1, "data__test__cat": 1}, "source/data", "classes"),
    ({"cat__train": 1, "cat__test": 1, "dog__train": 1}, "source/cat", "classes"),
    ({"train__train": 1, "test__test": 1}, "source/train", "splits"),
    ({"train__cat__val": 1, "test__cat": 1}, "source/train/cat", "splits")])
def test_splits_that_lie_deeper(source, output, folders, parent, layout):
    make(source, **folders)
    message = complaint(5, source, output)
    assert f"{parent} as SOURCE" in message and f"--layout {layout}" in message
    data = converted(source, output, "--layout", layout)
    assert sum(len(split.images) for split in data.splits.values()) == len(folders)


@pytest.mark.parametrize("name", ["images", "img", "Imgs", "pictures"])
def test_a_folder_of_images_is_no_class(source, output, name):
    make(source, **{name: 3})
    data = converted(source, output)
    assert data.train.labels is None and data.names is None and colours(data.train) == [0, 1, 2]
    make(source, **{f"{name}__cat": 1, f"{name}__dog": 1})
    for picture in (source / name).glob("*.png"):
        picture.unlink()
    assert converted(source, output).names == ["cat", "dog"]
    assert converted(source, output, "--layout", "classes").names == [name]


# --- flat ---------------------------------------------------------------------------------------------
def test_pictures_beside_folders(source, output):
    make(source, cat=2, dog=1)
    Image.new("L", (4, 4), 99).save(source / "stray.png")
    message = complaint(5, source, output)
    assert "stray.png" in message and "--layout flat" in message
    data = converted(source, output, "--layout", "flat")
    assert colours(data.train) == [99, 0, 1, 10] and data.train.labels is None


def test_pictures_beside_split_folders_are_told(source, output):
    make(source, train__cat=2, test__cat=1)
    Image.new("L", (4, 4), 99).save(source / "overview.png")
    data = converted(source, output)
    assert len(data.train.images) == 2
    assert "left out: 1 picture beside the split folders (overview.png)" in data.said


def test_flat_keeps_splits(source, output):
    make(source, train__cat=2, train__dog__old=1, test=1)
    data = converted(source, output, "--layout", "flat")
    assert len(data.train.images) == 3 and len(data.test.images) == 1 and data.names is None
    make(source, other=1)
    data = converted(source, output, "--layout", "flat")
    assert list(data.splits) == ["train"] and len(data.train.images) == 5


# --- a split without labels, tiny-imagenet ------------------------------------------------------------
def test_a_split_without_classes_gets_no_labels(source, output):
    make(source, train__n1=2, train__n2=1, val=3)
    data = converted(source, output)
    assert data.train.labels == [0, 0, 1] and data.val.labels is None and len(data.val.images) == 3
    assert "the val split has no class folders, so it gets no labels" in data.said


def test_annotations_of_tiny_imagenet(source, output):
    make(source, train__n01__images=2, train__n02__images=2, val__images=3)
    notes = source / "val" / "val_annotations.txt"
    classes = ["n02", "n01", "n02", "n01"]
    notes.write_text("".join(f"{i}.png\t{name}\t0\t0\t9\t9\n" for i, name in enumerate(classes)))
    data = converted(source, output)
    assert data.names == ["n01", "n02"] and data.train.labels == [0, 0, 1, 1]
    assert dict(zip(colours(data.val), data.val.labels)) == {20: 1, 21: 0, 22: 1}
    assert "1 line of val_annotations.txt without its picture (3.png)" in data.said
    assert "up to date" in convert(source, output, "--if-missing").out
    notes.write_text("0.png\tn02\n1.png\tn01\n")
    assert "2.png" in complaint(5, source, output, "--if-missing")
    notes.write_text("0.png\n")
    assert "line without a class" in complaint(5, source, output)


# --- empty folders ------------------------------------------------------------------------------------
def test_empty_classes(source, output):
    make(source, train__cat=1, train__dog=0, test__cat=1, test__dog=1)
    data = converted(source, output)
    assert data.names == ["cat", "dog"] and data.train.labels == [0] and data.test.labels == [0, 1]
    assert "source/train/dog holds no pictures: the train split has none of that class" in data.said
    (source / "test" / "dog" / "0.png").rename(source / "test" / "dog" / "0.heic")
    message = complaint(5, source, output)
    assert "source/train/dog holds no pictures" in message and "--skip-empty" in message
    data = converted(source, output, "--skip-empty")
    assert data.names == ["cat"] and "left out: 2 folders without pictures (train/dog, test/dog)" in data.said
    assert "1 file of a format that can't be read here (test/dog/0.heic)" in data.said


def test_an_empty_split(source, output):
    make(source, train__cat=1, test=0)
    assert "source/test holds no pictures that can be read" in complaint(5, source, output)
    data = converted(source, output, "--skip-empty")
    assert list(data.splits) == ["train"] and "left out: 1 folder without pictures (test)" in data.said


def test_an_empty_folder_called_as_a_split_beside_classes(source, output):
    make(source, cat=1, dog=1, test=0)
    assert "source/test holds no pictures that can be read" in complaint(5, source, output)
    assert converted(source, output, "--skip-empty").names == ["cat", "dog"]


def test_a_source_without_pictures_says_what_it_holds(source, output):
    make(source, cat=0)
    (source / "cat" / "a.heic").write_bytes(b"x")
    (source / "b.txt").write_text("x")
    message = complaint(5, source, output)
    assert "no pictures" in message and "a.heic" in message and "b.txt" in message


# --- links --------------------------------------------------------------------------------------------
def test_links_are_followed_but_not_in_circles(tmp_path, source, output):
    make(tmp_path / "elsewhere", cats=2)
    make(source, dog=1)
    (source / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (source / "dog" / "linked.png").symlink_to(tmp_path / "elsewhere" / "cats" / "0.png")
    (source / "dog" / "up").symlink_to("..")
    (source / "dog" / "self").symlink_to(".")
    data = converted(source, output)
    assert data.names == ["cat", "dog"] and data.train.labels == [0, 0, 1, 1]
    assert "2 folder links that lead back to a folder above them (dog/self, dog/up)" in data.said


def test_a_link_to_nothing_is_a_broken_picture(source, output):
    make(source, cat=2)
    (source / "cat" / "lost.png").symlink_to("nowhere")
    message = complaint(5, source, output)
    assert "cat/lost.png" in message and "a link to nothing" in message
    assert len(converted(source, output, "--skip-broken").train.images) == 2


# --- names --------------------------------------------------------------------------------------------
def test_class_names_in_any_bytes(source, output):
    for name in (b"caf\xe9", b"stra\xdfe", "日本 語".encode(), b"a\tb"):
        folder = os.path.join(os.fsencode(source), name)
        os.makedirs(folder)
        Image.new("L", (4, 4)).save(os.fsdecode(os.path.join(folder, b"b\xe4r.png")))
    data = converted(source, output)
    assert sorted(data.names) == ["a\tb", "caf\\xe9", "stra\\xdfe", "日本 語"]
    assert any("caf\\xe9" in line for line in data.provenance["files"]["train"])


def test_broken_files_with_odd_names(source, output):
    source.mkdir()
    with open(os.path.join(os.fsencode(source), b"b\xe4\nr.png"), "wb") as file:
        file.write(b"no image")
    assert "b\\xe4\\nr.png" in complaint(5, source, output)


def test_labels_stay_with_their_pictures(source, output):
    generator = np.random.default_rng(3)
    counts = generator.integers(1, 9, 12)
    make(source, **{f"train__c{n}": int(count) for n, count in enumerate(counts)})
    data = converted(source, output, "--limit", 30)
    for colour, label in zip(colours(data.train), data.train.labels):
        assert data.names[label] == f"c{colour // 10}"


# --- names that are asked for -------------------------------------------------------------------------
def test_classes_are_put_into_the_order_asked_for(source, output):
    make(source, cat=2, dog=1)
    data = converted(source, output, "--classes", "dog,cat")
    assert data.names == ["dog", "cat"] and data.train.labels == [1, 1, 0]
    data = converted(source, output, "--classes", "bird,cat,dog")  # as another data set numbers them
    assert data.names == ["bird", "cat", "dog"] and data.train.labels == [1, 1, 2]


def test_other_names_for_classes_are_told(source, output):
    make(source, n01=1, n02=2)
    data = converted(source, output, "--classes", "cat,dog")
    assert data.names == ["cat", "dog"] and data.train.labels == [0, 1, 1]
    assert "n01 is called cat, n02 is called dog" in data.said


@pytest.mark.parametrize("names", ["cat", "cat,bird", "a,b,c"])
def test_names_that_do_not_fit_the_classes(source, output, names):
    make(source, cat=2, dog=1)
    assert "cat, dog" in complaint(2, source, output, "--classes", names)


def test_classes_of_pictures_without_labels(source, output):
    make(source, cat=2)
    assert "no labels" in complaint(2, source / "cat", output, "--classes", "a,b")
