"""Copies of single layers, with the names and values of the old ones."""

import keras

from keras_senet.layers import BatchNormalization, Conv2D

_KERAS_OWN = {
    BatchNormalization: keras.layers.BatchNormalization,
    Conv2D: keras.layers.Conv2D,
}


def keras_own(layer) -> type:
    """Returns a layer's class, or Keras' own if ours differs only in how it computes.

    Both have the same arguments and weights.
    """
    return _KERAS_OWN.get(type(layer), type(layer))


def fresh(layer, kind: type | None = None):
    """Returns a layer, or an operation, of the same name and arguments.

    Args:
        layer: The layer that is copied.
        kind: The copy's class, by default the same.
    """
    copy = (kind or type(layer)).from_config(layer.get_config())
    copy.name = layer.name
    return copy


def fill(copy, layer) -> None:
    """Gives a copied layer, once it is built, the values of the old one."""
    old, new = getattr(layer, "variables", ()), getattr(copy, "variables", ())
    if len(old) != len(new):
        raise ValueError(
            "`model` must consist of layers whose `get_config` describes them wholly. "
            f"Received: {type(layer).__name__} {layer.name!r} with {len(old)} "
            f"variables, rebuilt with {len(new)}. Correct its `get_config`."
        )
    for target, source in zip(new, old, strict=True):
        target.assign(source)
    if hasattr(copy, "finalize_state"):  # Normalization keeps values beside them.
        copy.finalize_state()


def unique_name(name: str, taken: set[str]) -> str:
    """Returns `name`, numbered where it is taken, and takes it."""
    unique, count = name, 1
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    taken.add(unique)
    return unique
