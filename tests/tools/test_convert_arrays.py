"""stanley_tools.data: .npz and .npy files, and how values of any depth become bytes."""
import numpy as np
import pytest
from PIL import Image

from converter import complaint, convert, converted


@pytest.fixture
def images():
    return np.random.default_rng(7).integers(0, 256, (6, 8, 9), dtype=np.uint8)


# --- which arrays -----------------------------------------------------------------------------------
@pytest.mark.parametrize("names", [
    ("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"),
    ("Xtrain", "ytrain", "Xtest", "ytest"), ("trainImages", "trainTargets", "testImages", "testTargets"),
    ("images", "labels", "images_test", "labels_test")])
def test_npz_of_several_splits(source, output, images, names):
    labels = np.arange(6) % 3
    np.savez(source / "data.npz", **dict(zip(names, (images, labels, images[:2], labels[1:3]))))
    for where in (source / "data.npz", source):
        data = converted(where, output)
        assert np.array_equal(data.train.images[:, 0], images) and data.train.labels == [0, 1, 2, 0, 1, 2]
        assert np.array_equal(data.test.images[:, 0], images[:2]) and data.test.labels == [1, 2]
        assert "left out" not in data.said


def test_npz_of_one_array_each_and_npy(source, output, images):
    for split, count in (("train", 6), ("test", 4)):  # k49
        np.savez_compressed(source / f"k49-{split}-imgs.npz", images[:count])
        np.savez_compressed(source / f"k49-{split}-labels.npz", np.arange(count))
    data = converted(source, output)
    assert len(data.train.images) == 6 and data.test.labels == [0, 1, 2, 3]
    for path in list(source.iterdir()):
        with np.load(path) as file:
            np.save(path.with_suffix(".npy"), file["arr_0"])
        path.unlink()
    assert converted(source, output).test.labels == [0, 1, 2, 3]
    assert converted(source / "k49-test-imgs.npy", output).test.labels is None


def test_two_files_with_the_same_keys(source, output, images):
    for split in ("train", "val"):
        np.savez(source / f"{split}.npz", images=images, labels=np.arange(6))
    assert sorted(converted(source, output).splits) == ["train", "val"]


def test_the_only_fitting_array_is_the_labels_and_others_are_named(source, output, images):
    np.savez(source / "a.npz", images=images, digits=np.arange(6), weights=np.ones(5), ids=np.array(["a"] * 3))
    data = converted(source, output)
    assert data.train.labels == list(range(6))
    assert "left out: 2 arrays" in data.said and "weights" in data.said and "ids" in data.said


@pytest.mark.parametrize("labels, stored, names", [
    (np.array([[2], [0], [1], [0], [1], [2]]), [2, 0, 1, 0, 1, 2], ["0", "1", "2"]),
    (np.eye(3)[[2, 0, 1, 0, 1, 2]], [2, 0, 1, 0, 1, 2], ["0", "1", "2"]),
    (np.array([2.0, 0, 1, 0, 1, 2], np.float32), [2, 0, 1, 0, 1, 2], ["0", "1", "2"]),
    (np.array([True, False, True, True, True, True]), [1, 0, 1, 1, 1, 1], ["0", "1"]),
    (np.array([-1, 1, -1, 1, 1, 1], np.int8), [0, 1, 0, 1, 1, 1], ["-1", "1"]),
    (np.array(["dog", "cat", "é", "dog", "cat", "é"]), [1, 0, 2, 1, 0, 2], ["cat", "dog", "é"]),
    (np.array([b"dog", b"cat", b"\xe9", b"dog", b"cat", b"\xe9"]), [2, 1, 0, 2, 1, 0], ["\\xe9", "cat", "dog"])])
def test_labels_of_many_forms(source, output, images, labels, stored, names):
    np.savez(source / "a.npz", x=images, y=labels)
    data = converted(source, output)
    assert data.train.labels == stored and data.names == names


@pytest.mark.parametrize("labels, said", [
    (np.arange(5), "5 labels, but"), (np.full((6, 3), 1), "aren't one-hot"), (np.full(6, 0.5), "no whole numbers"),
    (np.full(6, np.nan), "no whole numbers")])
def test_labels_that_do_not_fit(source, output, images, labels, said):
    np.savez(source / "a.npz", x_train=images, y_train=labels)
    message = complaint(5, source, output)
    assert said in message and "y_train" in message


def test_two_arrays_for_one_split_or_two_kinds_of_labels(source, output, images):
    np.savez(source / "a.npz", x=images, masks=images)
    message = complaint(5, source, output)
    assert "a.npz[x]" in message and "a.npz[masks]" in message
    np.savez(source / "a.npz", x=images, y=np.arange(6), targets=np.arange(6))
    message = complaint(5, source, output)
    assert "a.npz[y]" in message and "a.npz[targets]" in message
    np.savez(source / "a.npz", x_train=images, x_test=images, y_train=np.arange(6),
             y_test=np.array(list("abcdef")))
    assert "expected one kind" in complaint(5, source, output)


