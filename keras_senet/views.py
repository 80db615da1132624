"""How a model takes images: its size, crop, normalisation, and what it refuses."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from keras_senet.card import Card, Preprocessing
from keras_senet.data import Source, batches, open_source, resize_and_crop
from keras_senet.data.failures import explained
from keras_senet.preprocessing import PLAIN, preprocess_input
from keras_senet.utils.errors import checked_size
from keras_senet.utils.labelled import fits_shape

# Bicubic interpolation may exceed the range of the pixels by so much of it.
_RANGE_MARGIN = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageView:
    """How pictures of any size become what a model takes.

    Attributes:
        image_size: Their (height, width).
        channels: 1 or 3.
        crop_fraction: Share of the image's side that is kept, see
            `keras_senet.data.resize_and_crop`.
        interpolation: How they are resized, see there.
        normalisation: What is done to their values; None where the model does it, or
            nothing tells whether it does.
    """

    image_size: tuple[int, int]
    channels: int
    crop_fraction: float
    interpolation: str
    normalisation: Preprocessing | None

    def fit(self, image):
        """Returns one image, (H, W, channels) of 0..255, resized and cropped."""
        return resize_and_crop(
            image,
            self.image_size,
            crop_fraction=self.crop_fraction,
            interpolation=self.interpolation,
        )

    def normalise(self, images):
        """Returns images of this size, an array or a tensor, as the model has them."""
        if self.normalisation is None:
            return images
        return preprocess_input(images, "channels_last", preset=self.normalisation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceView(ImageView):
    """The images of a data source, as a model takes them."""

    source: Source

    def batches(self, split: str, *, batch_size: int = 64, **options):
        """Returns a tf.data dataset of (images, labels) of a split.

        Args:
            split: The split, in its order unless `options` say that it is for training.
            batch_size: Images in a batch.
            **options: Other arguments of `keras_senet.data.batches`.
        """
        dataset = batches(
            self.source,
            split,
            image_size=self.image_size,
            batch_size=batch_size,
            channels=self.channels,
            crop_fraction=self.crop_fraction,
            interpolation=self.interpolation,
            **options,
        )
        if self.normalisation is None:
            return dataset
        return dataset.map(lambda images, labels: (self.normalise(images), labels))

    def arrays(self, split: str, **options) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the `batches` as arrays; an image that cannot be read is named.

        Raises:
            OSError: If an image cannot be read.
        """
        with explained(self.source):
            yield from self.batches(split, **options).as_numpy_iterator()


def view_images(
    card: Card,
    name: str = "the model",
    *,
    image_size: int | tuple[int, int] | None = None,
    crop_fraction: float | None = None,
    default_size: tuple[int, int] | None = None,
) -> ImageView:
    """Returns how a model takes pictures.

    Args:
        card: The model's card.
        name: The model's name, for messages.
        image_size: Side of the square images, or (height, width). `None` is the
            model's, else what its preprocessing says.
        crop_fraction: `None` is what the model's preprocessing says, else 1.
        default_size: (height, width) where nothing else says it.

    Raises:
        ValueError: If the model takes no images, or not of that size, the size is not
            known, or the model needs normalised images and nothing says how. Where
            nothing says whether it needs them, it gets raw ones.
    """
    shape, record = card.input_shape or (), card.preprocessing
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(
            "Pictures are (N, height, width, channels) with 1 or 3 channels. Received: "
            f"{name}, which takes {(None, *shape)}. Pass arrays or batches of that "
            "shape."
        )
    if card.normalises is False and record is None:
        raise ValueError(
            f"Pictures are raw, of 0 to 255. Received: {name}, which does not "
            "normalize them and does not say how they are normalized. Build it with "
            "include_preprocessing=True, give its card a preprocessing, or pass "
            "normalized batches."
        )
    said = record or PLAIN
    return ImageView(
        image_size=_image_size(image_size, card, name, default_size),
        channels=shape[-1],
        crop_fraction=said.crop_fraction if crop_fraction is None else crop_fraction,
        interpolation=said.interpolation,
        normalisation=record if card.normalises is False else None,
    )


