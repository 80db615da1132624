"""The records of published checkpoints: data only."""

import dataclasses

from keras_senet.card import Card


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """One published file of a checkpoint.

    Attributes:
        url: Where it lies; "" for a file that ships with this package.
        sha256: All or the first hexadecimal digits, as the publisher gives them.
        md5: 32 hexadecimal digits, where the publisher gives those.
        name: The file's name in the cache; unique, unlike the one in the URL.
    """

    url: str
    sha256: str = ""
    md5: str = ""
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A published accuracy, one centre crop.

    Attributes:
        top1: Per cent.
        top5: Per cent; None where it is not published.
        image_size: Of the test, pixels.
        crop_fraction: Of the test.
        source: Who published it.
        images: The images of the test.
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
        card: What is known about the network: its `preset` is this name, its labels
            None for ImageNet's 1000 classes, which ship with the package.
        files: The same weights in one or more formats, the preferred one first.
        layout: The layout of the files, a name in `keras_senet.weights.layouts`.
        accuracy: Published for the card's preprocessing.
        test_accuracy: Published for a larger test image, where there is one.
        source: The publisher.
        aliases: Other names of it, its publisher's among them.
        refusal: Why it cannot be loaded; such a record exists to say so.
        parameters: Of its network; 0 for one that is refused.
        multiply_adds: Of its network, for one image of the card's size.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """A keras.applications network whose own weights start a network with SE.

    Attributes:
        card: Of the network with SE; its architecture has only what the host fixes.
        application: The host's name in `keras.applications`.
        top1: Published by Keras, per cent.
        top5: Published by Keras, per cent.
    """

    card: Card
    application: str
    top1: float
    top5: float
