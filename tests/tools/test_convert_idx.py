"""stanley_tools.data: IDX files, their labels and the names of classes; CIFAR's files."""
import gzip
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from converter import complaint, convert, converted, write_idx

FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")


def write_digits(folder, images, labels, name="train-{}-idx{}-ubyte"):
    folder.mkdir(parents=True, exist_ok=True)
    write_idx(folder / name.format("images", images.ndim), images)
    write_idx(folder / name.format("labels", 1), np.asarray(labels, np.uint8))


# --- types and names ------------------------------------------------------------------------------
@pytest.mark.parametrize("name, type_, stored", [
    ("train-images.idx3-double", "f8", [0, 128, 255]), ("train-images-idx3-float.gz", "f4", [0, 128, 255]),
    ("train.images.idx3.ubyte", "u1", [0, 1, 255]), ("train_images_idx3_short", "i2", [0, 1, 255]),
    ("train-images-idx3-int", "i4", [0, 1, 255]), ("train-images-idx3-byte", "i1", [0, 1, 127]),
    ("train-images-idx4-ubyte", "u1", [0, 1, 255])])
def test_idx_of_every_type(source, output, name, type_, stored):
    values = [0, 0.5, 1] if type_[0] == "f" else stored
    images = np.zeros((2, 4, 5), type_)
    images[0, 0, :3] = values
    write_idx(source / name, images[:, None] if "idx4" in name else images)
    data = converted(source, output)
    assert data.train.images.shape == (2, 1, 4, 5) and data.train.images[0, 0, 0, :3].tolist() == stored
    assert data.train.labels is None and data.names is None