def view_source(
    source: Source,
    card: Card,
    name: str = "the model",
    *,
    default_size: int | None = None,
    **options,
) -> SourceView:
    """Returns how a model sees the images of a source; the rest as `view_images`.

    Args:
        source: A data source. Its image size, then `default_size`, is used where the
            model says none.
        card: The model's card.
        name: The model's name, for messages.
        default_size: Side of the images where nothing says it.
        **options: Other arguments of `view_images`.
    """
    size = source.image_size or (default_size and (default_size, default_size))
    view = view_images(card, name, default_size=size, **options)
    return SourceView(source=source, **vars(view))


def as_source(data):
    """Returns the data source of a name or a folder, and anything else itself."""
    return open_source(data) if isinstance(data, str | os.PathLike) else data


def _image_size(image_size, card, name, default) -> tuple[int, int]:
    own = card.input_shape[:2]
    if image_size is not None:
        size = checked_size(image_size)
        if any(o not in (None, s) for o, s in zip(own, size, strict=True)):
            raise ValueError(
                f"{name} only takes images of {own[0]} x {own[1]} pixels. Received: "
                f"image_size={image_size!r}. Leave it out, or build the model for that "
                "size."
            )
        return size
    if None not in own:
        return own
    if card.preprocessing is not None:
        return tuple(side or card.preprocessing.image_size for side in own)
    if default is not None:
        return default
    raise ValueError(
        f"The size of the images must be known. Received: {name}, which takes any "
        "size, and pictures of different sizes. Build it with an input_shape, give its "
        "card a preprocessing, or pass a size or batches of one size."
    )


def check_sample(batches: Sequence[np.ndarray], card: Card) -> None:
    """Raises a ValueError unless representative images are as a model takes them.

    Args:
        batches: Batches of images.
        card: The model's card. Where it knows their range, theirs must be that.
    """
    for batch in batches:
        if not fits_shape(batch, card.input_shape):
            raise ValueError(
                "`representative_dataset` must return batches of images of the model's "
                f"input shape, {(None, *card.input_shape)}. Received: a batch of shape "
                f"{batch.shape}"
            )
    low = float(np.min([batch.min() for batch in batches]))
    high = float(np.max([batch.max() for batch in batches]))
    received = f"Received: values from {low:g} to {high:g}."
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueError(f"The representative images must be finite. {received}")
    if low == high:
        raise ValueError(
            f"The representative images must differ from each other. {received}"
        )
    _check_range(low, high, card, "representative images")


def in_range(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], card: Card
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches (images, labels) that somebody passes as a model takes them.

    Raises:
        ValueError: After the last one, if their images are not in the range that the
            card knows. A single batch may be dark.
    """
    low, high = np.inf, -np.inf
    for images, labels in batches:
        low, high = min(low, images.min()), max(high, images.max())
        yield images, labels
    _check_range(float(low), float(high), card, "images")


def _check_range(low: float, high: float, card: Card, what: str) -> None:
    """Raises unless the lowest and the highest value are as a model takes images."""
    limits, raw = card.input_range(), card.normalises
    if limits is None:
        return
    black, white = limits
    margin = _RANGE_MARGIN * (white - black)
    beyond = low < black - margin or high > white + margin
    received = f"Received: values from {low:g} to {high:g}."
    if raw and (beyond or (low < 0 and high < white / 16)):
        raise ValueError(
            f"The model normalizes raw images (0 to 255) itself, so the {what} must "
            f"not be normalized. {received} Pass the images as they are in the files."
        )
    if raw and 0 < high <= 1:
        raise ValueError(
            f"The model normalizes raw images (0 to 255) itself, but the {what} seem "
            f"to be scaled to 0..1. {received} Multiply them by 255."
        )
    # Where black is negative, photographs have pixels that are, too.
    if beyond or low >= 0 > black:
        raise ValueError(
            f"The {what} must be normalized as in `model.preprocessing`: black is "
            f"{black:.3g}, white is {white:.3g}. {received} Use "
            "keras_senet.preprocess_input(images, preset=model.preprocessing)."
        )
