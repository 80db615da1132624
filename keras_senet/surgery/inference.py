"""A model made ready to be written: in float32, folded, with sizes and labels fixed."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras

from keras_senet.card import Card
from keras_senet.surgery.fold import fold
from keras_senet.utils.copying import copied, made_again
from keras_senet.utils.errors import as_integer, checked_size
from keras_senet.utils.graph import check_model


def check_known_inputs(model: keras.Model) -> None:
    """Raises a ValueError unless `model` is a Keras model with known inputs."""
    check_model(model)
    if not getattr(model, "inputs", None):
        raise ValueError(
            "The model's inputs must be known. Received: the model "
            f"{model.name!r} of type {type(model).__name__}. Use "
            "keras.Model(inputs, model(inputs)) with inputs = keras.Input(shape)."
        )


def labelled(card: Card, labels: Sequence[str] | None, widths: Iterable[int]) -> Card:
    """Returns a card with class names; raises a ValueError if they do not fit.

    Args:
        card: The card.
        labels: The names. `None` leaves the card as it is.
        widths: The sizes of the last axes of the model's outputs.
    """
    if labels is None:
        return card
    widths = list(widths)
    if len(labels) not in widths:
        raise ValueError(
            "There must be one label for each class. Received: "
            f"{len(labels)} labels for a model with "
            f"{' and '.join(map(str, widths))} classes."
        )
    return dataclasses.replace(card, labels=tuple(map(str, labels)))


def sized(
    shape: tuple, image_size, batch_size, data_format: str = "channels_last"
) -> list[int | None]:
    """Returns an input's shape with the sizes that are fixed."""
    sides = list(shape)
    if batch_size is not None:
        sides[0] = as_integer("batch_size", batch_size)
    if image_size is None or len(sides) != 4:
        return sides
    axes = (2, 3) if data_format == "channels_first" else (1, 2)
    for axis, size in zip(axes, checked_size(image_size), strict=True):
        if sides[axis] not in (None, size):
            raise ValueError(
                "`image_size` must agree with the model's input. Received: "
                f"image_size={image_size!r} and an input of shape {shape}. Leave "
                "`image_size` out, or build the model for that size."
            )
        sides[axis] = size
    return sides


def openvino_weights(path: Path, overwrite: bool) -> Path:
    """Returns where the weights of an .xml file go; raises if a file is there."""
    weights = path.with_suffix(".bin")
    if weights.exists() and not overwrite:
        raise ValueError(
            f"The file of weights must not exist yet. Received: {str(path)!r}, but "
            f"{str(weights)!r} exists. Choose another path or remove the file."
        )
    return weights


def folded(model: keras.Model) -> keras.Model:
    """Returns the model folded, or itself where it has a layer Keras cannot copy."""
    try:
        return fold(model)
    # Keras' words for a layer without get_config, for one with another function, and
    # for one whose get_config leaves an argument out.
    except (NotImplementedError, TypeError, ValueError):
        return model


def full_precision(model: keras.Model) -> keras.Model:
    """Returns the model itself, or its copy in float32 where it is of mixed precision.

    The copy has the same weights. Inference in 16 bits is a matter of the device the
    file runs on; TFLite has no kernels for Keras' 16-bit activations.
    """
    if all(_is_full_precision(layer) for layer in _leaves(model)):
        return model

    def cloned(layer):
        copy = made_again(layer, _full_precision_config(layer.get_config()))
        copy.name = layer.name
        return copy

    return keras.Model(*copied(model, make=cloned), name=model.name)


def _leaves(layer):
    inner = getattr(layer, "layers", None)
    if inner is None:
        yield layer
        return
    for part in inner:
        yield from _leaves(part)


def _is_full_precision(layer) -> bool:
    if isinstance(layer, keras.layers.InputLayer):
        return True
    policy = layer.dtype_policy
    return policy.compute_dtype == "float32" == policy.variable_dtype


def _full_precision_config(config):
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32"
        return {key: _full_precision_config(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_full_precision_config(value) for value in config)
    return config
