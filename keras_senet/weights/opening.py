"""`weights=` -> a checkpoint in our names, with its architecture row."""

import dataclasses
import functools
import os
import warnings
from pathlib import Path

import keras

from keras_senet.utils.networks import check_network
from keras_senet.weights import layouts, repository
from keras_senet.weights.catalogue import (
    GENERIC,
    HOSTS,
    NOT_COMMERCIAL,
    find_preset,
    unknown_weights,
)
from keras_senet.weights.checkpoint import Checkpoint
from keras_senet.weights.presets import Host, Preset
from keras_senet.weights.readers import read_file
from keras_senet.weights.store import fetch


def open_checkpoint(
    weights: str | os.PathLike | None, constructor: str | None = None
) -> Checkpoint | None:
    """Reads the checkpoint that the `weights` argument of a constructor names.

    Args:
        weights: None; the tag, name or alias of a preset; "imagenet_host"; the path of
            a file; or "hf://user/model", a model on the hub.
        constructor: A name of `keras_senet.list_models()`; None for any.

    Returns:
        The checkpoint; None if `weights` is None.

    Raises:
        ValueError: If there is no such preset, it belongs to another network, or the
            file is not recognised.
        FileNotFoundError: If there is no such file.
        OSError: If a file cannot be downloaded.

    Example:

    >>> checkpoint = keras_senet.weights.open_checkpoint("cifar10", "se_resnet20")
    >>> checkpoint.card.classes
    10
    """
    if weights is None:
        return None
    address = str(weights) if str(weights).startswith(repository.SCHEME) else ""
    known = address.removeprefix(repository.SCHEME).partition("@")[0]
    preset = find_preset(known or str(weights), constructor)
    if address and "/" not in known:  # no user's model, and no tag either
        preset = None
    if preset is not None:
        check_preset(preset, constructor)
        if preset.card.licence in NOT_COMMERCIAL:
            _say_licence(preset.name, preset.card.licence)
    if "@" in address or (address and preset is None):
        return read_checkpoint(repository.fetch_address(address), preset=preset)
    if preset is not None:
        return read_checkpoint(fetch(preset), preset=preset)
    if weights == "imagenet_host" and constructor in HOSTS:
        return layouts.read_host(HOSTS[constructor])
    if Path(weights).is_file():
        return read_checkpoint(weights)
    if Path(weights).is_dir():
        raise ValueError(
            f"`weights` must be a file. Received: the folder {str(weights)!r}. Use "
            "keras_senet.load_pretrained(folder) for one of save_pretrained."
        )
    if Path(weights).parent != Path() and not str(weights).startswith("timm/"):
        raise FileNotFoundError(
            f"There is no weights file {str(weights)!r}. For a model on the Hugging "
            "Face hub, use 'hf://user/model'."
        )
    raise ValueError(unknown_weights(str(weights), constructor))


@functools.cache
def _say_licence(name: str, licence: str) -> None:
    """Warns once that a preset may not be used for everything."""
    warnings.warn(
        f"The weights of {name!r} have the licence {licence}, which does not allow "
        "commercial use.",
        stacklevel=4,
    )


def find_host(constructor: str) -> Host | None:
    """Returns the keras.applications network of `weights="imagenet_host"`, or None.

    Args:
        constructor: A name of `keras_senet.list_models()`.

    Raises:
        ValueError: If there is no such network.

    Example:

    >>> keras_senet.weights.find_host("se_vgg16").application
    'VGG16'
    """
    check_network(constructor)
    return HOSTS.get(constructor)


def check_preset(preset: Preset, constructor: str | None) -> None:
    """Raises ValueError for a preset that the constructor cannot take."""
    if preset.refusal:
        raise ValueError(f"{preset.name!r} cannot be loaded: {preset.refusal}")
    if constructor in (None, preset.card.constructor):
        return
    own = preset.card.constructor
    if own in GENERIC and constructor.startswith(own[:6]):
        return
    check_network(constructor)
    families = {"regnety": ("regnety",)}.get(constructor, ("se_res", "senet"))
    if constructor in GENERIC and own.startswith(families):
        return
    raise ValueError(
        f"`weights` must be a preset of {constructor}. Received: {preset.name!r}, "
        f"which belongs to {own}."
    )


def read_checkpoint(
    path: str | os.PathLike, *, preset: Preset | None = None
) -> Checkpoint:
    """Reads a file of any known layout.

    Args:
        path: The file.
        preset: The preset of the file, if it is known.

    Raises:
        ValueError: If the file cannot be read or recognised, or does not have the
            network of the preset.

    Example:

    >>> path = keras_senet.weights.save_weights(model, "network.weights.h5")
    >>> keras_senet.weights.read_checkpoint(path).card.constructor
    'se_resnet20'
    """
    raw = read_file(path)
    if raw.card is None:
        found = layouts.recognise(raw, path)
    elif raw.card.architecture is None:
        raise ValueError(f"The header of {str(path)!r} has no architecture row.")
    else:
        found = Checkpoint(arrays=raw.arrays, card=raw.card, layout="keras_senet")
    found = dataclasses.replace(found, path=Path(path))
    _check_size(found)
    return found if preset is None else _merge(found, preset)


def _check_size(found: Checkpoint) -> None:
    """Refuses what would build a network much larger than the file's arrays.

    Each block has an array. The other axis of a width's kernel is rarely 64 times
    narrower.
    """
    arrays = found.arrays.values()
    values = sum(array.size for array in arrays)
    if not all(array.size for array in arrays):
        raise ValueError(f"{str(found.path)!r} has arrays without values.")
    for field, value in found.card.architecture.items():
        numbers = [n for n in keras.tree.flatten(value) if isinstance(n, int)]
        many = field == "blocks" and sum(numbers) > len(arrays)
        wide = field != "reduction" and any(n * n > 64 * values for n in numbers)
        if many or wide:
            raise ValueError(
                f"The field `{field}` in the header of {str(found.path)!r} must match "
                f"its {len(arrays)} arrays of {values} values. Received: {value!r}"
            )


def _merge(found: Checkpoint, preset: Preset) -> Checkpoint:
    card, known = found.card, preset.card
    row = card.architecture
    differences = ", ".join(
        f"{name} is {row[name]!r} instead of {value!r}"
        for name, value in known.architecture.items()
        if row.get(name, value) != value
    )
    if differences:
        raise ValueError(
            f"{str(found.path)!r} must be the network of the preset {preset.name!r}. "
            f"Received a file in which {differences}."
        )
    card = dataclasses.replace(
        card,
        constructor=known.constructor,
        architecture={**row, **known.architecture},
        preprocessing=known.preprocessing,
        labels=known.labels or card.labels,
        preset=preset.name,
        licence=known.licence,
    )
    return dataclasses.replace(found, card=card, untold=())
