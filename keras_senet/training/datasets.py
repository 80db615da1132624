"""A recipe's data: what it leaves to them, and the batches."""

import dataclasses
from typing import Any

import tensorflow as tf

from keras_senet import data
from keras_senet.training.recipes import Recipe
from keras_senet.training.strategies import evaluation_batch_sizes, is_multi_worker


def resolve_recipe(recipe: Recipe, source: data.Source) -> Recipe:
    """Fills in what a recipe leaves to the data.

    Raises:
        ValueError: If the recipe contradicts the data.
    """
    source.check_splits(recipe.train_split, recipe.validation_split, limit=recipe.limit)
    classes = len(source.class_names)
    if recipe.classes not in (None, classes):
        raise ValueError(
            f"`classes` must be the {classes} of the data {recipe.data!r}. "
            f"Received: classes={recipe.classes!r}. Leave it out."
        )
    size = recipe.image_size
    if size is None:
        sides = set(source.image_size or ())
        if len(sides) != 1:
            raise ValueError(
                f"`image_size` must be given for {recipe.data!r}, whose images are not "
                "all squares of one size. Received: image_size=None"
            )
        (size,) = sides
    return dataclasses.replace(
        recipe,
        classes=classes,
        image_size=size,
        channels=recipe.channels or source.channels,
    )


def make_datasets(
    recipe: Recipe,
    source: data.Source,
    *,
    strategy: tf.distribute.Strategy | None = None,
    epoch: int = 0,
    step: int = 0,
) -> tuple[Any, Any]:
    """Returns the endless training batches and the evaluation batches of a recipe.

    Args:
        recipe: A resolved recipe.
        source: Its data.
        strategy: Where they are used. With several workers each one gets its part of
            every training batch.
        epoch: The epoch that the training batches start with.
        step: The batch of that epoch that they start with.
    """
    replicas = strategy.num_replicas_in_sync if strategy else 1
    _check_replicas(recipe, replicas)
    common = {
        "image_size": recipe.image_size,
        "channels": recipe.channels,
        "crop_fraction": recipe.crop_fraction,
        "interpolation": recipe.interpolation,
        "limit": recipe.limit,
        "one_hot": True,
    }

    def training_part(worker=(0, 1)):
        return data.batches(
            source,
            recipe.train_split,
            batch_size=recipe.step_batch_size,
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
            **common,
        )

    def training_of_worker(context):
        worker = (context.input_pipeline_id, context.num_input_pipelines)
        size = context.get_per_replica_batch_size(recipe.step_batch_size)
        return training_part(worker).rebatch(size)

    validation = data.batches(
        source, recipe.validation_split, batch_size=recipe.step_batch_size, **common
    )
    if replicas > 1:
        images = source.part(recipe.validation_split).images
        images = min(images, recipe.limit or images)
        validation = _shared_out(validation, images, recipe.step_batch_size, strategy)
    if not is_multi_worker(strategy):
        return training_part(), validation
    return strategy.distribute_datasets_from_function(training_of_worker), validation


def _check_replicas(recipe, replicas):
    if recipe.accumulation_steps > 1 and replicas > 1:
        raise ValueError(
            "`accumulation_steps` must be 1 on "
            f"{replicas} devices: Keras accumulates gradients on one device only. "
            f"Received: accumulation_steps={recipe.accumulation_steps}"
        )
    if recipe.global_batch_size % replicas:
        raise ValueError(
            f"`global_batch_size` must be a multiple of the {replicas} devices. "
            f"Received: global_batch_size={recipe.global_batch_size}"
        )


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
