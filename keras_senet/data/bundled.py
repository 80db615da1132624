"""The data set inside the package: 7,000 images of Fashion-MNIST (see NOTICE.md)."""

import functools
from importlib import resources

import numpy as np

from keras_senet.data.arrays import arrays_source
from keras_senet.data.source import Source

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# Of the 6,000 training images.
MEAN = (0.286176,)
STD = (0.353374,)


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    """Returns x_train, y_train, x_test, y_test; images (N, 28, 28), all uint8."""
    file = resources.files("keras_senet.data") / "fashion_mnist_subset.npz"
    with resources.as_file(file) as path, np.load(path) as loaded:
        return dict(loaded)


def open_bundled() -> Source:
    """Returns the bundled set as a source."""
    found = arrays()
    parts = {
        split: (found[f"x_{split}"][..., None], found[f"y_{split}"].astype(np.int64))
        for split in ("train", "test")
    }
    return arrays_source("bundled", CLASS_NAMES, parts, mean=MEAN, std=STD)
