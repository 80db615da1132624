"""A source's split as batches for training or evaluation."""

import functools
import math
from typing import Any

import tensorflow as tf

from keras_senet.data.augmentation import (
    AUGMENTATIONS,
    WINDOW_AREAS,
    check_fit,
    covered_box,
    random_window,
    resize_and_crop,
    to_grey,
)
from keras_senet.data.decoding import Window, crop
from keras_senet.data.mixing import LEAST_ALPHA, make_mixer
from keras_senet.data.rand_augment import rand_augment as make_rand_augment
from keras_senet.data.rand_augment import random_erasing as make_random_erasing
from keras_senet.data.source import Source
from keras_senet.utils.errors import (
    check_counts,
    checked_size,
    is_integer,
    nearest,
    require,
)

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
    rand_augment: float = 0.0,
    random_erasing: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    one_hot: bool = False,
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

    The images are not normalised; the model does that. For evaluation, the dataset has
    the split once, always in the same order; the last batch may be smaller.

    For training, the order and all random changes depend only on `seed`, the number of
    the epoch and the position in it. There are two modes:

    - `epoch=None`: each iteration is one epoch, in a new order.
      `keras.utils.set_random_seed` also determines this order. For `fit(dataset)`.
    - `epoch=k`: the dataset has all epochs from k on and does not end. For runs that
      can be resumed: `fit(dataset, initial_epoch=k,
      steps_per_epoch=steps_per_epoch(...))` gets the same images from epoch k on as a
      run from the start, bit for bit.

    Args:
        source: What `open_source` returned.
        split: "train", "test" or another split of the source, or a slice of one in
            images or per cent: "train[:45000]", "train[90%:]".
        image_size: The side of the square images, or (height, width).
        batch_size: Images in a batch; with `tf.distribute`, over all replicas.
        channels: 1 (grey, the luma of RGB images), 3 (RGB; grey images three times), or
            None for that of the source.
        training: Whether to shuffle, and to augment with the arguments below.
        augmentation: "none"; "flip" (half of the images left to right); "cifar" (four
            zeros around, a crop at a random place, flip); "imagenet" (a crop of 8 to
            100 % of the area, 3/4 to 4/3 wide, resized, flip; `crop_fraction` has no
            effect then); "mobile" (the same with 25 to 100 %). This and the next four
            need `training`.
        rand_augment: Strength of RandAugment's two operations for each image, 0 to 1:
            the paper's magnitude divided by ten.
        random_erasing: Share of the images in which a rectangle becomes noise.
        mixup: Alpha of mixup, 0.2 to 1, or 0; needs `one_hot`.
        cutmix: Alpha of CutMix, likewise; with both, each batch gets one of them.
        one_hot: Whether labels are rows over the classes instead of integers. With
            several labels for each image they always are.
        crop_fraction: Images are resized to cover image_size / crop_fraction, and the
            centre is cut out.
        interpolation: "bilinear", "bicubic" or "lanczos3", all antialiased. Images
            that have the size already are not touched.
        seed: For the order and the augmentation.
        epoch: The first epoch of a run that can be resumed, see above.
        step: The first batch of the first epoch, if the run stopped within an epoch.
        worker: (i, n) for the i-th of n equal parts of each batch, if n machines train
            together. Only these images are decoded.
        limit: Use at most this many images, always the same, about as many of a class.
        cache: Keep the decoded images in memory, after resizing if that is the same in
            each epoch. Not needed for the bundled set.
        drop_remainder: Drop a last, smaller batch.

    Returns:
        A `tf.data.Dataset` of (float32 (N, H, W, C) in 0..255, int64 (N,), or with
        `one_hot` float32 (N, classes)).

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> source = keras_senet.data.open_source("bundled")
    >>> dataset = keras_senet.data.batches(source, "test", image_size=32, batch_size=8)
    >>> next(iter(dataset))[0].shape
    (8, 32, 32, 1)
    """
    part, size = source.part(split), checked_size(image_size)
    channels = source.channels if channels is None else channels
    counts = {"batch_size": batch_size, "limit": limit}
    steps = steps_per_epoch(source, split, drop_remainder=drop_remainder, **counts)
    changes = {
        "augmentation": augmentation,
        "rand_augment": rand_augment,
        "random_erasing": random_erasing,
    }
    mixing = {"mixup": mixup, "cutmix": cutmix}
    fitting = {"crop_fraction": crop_fraction, "interpolation": interpolation}
    check_fit(**fitting)
    grey_or_rgb = "be 1 (grey), 3 (RGB) or None for the data's own"
    require(is_integer(channels) and channels in (1, 3), grey_or_rgb, channels=channels)
    require(is_integer(seed), "be an integer from 0", seed=seed)
    _check_random(training, one_hot, {**changes, **mixing, "epoch": epoch})
    _check_place(step, steps, epoch, worker, batch_size, drop_remainder)
    records = source.reader.records(part)
    if limit is not None:
        records = records.take(limit)
    shape = (*size, min(channels, source.channels))
    decode = _decoder(source, channels, training, size, crop_fraction, augmentation)
    records, make = _image_maker(records, decode, cache, shape, fitting, **changes)
    classes = len(source.class_names) if one_hot else None
    finish = _finisher(shape, channels, classes, make_mixer(**mixing))
    index, workers = worker

    def one_epoch(number):
        key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), number)
        ordered = records
        if training:
            reorders = not cache and limit is None
            ordered = _shuffled(records, source.reader, part, seed, key, reorders)

        def example(place, pair):
            record, label = pair
            image_seed = tf.random.fold_in(key, place + 1)
            return make(record, image_seed), label, image_seed

        examples = tf.data.Dataset.zip(tf.data.Dataset.counter(), ordered)
        if workers > 1:
            examples = examples.take(steps * batch_size)
        if step:
            done = tf.where(tf.equal(number, epoch), step * batch_size, 0)
            examples = examples.skip(tf.cast(done, tf.int64))
        examples = examples.shard(workers, index)
        examples = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE)
        examples = examples.batch(batch_size // workers, drop_remainder=drop_remainder)
        return examples.map(finish)

    if not training:
        dataset = one_epoch(0)
    elif epoch is not None:
        dataset = tf.data.Dataset.counter(epoch).flat_map(one_epoch)
    else:
        drawn = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
        dataset = drawn.take(1).flat_map(one_epoch)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
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
    """Returns how many batches one epoch of `batches` has for the same arguments.

    Args:
        source: As of `batches`, like all arguments.
        split: The split.
        batch_size: Images in a batch.
        limit: Use at most this many images.
        drop_remainder: Drop a last, smaller batch.

    Raises:
        ValueError: If there is no batch, or a number is no positive integer.

    Example:

    >>> source = keras_senet.data.open_source("bundled")
    >>> keras_senet.data.steps_per_epoch(source, "test", batch_size=64)
    16
    """
    check_counts(batch_size=batch_size, limit=limit)
    images = source.part(split).images
    taken = images if limit is None else min(images, limit)
    if drop_remainder and taken < batch_size:
        raise ValueError(
            "`batch_size` must not exceed the number of images with "
            f"drop_remainder=True; {split!r} of {source.name!r} has {images}. "
            f"Received: batch_size={batch_size}, limit={limit}."
        )
    return taken // batch_size if drop_remainder else math.ceil(taken / batch_size)


def _check_place(step, steps, epoch, worker, batch_size, drop_remainder):
    """Raises if there is no such place in an epoch, or no such part of a batch."""
    placed = is_integer(step) and step <= steps and (step == 0 or epoch is not None)
    rule = f"be an integer from 0 to the {steps} of an epoch, and needs `epoch`"
    require(placed, rule, step=step, epoch=epoch)
    index, workers = worker
    is_part = is_integer(index) and is_integer(workers, 1) and index < workers
    require(
        is_part and batch_size % workers == 0 and (workers == 1 or drop_remainder),
        "be (i, n) with i from 0 and below n, for whole batches (drop_remainder=True) "
        "of a multiple of n images",
        worker=worker,
        batch_size=batch_size,
    )


def _check_random(training: bool, one_hot: bool, given: dict[str, Any]) -> None:
    """Raises if a value is wrong, or an option of training is set in evaluation."""
    off = {"augmentation": "none", "epoch": None}
    for name, value in given.items():
        received = {name: value}
        if not training and value != off.get(name, 0):
            raise ValueError(
                f"`{name}` is for training only, because evaluation does not change "
                f"the images. Received: {name}={value!r}. Set training=True or leave "
                f"`{name}` out."
            )
        if name == "augmentation":
            if value not in AUGMENTATIONS:
                raise ValueError(
                    f"`augmentation` must be one of {list(AUGMENTATIONS)}. Received: "
                    f"augmentation={value!r}.{nearest(value, AUGMENTATIONS)}"
                )
        elif name == "epoch":
            known = value is None or is_integer(value)
            require(known, "be an integer from 0", **received)
        elif name in ("mixup", "cutmix"):
            mixes = value == 0 or (one_hot and LEAST_ALPHA <= value <= 1)
            rule = f"be 0 or lie between {LEAST_ALPHA} and 1, and needs one_hot=True"
            require(mixes, rule, **received, one_hot=one_hot)
        else:
            require(0 <= value <= 1, "lie between 0 and 1", **received)


def _shuffled(records, reader, part, seed, key, reorders):
    """Returns the records in the order of the epoch that `key` belongs to.

    With `reorders` the reader may also read them in another order.
    """
    # Of this epoch's graph: `shuffle` combines it with its seed, and cannot
    # where it is 0, as after keras.utils.set_random_seed(0).
    tf.random.set_seed(seed + 1)
    order_seed = tf.cast(tf.random.fold_in(key, 0)[0], tf.int64)
    if reorders:
        records = reader.reordered(part, order_seed) or records
    buffer = max(1, SHUFFLE_BYTES // reader.record_bytes)
    return records.shuffle(min(buffer, part.images), seed=order_seed)


def _decoder(source, channels, training, size, crop_fraction, augmentation):
    """Returns the source's decoder; colours that nobody wants become grey at once."""
    whole = None
    if training and augmentation not in WINDOW_AREAS:
        whole = _whole_window(source, size, crop_fraction)

    def decode(record, window=whole):
        image = source.reader.decode(record, window)
        return to_grey(image) if channels < source.channels else image

    return decode


