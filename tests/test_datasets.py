"""The images: how many, of what kind, where they come from, and that augmentation depends on
nothing that a resumed run would not know.
"""

import gzip
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

import trajhelpers as th
from trajhelpers.lab.data import DATA_FOLDER

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
MEAN, DEVIATION = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])


def whole(data, split):
    return next(data.batches(split, [(0, list(range(data.size[split])))]))


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    connect = socket.socket.connect

    def refuse(*arguments, **options):
        raise AssertionError("asks the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    # worker processes talk through sockets of the machine
    monkeypatch.setattr(
        socket.socket,
        "connect",
        lambda self, address: connect(self, address) if self.family == socket.AF_UNIX else refuse(),
    )


@pytest.mark.parametrize(
    "name, channels, pixels, classes, train, test",
    [
        ("digits", 1, 8, 10, 1280, 517),
        ("fashion-mnist", 1, 14, 10, 4096, 10_000),
        ("fake-cifar10", 3, 32, 10, 8, 8),
        ("fake-imagenet", 3, 224, 1000, 8, 8),
    ],
)
def test_shapes(name, channels, pixels, classes, train, test):
    data = th.training.load_data(name)
    assert (data.channels, data.pixels, data.classes, data.size) == (
        channels,
        pixels,
        classes,
        {"train": train, "test": test},
    )
    for split in ("train", "test"):
        images, labels = whole(data, split)
        assert (
            images.shape == (data.size[split], channels, pixels, pixels)
            and images.dtype == torch.float32
        )
        assert labels.shape == (data.size[split],) and labels.dtype == torch.int64
        assert labels.min() >= 0 and labels.max() < classes
        if not name.startswith("fake"):
            assert set(labels.tolist()) == set(range(10))
    batches = list(data.batches("train", [(0, [1, 0]), (5, [7])]))
    assert [len(labels) for _, labels in batches] == [2, 1]
    assert torch.equal(
        torch.cat([labels for _, labels in batches]), whole(data, "train")[1][[1, 0, 7]]
    )


def test_digits_are_scikit_learns():
    """All 1,797, each once, in either split; 0 … 16 became 0 … 1."""
    from sklearn.datasets import load_digits

    data = th.training.load_data("digits")
    found = sorted(
        (*(16 * image).flatten().tolist(), label)
        for split in ("train", "test")
        for image, label in zip(*(part.double().numpy() for part in whole(data, split)))
    )
    pixels, labels = load_digits(return_X_y=True)
    assert found == sorted((*image.tolist(), label) for image, label in zip(pixels, labels))


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
@pytest.mark.parametrize("split, stem, count", [("train", "train", 4096), ("test", "t10k", 10_000)])
def test_stored_fashion_mnist_is_pooled(split, stem, count):
    """By a loop over squares of 2 × 2, for every hundredth image; the labels all."""
    raw = gzip.open(DEBIAN / f"{stem}-images-idx3-ubyte.gz").read()[16:]
    labels = gzip.open(DEBIAN / f"{stem}-labels-idx1-ubyte.gz").read()[8:]
    with np.load(DATA_FOLDER / "fashion-mnist.npz") as stored:
        images = stored[f"{split}_images"]
        assert images.shape == (count, 14, 14) and images.dtype == np.uint8
        assert stored[f"{split}_labels"].tolist() == list(labels[:count])
    for i in range(0, count, 100):
        for row in range(14):
            for column in range(14):
                corner = i * 784 + 2 * row * 28 + 2 * column
                assert images[i, row, column] == round(
                    (raw[corner] + raw[corner + 1] + raw[corner + 28] + raw[corner + 29]) / 4
                )


def test_fashion_mnist_is_normalized_by_its_training_images():
    data = th.training.load_data("fashion-mnist")
    train, test = (whole(data, split)[0].double() for split in ("train", "test"))
    assert abs(train.mean()) < 1e-5 and abs(train.std(correction=0) - 1) < 1e-5
    with np.load(DATA_FOLDER / "fashion-mnist.npz") as stored:
        for split, images in (("train", train), ("test", test)):
            # the brightest pixel is 255, the darkest 0
            slope = (train.max() - train.min()).item() / 255
            np.testing.assert_allclose(
                images[:, 0], train.min().item() + slope * stored[f"{split}_images"], atol=1e-5
            )


def test_label_noise():
    """A share of the training labels is drawn anew, the same at every call and whatever the user's
    random numbers are; test labels are untouched.
    """
    clean = th.training.load_data("digits")
    torch.manual_seed(1), np.random.seed(1)
    noisy = th.training.load_data("digits", label_noise=0.2)
    torch.manual_seed(2), np.random.seed(2)
    again = th.training.load_data("digits", label_noise=0.2)
    (images, labels), (_, before) = whole(noisy, "train"), whole(clean, "train")
    assert torch.equal(labels, whole(again, "train")[1]) and torch.equal(
        images, whole(clean, "train")[0]
    )
    assert torch.equal(whole(noisy, "test")[1], whole(clean, "test")[1])
    changed = (labels != before).sum().item()  # of 256, each with probability .9: 230 ± 5
    assert 210 < changed < 250
    everything = whole(th.training.load_data("digits", label_noise=1.0), "train")[1]
    assert abs((everything != before).float().mean() - 0.9) < 0.03
    # 4 standard deviations of a uniform draw
    assert np.abs(np.bincount(everything, minlength=10) - 128).max() < 45
    fake, noise = (
        th.training.load_data("fake-cifar10"),
        th.training.load_data("fake-cifar10", label_noise=1.0),
    )
    assert not torch.equal(whole(fake, "train")[1], whole(noise, "train")[1]) and torch.equal(
        whole(fake, "test")[1], whole(noise, "test")[1]
    )


# Augmentation, on random images


@pytest.mark.parametrize("name", ["fake-cifar10", "fake-imagenet"])
def test_augmentation_depends_on_epoch_and_index_alone(name):
    def images(*pairs, workers=0):
        data = th.training.load_data(name)
        data._workers = workers
        torch.manual_seed(len(pairs))
        return [batch for batch, _ in data.batches("train", pairs, augment=True)]

    one, other = images((0, [0, 1, 2, 3]), (1, [3, 0]))
    assert torch.equal(images((0, [2]))[0][0], one[2])
    assert torch.equal(images((7, [5]), (1, [0, 1]), (0, [3, 2, 1]))[2], one[[3, 2, 1]])
    assert torch.equal(
        torch.cat(images((1, [0]), (0, [1]), (1, [3]), workers=2)),
        torch.stack([other[1], one[1], other[0]]),
    )
    many = torch.cat(images(*((epoch, [0]) for epoch in range(6))))
    assert len({image.numpy().tobytes() for image in many}) > 3


def raw_images(split):
    from torchvision.datasets import FakeData

    raw = FakeData(8, (3, 32, 32), 10, random_offset={"train": 0, "test": 32}[split])
    return [np.array(raw[i][0]).transpose(2, 0, 1) / 255 for i in range(8)]


def test_evaluation_sees_images_as_they_are():
    data = th.training.load_data("fake-cifar10")
    for split in ("train", "test"):
        expected = (np.stack(raw_images(split)) - MEAN[:, None, None]) / DEVIATION[:, None, None]
        np.testing.assert_allclose(whole(data, split)[0], expected, atol=1e-5)
        np.testing.assert_allclose(
            torch.cat([images for images, _ in data.batches(split, [(9, [5]), (4, [5])])]),
            expected[[5, 5]],
            atol=1e-5,
        )


def test_augmented_images_are_shifted_and_mirrored():
    """Each is one of the 2 · 81 cuts of 32 × 32 from the image with a black border of 4, and over
    the images all kinds of cuts occur.
    """
    images = torch.cat(
        [
            batch
            for batch, _ in th.training.load_data("fake-cifar10").batches(
                "train", [(0, range(8)), (1, range(8))], augment=True
            )
        ]
    )
    raw, found = np.pad(raw_images("train"), ((0, 0), (0, 0), (4, 4), (4, 4))), []
    for i, image in enumerate(
        images.double().numpy() * DEVIATION[:, None, None] + MEAN[:, None, None]
    ):
        for mirrored, one in ((False, image), (True, image[:, :, ::-1])):
            found += [
                (top, left, mirrored)
                for top in range(9)
                for left in range(9)
                if np.abs(raw[i % 8, :, top : top + 32, left : left + 32] - one).max() < 1e-5
            ]
        assert len(found) == i + 1
    assert (
        len({at[0] for at in found}) > 3
        and len({at[1] for at in found}) > 3
        and {at[2] for at in found} == {False, True}
    )


# CIFAR-10 and ImageNet from a folder


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_a_folder_must_be_named(name):
    with pytest.raises(ValueError, match=rf"{name}.*data_folder.*--data-folder.*never downloaded"):
        th.training.load_data(name)


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
@pytest.mark.parametrize("kind", ["empty", "missing", "half"])
def test_a_folder_that_does_not_hold_them(tmp_path, name, kind):
    folder = tmp_path / "images"
    if kind != "missing":
        folder.mkdir()
    if kind == "half":
        for inside in ("cifar-10-batches-py", "train", "val"):
            (folder / inside).mkdir()
        (folder / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"junk")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(th.TrajectoryError, match=rf"images: holds no {name}"):
        th.training.load_data(name, folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_cifar10_from_a_folder(tmp_path, monkeypatch):
    """Files of its form, with ten random images and checksums of their own."""
    import hashlib

    from torchvision.datasets import CIFAR10

    inside, rng = tmp_path / "cifar-10-batches-py", np.random.default_rng(0)
    inside.mkdir()
    contents = {
        name: {
            "data": rng.integers(0, 256, (5, 3072), dtype=np.uint8),
            "labels": rng.integers(0, 10, 5).tolist(),
        }
        for name in ("data_batch_1", "data_batch_2", "test_batch")
    }
    for name, content in (*contents.items(), ("batches.meta", {"label_names": list("abcdefghij")})):
        (inside / name).write_bytes(pickle.dumps(content))
    digests = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in inside.iterdir()}
    monkeypatch.setattr(
        CIFAR10, "train_list", [[name, digests[name]] for name in ("data_batch_1", "data_batch_2")]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(
        CIFAR10,
        "meta",
        {"filename": "batches.meta", "key": "label_names", "md5": digests["batches.meta"]},
    )
    data = th.training.load_data("cifar10", tmp_path)
    assert data.size == {"train": 10, "test": 5}
    for split, names in (("train", ("data_batch_1", "data_batch_2")), ("test", ("test_batch",))):
        images, labels = whole(data, split)
        raw = np.concatenate([contents[name]["data"] for name in names]).reshape(-1, 3, 32, 32)
        np.testing.assert_allclose(
            images, (raw / 255 - MEAN[:, None, None]) / DEVIATION[:, None, None], atol=1e-5
        )
        assert labels.tolist() == [label for name in names for label in contents[name]["labels"]]


@pytest.mark.parametrize("name", ["mnist", "fake-digits", ""])
def test_unknown_images(name):
    with pytest.raises(ValueError, match="digits, fashion-mnist, cifar10"):
        th.training.load_data(name)
