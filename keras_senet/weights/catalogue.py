"""The published checkpoints, and finding one by its name.

published.json has their records: what the constructor and `Preprocessing` leave open
and do not have by default. "caffe" are the authors' released weights; the other legacy
ones timm trained in the same network code.

Sources of the numbers: timm's results tables (`results-imagenet.csv`) and model
configurations; the README of image-classifiers; keras.io/api/applications.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from keras_senet.card import Card, Preprocessing
from keras_senet.utils.errors import nearest
from keras_senet.utils.networks import check_network
from keras_senet.weights.presets import Host, Preset, parse_preset
from keras_senet.weights.shipped import shipped_presets

GENERIC = ("se_resnet", "se_resnext", "regnety")  # constructors for any depths
NOT_COMMERCIAL = frozenset({"CC-BY-NC-4.0", "SEER"})


def _records(name):
    return json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


# Parameters and multiply-adds; scripts/make_accuracy_page.py counts them.
_COSTS = _records("costs.json")


def _counted(preset):
    parameters, products = _COSTS.get(preset.name, (0, 0))
    return dataclasses.replace(preset, parameters=parameters, multiply_adds=products)


_PUBLISHED = map(parse_preset, _records("published.json"))
PRESETS: dict[str, Preset] = {
    preset.name: _counted(preset) for preset in (*_PUBLISHED, *shipped_presets())
}

# The networks of "imagenet": the most accurate weights whose licence allows every use,
# if there are any that are read without torch. (The authors' own SENet-154 is 0.06
# better than Gluon's but exists for torch only.)
IMAGENET: dict[str, str] = {
    preset.card.constructor: preset.tag
    for preset in sorted(
        (p for p in PRESETS.values() if p.accuracy and p.card.classes == 1000),
        key=lambda p: (not p.files[0].name.endswith(".pth"), p.accuracy.top1),
    )
    if not preset.refusal
    and preset.card.licence not in NOT_COMMERCIAL
    and preset.card.constructor not in GENERIC
}

UNIT = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
# keras.applications' "caffe" mode: blue first, means subtracted, no scaling.
CAFFE_MODE = Preprocessing(
    mean=(103.939 / 255, 116.779 / 255, 123.68 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channel_order="BGR",
)


def _host(constructor, application, top1, top5, record, licence="Apache-2.0", **row):
    """The checkpoint leaves SE as it starts, at the exact identity."""
    card = Card(
        constructor=constructor,
        architecture={"se": True, "identity_start": True, **row},
        include_top=True,
        classes=1000,
        preprocessing=record,
        normalises=False,
        preset=f"{constructor}.imagenet_host",
        licence=licence,
    )
    return Host(card=card, application=application, top1=top1, top5=top5)


_LARGE = dataclasses.replace(UNIT, image_size=299)
_CC_BY = "CC-BY-4.0"

HOSTS: dict[str, Host] = {
    host.card.constructor: host
    for host in (
        _host("se_inception_v3", "InceptionV3", 77.9, 93.7, _LARGE),
        _host("se_inception_resnet_v2", "InceptionResNetV2", 80.3, 95.3, _LARGE),
        _host("se_mobilenet", "MobileNet", 70.4, 89.5, UNIT),
        _host("se_vgg16", "VGG16", 71.3, 90.1, CAFFE_MODE, _CC_BY, batch_norm=False),
    )
}


def list_weights(constructor: str | None = None) -> list[str]:
    """Returns the names of the published checkpoints that can be loaded.

    Args:
        constructor: A name of `keras_senet.list_models()`, or None for all.

    Raises:
        ValueError: If there is no such network.

    Example:

    >>> "se_resnet20.cifar10" in keras_senet.list_weights("se_resnet20")
    True
    """
    if constructor is not None:
        check_network(constructor)
    return [
        name
        for name, preset in PRESETS.items()
        if not preset.refusal and constructor in (None, preset.card.constructor)
    ]


def by_accuracy(presets: Iterable[Preset]) -> list[Preset]:
    """Sorts presets: ImageNet's first, then the most accurate; untold ones last."""

    def key(preset):
        if preset.accuracy is None:
            return 2, 0.0
        return "ImageNet" not in preset.accuracy.images, -preset.accuracy.top1

    return sorted(presets, key=key)


def default_weights(constructor: str) -> str | None:
    """Returns the default of `weights`: "imagenet" if such weights exist, else None.

    Args:
        constructor: A name of `keras_senet.list_models()`.

    Raises:
        ValueError: If there is no such network.

    Example:

    >>> keras_senet.weights.default_weights("se_resnet50")
    'imagenet'
    """
    check_network(constructor)
    return "imagenet" if constructor in IMAGENET else None


def find_preset(weights: str, constructor: str | None = None) -> Preset | None:
    """Returns the preset with a name, alias or tag, or None for no such preset.

    Args:
        weights: "imagenet", a tag ("ra2_in1k"), a name ("se_resnet50.ra2_in1k") or an
            alias ("timm/seresnet50.ra2_in1k").
        constructor: The network for a tag; None finds only names and aliases.

    Example:

    >>> keras_senet.weights.find_preset("cifar10", "se_resnet20").name
    'se_resnet20.cifar10'
    """
    name = str(weights)
    tag = IMAGENET.get(constructor) if name == "imagenet" else name
    found = PRESETS.get(f"{constructor}.{tag}") or PRESETS.get(name)
    return found or next((p for p in PRESETS.values() if name in p.aliases), None)


def unknown_weights(weights: str, constructor: str | None) -> str:
    """Returns the message for weights that are no preset and no file."""
    tags, known = [], "keras_senet.list_weights() names them"
    if constructor is not None:
        tags = [PRESETS[name].tag for name in list_weights(constructor)]
        tags = ["imagenet"] * (constructor in IMAGENET) + tags
        tags += ["imagenet_host"] * (constructor in HOSTS)
        known = f"{constructor} has {', '.join(map(repr, tags)) or 'no presets yet'}"
    everything = [*tags, *PRESETS, *(a for p in PRESETS.values() for a in p.aliases)]
    if weights == "imagenet" and constructor in HOSTS:
        return (
            f"There are no published weights of {constructor} with SE. Received: "
            "weights='imagenet'. weights='imagenet_host' starts from "
            f"keras.applications.{HOSTS[constructor].application} with SE at the "
            "identity."
        )
    return (
        f"`weights` must be None, a preset ({known}), the path of an existing file or "
        "a model on the Hugging Face hub, 'hf://user/model'. "
        f"Received: weights={weights!r}.{nearest(weights, everything)}"
    )
