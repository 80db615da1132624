"""Images in memory as a source: arrays, or a tf.data dataset that is read once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_senet.data.decoding import Window, crop
from keras_senet.data.source import (
    Part,
    Reader,
    Source,
    check_held_out,
    held_out_count,
    turns,
)
from keras_senet.utils.labelled import class_numbers, read_labelled, without_column


def open_arrays(
    data: Any,
    validation_data: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    held_out: float = 0.2,
) -> Source:
    """Makes a source of images in memory. The images are copied as uint8.

    Args:
        data: A pair (images, labels): images (N, H, W, 1 or 3) in 0..255; labels (N,)
            from 0, one-hot rows, or rows of ones and zeros if an image may have several
            labels. Or batches of such pairs, such as a tf.data dataset.
        validation_data: The images and labels of "test", in the same form. None holds
            out a part of `data`.
        class_names: A name for each label. None uses their numbers.
        held_out: The share of each class that is held out.

    Returns:
        The source, for `batches`.

    Raises:
        ValueError: If images or labels have another form, or `held_out` is no share.

    Example:

    >>> numbers = np.arange(16) % 4
    >>> source = keras_senet.data.open_arrays((images, numbers), held_out=0.25)
    >>> source.splits["train"], source.splits["test"]
    (12, 4)
    """
    check_held_out(held_out)
    parts = {"train": _read(data)}
    if validation_data is not None:
        parts["test"] = _read(validation_data)
    widths = {labels.shape[1:] for _, labels in parts.values()}
    if len(widths) > 1:
        raise ValueError(
            "The labels of `validation_data` must have the form of those of `data`. "
            f"Received: rows of the shapes {sorted(widths)}."
        )
    several = any(y.ndim == 2 and (y.sum(1) != 1).any() for _, y in parts.values())
    if several and not all(np.isin(y, (0, 1)).all() for _, y in parts.values()):
        raise ValueError(
            "Rows of labels must be one-hot, or ones and zeros. Received: other values."
        )
    if not several:
        parts = {
            k: (x, class_numbers(y).astype(np.int64)) for k, (x, y) in parts.items()
        }
    ((*row,),) = widths
    classes = row[0] if row else 1 + max(int(y.max()) for _, y in parts.values())
    names = tuple(map(str, range(classes) if class_names is None else class_names))
    few = len(set(names)) < max(classes, 2, len(names))
    if few or (row and len(names) != classes):
        raise ValueError(
            f"`class_names` must name each of the {classes} classes differently, and "
            f"there must be at least two. Received: {names}"
        )
    if "test" not in parts:
        whole = parts["train"]
        places = _held_out(whole[1], held_out)
        parts = {
            "train": tuple(np.delete(part, places, 0) for part in whole),
            "test": tuple(part[places] for part in whole),
        }
    if not several:
        for split, (x, y) in parts.items():
            order = np.argsort(turns(y), kind="stable")
            parts[split] = x[order], y[order]
    shapes = {x.shape[1:] for x, _ in parts.values()}
    if len(shapes) != 1:
        raise ValueError(f"Images must have one shape. Received: {sorted(shapes)}")
    return arrays_source("arrays", names, parts, multi_label=several)


def arrays_source(name: str, class_names, parts, **facts) -> Source:
    """Returns a source of arrays: split -> images of one shape, and labels."""
    height, width, channels = parts["train"][0].shape[1:]
    return Source(
        name=name,
        class_names=class_names,
        splits={name: len(labels) for name, (_, labels) in parts.items()},
        channels=channels,
        image_size=(height, width),
        reader=_ArraysReader(parts),
        **facts,
    )


class _ArraysReader(Reader):
    """Reads arrays: split -> images and labels."""

    def __init__(self, parts):
        self._parts = parts
        self.record_bytes = int(np.prod(parts["train"][0].shape[1:]))

    def records(self, part: Part) -> tf.data.Dataset:
        wanted = slice(part.start, part.stop)
        images, labels = (values[wanted] for values in self._parts[part.split])
        if labels.ndim == 2:
            labels = labels.astype(np.float32)
        return tf.data.Dataset.from_tensor_slices((images, labels))

    def decode(self, record: tf.Tensor, window: Window | None = None) -> tf.Tensor:
        return crop(record, window)


def _read(data):
    if isinstance(data, tf.data.Dataset):
        data = _batched(data)
    try:
        parts = list(read_labelled(data))
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.rpartition("}} ")[2]
        raise ValueError(
            f"A dataset must yield images of one shape. Received: {reason}"
        ) from error
    shapes = {images.shape[1:] for images, _ in parts}
    if len(shapes) != 1:
        raise ValueError(
            f"Images must have one shape. Received: {sorted(shapes)}. Resize them, or "
            "put them into a folder with a subfolder for each class."
        )
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(
            "Images must be (N, H, W, 1) or (N, H, W, 3). "
            f"Received: images of shape {images.shape}."
        )
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            "Labels must be numbers from 0; `class_names` names them. Received: labels "
            f"of dtype {labels.dtype}."
        )
    labels = without_column(labels)
    if labels.min() < 0:
        raise ValueError(f"Labels must be 0 or more. Received: {labels.min()}.")
    if images.dtype != np.uint8:
        if not (images.min() >= 0 and 1 < images.max() <= 255):
            raise ValueError(
                "Images must be raw, 0..255. Received: values from "
                f"{images.min()} to {images.max()}."
            )
        images = np.rint(images).astype(np.uint8)
    return images, labels


def _batched(dataset):
    """A dataset of batches, whether it has images one by one or batches of them."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("The dataset must end. Received: one that repeats for ever.")
    spec = dataset.element_spec
    if isinstance(spec, Mapping):
        spec = [spec[name] for name in ("image", "images") if name in spec] or [None]
    one_by_one = getattr(spec[0], "shape", tf.TensorShape(None)).rank == 3
    return dataset.batch(64) if one_by_one else dataset


def _held_out(labels, share):
    """Places, of each class, that its seed chooses: the same ones every time."""
    groups = labels if labels.ndim == 1 else np.zeros(len(labels), int)
    chosen = []
    for group in np.unique(groups):
        places = np.random.default_rng(0).permutation(np.flatnonzero(groups == group))
        count = held_out_count(share, len(places))
        chosen += list(places[:count])
    if not chosen:
        raise ValueError(
            "Each class has only one image, so no image can be held out. Add images, "
            "or give held-out images."
        )
    return np.sort(chosen)
