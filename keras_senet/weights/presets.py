"""The records of published checkpoints: data only."""

import dataclasses
from collections.abc import Mapping
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes a network's input.

    The short side is resized to `image_size / crop_fraction` pixels, the centre of
    `image_size` pixels is cut out, and a value x of 0..255 becomes
    `(x / 255 - mean) / std`.

    Attributes:
        mean: Per channel in `channel_order` (or one, of grey), in units of 0..1.
        std: Per channel in `channel_order` (or one, of grey), in units of 0..1.
        channel_order: Order of the channels that the network takes; images are RGB.
        image_size: Height and width of the input, pixels.
        crop_fraction: Share of the resized short side that the centre crop keeps.
        interpolation: "bicubic" or "bilinear", with antialiasing.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: str = "RGB"
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self):
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                "`mean` and `std` must have one value for each channel, and `std` must "
                f"be positive. Received: mean={self.mean}, std={self.std}"
            )
        if self.channel_order not in ("RGB", "BGR"):
            raise ValueError(
                "`channel_order` must be 'RGB' or 'BGR'. "
                f"Received: channel_order={self.channel_order!r}"
            )
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ValueError(
                "`interpolation` must be 'bicubic' or 'bilinear'. "
                f"Received: interpolation={self.interpolation!r}"
            )
        if not 0 < self.crop_fraction <= 1 or self.image_size < 1:
            raise ValueError(
                "`crop_fraction` must be above 0 and at most 1, `image_size` positive. "
                f"Received: crop_fraction={self.crop_fraction!r}, "
                f"image_size={self.image_size!r}"
            )

    def scale_and_offset(self) -> tuple[list[float], list[float]]:
        """Returns a and b of the same normalisation written as a * x + b."""
        scale = [1 / (255 * std) for std in self.std]
        offset = [-m / s for m, s in zip(self.mean, self.std, strict=True)]
        return scale, offset

    def to_json(self) -> dict[str, Any]:
        """Returns the record as a dictionary of JSON values."""
        return {
            **dataclasses.asdict(self),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Preprocessing":
        """Makes the record from `to_json`'s dictionary.

        Raises:
            ValueError: If it has other fields than this record.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(record, Mapping) or set(record) - known:
            raise ValueError(
                f"The preprocessing must have fields among {', '.join(sorted(known))}. "
                f"Received: {record!r}"
            )
        return cls(**record)


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
    """A published checkpoint.

    Attributes:
        name: "model.tag", unique.
        constructor: The registry's name of the network that takes it.
        files: The same weights in one or more formats, the preferred one first.
        layout: The layout of the files, a name in `keras_senet.weights.layouts`.
        architecture: The architecture row that the weights were trained in.
        include_top: Whether the file has the classifier.
        classes: Number of classes.
        preprocessing: How its images were prepared.
        accuracy: Published for `preprocessing`.
        test_accuracy: Published for a larger test image, where there is one.
        licence: SPDX identifier.
        source: The publisher.
        aliases: Other names of it, its publisher's among them.
        labels: Class names; None for ImageNet's, which ship with the package.
        refusal: Why it cannot be loaded; such a record exists to say so.
    """

    name: str
    constructor: str
    files: tuple[File, ...]
    layout: str
    architecture: dict
    include_top: bool = True
    classes: int = 1000
    preprocessing: Preprocessing
    accuracy: Accuracy | None = None
    test_accuracy: Accuracy | None = None
    licence: str
    source: str
    aliases: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    refusal: str = ""

    @property
    def tag(self) -> str:
        """The part of the name after the dot."""
        return self.name.partition(".")[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """A keras.applications network whose own weights start a network with SE.

    Attributes:
        constructor: The registry's name of the network with SE.
        application: The host's name in `keras.applications`.
        preprocessing: How the host's images are prepared.
        top1: Published by Keras, per cent.
        top5: Published by Keras, per cent.
        note: A condition on the network, or "".
    """

    constructor: str
    application: str
    preprocessing: Preprocessing
    top1: float
    top5: float
    note: str = ""
    licence: str = "Apache-2.0"
