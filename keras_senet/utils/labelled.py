"""Reads images and labels: arrays, or batches of them.

What a function takes as `data` beside a source of keras_senet.data:

- a tuple of two arrays, (images, labels), which is cut into batches;
- anything that yields batches (images, labels) each time it is gone through, as a
  tf.data dataset or a list of pairs does; a tuple is that where its second member is
  such a batch;
- a mapping of arrays, as tensorflow_datasets makes of a whole split;
- a function without arguments that returns one of these, as TFLite's guide has it;
- where no labels are needed, also an array of images, batches of images alone, and
  longer tuples, of which the first member counts.

A batch may be a mapping, too: its "image" or "images" and its "label" or "labels" are
taken.

What comes out is NumPy arrays with the values and types that went in. Labels are
integers, (N,) or (N, 1) as of keras.datasets, or rows, (N, classes); `without_column`
makes (N,) of a column, and `class_numbers` integers of all of them.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from keras_senet.utils.errors import check_counts, short


def read_labelled(
    data, batch_size: int = 64, *, limit: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of images and labels, never an empty one.

    Args:
        data: See the module's text.
        batch_size: How arrays are divided; batches stay as they are.
        limit: How many images to take at most.

    Raises:
        ValueError: If a batch is no pair, there is not one label for each image, or
            there are no images.
    """
    parts = _checked_pairs(_parts(data, batch_size))
    yield from map(tuple, _limited(parts, limit, "data"))


def read_images(
    data, batch_size: int = 64, *, limit: int | None = None, name: str = "data"
) -> Iterator[np.ndarray]:
    """Yields batches of images, never an empty one; labels beside them are not read.

    As `read_labelled`; `name` is what the caller's argument is called, for messages.
    """
    parts = (part[:1] for part in _parts(data, batch_size))
    yield from (images for (images,) in _limited(parts, limit, name))


def fits_shape(images: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    """Whether images are a batch of a shape, in which `None` is any length."""
    sides = images.shape[1:]
    return images.ndim == 1 + len(shape) and all(
        known in (None, side) for known, side in zip(shape, sides, strict=True)
    )


def without_column(labels: np.ndarray) -> np.ndarray:
    """Returns labels (N, 1) as (N,), and those of another shape as they are."""
    labels = np.asarray(labels)
    return labels[:, 0] if labels.shape[1:] == (1,) else labels


def class_numbers(labels: np.ndarray) -> np.ndarray:
    """Returns the classes of labels, (N,) integers.

    Args:
        labels: Integers, (N,) or (N, 1), or one-hot rows, (N, classes).

    Raises:
        ValueError: If they are something else: of several classes, or shares of some.
    """
    found = without_column(labels)
    if found.ndim == 2 and (np.sort(labels)[:, :-1] == 0).all():
        found = labels.argmax(-1) if (labels.max(-1) == 1).all() else labels
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(
            "Labels must be integers, one for each image, or one-hot rows: images with "
            "several labels have no place here. Received: "
            f"labels of shape {labels.shape} and type {labels.dtype}"
        )
    return found


def _limited(batches, limit, name) -> Iterator[list[np.ndarray]]:
    left, images = limit, 0
    for parts in batches:
        batch = [np.asarray(part) for part in parts]
        if not batch or not batch[0].ndim:
            raise ValueError(
                f"`{name}` must hold images. Received: a batch of {short(parts)}"
            )
        batch = [part[:left] for part in batch]
        if not len(batch[0]):
            continue
        images += len(batch[0])
        yield batch
        if left is not None:
            left -= len(batch[0])
            if left == 0:
                return
    if not images:
        raise ValueError(
            f"`{name}` must hold images, each time it is gone through. Received: none. "
            "Pass arrays, a list or a tf.data dataset, not a generator."
        )


def _parts(data, batch_size) -> Iterator[tuple]:
    """Yields the parts of each batch as they are given: images first, labels."""
    check_counts(batch_size=batch_size)
    if callable(data):
        data = data()
    if isinstance(data, Mapping):
        data = _members(data)
    if hasattr(data, "shape"):
        data = (data,)
    if isinstance(data, tuple) and len(data) == 2 and all(map(_is_pair, data)):
        raise ValueError(
            "Images and labels must be one pair, or a list of batches. Received: a "
            "tuple of two pairs, as keras.datasets returns training and test images. "
            "Pass one of them: data[0] or data[1]."
        )
    if isinstance(data, tuple) and not any(map(_is_batch, data[1:2])):
        if len(data) == 2:
            _check_lengths(*data)
        starts = range(0, len(data[0]), batch_size)
        yield from (tuple(part[i : i + batch_size] for part in data) for i in starts)
        return
    try:
        batches = iter(data)
    except TypeError:
        raise ValueError(
            "Images must be an array, batches of images, or a function that returns "
            f"one of these. Received: {short(data)} (of type {type(data).__name__})"
        ) from None
    for batch in batches:
        if isinstance(batch, Mapping):
            yield _members(batch)
        else:
            yield tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)


def _members(batch):
    """The images and the labels of a batch with names."""
    names = ("image", "images"), ("label", "labels")
    found = [[batch[name] for name in pair if name in batch][:1] for pair in names]
    if not found[0]:
        raise ValueError(
            'A mapping must have "image" or "images" among its names. Received: '
            f"{', '.join(map(str, batch))}"
        )
    return (*found[0], *found[1])


def _checked_pairs(batches) -> Iterator[tuple]:
    for batch in batches:
        if len(batch) != 2:
            raise ValueError(
                "Batches must be pairs (images, labels), and two arrays a tuple of "
                f"them. Received: a batch of {len(batch)} parts"
            )
        _check_lengths(*batch)
        yield batch


def _check_lengths(images, labels) -> None:
    shapes = [tuple(np.shape(part)) for part in (images, labels)]
    if shapes[0][:1] != shapes[1][:1]:
        single = len(shapes[0]) <= 3 or not shapes[1]
        remedy = ". Batch what has single images: dataset.batch(32)" if single else ""
        raise ValueError(
            "There must be one label for each image. Received: images of shape "
            f"{shapes[0]} and labels of shape {shapes[1]}{remedy}"
        )


def _is_pair(part) -> bool:
    return isinstance(part, tuple) and len(part) == 2 and _is_batch(part)


def _is_batch(part) -> bool:
    """Whether it is a batch of images, or a pair whose first member is one."""
    if isinstance(part, (tuple, list)) and part:
        part = part[0]
    return np.ndim(part) >= 3
