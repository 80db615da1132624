"""A recipe's data: what it leaves to them, and the batches."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_senet import data
from keras_senet.models import CONSTRUCTORS
from keras_senet.training.network import weights_file
from keras_senet.training.recipe import Recipe, filled
from keras_senet.training.recipes import epochs_and_passes, updates_for
from keras_senet.training.strategies import (
    count_devices,
    evaluation_batch_sizes,
    is_multi_worker,
)
from keras_senet.utils.errors import require
from keras_senet.weights import open_checkpoint


def resolve_recipe(recipe: Recipe, source: data.Source, devices: int = 1) -> Recipe:
    """Fills in what a recipe leaves to its weights and to the data.

    Raises:
        ValueError: If the recipe contradicts the data or the weights, or the devices
            cannot share its batches.
        FileNotFoundError: If there are no such weights.
    """
    held_out = "validation" if "validation" in source.splits else "test"
    held_out = recipe.validation_split or held_out
    source.check_splits(recipe.train_split, held_out)
    classes = len(source.class_names)
    one_for_two = (recipe.classes, classes) == (1, 2) and not source.multi_label
    if recipe.classes not in (None, classes) and not one_for_two:
        raise ValueError(
            f"`classes` must be the {classes} of the data {source.name!r}. "
            f"Received: classes={recipe.classes!r}. Leave it out."
        )
    start = _of_data if recipe.weights is None else _of_weights
    recipe = filled(
        dataclasses.replace(recipe, data=source.name, validation_split=held_out),
        classes=classes,
        **start(recipe, source),
    )
    images = data_images(recipe, source, recipe.train_split)
    if recipe.weights is not None or recipe.epochs is None:  # fine-tuning
        parts = recipe.accumulation_steps * devices
        batch = min(recipe.global_batch_size, max(images // parts, 1) * parts)
        recipe = dataclasses.replace(recipe, global_batch_size=batch)
    steps, batch = recipe.accumulation_steps, recipe.global_batch_size
    require(
        steps == 1 or devices == 1,
        f"be 1 on {devices} devices: Keras accumulates gradients on one device only",
        accumulation_steps=steps,
    )
    rule = f"be a multiple of the {devices} devices"
    require(batch % devices == 0, rule, global_batch_size=batch)
    if images < recipe.step_batch_size:
        raise ValueError(
            "`global_batch_size` must be at most the number of training images. "
            f"Received: global_batch_size={recipe.global_batch_size}, {images} images "
            f"in {recipe.train_split!r} of {source.name!r}"
        )
    if recipe.epochs is not None:
        return recipe
    epochs, passes = epochs_and_passes(
        updates_for(images), max(images // recipe.global_batch_size, 1)
    )
    return dataclasses.replace(recipe, epochs=epochs, passes=passes)


def data_images(recipe: Recipe, source: data.Source, split: str) -> int:
    """Returns how many images of a split a recipe uses."""
    images = source.part(split).images
    return min(images, recipe.limit or images)


def _of_data(recipe, source):
    """What a new network takes of its data."""
    sides = set(source.image_size or ())
    if recipe.image_size is None and len(sides) != 1:
        raise ValueError(
            f"`image_size` must be given for {source.name!r}, whose images are not "
            "all squares of one size. Received: image_size=None"
        )
    return {
        "image_size": min(sides, default=None),
        "channels": source.channels,
        "crop_fraction": 1.0,
        "interpolation": "bilinear",
    }


def _of_weights(recipe, source):
    """What the weights say that a recipe starts from."""
    checkpoint = open_checkpoint(weights_file(recipe.weights), recipe.model)
    card = checkpoint.card
    name = recipe.model or card.constructor
    if name is None:
        raise ValueError(
            "`model` must name the network, because the weights do not. Received: "
            f"model=None, weights={recipe.weights!r}"
        )
    family = CONSTRUCTORS[name].family
    record = card.preprocessing or dataclasses.replace(
        family.preprocessing, image_size=family.image_size
    )
    channels = recipe.channels or checkpoint.channels or 3
    sides = set(card.input_shape or ()) - {channels, None}
    return {
        "model": name,
        "image_size": sides.pop() if len(sides) == 1 else record.image_size,
        "channels": channels,
        "crop_fraction": record.crop_fraction,
        "interpolation": record.interpolation,
    }


def make_datasets(
    recipe: Recipe,
    source: data.Source,
    *,
    strategy: tf.distribute.Strategy | None = None,
    epoch: int = 0,
    step: int = 0,
    class_weights: Sequence[float] | None = None,
) -> tuple[Any, Any]:
    """Returns the endless training batches and the evaluation batches of a recipe.

    The recipe is resolved. Labels are rows over the classes, or of one column where
    `classes` is 1. The training batches begin with a step of an epoch; with several
    workers each one gets its part of them. With `class_weights` they have a third part:
    how much each image counts.
    """

    def training_part(worker=(0, 1)):
        return _batches(
            recipe,
            source,
            recipe.train_split,
            class_weights,
            training=True,
            augmentation=recipe.augmentation,
            rand_augment=recipe.rand_augment,
            random_erasing=recipe.random_erasing,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            seed=recipe.seed,
            epoch=epoch,
            step=step,
            worker=worker,
            drop_remainder=True,
        )

    validation = inference_batches(recipe, source, recipe.validation_split)
    if count_devices(strategy) > 1:
        images = data_images(recipe, source, recipe.validation_split)
        share = _divisible if keras.backend.backend() == "jax" else _shared_out
        validation = share(validation, images, recipe.step_batch_size, strategy)
    if not is_multi_worker(strategy):
        return training_part(), validation

    def training_of_worker(context):
        worker = (context.input_pipeline_id, context.num_input_pipelines)
        size = context.get_per_replica_batch_size(recipe.step_batch_size)
        return training_part(worker).rebatch(size)

    return strategy.distribute_datasets_from_function(training_of_worker), validation


def inference_batches(
    recipe: Recipe,
    source: data.Source,
    split: str,
    class_weights: Sequence[float] | None = None,
) -> tf.data.Dataset:
    """Returns a split once, in its order, without any random change."""
    return _batches(recipe, source, split, class_weights)


def _batches(recipe, source, split, class_weights, **options):
    batches = data.batches(
        source,
        split,
        batch_size=recipe.step_batch_size,
        image_size=recipe.image_size,
        channels=recipe.channels,
        crop_fraction=recipe.crop_fraction,
        interpolation=recipe.interpolation,
        limit=recipe.limit,
        one_hot=True,
        **options,
    )
    if class_weights is not None:
        weights = tf.constant(class_weights, tf.float32)
        batches = batches.map(lambda x, y: (x, y, tf.linalg.matvec(y, weights)))
    if recipe.classes == 1 and len(source.class_names) == 2:
        batches = batches.map(lambda x, y, *rest: (x, y[:, 1:], *rest))
    return batches


def count_images(
    source: data.Source, split: str, limit: int | None = None
) -> tuple[int, ...]:
    """Returns how many images of each class a split or a slice of it has.

    With a limit only those that `batches` uses are counted.
    """
    records = source.reader.records(source.part(split))
    if limit is not None:
        records = records.take(limit)
    labels = records.map(lambda record, label: label).batch(4096)
    classes = len(source.class_names)
    counts = np.zeros(classes, np.int64)
    for batch in labels.as_numpy_iterator():
        rows = batch if source.multi_label else np.eye(classes)[batch]
        counts += rows.sum(0).astype(np.int64)
    return tuple(map(int, counts))


def weigh_classes(recipe: Recipe, source: data.Source) -> tuple[float, ...] | None:
    """Returns how much an image of each class counts in training, 1 on average.

    All classes count the same then. None means that all images do: where the recipe
    says so, and where an image can have several labels.
    """
    if not recipe.class_weights or source.multi_label:
        return None
    counts = count_images(source, recipe.train_split, recipe.limit)
    share = sum(counts) / sum(count > 0 for count in counts)
    return tuple(share / n if n else 1.0 for n in counts)


def _divisible(dataset, images, batch_size, strategy):
    """Leaves out images at the end that are too few for each device to get one."""
    devices = count_devices(strategy)
    batches = math.ceil(images // devices * devices / batch_size)

    def cut(*batch):
        kept = tf.shape(batch[0])[0] // devices * devices
        return tuple(part[:kept] for part in batch)

    return dataset.take(batches).map(cut)


def _shared_out(dataset, images, batch_size, strategy):
    """Gives each copy of the model its part of a data set that ends."""
    replicas = strategy.num_replicas_in_sync
    sizes = evaluation_batch_sizes(images, batch_size, replicas)

    def of_worker(context):
        workers = context.num_input_pipelines
        copies = replicas // workers
        batches = dataset.rebatch(sizes).enumerate()
        mine = batches.filter(
            lambda i, _: i // copies % workers == context.input_pipeline_id
        )
        return mine.map(lambda _, batch: batch)

    return strategy.distribute_datasets_from_function(of_worker)
