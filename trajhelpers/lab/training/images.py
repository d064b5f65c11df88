"""The images of the studies: two small sets in memory, and CIFAR-10 and ImageNet from a folder."""

import os

import numpy as np
import torch

from ...errors import TrajectoryError, missing_extra
from ..data import data_file
from .recipes.images import DATA

_NORMALIZE = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
_CLASSES = {"digits": 10, "fashion-mnist": 10, "cifar10": 10, "imagenet": 1000}


def load_data(name, folder=None, label_noise=0.0):
    """The training and test images of a data set, as batches of tensors.

    Parameters
    ----------
    name : str
        ``"digits"``: scikit-learn's, 8 × 8 pixels, 1,280 to train with and 517 to test.
        ``"fashion-mnist"``: pooled to 14 × 14, 4,096 and 10,000, from the book's ``data/``.
        ``"cifar10"``, ``"imagenet"``: torchvision's, from ``folder``. ``"fake-…"``: random images
        of their shapes.
    folder : path, optional
        Where CIFAR-10 or ImageNet lie as torchvision's ``CIFAR10`` and ``ImageNet`` expect them.
        Nothing is ever downloaded.
    label_noise : float
        The share of training labels that are drawn anew, uniformly over all classes; the same ones
        at every call.

    Returns
    -------
    Images
        With ``channels``, ``pixels``, ``classes``, ``size["train"]``, ``size["test"]`` and
        ``batches(split, indices)``.

    >>> data = load_data("digits")
    >>> images, labels = next(data.batches("train", [(0, [3, 1, 4])]))
    >>> images.shape, labels.shape, data.size
    (torch.Size([3, 1, 8, 8]), torch.Size([3]), {'train': 1280, 'test': 517})
    """
    if name not in DATA:
        raise ValueError(f"data: expected one of {', '.join(DATA)}, got {name!r}")
    if name == "digits":
        splits = _digits()
    elif name == "fashion-mnist":
        splits = _fashion_mnist()
    else:
        return FolderImages(name, folder, label_noise)
    return TensorImages(splits, _CLASSES[name], label_noise)


class TensorImages:
    """Images in memory: ``splits[split] = (images, labels)``, images of shape (N, channels, pixels,
    pixels).
    """

    def __init__(self, splits, classes, label_noise):
        self.classes = classes
        self.channels, self.pixels = splits["train"][0].shape[1:3]
        self.size = {split: len(labels) for split, (_, labels) in splits.items()}
        images, labels = splits["train"]
        at, drawn = noisy_labels(len(labels), classes, label_noise)
        labels = labels.clone()
        labels[at] = drawn
        self._splits = splits | {"train": (images, labels)}

    def batches(self, split, indices):
        """Batches (images, labels), one for each pair (epoch, indices)."""
        images, labels = self._splits[split]
        for _, batch in indices:
            yield images[batch], labels[batch]


class FolderImages:
    """Images that are read, and while training augmented, by worker processes."""

    def __init__(self, name, folder, label_noise, workers=4):
        try:
            import torchvision.datasets
            from torchvision.transforms import v2
        except ImportError as error:
            raise missing_extra(f"data={name!r}", "torchvision", "vision") from error
        kind = name.removeprefix("fake-")
        self.classes, self.channels, self.pixels = (
            _CLASSES[kind],
            3,
            32 if kind == "cifar10" else 224,
        )
        finish = [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*_NORMALIZE[kind]),
        ]
        if kind == "cifar10":
            transforms = {
                "train": [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
                "test": [],
            }
        else:
            transforms = {
                "train": [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()],
                "test": [v2.Resize(256), v2.CenterCrop(224)],
            }
        self._transforms = {
            split: v2.Compose(steps + finish) for split, steps in transforms.items()
        }
        if name.startswith("fake-"):
            pixels = (3, 32, 32) if kind == "cifar10" else (3, 224, 224)
            self._raw = {
                split: torchvision.datasets.FakeData(8, pixels, self.classes, random_offset=offset)
                for split, offset in (("train", 0), ("test", 32))
            }
            workers = 0
        else:
            self._raw = {
                split: _from_folder(torchvision.datasets, kind, folder, split)
                for split in ("train", "test")
            }
        self.size = {split: len(images) for split, images in self._raw.items()}
        at, drawn = noisy_labels(self.size["train"], self.classes, label_noise)
        self._noisy = dict(zip(at.tolist(), drawn.tolist()))
        self._workers = min(workers, os.cpu_count() or 1)  # torch warns of more

    def batches(self, split, indices, augment=False):
        """Batches (images, labels), one for each pair (epoch, indices)."""
        read = _Read(
            self._raw[split],
            self._transforms["train" if augment else "test"],
            self._noisy if split == "train" else {},
        )
        sampler = ([(epoch, index) for index in batch] for epoch, batch in indices)
        return iter(
            torch.utils.data.DataLoader(
                read,
                batch_sampler=sampler,
                num_workers=self._workers,
                pin_memory=torch.cuda.is_available(),
                # or it would draw a seed from the user's
                generator=torch.Generator(),
            )
        )


class _Read(torch.utils.data.Dataset):
    """Image and label at (epoch, index). Augmentation is drawn from these two alone, so it depends
    neither on workers nor on where a run was resumed.
    """

    def __init__(self, raw, transform, noisy):
        self._raw, self._transform, self._noisy = raw, transform, noisy

    def __getitem__(self, at):
        epoch, index = at
        image, label = self._raw[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch * 10_000_000 + index)
            return self._transform(image), self._noisy.get(index, int(label))


def noisy_labels(size, classes, share):
    """Which labels are replaced, and by what; drawn anew uniformly, so that a tenth of ten classes
    keep theirs by chance.
    """
    generator = np.random.default_rng(0)
    at = generator.permutation(size)[: round(share * size)]
    return torch.tensor(at, dtype=torch.int64), torch.tensor(
        generator.integers(0, classes, len(at)), dtype=torch.int64
    )


def _digits():
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise missing_extra("data='digits'", "scikit-learn", "vision") from error
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = torch.tensor(images[order].reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    labels = torch.tensor(labels[order], dtype=torch.int64)
    return {"train": (images[:1280], labels[:1280]), "test": (images[1280:], labels[1280:])}


def _fashion_mnist():
    with np.load(data_file("fashion-mnist.npz", "the images come"), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    mean, deviation = arrays["train_images"].mean() / 255, arrays["train_images"].std() / 255
    return {
        split: (
            (torch.tensor(arrays[f"{split}_images"], dtype=torch.float32)[:, None] / 255 - mean)
            / deviation,
            torch.tensor(arrays[f"{split}_labels"], dtype=torch.int64),
        )
        for split in ("train", "test")
    }


def _from_folder(datasets, kind, folder, split):
    if folder is None:
        raise ValueError(
            f"data={kind!r}: say in which folder it lies (data_folder=…, or --data-folder); it is"
            " never downloaded"
        )
    try:
        if kind == "cifar10":
            return datasets.CIFAR10(folder, train=split == "train", download=False)
        return datasets.ImageNet(folder, split="train" if split == "train" else "val")
    except (RuntimeError, OSError) as error:
        expected = (
            "cifar-10-batches-py/"
            if kind == "cifar10"
            else "train/, val/ and meta.bin, or the archives that they are made from"
        )
        raise TrajectoryError(
            f"{folder}: holds no {kind} as torchvision reads it; expected {expected}"
        ) from error
