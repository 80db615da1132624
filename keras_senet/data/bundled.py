"""The data set inside the package: 7,000 images of Fashion-MNIST (see NOTICE.md)."""

import functools
from importlib import resources

import numpy as np
import tensorflow as tf

from keras_senet.data.decoding import Window, crop
from keras_senet.data.source import Part, Source

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Of the 6,000 training images.
MEAN = (0.286176,)
STD = (0.353374,)


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    """Returns x_train, y_train, x_test, y_test; images (N, 28, 28), all uint8."""
    file = resources.files("keras_senet.data") / "fashion_mnist_subset.npz"
    with resources.as_file(file) as path, np.load(path) as loaded:
        return dict(loaded)


class _BundledReader:
    record_bytes = 28 * 28

    def records(self, part: Part) -> tf.data.Dataset:
        wanted = slice(part.start, part.stop)
        images = arrays()[f"x_{part.split}"][wanted, ..., np.newaxis]
        labels = arrays()[f"y_{part.split}"][wanted].astype(np.int64)
        return tf.data.Dataset.from_tensor_slices((images, labels))

    def reordered(self, part: Part, seed: tf.Tensor) -> None:
        return None

    def first_unreadable(self) -> None:
        return None

    def decode(self, record: tf.Tensor, window: Window | None = None) -> tf.Tensor:
        return crop(record, window)


def open_bundled() -> Source:
    """Returns the bundled set as a source."""
    return Source(
        name="bundled",
        class_names=CLASS_NAMES,
        splits={split: len(arrays()[f"y_{split}"]) for split in ("train", "test")},
        channels=1,
        image_size=(28, 28),
        mean=MEAN,
        std=STD,
        reader=_BundledReader(),
    )