def test_idx_of_colour_by_either_axis(source, output, generator):
    images = generator.integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    write_idx(source / "train-images-idx4-ubyte", images)
    assert np.array_equal(converted(source, output).train.images, images)
    write_idx(source / "train-images-idx4-ubyte", np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    assert np.array_equal(converted(source, output).train.images, images)


def test_labels_of_several_numbers_give_the_first(source, output):  # QMNIST
    write_idx(source / "qmnist-test-images-idx3-ubyte", np.zeros((3, 4, 4), np.uint8))
    labels = np.arange(24, dtype="i4").reshape(3, 8)
    labels[:, 0] = [2, 0, 1]
    write_idx(source / "qmnist-test-labels-idx2-int", labels)
    data = converted(source, output)
    assert data.test.labels == [2, 0, 1] and "the first is its label" in data.said


def test_several_data_sets_in_a_folder_need_a_file_as_source(source, output):
    for name, value in (("letters", 1), ("digits", 2)):
        for split in ("train", "test"):
            write_digits(source, np.full((2, 4, 4), value, np.uint8), [0, 1],
                         f"emnist-{name}-{split}-" + "{}-idx{}-ubyte")
    message = complaint(5, source, output)
    assert "emnist-digits-t" in message and "emnist-letters-t" in message and "as SOURCE" in message
    data = converted(source / "emnist-letters-train-images-idx3-ubyte", output)
    assert (data.train.images == 1).all() and (data.test.images == 1).all() and data.test.labels == [0, 1]
    other = source / "emnist-digits-train-images-idx3-ubyte"
    assert "up to date" not in convert(other, output, "--if-missing").out
    assert "up to date" in convert(other, output, "--if-missing").out


def test_a_web_page_saved_as_gz(source, output):
    (source / "train-images-idx3-ubyte.gz").write_text("<!DOCTYPE html><title>404</title>")
    assert "not a sound gzip file" in complaint(5, source, output)


def test_idx_beside_pictures_or_arrays_is_refused(source, output):
    write_idx(source / "train-images-idx3-ubyte", np.zeros((2, 4, 4), np.uint8))
    np.save(source / "images.npy", np.zeros((2, 4, 4), np.uint8))
    message = complaint(5, source, output)
    assert "IDX files (train-images-idx3-ubyte) and arrays (images.npy)" in message
    assert len(converted(source / "train-images-idx3-ubyte", output).train.images) == 2


# --- names of classes -----------------------------------------------------------------------------
@pytest.mark.parametrize("folder", ["fashion-models/mnist", "fashion"])
def test_digits_below_a_folder_called_fashion_are_digits(tmp_path, output, folder):
    write_digits(tmp_path / folder, np.zeros((12, 4, 4), np.uint8), np.arange(12) % 10)
    assert converted(tmp_path / folder, output).names == [str(i) for i in range(10)]


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.parametrize("files", ["t10k-*", "*"])
def test_fashion_mnist_is_known_by_its_labels(source, output, files):
    for path in FASHION.glob(files):
        shutil.copy(path, source)
    data = converted(source, output, "--limit", 20)
    assert data.names[0] == "T-shirt/top" and data.names[9] == "Ankle boot"
    expected = gzip.decompress((FASHION / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert data.test.labels == list(expected[::500])
    images = gzip.decompress((FASHION / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    assert np.array_equal(data.test.images[:, 0], np.frombuffer(images, np.uint8).reshape(-1, 28, 28)[::500])


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_fashion_mnist_with_one_label_changed_is_not(source, output):
    content = gzip.decompress((FASHION / "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = np.frombuffer(content, np.uint8, offset=8).copy()
    labels[77] = (labels[77] + 1) % 10
    np.savez(source / "f.npz", x_test=np.zeros((10_000, 2, 2), np.uint8), y_test=labels)
    assert converted(source, output, "--limit", 5).names[0] == "0"


@pytest.mark.parametrize("labels, names, stored", [
    (range(1, 27), [str(i) for i in range(1, 27)], list(range(26))),  # EMNIST letters: no empty class '0'
    ([5, 0, 9, 5], ["0", "5", "9"], [1, 0, 2, 1]), ([200, 100], ["100", "200"], [1, 0])])
def test_labels_that_do_not_count_from_0(source, output, labels, names, stored):
    labels = np.asarray(labels, np.uint8)
    write_digits(source, np.zeros((len(labels), 4, 4), np.uint8), labels)
    data = converted(source, output)
    assert data.names == names and data.train.labels == stored
    assert f"are stored as 0 to {len(names) - 1}" in data.said


def test_labels_are_numbered_over_all_splits_and_before_limit(source, output):
    write_digits(source, np.zeros((3, 4, 4), np.uint8), [3, 5, 7])
    write_digits(source, np.zeros((2, 4, 4), np.uint8), [4, 7], "t10k-{}-idx{}-ubyte")
    data = converted(source, output, "--limit", 2)
    assert data.names == ["3", "4", "5", "7"] and data.train.labels == [0, 2] and data.test.labels == [1, 3]


def test_emnist_upright(source, output):
    images = np.zeros((26, 28, 28), np.uint8)
    images[:, :4] = 255  # a bar at the top of what is stored is at the left of the letter
    write_digits(source, images, range(1, 27), "emnist-letters-train-{}-idx{}-ubyte")
    assert converted(source, output, "--transpose").train.images[:, 0, :, :4].min() == 255


def test_classes_by_number_or_by_rank(source, output):
    write_digits(source, np.zeros((3, 4, 4), np.uint8), [1, 2, 3])
    data = converted(source, output, "--classes", "a,b,c")
    assert data.names == ["a", "b", "c"] and data.train.labels == [0, 1, 2]
    data = converted(source, output, "--classes", "none,a,b,c")
    assert data.names == ["none", "a", "b", "c"] and data.train.labels == [1, 2, 3]
    assert "2 classes" in complaint(2, source, output, "--classes", "a,b")


# --- CIFAR ----------------------------------------------------------------------------------------
def records(generator, count, labels=1):
    values = generator.integers(0, 256, (count, labels + 3072), dtype=np.uint8)
    values[:, labels - 1] = np.arange(count) % (10 if labels == 1 else 100)
    if labels == 2:
        values[:, 0] = np.arange(count) % 20
    return values


def test_cifar_10_binary(source, output, generator):
    values = records(generator, 24)
    for number, part in ((1, values[:6]), (2, values[6:10]), (10, values[10:22])):
        (source / f"data_batch_{number}.bin").write_bytes(part.tobytes())
    (source / "test_batch.bin").write_bytes(values[22:].tobytes())
    (source / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    data = converted(source, output)
    assert np.array_equal(data.train.images.reshape(22, -1), values[:22, 1:])
    assert data.test.labels == [2, 3] and data.names == list("abcdefghij")
    (source / "test_batch.bin").write_bytes(values[22:].tobytes()[:-1])
    assert "test_batch.bin is truncated" in complaint(5, source, output)


def test_cifar_100_binary(source, output, generator):
    values = records(generator, 30, labels=2)
    (source / "train.bin").write_bytes(values[:25].tobytes())
    (source / "test.bin").write_bytes(values[25:].tobytes())
    data = converted(source, output)
    assert data.train.labels == list(range(25)) and data.test.labels == list(range(25, 30))
    assert np.array_equal(data.test.images.reshape(5, -1), values[25:, 2:])
    (source / "coarse_label_names.txt").write_text("\n".join(f"c{i}" for i in range(20)))
    data = converted(source, output, "--labels", "coarse")
    assert data.train.labels == [i % 20 for i in range(25)] and data.names[19] == "c19"


def test_cifar_100_called_as_cifar_10_is_not_misread(source, output, generator):
    values = generator.integers(0, 256, (3073, 3074), dtype=np.uint8)
    values[:, :2] = 3
    (source / "data_batch_1.bin").write_bytes(values.tobytes())  # a multiple of both kinds of record
    message = complaint(5, source, output)
    assert "data_batch_1.bin is no CIFAR-10 file" in message and "train.bin" in message


def pickled(path, content, protocol=2):
    path.write_bytes(pickle.dumps({key.encode(): value for key, value in content.items()}, protocol=protocol))


@pytest.mark.parametrize("protocol", [2, 5])
def test_cifar_for_python(source, output, generator, protocol):
    values = records(generator, 12)
    for name, part in (("data_batch_1", values[:5]), ("data_batch_2", values[5:10]), ("test_batch", values[10:])):
        pickled(source / name, {"data": part[:, 1:], "labels": part[:, 0].tolist()}, protocol)
    pickled(source / "batches.meta", {"label_names": [bytes([c]) for c in b"abcdefghij"]}, protocol)
    data = converted(source, output)
    assert np.array_equal(data.train.images.reshape(10, -1), values[:10, 1:])
    assert data.train.labels == list(range(10)) and data.test.labels == [0, 1] and data.names == list("abcdefghij")


def test_cifar_of_numpys_earlier_name_and_by_columns(source, output, generator):
    values = records(generator, 10)
    content = pickle.dumps({b"data": np.asfortranarray(values[:, 1:]), b"labels": np.arange(10)}, protocol=2)
    (source / "data_batch_1").write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    data = converted(source, output)
    assert np.array_equal(data.train.images.reshape(10, -1), values[:, 1:])
    assert data.train.labels == list(range(10))


def test_cifar_100_for_python(source, output, generator):
    values = records(generator, 30, labels=2)
    for name, part in (("train", values[:20]), ("test", values[20:])):
        pickled(source / name, {"data": part[:, 2:], "coarse_labels": part[:, 0].tolist(),
                                "fine_labels": part[:, 1].tolist()})
    pickled(source / "meta", {"fine_label_names": [b"f%d" % i for i in range(100)],
                              "coarse_label_names": [b"c%d" % i for i in range(20)]})
    data = converted(source, output)
    assert data.test.labels == list(range(20, 30)) and data.names[99] == "f99"
    assert np.array_equal(data.test.images.reshape(10, -1), values[20:, 2:])
    assert converted(source, output, "--labels", "coarse").names[19] == "c19"


class Intruder:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("content", [b"pickle", b"", pickle.dumps([1]), pickle.dumps({b"data": 1}),
                                     pickle.dumps({b"data": Intruder(), b"labels": [0]}),
                                     b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",  # more bytes than there are
                                     b"\x80\x02Nr\xff\xff\xff\xff."])
def test_broken_pickles_and_those_that_run_code(source, output, content):
    (source / "data_batch_1").write_bytes(content)
    assert "data_batch_1 is no CIFAR file for Python" in complaint(5, source, output)
    assert convert(source, output).out == ""  # nothing ran


@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_missing_batches_of_cifar_are_told(source, output, generator, suffix):
    pixels = generator.integers(0, 256, (3, 3072), dtype=np.uint8)
    for n in (1, 2, 4, 5):
        content = pickle.dumps({b"data": pixels, b"labels": [0, 1, 2]}) if not suffix else \
            b"".join(bytes([i]) + row.tobytes() for i, row in enumerate(pixels))
        (source / f"data_batch_{n}{suffix}").write_bytes(content)
    data = converted(source, output)
    assert "4 of the 5 batches" in data.said and "data_batch_3 is not there" in data.said
    assert len(data.train.images) == 12
    (source / f"data_batch_3{suffix}").write_bytes(content)
    assert "of the 5 batches" not in converted(source, output).said
