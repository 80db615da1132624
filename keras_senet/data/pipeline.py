"""A source's split as batches for training or evaluation."""

import functools
import math
import numbers
from collections.abc import Callable

import tensorflow as tf

from keras_senet.data.augmentation import (
    AUGMENTATIONS,
    KERNELS,
    random_window,
    resize_and_crop,
)
from keras_senet.data.decoding import crop
from keras_senet.data.source import Source
from keras_senet.utils.errors import nearest

# At most this much of a data set waits in the shuffle buffer: all of a small one, and
# 10,000 encoded images of ImageNet, whose files are in random order anyway.
SHUFFLE_BYTES = 2**30


def batches(
    source: Source,
    split: str,
    *,
    image_size: int | tuple[int, int],
    batch_size: int,
    channels: int | None = None,
    training: bool = False,
    augmentation: str = "none",
    crop_fraction: float = 1.0,
    interpolation: str = "bilinear",
    seed: int = 0,
    epoch: int | None = None,
    step: int = 0,
    worker: tuple[int, int] = (0, 1),
    limit: int | None = None,
    cache: bool = False,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Returns a split as batches of images and labels.

    Images are never normalised: that is the model's business. Evaluation goes through
    the split once, always in the same order, and the last batch may be smaller.

    In training the order and every random change follow from `seed`, the number of the
    epoch and the place in it. There are two ways to go through the epochs:

    - `epoch=None`: one epoch an iteration, each in a new order, which also follows from
      `keras.utils.set_random_seed` where it was called before. For `fit(dataset)`.
    - `epoch=k`: the epochs from k on, without an end. For a run that can be resumed:
      `fit(dataset, initial_epoch=k, steps_per_epoch=steps_per_epoch(...))` sees from
      epoch k on what a run from the start sees, bit for bit.

    Args:
        source: What `open_source` returned.
        split: "train", "test" or another split of the source.
        image_size: The side of the square images wanted, or (height, width).
        batch_size: Images a batch; under `tf.distribute` over all replicas together.
        channels: 1 (grey, the luma of RGB images), 3 (RGB, grey images three times),
            or None for the source's own.
        training: Whether to shuffle, and to augment if asked.
        augmentation: "none"; "flip" (half of the images left to right); "cifar" (four
            zeros around, a crop at a random place, flip); "imagenet" (a crop of 8 to
            100 % of the area, 3/4 to 4/3 wide, resized, flip; `crop_fraction` has no
            effect then). Only with `training`.
        crop_fraction: Images are resized to cover image_size / crop_fraction, and the
            centre is kept.
        interpolation: "bilinear", "bicubic" or "lanczos3", all antialiased. Images
            that have the size already are not touched.
        seed: Of the order and the augmentation.
        epoch: The first epoch of a run that can be resumed, see above.
        step: The first batch of the first epoch, where a resumed run stopped within
            one.
        worker: (i, n) for the i-th of n equal parts of each batch, one a machine, where
            several train together; only those images are decoded.
        limit: Use only so many images, about as many of each class, always the same.
        cache: Keep the images in memory, decoded, and resized where that is the same in
            each epoch. Not needed for the bundled set.
        drop_remainder: Drop a last, smaller batch.

    Returns:
        A `tf.data.Dataset` of (float32 (N, H, W, C) in 0..255, int64 (N,)).

    Raises:
        ValueError: If an argument does not make sense.
    """
    source.check_split(split)
    size = _checked_size(image_size)
    _check_choices(augmentation, interpolation, channels, crop_fraction)
    _check_counts(batch_size=batch_size, limit=limit)
    _check_training(training, augmentation, epoch)
    counts = {"batch_size": batch_size, "limit": limit}
    steps = steps_per_epoch(source, split, drop_remainder=drop_remainder, **counts)
    if steps == 0:
        raise ValueError(
            "`batch_size` must not exceed the number of images with "
            f"drop_remainder=True; {split!r} of {source.name!r} has "
            f"{source.splits[split]}. Received: batch_size={batch_size}, limit={limit}."
        )
    part, parts = _checked_part(worker, batch_size, step, epoch, drop_remainder)
    records = source.reader.records(split)
    if limit is not None:
        records = records.take(limit)
    fit = functools.partial(
        resize_and_crop,
        size=size,
        crop_fraction=crop_fraction,
        interpolation=interpolation,
    )
    records, make = _image_maker(source, records, fit, augmentation, cache)
    finish = functools.partial(
        _finished, size=size, channels=(source.channels, channels or source.channels)
    )
    buffer = max(1, SHUFFLE_BYTES // source.reader.record_bytes)
    buffer = min(buffer, source.splits[split])

    def one_epoch(number):
        key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), number)
        ordered = records
        if training:
            # Of this epoch's graph: `shuffle` combines it with its seed, and cannot
            # where it is 0, as after keras.utils.set_random_seed(0).
            tf.random.set_seed(seed + 1)
            order_seed = tf.cast(tf.random.fold_in(key, 0)[0], tf.int64)
            if not cache and limit is None:
                ordered = source.reader.reordered(split, order_seed) or records
            ordered = ordered.shuffle(buffer, seed=order_seed)

        def example(place, pair):
            record, label = pair
            return make(record, tf.random.fold_in(key, place + 1)), label

        examples = tf.data.Dataset.zip(tf.data.Dataset.counter(), ordered)
        if parts > 1:
            examples = examples.take(steps * batch_size)
        if step:
            done = tf.where(tf.equal(number, epoch), step * batch_size, 0)
            examples = examples.skip(tf.cast(done, tf.int64))
        examples = examples.shard(parts, part)
        examples = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE)
        examples = examples.batch(batch_size // parts, drop_remainder=drop_remainder)
        return examples.map(finish)

    dataset = _epochs(one_epoch, steps, training=training, seed=seed, epoch=epoch)
    options = tf.data.Options()
    # Every worker reads the same stream and keeps its part of each batch.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def steps_per_epoch(
    source: Source,
    split: str,
    *,
    batch_size: int,
    limit: int | None = None,
    drop_remainder: bool = False,
) -> int:
    """Returns how many batches one epoch of `batches` has for the same arguments."""
    source.check_split(split)
    images = source.splits[split]
    images = images if limit is None else min(images, limit)
    return images // batch_size if drop_remainder else math.ceil(images / batch_size)


def _epochs(
    one_epoch: Callable[[tf.Tensor | int], tf.data.Dataset],
    steps: int,
    *,
    training: bool,
    seed: int,
    epoch: int | None,
) -> tf.data.Dataset:
    if not training:
        return one_epoch(0)
    if epoch is not None:
        return tf.data.Dataset.counter(epoch).flat_map(one_epoch)
    drawn = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    dataset = drawn.take(1).flat_map(one_epoch)
    return dataset.apply(tf.data.experimental.assert_cardinality(steps))


def _image_maker(
    source: Source,
    records: tf.data.Dataset,
    fit: Callable[[tf.Tensor], tf.Tensor],
    augmentation: str,
    cache: bool,
) -> tuple[tf.data.Dataset, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]:
    """Returns records to iterate and the function (record, seed) -> fitted image.

    With `cache` the records are the images as they are before anything random.
    """
    decode = source.reader.decode
    augment = AUGMENTATIONS[augmentation]
    windowed = augmentation == "imagenet"

    def load(record):
        return decode(record) if windowed else fit(decode(record))

    if cache:
        records = records.map(
            lambda record, label: (load(record), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).cache()
    loaded = (lambda image: image) if cache else load
    part = crop if cache else decode

    def make(record, seed):
        return augment(loaded(record), seed)

    def make_from_window(record, seed):
        window = functools.partial(random_window, seed=tf.random.fold_in(seed, 2))
        return augment(fit(part(record, window), crop_fraction=1.0), seed)

    return records, make_from_window if windowed else make


def _finished(
    images: tf.Tensor,
    labels: tf.Tensor,
    *,
    size: tuple[int, int],
    channels: tuple[int, int],
) -> tuple[tf.Tensor, tf.Tensor]:
    have, wanted = channels
    images = tf.ensure_shape(tf.cast(images, tf.float32), (None, *size, have))
    if (have, wanted) == (1, 3):
        images = tf.image.grayscale_to_rgb(images)
    elif (have, wanted) == (3, 1):
        images = tf.image.rgb_to_grayscale(images)
    return images, labels


def _checked_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    size = image_size if isinstance(image_size, tuple | list) else (image_size,) * 2
    if len(size) != 2 or not all(_is_positive_integer(side) for side in size):
        raise ValueError(
            "`image_size` must be a positive integer or a (height, width) of two. "
            f"Received: image_size={image_size!r}."
        )
    return tuple(size)


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if not _is_positive_integer(value) and not (name == "limit" and value is None):
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={value!r}."
            )


def _is_positive_integer(value: object) -> bool:
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and value > 0
    )


def _check_choices(
    augmentation: str, interpolation: str, channels: int | None, crop_fraction: float
) -> None:
    for name, value, options in (
        ("augmentation", augmentation, AUGMENTATIONS),
        ("interpolation", interpolation, KERNELS),
    ):
        if value not in options:
            raise ValueError(
                f"`{name}` must be one of {list(options)}. "
                f"Received: {name}={value!r}.{nearest(value, options)}"
            )
    if channels not in (None, 1, 3):
        raise ValueError(
            "`channels` must be 1 (grey), 3 (RGB) or None for the data's own. "
            f"Received: channels={channels!r}."
        )
    if not 0 < crop_fraction <= 1:
        raise ValueError(
            "`crop_fraction` must lie above 0 and at most at 1. "
            f"Received: crop_fraction={crop_fraction!r}."
        )


def _check_training(training: bool, augmentation: str, epoch: int | None) -> None:
    if not training and augmentation != "none":
        raise ValueError(
            "`augmentation` is for training; evaluation sees the images as they are. "
            f"Received: augmentation={augmentation!r}. Pass training=True or drop it."
        )
    if not training and epoch is not None:
        raise ValueError(
            "`epoch` is for training; evaluation is the same every time. "
            f"Received: epoch={epoch!r}. Pass training=True or drop it."
        )
    if epoch is not None and (not isinstance(epoch, numbers.Integral) or epoch < 0):
        raise ValueError(
            f"`epoch` must be an integer from 0. Received: epoch={epoch!r}."
        )


def _checked_part(
    worker: tuple[int, int],
    batch_size: int,
    step: int,
    epoch: int | None,
    drop_remainder: bool,
) -> tuple[int, int]:
    part, parts = worker
    if (
        not 0 <= part < parts
        or batch_size % parts
        or (parts > 1 and not drop_remainder)
    ):
        raise ValueError(
            "`worker` must be (i, n) with i from 0 and below n, for whole batches "
            "(drop_remainder=True) of a multiple of n images. "
            f"Received: worker={worker!r}, batch_size={batch_size}."
        )
    if step != 0 and (not _is_positive_integer(step) or epoch is None):
        raise ValueError(
            "`step` must be an integer from 0 and belongs to `epoch`. "
            f"Received: step={step!r}, epoch={epoch!r}."
        )
    return part, parts
