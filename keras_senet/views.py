"""How a model sees the images of a data source."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from keras_senet.card import Card, Preprocessing
from keras_senet.data import Source, batches
from keras_senet.data.failures import explained
from keras_senet.preprocessing import PLAIN, preprocess_input
from keras_senet.utils.errors import checked_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceView:
    """The images of a source, as a model takes them.

    Attributes:
        source: Where they come from.
        image_size: Their (height, width).
        channels: 1 or 3.
        crop_fraction: Share of the image's side that is kept, see
            `keras_senet.data.batches`.
        interpolation: How they are resized, see there.
        normalisation: What is done to their values; None where the model does it, or
            nothing tells whether it does.
    """

    source: Source
    image_size: tuple[int, int]
    channels: int
    crop_fraction: float
    interpolation: str
    normalisation: Preprocessing | None

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
        return dataset.map(
            lambda images, labels: (
                preprocess_input(images, "channels_last", preset=self.normalisation),
                labels,
            )
        )

    def arrays(self, split: str, **options) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the `batches` as arrays; an image that cannot be read is named.

        Raises:
            OSError: If an image cannot be read.
        """
        with explained(self.source):
            yield from self.batches(split, **options).as_numpy_iterator()


def view_source(
    source: Source,
    card: Card,
    name: str = "the model",
    *,
    image_size: int | tuple[int, int] | None = None,
    crop_fraction: float | None = None,
    default_size: int | None = None,
) -> SourceView:
    """Returns how a model sees the images of a source.

    Args:
        source: A data source.
        card: The model's card.
        name: The model's name, for messages.
        image_size: Side of the square images, or (height, width). `None` is the
            model's, else what its preprocessing says, else the source's.
        crop_fraction: `None` is what the model's preprocessing says, else 1.
        default_size: Side of the images where nothing says it.

    Raises:
        ValueError: If the model takes no images, or not of that size, the size is not
            known, or the model needs normalised images and nothing says how. Where
            nothing says whether it needs them, it gets raw ones.
    """
    shape, record = card.input_shape or (), card.preprocessing
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(
            "A data source has images (N, height, width, channels) with 1 or 3 "
            f"channels. Received: {name}, which takes {(None, *shape)}. Pass arrays or "
            "batches of that shape."
        )
    if card.normalises is False and record is None:
        raise ValueError(
            f"A data source has raw images (0 to 255). Received: {source.name!r} for "
            f"{name}, which does not normalize them. Build it with "
            "include_preprocessing=True, or pass normalized batches."
        )
    said = record or PLAIN
    return SourceView(
        source=source,
        image_size=_image_size(image_size, source, card, name, default_size),
        channels=shape[-1],
        crop_fraction=said.crop_fraction if crop_fraction is None else crop_fraction,
        interpolation=said.interpolation,
        normalisation=record if card.normalises is False else None,
    )


def _image_size(image_size, source, card, name, default) -> tuple[int, int]:
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
    if source.image_size is not None:
        return source.image_size
    if default is not None:
        return (default, default)
    raise ValueError(
        f"{name} takes images of any size, and {source.name!r} has images of different "
        "sizes. Received: image_size=None. Pass a size, or batches of one size."
    )
