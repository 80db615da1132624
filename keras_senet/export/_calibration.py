"""Images that show a quantiser the range of every activation."""

import os
from collections.abc import Iterable

import keras
import numpy as np

from keras_senet.card import takes_raw_images
from keras_senet.data import Source, open_source
from keras_senet.export._frozen import check_exportable
from keras_senet.export.runtime import open_runner
from keras_senet.export.views import view_source
from keras_senet.utils.errors import check_counts
from keras_senet.weights import Preprocessing

# Interpolation may exceed the range of the pixels by so much of it.
_RANGE_MARGIN = 0.05


def calibration_images(
    model: keras.Model,
    dataset: Source | str | os.PathLike | Iterable | np.ndarray | None,
    *,
    limit: int,
    image_size: int | tuple[int, int] | None = None,
) -> list[np.ndarray]:
    """Returns up to `limit` images, checked, as batches of one.

    Args:
        model: The model they are for.
        dataset: A data source, of which the training images are used, or what
            `open_source` takes; batches of images `(N, height, width, channels)`, or
            of pairs whose first member is such a batch, as a tf.data dataset or
            another iterable; an array of images; a pair of arrays (images, labels),
            which is a tuple whose second member is no batch of images.
        limit: How many images to take at most.
        image_size: Of the images of a source, for a model that leaves it open.

    Raises:
        ValueError: If `limit` is not positive, there are no images, their shape is not
            the model's, a value is not finite, or their range is not the model's, where
            that is known: 0..255 if it normalises such images itself, else what
            `model.preprocessing` says.
    """
    check_exportable(model)
    check_counts(representative_limit=limit)
    if dataset is None:
        raise ValueError(
            "int8 needs real images to see the range of every activation. Received: "
            "representative_dataset=None. Pass batches of about 200 training images, "
            "as the model takes them."
        )
    if len(model.inputs) != 1:
        raise ValueError(
            "int8 is calibrated on images, so the model must have one input. Received: "
            f"{model.name}, which has {len(model.inputs)}. Use quantization='float16'."
        )
    if isinstance(dataset, (str, os.PathLike)):
        dataset = open_source(os.fspath(dataset))
    if isinstance(dataset, Source):
        split = "train" if "train" in dataset.splits else min(dataset.splits)
        view = view_source(dataset, open_runner(model), image_size=image_size)
        dataset = view.batches(split, limit=limit)
    images = _take(dataset, limit)
    if not images:
        raise ValueError(
            "`representative_dataset` must hold images. Received: an empty one. A "
            "generator can be read once only; pass a list or a tf.data dataset."
        )
    expected = tuple(model.inputs[0].shape)[1:]
    for image in images:
        _check_shape(image, expected)
    _check_range(images, model)
    return images


def _take(dataset, limit: int) -> list[np.ndarray]:
    if isinstance(dataset, np.ndarray):
        dataset = [dataset]
    elif isinstance(dataset, tuple) and not any(map(_is_batch, dataset[1:2])):
        dataset = dataset[:1]  # (images, labels)
    images = []
    for batch in dataset:
        if isinstance(batch, (tuple, list)):
            batch = batch[0]
        batch = np.asarray(batch)
        if batch.ndim != 4:
            raise ValueError(
                "`representative_dataset` must yield batches of images of shape (N, "
                f"height, width, channels). Received: a batch of shape {batch.shape}"
            )
        for image in batch[: limit - len(images)]:
            images.append(np.asarray(image[None], "float32"))
        if len(images) >= limit:
            break
    return images


def _is_batch(part) -> bool:
    """Whether it is a batch of images, or a pair whose first member is one."""
    if isinstance(part, (tuple, list)) and part:
        part = part[0]
    return np.ndim(part) == 4


def _check_shape(image: np.ndarray, expected: tuple) -> None:
    shape = image.shape[1:]
    if any(e not in (None, s) for e, s in zip(expected, shape, strict=True)):
        raise ValueError(
            f"`representative_dataset` must yield images of shape {expected}, the "
            f"model's input. Received: images of shape {shape}"
        )


def _check_range(images: list[np.ndarray], model: keras.Model) -> None:
    low = float(np.min([image.min() for image in images]))
    high = float(np.max([image.max() for image in images]))
    received = f"Received: values from {low:g} to {high:g}."
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueError(f"The representative images must be finite. {received}")
    if low == high:
        raise ValueError(
            f"The representative images must differ from each other. {received}"
        )
    record = getattr(model, "preprocessing", None)
    if takes_raw_images(model):
        _check_raw(low, high, received)
    elif record is not None:
        _check_normalised(low, high, received, record)


def _check_raw(low: float, high: float, received: str) -> None:
    if low < 0 or high > 255:
        raise ValueError(
            "The model normalises raw images 0..255 itself, so the representative "
            f"images must not be normalised. {received} Pass the images as they are "
            "in the files."
        )
    if high <= 1:
        raise ValueError(
            "The model normalises raw images 0..255 itself, and the representative "
            f"images look scaled to 0..1. {received} Multiply them by 255."
        )


def _check_normalised(low, high, received: str, record: Preprocessing) -> None:
    scale, offset = (np.asarray(value) for value in record.scale_and_offset())
    black, white = float(np.min(offset)), float(np.max(255 * scale + offset))
    margin = _RANGE_MARGIN * (white - black)
    # Where black is negative, photographs have pixels that are, too.
    if low < black - margin or high > white + margin or low >= 0 > black:
        raise ValueError(
            "The representative images must be normalised as `model.preprocessing` "
            f"says: black is {black:.3g}, white is {white:.3g}. {received} Normalise "
            "them, keras_senet.preprocess_input(images, preset=model.preprocessing)."
        )