def _whole_window(source, size, crop_fraction):
    """All of an image, of which a large photograph is decoded smaller; or None."""
    box = covered_box(size, crop_fraction)
    if source.image_size and min(source.image_size) < 4 * min(box):
        return None

    def place(shape):
        return tf.concat([tf.zeros_like(shape[:2]), shape[:2]], axis=0)

    return Window(place, box)


def _image_maker(
    records, decode, cache, shape, fitting, augmentation, rand_augment, random_erasing
):
    """Returns records to iterate and the function (record, seed) -> image.

    With `cache` the records are the images as they are before anything random.
    """
    fit = functools.partial(resize_and_crop, size=shape[:2], **fitting)
    area = WINDOW_AREAS.get(augmentation)
    changes = []
    if rand_augment:
        changes.append(make_rand_augment(rand_augment, shape[-1]))
    if random_erasing:
        changes.append(make_random_erasing(random_erasing))

    def load(record, label):
        return decode(record) if area else fit(decode(record)), label

    if cache:
        records = records.map(load, num_parallel_calls=tf.data.AUTOTUNE).cache()

    def make(record, seed):
        if area:
            key = tf.random.fold_in(seed, 2)
            place = functools.partial(random_window, seed=key, area=area)
            part = (crop if cache else decode)(record, Window(place, shape[:2]))
            image = fit(part, crop_fraction=1.0)
        else:
            image = record if cache else fit(decode(record))
        image = tf.ensure_shape(AUGMENTATIONS[augmentation](image, seed), shape)
        # 1 and 2 belong to the flip and the window, 3 to the mixing of a batch.
        for number, change in enumerate(changes, 4):
            image = change(image, tf.random.fold_in(seed, number))
        return image

    return records, make


def _finisher(shape, channels, classes, mix):
    """Returns the function (images, labels, seeds) -> a batch, one-hot for classes."""

    def finish(images, labels, seeds):
        images = tf.ensure_shape(tf.cast(images, tf.float32), (None, *shape))
        if shape[-1] < channels:
            images = tf.image.grayscale_to_rgb(images)
        if classes is None:
            return images, labels
        if labels.shape.rank == 1:  # else they are rows already, of several classes
            labels = tf.one_hot(labels, classes)
        # The first image's place in the epoch tells the batches apart.
        return mix(images, labels, tf.random.fold_in(seeds[0], 3))

    return finish
