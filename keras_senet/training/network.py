"""A recipe's network, ready for `fit`; on each of Keras' backends."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import keras

from keras_senet.models import create_model
from keras_senet.training.optimization import make_optimizer
from keras_senet.training.recipes import Recipe
from keras_senet.weights import Preprocessing


class Statistics(Protocol):
    """What normalises the images, in 0..1 units; a `data.Source` is one."""

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


def build_model(recipe: Recipe, source: Statistics) -> keras.Model:
    """Builds the network of a resolved recipe; it takes raw images, 0..255."""
    rate = recipe.dropout_rate
    dropout = {} if rate is None else {"dropout_rate": rate}
    model = create_model(
        recipe.model,
        weights=None,
        input_shape=(recipe.image_size, recipe.image_size, recipe.channels),
        classes=recipe.classes,
        include_preprocessing=_preprocessing(recipe, source),
        drop_path_rate=recipe.drop_path_rate,
        **dropout,
        **recipe.model_arguments,
    )
    synchronize(model, recipe.synchronized_batch_norm)
    return model


def synchronize(model: keras.Model, synchronized: bool) -> None:
    """Lets batch normalisation take its statistics over all devices, or over one."""
    for layer in batch_normalizations(model):
        layer.synchronized = synchronized


def _preprocessing(recipe, source):
    record = Preprocessing(
        image_size=recipe.image_size,
        crop_fraction=recipe.crop_fraction,
        interpolation=recipe.interpolation,
    )
    mean, std = source.mean or record.mean, source.std or record.std
    if len(mean) != recipe.channels:
        mean, std = ((sum(v) / len(v),) * recipe.channels for v in (mean, std))
    return dataclasses.replace(record, mean=tuple(mean), std=tuple(std))


def compile_model(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    """Gives a model the optimizer, the loss and the metrics of a recipe.

    Labels are one-hot. On TensorFlow XLA stays off: it is slower on CPUs, and a risk
    with distribution strategies.

    Args:
        model: The built network.
        recipe: A resolved recipe.
        steps_per_epoch: Steps that one pass over the training images takes, each of
            the recipe's `step_batch_size` images.
    """
    metrics: list[Any] = [keras.metrics.CategoricalAccuracy("accuracy")]
    if recipe.classes > 10:
        metrics.append(keras.metrics.TopKCategoricalAccuracy(5, "top5_accuracy"))
    model.compile(
        optimizer=make_optimizer(recipe, steps_per_epoch, model),
        loss=keras.losses.CategoricalCrossentropy(
            label_smoothing=recipe.label_smoothing
        ),
        metrics=metrics,
        jit_compile=keras.backend.backend() != "tensorflow",
    )


def batch_normalizations(
    model: keras.Model,
) -> list[keras.layers.BatchNormalization]:
    """Returns the batch-normalisation layers of a model."""
    layers = model.layers
    return [v for v in layers if isinstance(v, keras.layers.BatchNormalization)]


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Sets Keras' dtype policy, and the one before at the end."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
