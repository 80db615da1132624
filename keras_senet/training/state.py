"""The whole state of a training in one file, written in one step.

The file is Keras' own .weights.h5 (model and optimizer) with a group "training" beside
them: how far the training is, the random generators' states and, in the middle of an
epoch, the metrics' states, all of which Keras leaves out, and a digest of the file.
The file before the last one is kept.
"""

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np

from keras_senet.utils.files import atomic_path
from keras_senet.weights import in_memory

# How a run goes on, for messages.
RESUME = "resume the run (resume=True, or --resume on the command line)"


class State(NamedTuple):
    """What a state's file says beside what went into the model.

    Attributes:
        progress: Numbers that say how far the training was.
        metrics: The states of the metrics, if it was in the middle of an epoch.
        best: The weights of the best epoch, where the training goes back to them.
    """

    progress: dict[str, float]
    metrics: list[np.ndarray]
    best: list[np.ndarray]


def previous_path(path: str | os.PathLike) -> Path:
    """Returns where `save_state` keeps the state before the last one."""
    return Path(path).with_name("previous.weights.h5")


def save_state(
    model: keras.Model,
    path: str | os.PathLike,
    progress: Mapping[str, float],
    best: Sequence[np.ndarray] = (),
) -> None:
    """Writes weights, optimizer, random state and progress, and keeps the older file.

    The progress says how far the training is; with a "step" above 0 the metrics belong
    to it. `best` are the weights of the best epoch, of `model.get_weights`.

    Raises:
        OSError: If the file cannot be written; the older ones are as they were.
    """
    path = Path(path)
    content = in_memory(model)
    with h5py.File(content, "r+") as file:
        group = file.create_group("training")
        group.attrs.update(progress)
        for name, variable in _beside_weights(model, progress):
            group[name] = keras.ops.convert_to_numpy(variable)
        for i, value in enumerate(best):
            group[f"best_{i}"] = value
        group.attrs["digest"] = _digest(file)
    with atomic_path(path, overwrite=True) as temporary:
        with open(temporary, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and damage(path) is None:
            path.replace(previous_path(path))


def damage(path: str | os.PathLike) -> str | None:
    """Returns what is wrong with the bytes of a state's file, or None."""
    try:
        with h5py.File(path) as file:
            # Files written before there was a digest have none.
            stored = file["training"].attrs.get("digest")
            if stored is None or _digest(file) == stored:
                return None
            return "its contents are not those that were written"
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        return str(error)


def load_state(model: keras.Model, path: str | os.PathLike) -> State:
    """Puts a state that `save_state` wrote into a compiled model of the same kind.

    Raises:
        ValueError: If the file is no checkpoint of a training, or of another one.
    """
    path = Path(path)
    progress = read_progress(path)
    with h5py.File(path) as file:
        group = file["training"]
        for name, variable in _beside_weights(model, {}):
            variable.assign(group[name][()])
        metrics, best = _numbered(group, "metric_"), _numbered(group, "best_")
    model.optimizer.build(model.trainable_variables)
    with warnings.catch_warnings():
        # Keras only warns when it leaves an optimizer as it was.
        warnings.filterwarnings("error", "Skipping variable loading")
        try:
            model.load_weights(path)
        except (UserWarning, ValueError) as error:
            raise ValueError(
                "The checkpoint must be of the same network and optimizer. "
                f"Received: {str(path)!r}. {error}"
            ) from error
    return State(progress, metrics, best)


def read_progress(path: str | os.PathLike) -> dict[str, float]:
    """Returns the numbers of a state's file that say how far the training was.

    Raises:
        ValueError: If the file is no checkpoint of a training.
    """
    with h5py.File(path) as file:
        if "training" not in file:
            raise ValueError(
                "The checkpoint must be one that a training wrote. "
                f"Received: {str(path)!r}"
            )
        attributes = dict(file["training"].attrs)
    attributes.pop("digest", None)
    return {name: float(value) for name, value in attributes.items()}


def find_state(path: str | os.PathLike) -> Path | None:
    """Returns the file of the last good state of a run, or None if there is no file.

    Where the last file is damaged or missing, that is the one before, with a warning.

    Raises:
        OSError: If there are files, and none is whole.
    """
    path, older = Path(path), previous_path(path)
    if not path.exists() and not older.exists():
        return None
    reason = damage(path) if path.exists() else "it is not there"
    if reason is None:
        return path
    if not older.exists() or damage(older) is not None:
        raise OSError(
            f"The checkpoint {str(path)!r} cannot be used: {reason}. There is no "
            "earlier checkpoint. Start the run again in a new folder."
        )
    warnings.warn(
        f"The checkpoint {str(path)!r} cannot be used: {reason}. The run continues "
        f"from the earlier one, {str(older)!r}.",
        stacklevel=2,
    )
    return older


def _numbered(group, name):
    count = sum(key.startswith(name) for key in group)
    return [group[f"{name}{i}"][()] for i in range(count)]


def _beside_weights(model, progress):
    """What belongs to the state and Keras does not save, with its names."""
    random = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    yield from ((f"random_{i}", variable) for i, variable in enumerate(random))
    if progress.get("step"):
        for i, variable in enumerate(model.metrics_variables):
            yield f"metric_{i}", variable


def _digest(file):
    """SHA-256 of the names and values of all arrays and of the progress."""
    digest = hashlib.sha256()

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            value = item[()]
            digest.update(f"{name} {item.dtype} {item.shape}".encode())
            digest.update(value.tobytes())

    file.visititems(add)
    for name, value in sorted(file["training"].attrs.items()):
        if name != "digest":
            digest.update(f"{name} {float(value)!r}".encode())
    return digest.hexdigest()
