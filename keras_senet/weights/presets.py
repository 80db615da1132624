"""The records of published checkpoints."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_senet.card import FORMAT, Card


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """One published file of a checkpoint.

    Attributes:
        url: Its address; "" for a file of this package.
        sha256: All or the first hexadecimal digits, as the publisher gives them.
        md5: 32 hexadecimal digits, if the publisher gives them.
        name: The file's name in the cache. It is unique, unlike the one in the URL.

    Example:

    >>> preset = keras_senet.weights.find_preset("se_resnet50.ra2_in1k")
    >>> [file.name for file in preset.files]
    """

    url: str
    sha256: str = ""
    md5: str = ""
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A published accuracy, measured with one centre crop.

    Attributes:
        top1: Top-1 accuracy, per cent.
        top5: Top-5 accuracy, per cent; None if it is not published.
        image_size: Height and width of the test images, pixels.
        crop_fraction: Share of the resized short side that the crop kept.
        source: Who published it.
        images: The name of the test images.

    Example:

    >>> keras_senet.weights.find_preset("se_resnet20.cifar10").accuracy.top1
    92.27
    """

    top1: float
    top5: float | None = None
    image_size: int = 224
    crop_fraction: float = 0.875
    source: str
    images: str = "ImageNet's 50,000 validation images"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """A published checkpoint: a card and its files.

    Attributes:
        name: "model.tag", unique.
        card: What is known about the network. Its labels are None for ImageNet's 1000
            classes, because these are in the package.
        files: The same weights in one or more formats, the preferred one first.
        layout: The layout of the files, a name in `keras_senet.weights.layouts`.
        accuracy: The published accuracy for the card's preprocessing.
        test_accuracy: The published accuracy for larger test images, if there is one.
        source: The publisher.
        aliases: Other names, including the publisher's.
        refusal: The reason why it cannot be loaded, or "".
        parameters: Number of values in the network's weights; 0 if it cannot be loaded.
        multiply_adds: Of the network, for one image of the card's size.

    Example:

    >>> preset = keras_senet.weights.find_preset("se_resnet50.ra2_in1k")
    >>> preset.card.constructor, preset.card.preprocessing.image_size
    ('se_resnet50', 224)
    """

    name: str
    card: Card
    files: tuple[File, ...]
    layout: str
    accuracy: Accuracy | None = None
    test_accuracy: Accuracy | None = None
    source: str
    aliases: tuple[str, ...] = ()
    refusal: str = ""
    parameters: int = 0
    multiply_adds: int = 0

    def __post_init__(self):
        object.__setattr__(
            self, "card", dataclasses.replace(self.card, preset=self.name)
        )

    @property
    def tag(self) -> str:
        """The part of the name after the dot."""
        return self.name.partition(".")[2]


def parse_preset(record: Mapping[str, Any]) -> Preset:
    """Makes a preset of JSON values: fields of its own beside those of its card."""
    has_top = record["classes"] is not None
    card = {"format": FORMAT, "include_top": has_top, "normalises": False, **record}
    own = {n: record[n] for n in ("name", "layout", "source", "refusal") if n in record}
    for name in ("accuracy", "test_accuracy"):
        own[name] = Accuracy(**record[name]) if name in record else None
    return Preset(
        **own,
        card=Card.parse(card, record["name"]),
        files=tuple(File(**file) for file in record["files"]),
        aliases=tuple(record.get("aliases", ())),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """A keras.applications network whose weights can initialise a network with SE.

    Attributes:
        card: The card of the network with SE. Its architecture has only the fields that
            the plain network determines.
        application: The name of the plain network in `keras.applications`.
        top1: Top-1 accuracy that Keras publishes, per cent.
        top5: Top-5 accuracy that Keras publishes, per cent.

    Example:

    >>> host = keras_senet.weights.find_host("se_mobilenet")
    >>> host.application
    'MobileNet'
    """

    card: Card
    application: str
    top1: float
    top5: float
