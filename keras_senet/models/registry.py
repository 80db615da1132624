"""The networks by name."""

import fnmatch
from collections.abc import Callable

import keras

from keras_senet import weights as weights_room
from keras_senet.models import (
    se_bn_inception,
    se_inception_resnet_v2,
    se_inception_v3,
    se_mobilenet,
    se_resnet,
    se_resnet_cifar,
    se_resnext,
    se_shufflenet,
    se_vgg,
    senet,
)
from keras_senet.utils.errors import nearest

_MODULES = (
    se_resnet,
    se_resnext,
    senet,
    se_resnet_cifar,
    se_inception_v3,
    se_inception_resnet_v2,
    se_bn_inception,
    se_vgg,
    se_mobilenet,
    se_shufflenet,
)

CONSTRUCTORS: dict[str, Callable[..., keras.Model]] = {
    value.network: value
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(getattr(value, "network", None), str)
}


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of the networks, in the order of the families.

    Args:
        pattern: Shell pattern, for example "se_res*".
    """
    return fnmatch.filter(CONSTRUCTORS, pattern)


def create_model(name: str, /, **kwargs) -> keras.Model:
    """Builds a network by its name.

    Args:
        name: A name of `list_models`, or a preset of `list_weights`: then the
            network's weights are the preset's.
        **kwargs: Arguments of the network's constructor.

    Raises:
        ValueError: If there is no such network or preset, or `weights` beside a preset.
    """
    if name in CONSTRUCTORS:
        return CONSTRUCTORS[name](**kwargs)
    preset = weights_room.find_preset(name) if "." in name else None
    if preset is not None and "weights" in kwargs:
        raise ValueError(
            "`weights` must be left out where `name` is a preset, which has its own. "
            f"Received: name={name!r}, weights={kwargs['weights']!r}. For others give "
            f"the network: create_model({preset.card.constructor!r}, weights=...)."
        )
    if preset is not None:
        return CONSTRUCTORS[preset.card.constructor](weights=preset.name, **kwargs)
    raise ValueError(
        "`name` must be a network of keras_senet.list_models() or a preset of "
        f"keras_senet.list_weights(). Received: name={name!r}."
        f"{nearest(name, CONSTRUCTORS)}"
    )
