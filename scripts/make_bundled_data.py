"""Makes keras_senet/data/fashion_mnist_subset.npz, the data set inside the package.

    KERAS_SENET_DATA=FOLDER python scripts/make_bundled_data.py [OUTPUT]

FOLDER holds fashion_mnist.npz (x_train, y_train); without it the images come from
keras.datasets. Only the official training split is read: 600 images a class become
the training split and 100 the held-out one, so that the official test images stay
untouched. An image's SHA-256 with a seed decides where it goes, so the choice depends
on no random number generator, and the file's bytes on no clock.
"""

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np

from keras_senet.utils.files import atomic_path

OUTPUT = Path(__file__).parents[1] / "keras_senet/data/fashion_mnist_subset.npz"
TRAIN_PER_CLASS = 600
TEST_PER_CLASS = 100
SEED = b"keras_senet"
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def official_training_split() -> tuple[np.ndarray, np.ndarray]:
    """Returns the 60,000 images (N, 28, 28) and their labels (N,), uint8."""
    folder = os.environ.get("KERAS_SENET_DATA")
    if folder and (path := Path(folder, "fashion_mnist.npz")).exists():
        with np.load(path) as arrays:
            return arrays["x_train"], arrays["y_train"]
    import keras

    return keras.datasets.fashion_mnist.load_data()[0]


def draw(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the two splits, each with its classes in turn: 0, 1, ..., 9, 0, 1, ..."""
    order = sorted(
        range(len(images)),
        key=lambda i: hashlib.sha256(SEED + images[i].tobytes()).digest(),
    )
    by_class = [[i for i in order if labels[i] == k] for k in range(10)]
    parts = {
        "train": slice(0, TRAIN_PER_CLASS),
        "test": slice(TRAIN_PER_CLASS, TRAIN_PER_CLASS + TEST_PER_CLASS),
    }
    arrays = {}
    for split, part in parts.items():
        chosen = np.array([members[part] for members in by_class]).T.ravel()
        arrays[f"x_{split}"] = images[chosen]
        arrays[f"y_{split}"] = labels[chosen]
    return arrays


def write(arrays: dict[str, np.ndarray], path: Path) -> str:
    """Writes an .npz whose bytes depend on the arrays only; returns its SHA-256."""
    with (
        atomic_path(path, overwrite=True) as file,
        zipfile.ZipFile(file, "w") as archive,
    ):
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", ZIP_TIME)
            info.create_system = 3
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.getvalue(), compresslevel=9)
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    digest = write(draw(*official_training_split()), output)
    print(f"{digest}  {output.name}  {output.stat().st_size:,} bytes")
