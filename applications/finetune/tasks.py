"""The tasks that fine-tuning is tried on, and their images."""

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_senet.data import open_source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A network, weights, and images of some classes.

    Attributes:
        model: The network.
        weights: A preset; None is random.
        data: "cifar10" or "bundled", which is Fashion-MNIST.
        classes: How many of its classes.
        images: Of a class, held-out ones included.
        uneven: Whether that is the largest class, and the smallest has a tenth.
        seed: Which images these are, and of the training.
        image_size: What the network gets; None is that of its weights.
    """

    model: str
    weights: str | None
    data: str
    classes: int
    images: int
    uneven: bool = False
    seed: int = 0
    image_size: int | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        start = f"{self.model}-{self.weights or 'random'}-{self.data}"
        shape = f"{self.classes}x{self.images}{'-uneven' if self.uneven else ''}"
        return f"{start}-{shape}-seed{self.seed}"

    @property
    def counts(self) -> tuple[int, ...]:
        """Images of each class; two is the least, of which one is held out."""
        smallest = max(self.images // 10, 2) if self.uneven else self.images
        return tuple(
            round(count)
            for count in np.geomspace(self.images, smallest, self.classes).tolist()
        )


_NEAR = {"model": "se_resnet20", "weights": "cifar10", "data": "cifar10"}
_FAR = {"model": "se_resnet20", "weights": "cifar10", "data": "bundled"}
_GREY = {"model": "se_resnet20", "weights": "fashion_mnist", "data": "cifar10"}
_MOBILE = {"model": "se_mobilenet", "weights": "fashion_mnist", "data": "cifar10"}

# Every level of every factor, not every combination: the full product has 768 tasks.
# The cheap and the telling first, so that a grid that was stopped says something.
TASKS = (
    Task(**_FAR, classes=2, images=5),
    Task(**_GREY, classes=4, images=5, seed=1),
    Task(**_MOBILE, classes=4, images=50),
    Task(**_FAR, classes=10, images=10),
    Task(**_NEAR, classes=2, images=10),
    Task(**_FAR, classes=4, images=50, seed=1),
    Task(**_GREY, classes=10, images=10, uneven=True),
    Task(**_MOBILE, classes=2, images=10, uneven=True, seed=1),
    Task(**_NEAR, classes=4, images=50, uneven=True),
    Task(**_GREY, classes=2, images=50, seed=1),
    Task(**_NEAR, classes=10, images=5, seed=1),
    Task(**_FAR, classes=2, images=500, seed=1),
    Task(**_MOBILE, classes=10, images=500),
    Task(**_GREY, classes=4, images=500, uneven=True),
    # In the size of ImageNet's networks, to see that nothing breaks.
    Task(
        model="se_resnet50",
        weights=None,
        data="cifar10",
        classes=2,
        images=5,
        image_size=64,
    ),
)


class Images(NamedTuple):
    """Images and labels of a task: to train on, to choose by, and to report."""

    names: tuple[str, ...]
    train: tuple[np.ndarray, np.ndarray]
    choose: tuple[np.ndarray, np.ndarray]
    report: tuple[np.ndarray, np.ndarray]


# The splits of `Images`. CIFAR-10's last 2 % are not in the weights' training images.
_SPLITS = {
    "cifar10": ("train[:20%]", "train[98%:]", "test[:4000]"),
    "bundled": ("train[:5000]", "train[5000:]", "test"),
}
# Those that look like each other first, so that few classes are not too easy.
_CLASSES = {
    "cifar10": (3, 5, 4, 7, 2, 6, 0, 8, 1, 9),
    "bundled": (6, 0, 2, 4, 3, 1, 5, 7, 9, 8),
}
_MOST = 1000


def images_of(task: Task, data_dir: Path | None) -> Images:
    """Returns a task's images.

    Args:
        task: The task.
        data_dir: Where tensorflow_datasets has CIFAR-10, if not in the usual place.

    Raises:
        OSError: If CIFAR-10 is not there and cannot be downloaded.
    """
    names, pool, *others = _read(task.data, data_dir)
    classes = _CLASSES[task.data][: task.classes]
    random = np.random.default_rng(task.seed)
    places = []
    for label, count in zip(classes, task.counts, strict=True):
        found = np.flatnonzero(pool[1] == label)
        if len(found) < count:
            raise ValueError(f"There are {len(found)} images of a class, not {count}.")
        places.append(random.permutation(found)[:count])
    numbers = np.full(len(names), -1)
    numbers[list(classes)] = range(len(classes))
    images, labels = pool
    chosen = np.concatenate(places)
    parts = [(images[chosen], numbers[labels[chosen]])]
    for images, labels in others:
        chosen = np.flatnonzero(numbers[labels] >= 0)[:_MOST]
        parts.append((images[chosen], numbers[labels[chosen]]))
    return Images(tuple(names[label] for label in classes), *parts)


@functools.cache
def _read(data, data_dir):
    source = open_source(data, data_dir=data_dir)
    parts = []
    for split in _SPLITS[data]:
        batches = source.dataset(split).batch(512).as_numpy_iterator()
        parts.append(tuple(map(np.concatenate, zip(*batches, strict=True))))
    return source.class_names, *parts
