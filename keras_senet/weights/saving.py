"""Weight files and models as files of ours, which carry their card.

Keras reads them too.
"""

import dataclasses
import math
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


def file_size(model: keras.Model) -> int:
    """Returns how many bytes a file of a model's weights and optimizer has at most."""
    variables = [*model.variables]
    if getattr(model, "optimizer", None) is not None:
        variables += model.optimizer.variables
    values = sum((8 if "64" in v.dtype else 4) * math.prod(v.shape) for v in variables)
    # Groups, names and headers; a layer without variables has some, too.
    return values + 4096 * (len(variables) + len(model.layers)) + 2**16


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
    return _save(model, path, card, overwrite, ".weights.h5", "save_weights")


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
    return _save(model, path, card, overwrite, ".keras", "save")


def _save(model, path, card, overwrite, ending, method):
    if not str(path).endswith(ending):
        raise ValueError(f"`path` must end in {ending!r}. Received: path={str(path)!r}")
    card = network_card(model) if card is None else card
    room = file_size(model)
    with atomic_path(path, overwrite=overwrite, room=room) as temporary:
        getattr(model, method)(temporary)
        card.write(temporary)
    return Path(path)