def test_arrays_beside_pictures(source, output, images):
    np.savez(source / "a.npz", x=images)
    Image.fromarray(images[0]).save(source / "b.png")
    assert "arrays (a.npz) and pictures (b.png)" in complaint(5, source, output)
    np.savez(source / "a.npz", features=images[0])
    data = converted(source, output)
    assert len(data.train.images) == 1 and "1 file that is no picture (a.npz)" in data.said


def test_broken_arrays_are_named(source, output, images):
    np.save(source / "a.npy", images)
    whole = (source / "a.npy").read_bytes()
    for content in (b"", b"no array", whole[:60], whole[:-9]):
        (source / "a.npy").write_bytes(content)
        assert "a.npy" in complaint(5, source, output)
    np.savez(source / "b.npz", images)
    (source / "b.npz").write_bytes((source / "b.npz").read_bytes()[:-40])
    assert "b.npz" in complaint(5, source / "b.npz", output)
    np.save(source / "c.npy", np.array([None, 1]), allow_pickle=True)
    assert "of type object and shape [2]" in complaint(5, source / "c.npy", output)
    np.save(source / "d.npy", np.zeros((100, 2)))  # points
    assert "shape [100, 2]" in complaint(5, source / "d.npy", output)


def test_arrays_without_images_or_pixels(source, output):
    np.save(source / "a.npy", np.zeros((0, 8, 8), np.uint8))
    assert "holds no images in its train split" in complaint(5, source, output)
    np.save(source / "a.npy", np.zeros((4, 0, 8), np.uint8))
    assert "no pixels" in complaint(5, source, output)
    np.save(source / "a.npy", np.zeros((32, 32, 3), np.uint8))
    assert "one picture in colour, or 32" in complaint(5, source, output)


# --- axes -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape, axes, stored", [
    ((2, 3, 8, 9), None, (2, 3, 8, 9)), ((2, 1, 8, 9), None, (2, 1, 8, 9)), ((2, 8, 9, 3), None, (2, 3, 8, 9)),
    ((2, 8, 9, 1), None, (2, 1, 8, 9)), ((2, 3, 8, 3), "nchw", (2, 3, 8, 3)), ((2, 3, 8, 3), "nhwc", (2, 3, 3, 8)),
    ((2, 8, 9, 4), None, (2, 3, 8, 9)), ((2, 4, 8, 9), "nchw", (2, 3, 8, 9))])
def test_the_axis_of_the_channels(source, output, shape, axes, stored):
    np.save(source / "a.npy", np.full(shape, 255, np.uint8))
    data = converted(source, output, *(["--axes", axes] if axes else []))
    assert data.train.images.shape == stored


@pytest.mark.parametrize("shape", [(2, 8, 9, 2), (2, 2, 8, 9), (2, 28, 28, 28)])
def test_volumes_and_more_channels_are_no_pictures(source, output, shape):
    np.save(source / "a.npy", np.zeros(shape, np.uint8))
    for options in ([], ["--axes", "nchw"]):
        assert str(list(shape)) in complaint(5, source, output, *options)


@pytest.mark.parametrize("shape", [(2, 3, 8, 3), (2, 4, 8, 9), (2, 1, 8, 4)])
def test_an_unclear_axis_is_asked_for(source, output, shape):
    np.save(source / "a.npy", np.zeros(shape, np.uint8))
    assert "--axes nchw or --axes nhwc" in complaint(5, source, output)


def test_alpha_of_arrays_is_composed(source, output):
    array = np.zeros((2, 2, 2, 4), np.uint8)
    array[...] = (200, 100, 0, 0)  # hidden
    array[:, 0] = (200, 100, 0, 255)
    array[1, 0, 0, 3] = 51
    np.save(source / "a.npy", array)
    data = converted(source, output)
    assert data.train.images[0, :, 0, 0].tolist() == [200, 100, 0] and (data.train.images[:, :, 1] == 0).all()
    assert data.train.images[1, :, 0, 0].tolist() == [40, 20, 0]
    assert "2 pictures with transparent parts" in data.said
    data = converted(source, output, "--background", "#ffffff")
    assert (data.train.images[:, :, 1] == 255).all() and data.train.images[1, :, 0, 0].tolist() == [244, 224, 204]
    np.save(source / "a.npy", np.where(array == (0, 0, 0, 255), 1.0, array / 255))
    converted(source, output)


# --- depth ------------------------------------------------------------------------------------------
def stored(source, output, values, *options):
    array = np.zeros((1, 2, 4), values.dtype)
    array[0, 0, :len(values)] = values
    np.save(source / "a.npy", array)
    data = converted(source, output, *options)
    return data.train.images[0, 0, 0, :len(values)].tolist(), data


