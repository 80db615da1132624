"""The networks by name."""

from collections.abc import Callable

import keras

from keras_senet import weights as weights_room
from keras_senet.card import Card
from keras_senet.models import (
    regnet,
    resnet_rs,
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
from keras_senet.models._architecture import Architecture
from keras_senet.models._builder import POOLS
from keras_senet.models._records import Option, options_of
from keras_senet.utils.errors import nearest
from keras_senet.utils.networks import check_network, matching_networks
from keras_senet.weights.catalogue import PRESETS, by_accuracy
from keras_senet.weights.repository import SCHEME

_MODULES = (
    se_resnet,
    se_resnext,
    senet,
    resnet_rs,
    se_resnet_cifar,
    se_inception_v3,
    se_inception_resnet_v2,
    se_bn_inception,
    se_vgg,
    se_mobilenet,
    se_shufflenet,
    regnet,
)

CONSTRUCTORS: dict[str, Callable[..., keras.Model]] = {
    value.network: value
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(getattr(value, "network", None), str)
}


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Returns the names of the networks, in the order of the families.

    Args:
        pattern: Shell pattern of the names or the constructors, for example "se_res*"
            or "SERes*".
        pretrained: Whether to list only networks with published checkpoints
            (`list_weights`), the most accurate first. Networks that were not trained on
            ImageNet are the last.

    Example:

    >>> keras_senet.list_models("se_resnet*")[:3]
    ['se_resnet18', 'se_resnet34', 'se_resnet50']
    """
    names = matching_networks(pattern)
    if not pretrained:
        return names
    presets = [PRESETS[preset] for preset in weights_room.list_weights()]
    order = dict.fromkeys(p.card.constructor for p in by_accuracy(presets))
    return [name for name in order if name in names]


def create_model(name: str, /, **kwargs) -> keras.Model:
    """Builds a network by its name.

    Args:
        name: A name of `list_models`, a preset of `list_weights`, or
            "hf://user/model", a repository of the Hugging Face hub.
        **kwargs: Arguments of the network's constructor.

    Returns:
        A functional `keras.Model`, as its constructor returns it.

    Raises:
        ValueError: If there is no such network or preset, or both a preset and
            `weights` are given.

    Example:

    >>> keras_senet.create_model("se_resnet20", classes=5).output_shape
    (None, 5)
    """
    if name in CONSTRUCTORS:
        return CONSTRUCTORS[name](**kwargs)
    preset = weights_room.find_preset(name) if "." in str(name) else None
    if preset is None and not str(name).startswith(SCHEME):
        raise ValueError(
            "`name` must be a network of keras_senet.list_models(), a preset of "
            "keras_senet.list_weights() or 'hf://user/model'. "
            f"Received: name={name!r}.{nearest(name, CONSTRUCTORS)}"
        )
    if preset is not None:
        weights, network = preset.name, preset.card.constructor
    else:
        checkpoint = weights_room.open_checkpoint(name)
        weights, network = name, network_of(checkpoint.card)
    if network is None:
        raise ValueError(
            f"{name!r} does not say which network it has. Give the network: "
            f"create_model(NETWORK, weights={name!r})."
        )
    if "weights" in kwargs:
        raise ValueError(
            "`weights` must be left out if `name` is a preset, which has its own. "
            f"Received: name={name!r}, weights={kwargs['weights']!r}. For other "
            f"weights, give the network: create_model({network!r}, weights=...)."
        )
    return CONSTRUCTORS[network](weights=weights, **kwargs)


def constructor_of(network: str) -> Callable[..., keras.Model]:
    """Returns the constructor of a network.

    Args:
        network: A name of `list_models`.

    Raises:
        ValueError: If there is no such network.

    Example:

    >>> keras_senet.models.constructor_of("se_resnet20") is keras_senet.SEResNet20
    True
    """
    check_network(network, CONSTRUCTORS)
    return CONSTRUCTORS[network]


def architecture_options(network: str) -> dict[str, Option]:
    """Returns the architecture options of a network's constructor, by name.

    Args:
        network: A name of `list_models`. The defaults are this network's.

    Example:

    >>> list(keras_senet.models.architecture_options("se_vgg16"))[:2]
    ['se', 'reduction']
    """
    spec = constructor_of(network).spec
    return {option.name: option for option in spec.architecture}


def stages_of(network: str) -> tuple[int, ...]:
    """Returns the numbers of a network's stages.

    They are log2 of the stages' strides, 2 to 5; for small images 1 to 3.

    Args:
        network: A name of `list_models`.

    Example:

    >>> keras_senet.models.stages_of("se_resnet50")
    (2, 3, 4, 5)
    """
    return constructor_of(network).spec.family.architecture.stages


def network_of(card: Card) -> str | None:
    """Returns the name of the network that a card describes, or None.

    The files of other libraries do not name a network, but their arrays show a part of
    the architecture. Several networks may have this part; the most specific one is
    returned.

    Args:
        card: The card of a model or a file.

    Example:

    >>> keras_senet.models.network_of(model.card)
    'se_resnet20'
    """
    row = card.architecture
    if card.constructor is not None or not row:
        return card.constructor
    specs = [build.spec for build in CONSTRUCTORS.values()]
    fitting = {spec.network: len(spec.fixed) for spec in specs if _has_row(spec, row)}
    return max(fitting, key=fitting.get, default=None)


def pooling_of(model: keras.Model) -> str | None:
    """Returns the `pooling` of a network without a top."""
    last = model.layers[-1].name
    return next((kind for kind in POOLS if last == f"{kind}_pool"), None)


def _has_row(spec, row):
    """Whether a row is of the network's family and has all that the network fixes."""
    options, shared = options_of(spec.family.architecture), options_of(Architecture)
    if not set(row) <= set(options) or set(row) <= set(shared):
        return False
    return all(
        options[name].check(row.get(name, options[name].default)) == value
        for name, value in spec.fixed.items()
    )
