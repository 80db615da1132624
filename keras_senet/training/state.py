"""The whole state of a training in one file, written in one step.

The file is Keras' own .weights.h5 (model and optimizer) with a group "training" beside
them: how far the training is, and the random generators' states, which Keras leaves
out.
"""

import os
from pathlib import Path

import h5py
import keras

from keras_senet.utils.files import atomic_path


def save_state(
    model: keras.Model, path: str | os.PathLike, progress: dict[str, float]
) -> None:
    """Writes weights, optimizer, random state and progress, replacing an older file.

    Args:
        model: A compiled model.
        path: The file, ending in .weights.h5.
        progress: Numbers that say how far the training is.
    """
    with atomic_path(path, overwrite=True) as temporary:
        model.save_weights(temporary)
        with h5py.File(temporary, "a") as file:
            group = file.create_group("training")
            group.attrs.update(progress)
            for i, variable in enumerate(_random_state(model)):
                group[f"random_{i}"] = keras.ops.convert_to_numpy(variable)


def load_state(model: keras.Model, path: str | os.PathLike) -> dict[str, float]:
    """Puts a saved state into a compiled model of the same kind.

    Args:
        model: A compiled model, built as the saved one was.
        path: A file of `save_state`.

    Returns:
        The progress.

    Raises:
        ValueError: If the file is no checkpoint of a training.
    """
    path = Path(path)
    with h5py.File(path) as file:
        if "training" not in file:
            raise ValueError(
                "The checkpoint must be one that a training wrote after an epoch. "
                f"Received: {str(path)!r}"
            )
        group = file["training"]
        progress = {name: float(value) for name, value in group.attrs.items()}
        for i, variable in enumerate(_random_state(model)):
            variable.assign(group[f"random_{i}"][()])
    model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
    return progress


def _random_state(model):
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]
