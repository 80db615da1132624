"""Weight files and models as files of ours, which carry their card.

Keras reads them too.
"""

import dataclasses
import io
import os
from pathlib import Path

import keras

from keras_senet.card import Card
from keras_senet.utils.files import atomic_path


def network_card(model: keras.Model, **changes) -> Card:
    """Returns the card of a network of `keras_senet.models`.

    Args:
        model: The network.
        **changes: Fields to set, `labels` for example.

    Raises:
        ValueError: If a constructor of keras_senet did not make the model, or there
            are more or fewer labels than classes.
    """
    card = Card.of(model)
    if card.constructor is None or card.architecture is None:
        raise ValueError(
            "The model must be a network that a keras_senet constructor made, which "
            f"knows its architecture. Received: {model!r} named {model.name!r}. Save "
            "other models with their own `save`."
        )
    return dataclasses.replace(card, **changes)


class _InMemory(io.BytesIO):
    """A file in memory that has the ending by which Keras knows what to write."""

    def __init__(self, ending: str):
        super().__init__()
        self._ending = ending

    def __str__(self) -> str:
        return f"model{self._ending}"


def in_memory(model: keras.Model, ending: str = ".weights.h5") -> io.BytesIO:
    """Returns the file that Keras writes of a model, in memory.

    HDF5 ends the process where a disk is full, so it never writes to one here.

    Args:
        model: A built model; of a compiled one the optimizer is written, too.
        ending: ".weights.h5" or ".keras".
    """
    content = _InMemory(ending)
    (model.save if ending == ".keras" else model.save_weights)(content)
    return content


def save_weights(
    model: keras.Model,
    path: str | os.PathLike,
    card: Card | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a .weights.h5 that says which network it belongs to.

    `model.load_weights(path)` reads it too.

    Args:
        model: A built network.
        path: Ends in ".weights.h5".
        card: What the file says; by default the model's own card.
        overwrite: Whether an existing file is replaced.

    Raises:
        ValueError: If the name has another ending, the file exists, or `card` is not
            given and the model is no network of ours.
    """
    return _save(model, path, card, overwrite, ".weights.h5")


def save_model(
    model: keras.Model,
    path: str | os.PathLike,
    card: Card | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a .keras file that also carries the card; arguments as `save_weights`.

    `keras.saving.load_model(path)` reads it too.
    """
    return _save(model, path, card, overwrite, ".keras")


def _save(model, path, card, overwrite, ending):
    if not str(path).endswith(ending):
        raise ValueError(f"`path` must end in {ending!r}. Received: path={str(path)!r}")
    card = network_card(model) if card is None else card
    with atomic_path(path, overwrite=overwrite) as temporary:
        content = in_memory(model, ending)
        card.write(content)
        temporary.write_bytes(content.getbuffer())
    return Path(path)
