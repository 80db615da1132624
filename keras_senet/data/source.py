"""What a labelled set of images is, wherever it lies."""

import abc
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_senet.data.decoding import Window
from keras_senet.utils.errors import require

_SLICE = re.compile(r"([^\[\]]+)\[(\d+%?)?:(\d+%?)?\]")


class Part(NamedTuple):
    """A split or a slice of it: its images from `start` on and before `stop`."""

    split: str
    start: int
    stop: int

    @property
    def images(self) -> int:
        """How many they are."""
        return self.stop - self.start


class Reader(abc.ABC):
    """How a source is read. A record is cheap to shuffle; decoding makes the image."""

    record_bytes: int
    """About how many bytes one record takes in memory."""

    @abc.abstractmethod
    def records(self, part: Part) -> tf.data.Dataset:
        """Returns (record, label), in the same order every time.

        A label is an int64 class, or a float32 row over the classes, of ones and zeros.
        The order is unrelated to the classes, or goes through them in turn, so that
        the first N records hold about as many of each class. A slice has its share of
        each class; two that do not overlap have no image in common.
        """

    def reordered(self, part: Part, seed: tf.Tensor) -> tf.data.Dataset | None:
        """Returns the records, their files in the order that an int64 scalar gives.

        For data that does not fit into the shuffle buffer; None where there is no
        cheaper way than that buffer.
        """
        return None

    @abc.abstractmethod
    def decode(self, record: Any, window: Window | None = None) -> tf.Tensor:
        """Returns a record's image, uint8 (H, W, C), or the part in a window of it."""

    def first_unreadable(self) -> str | None:
        """Says which image file cannot be read any more, and why; None if all can.

        It decodes every file: this is for after an error, which names no file.
        """
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Labelled images under a name, divided into splits.

    `keras_senet.data.open_source` makes a source, `keras_senet.data.batches` reads it.

    Attributes:
        name: "bundled", a folder, or a tensorflow_datasets name.
        class_names: A name for each label, in the order of the labels.
        splits: Number of images in each split: "train", "test", and "validation" if the
            data has one in addition to its test split. Data made only for testing has
            no "train".
        channels: 1 for grey, 3 for RGB.
        image_size: (height, width) if all images have the same size, else None.
        mean: Mean of each channel of the training images, from 0 to 1; None if unknown.
        std: Standard deviation of each channel, in the same unit; None if unknown.
        multi_label: Whether an image may have several labels or none. Then labels are
            rows of ones and zeros over the classes.
        skipped: Number of unreadable images that were left out.
        left_out: Number of files that are not images, by their extension.
        notes: Other facts that a reader of the results must know, one sentence each.
        folders: Those in which every image file is one of the data.

    Example:

    >>> source = keras_senet.data.open_source("bundled")
    >>> source.splits["test"], source.channels
    (1000, 1)
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, int]
    channels: int
    image_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    multi_label: bool = False
    skipped: int = 0
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    reader: Reader = dataclasses.field(repr=False, compare=False)

    @property
    def counted(self) -> str:
        """What an accuracy is a share of: "images", or "labels" if one has several."""
        return "labels" if self.multi_label else "images"

    def dataset(self, split: str) -> tf.data.Dataset:
        """Returns (uint8 image (H, W, C), label) one by one, in a fixed order.

        Raises:
            ValueError: If the source has no such split.
        """
        part = self.part(split)

        def decoded(record, label):
            return self.reader.decode(record), label

        records = self.reader.records(part)
        return records.map(decoded, num_parallel_calls=tf.data.AUTOTUNE)

    def part(self, split: str) -> Part:
        """Returns the part of the data that a split or a slice selects.

        Args:
            split: A name of `splits`, or a slice of one in images or per cent (rounded
                down): "train[:45000]", "train[90%:]", "test[10%:20%]".

        Raises:
            ValueError: If the source has no such split, or the slice has no images.
        """
        match = _SLICE.fullmatch(split)
        name, *ends = match.groups() if match else (split, None, None)
        if name not in self.splits:
            raise ValueError(
                f"`split` must be one of {sorted(self.splits)} for {self.name!r}, or a "
                f"slice of one such as 'train[90%:]'. Received: split={split!r}."
            )
        images = self.splits[name]
        start, stop = (
            default if end is None else min(images, _place(end, images))
            for end, default in zip(ends, (0, images), strict=True)
        )
        if match and start >= stop:
            raise ValueError(
                f"`split` must have images; {name!r} of {self.name!r} has {images}. "
                f"Received: split={split!r}."
            )
        return Part(name, start, stop)

    def check_splits(self, train: str, validation: str) -> None:
        """Checks the splits or slices for training and for the evaluation.

        Raises:
            ValueError: If the source has no such splits, or they share images.
        """
        (first, a, b), (second, c, d) = map(self.part, (train, validation))
        if first == second and max(a, c) < min(b, d):
            raise ValueError(
                "`train_split` and `validation_split` must not share images. Received: "
                f"{train!r} and {validation!r}, which share {min(b, d) - max(a, c):,}. "
                "Use slices such as 'train[:90%]' and 'train[90%:]'."
            )


def check_held_out(held_out: float) -> None:
    """Raises a ValueError if a share of images leaves none on one of two sides."""
    require(0 < held_out < 1, "lie between 0 and 1", held_out=held_out)


def held_out_count(held_out: float, images: int) -> int:
    """Returns how many images are held out: a share, at least one, never all."""
    return min(max(1, round(held_out * images)), images - 1)


def turns(labels: Sequence[int], *, by_share: bool = True) -> np.ndarray:
    """Returns the turn of each label, so that each stretch has its share of a class.

    Without `by_share` the classes have as many turns as each other while they last.
    """
    _, kind, counts = np.unique(labels, return_inverse=True, return_counts=True)
    places = np.empty(len(labels))
    places[np.argsort(kind, kind="stable")] = np.concatenate([*map(np.arange, counts)])
    return (places + 0.5) / (counts[kind] if by_share else 1)


def _place(end: str, images: int) -> int:
    if end.endswith("%"):
        return images * int(end.removesuffix("%")) // 100
    return int(end)
