"""A model made ready to be written: in float32, folded, with its labels."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras

from keras_senet.card import Card
from keras_senet.surgery.fold import fold
from keras_senet.utils.copying import in_float32
from keras_senet.utils.errors import checked_labels
from keras_senet.utils.graph import check_known_inputs


def ready(model: keras.Model, *, folded: bool) -> keras.Model:
    """Returns a model as it is written: in float32, and folded where that is asked.

    One with a layer that Keras cannot copy is not folded. `model` does not change.

    Raises:
        ValueError: If it is no Keras model with known inputs.
    """
    check_known_inputs(model)
    model = in_float32(model)
    try:
        return fold(model) if folded else model
    # Keras' words for a layer without get_config, for one with another function, and
    # for one whose get_config leaves an argument out.
    except (NotImplementedError, TypeError, ValueError):
        return model


def labelled(card: Card, labels: Sequence[str] | None, widths: Iterable[int]) -> Card:
    """Returns a card with class names; raises a ValueError if they do not fit.

    Args:
        card: The card.
        labels: The names. `None` leaves the card as it is.
        widths: The sizes of the last axes of the model's outputs.
    """
    if labels is None:
        return card
    labels, widths = checked_labels(labels), list(widths)
    if len(labels) not in widths:
        raise ValueError(
            "There must be one label for each class. Received: "
            f"{len(labels)} labels for a model with "
            f"{' and '.join(map(str, widths))} classes."
        )
    return dataclasses.replace(card, labels=labels)


def check_openvino_weights(path: Path, overwrite: bool) -> None:
    """Raises if there is a file where the weights of a new .xml file go."""
    weights = path.with_suffix(".bin")
    if weights.exists() and not overwrite:
        raise ValueError(
            f"The file of weights must not exist yet. Received: {str(path)!r}, but "
            f"{str(weights)!r} exists. Choose another path or remove the file."
        )


def move_openvino_weights(written: Path, path: Path) -> None:
    """Moves the weights of a written .xml file to the place that `path` needs.

    There is never an .xml file with the weights of another one beside it.
    """
    if path.is_file():
        path.unlink()
    os.replace(written.with_suffix(".bin"), path.with_suffix(".bin"))