@pytest.mark.parametrize("values, expected, said", [
    (np.array([0, 255, 256, 65535], np.uint16), [0, 0, 1, 255], "upper 8 bits"),
    (np.array([0, 255, 256, 65535], ">u2"), [0, 0, 1, 255], "upper 8 bits"),
    (np.array([0, 0.25, 0.5, 1], np.float32), [0, 64, 128, 255], "floats in 0 to 1"),
    (np.array([0, 0.25, 0.5, 1], np.float16), [0, 64, 128, 255], "floats in 0 to 1"),
    (np.array([0, 0.25, 0.5, 1], ">f8"), [0, 64, 128, 255], "floats in 0 to 1"),
    (np.array([False, True]), [0, 255], "true is 255"),
    (np.array([0, 1, 254, 255], np.int64), [0, 1, 254, 255], ""), (np.array([0, 255], np.uint32), [0, 255], "")])
def test_values_of_every_depth(source, output, values, expected, said):
    numbers, data = stored(source, output, values)
    assert numbers == expected and said in data.said
    assert bool(data.provenance["values"]) == bool(said)


@pytest.mark.parametrize("values, bad", [
    (np.array([0.5, 1.5], np.float32), "1.5"), (np.array([-1.0, 1.0]), "-1.0"),
    (np.array([0, np.inf]), "inf"), (np.array([0, 256], np.int64), "256"), (np.array([-1, 5], np.int8), "-1"),
    (np.array([0, 255], np.uint16), "255"), (np.array([0, 70000], np.uint32), "70000")])
def test_values_without_a_rule_ask_for_range(source, output, values, bad):
    np.save(source / "a.npy", values[None, None])
    message = complaint(5, source, output)
    assert "--range" in message and bad in message


def test_no_range_helps_a_nan(source, output):
    np.save(source / "a.npy", np.array([[[0, np.nan]]]))
    for options in ([], ["--range", "0,1"]):
        message = complaint(5, source, output, *options)
        assert "NaN" in message and "--range" not in message


def test_a_value_outside_the_range_given(source, output):
    np.save(source / "a.npy", np.array([[[0.0, 2.0]]]))
    message = complaint(5, source, output, "--range", "-1,1")  # a negative number is no option
    assert "2.0" in message and "--range says -1 to 1" in message and "use --range" not in message


@pytest.mark.parametrize("values, limits, expected", [
    (np.array([-1, 0, 1], np.float32), "-1,1", [0, 128, 255]),
    (np.array([0, 200, 255], np.uint16), "0,255", [0, 200, 255]),
    (np.array([0, 257, 65535], np.uint16), "0,65535", [0, 1, 255]),
    (np.array([0, 500, 1000], np.int32), "0,1000", [0, 128, 255]),
    (np.array([100, 150, 200], np.uint8), "100,200", [0, 128, 255]),
    (np.array([0, 1, 15], np.uint8), "0,15", [0, 17, 255])])
def test_range_scales(source, output, values, limits, expected):
    array = np.full((1, 2, 4), values[0])
    array[0, 0, :3] = values
    np.save(source / "a.npy", array)
    data = converted(source, output, f"--range={limits}")
    assert data.train.images[0, 0, 0, :3].tolist() == expected
    assert "--range" in data.said and "--range" in data.provenance["values"][0]


def test_a_value_outside_of_range_is_named(source, output):
    np.save(source / "a.npy", np.array([[[3, 17]]], np.uint8))
    assert "17" in complaint(5, source, output, "--range", "0,15")


def test_12_bits_in_16_are_told(source, output):
    _, data = stored(source, output, np.array([0, 4000], np.uint16))
    assert "--range 0,4000" in data.said
    assert "--range 0,4" not in stored(source, output, np.array([0, 4096], np.uint16))[1].said


def test_if_missing_with_an_array(source, output, images):
    np.save(source / "a.npy", images)
    assert convert(source / "a.npy", output).code == 0
    assert "up to date" in convert(source / "a.npy", output, "--if-missing").out
    np.save(source / "a.npy", images[:3])
    assert len(converted(source / "a.npy", output, "--if-missing").train.images) == 3


def test_labels_can_be_left_out(source, output, images):
    """Rows that are not one-hot stop nobody who wants the images alone."""
    np.savez(source / "a.npz", train_images=images, train_labels=np.ones((6, 14)))
    assert "--labels none" in complaint(5, source, output)
    data = converted(source, output, "--labels", "none")
    assert data.train.labels is None and data.names is None and len(data.train.images) == 6
    np.savez(source / "a.npz", train_images=images, train_labels=np.arange(6))
    assert converted(source, output, "--labels", "none").train.labels is None
