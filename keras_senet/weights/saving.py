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
from keras_senet.utils.graph import check_model, is_quantized


def network_card(model: keras.Model, **changes) -> Card:
    """Returns the card of a network of `keras_senet.models`.

    Args:
        model: The network.
        **changes: Fields to set, for example `labels`.

    Raises:
        ValueError: If a constructor of keras_senet did not make the model, `quantize`
            changed its weights, or there are more or fewer labels than classes.

    Example:

    >>> keras_senet.weights.network_card(model, licence="Apache-2.0").licence
    'Apache-2.0'
    """
    check_model(model)
    card = Card.of(model)
    if card.constructor is None or card.architecture is None:
        raise ValueError(
            "The model must be built by a constructor of keras_senet, and have its "
            f"layers as it built them. Received: {model!r} named {model.name!r}. Save "
            "others with their own `save`."
        )
    if is_quantized(model):
        raise ValueError(
            "A file of weights is for the network that the constructor builds. "
            f"Received: {model.name!r}, whose weights Keras' `quantize` changed. "
            "Save the whole model: model.save('model.keras')."
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

    HDF5 ends the process if the disk is full, so it never writes to a disk here.

    Args:
        model: A built model. If it is compiled, the file also has its optimizer.
        ending: ".weights.h5" or ".keras".

    Example:

    >>> len(keras_senet.weights.in_memory(model).getvalue()) > 4 * model.count_params()
    True
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
    """Writes a .weights.h5 file that contains the model's card.

    `model.load_weights(path)` can read it too.

    Args:
        model: A built network.
        path: The file; its name ends in ".weights.h5".
        card: The card for the file, with an architecture row; by default the model's
            own card.
        overwrite: Whether an existing file is replaced.

    Returns:
        The path of the file.

    Raises:
        ValueError: If the name has another extension, the file exists, `card` has no
            architecture row, or it is not given and no constructor of keras_senet built
            the model.

    Example:

    >>> path = keras_senet.weights.save_weights(model, "network.weights.h5")
    >>> same = keras_senet.SEResNet20(weights=path)
    """
    if card is not None and card.architecture is None:
        raise ValueError(
            "The card of a .weights.h5 file must have an architecture row. Received: "
            "one without. Use keras_senet.weights.network_card(model, ...)."
        )
    card = network_card(model) if card is None else card
    return _save(model, path, card, overwrite, ".weights.h5")


def save_model(
    model: keras.Model,
    path: str | os.PathLike,
    card: Card | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a .keras file that contains the model's card.

    `keras.saving.load_model(path)` can read it too. All is as for `save_weights`, but
    the name ends in ".keras", and the model may be any.

    Example:

    >>> path = keras_senet.weights.save_model(model, "network.keras")
    >>> keras.saving.load_model(path).card.classes
    10
    """
    check_model(model)
    card = Card.of(model) if card is None else card
    return _save(model, path, card, overwrite, ".keras")


def _save(model, path, card, overwrite, ending):
    if not str(path).endswith(ending):
        raise ValueError(f"`path` must end in {ending!r}. Received: path={str(path)!r}")
    with atomic_path(path, overwrite=overwrite) as temporary:
        content = in_memory(model, ending)
        card.write(content)
        temporary.write_bytes(content.getbuffer())
    return Path(path)
