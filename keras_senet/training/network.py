"""A recipe's network, ready for `fit`; on each of Keras' backends."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_senet.card import Card, Preprocessing
from keras_senet.models import architecture_options, create_model
from keras_senet.network import Network
from keras_senet.training.optimization import make_optimizer
from keras_senet.training.recipe import Recipe
from keras_senet.weights.assign import HEADS


def build_model(recipe: Recipe, source: Any) -> Network:
    """Builds the network of a resolved recipe; it takes raw images, 0..255.

    Its outputs are the probabilities of classes, or, where an image has several labels
    or there is one output, a probability of its own for each.

    Args:
        recipe: The recipe, of `resolve_recipe`.
        source: A `data.Source`, or what has its `class_names`, `multi_label`, `mean`
            and `std`. A network without `weights` normalises its images with these; one
            with weights as its own images were.

    Raises:
        ValueError: If the weights do not fit the network.
    """
    taken = [*architecture_options(recipe.model), "fused"]
    for name in recipe.model_arguments:
        if name not in taken:
            raise ValueError(
                f"`model_arguments` must be options of {recipe.model}: "
                f"{', '.join(taken)}. Received: {name!r}"
            )
    independent = source.multi_label or recipe.classes == 1
    # Not what the weights' file says: the classifier is new.
    options = {"classifier_activation": "sigmoid" if independent else "softmax"}
    if recipe.dropout_rate is not None:
        options["dropout_rate"] = recipe.dropout_rate
    with warnings.catch_warnings():
        # That the classifier is new is what was asked for.
        warnings.filterwarnings("ignore", "The checkpoint's classifier has")
        model = create_model(
            recipe.model,
            weights=recipe.weights and weights_file(recipe.weights),
            input_shape=(recipe.image_size, recipe.image_size, recipe.channels),
            classes=recipe.classes,
            include_preprocessing=recipe.weights is not None or _record(recipe, source),
            drop_path_rate=recipe.drop_path_rate,
            **options,
            **recipe.model_arguments,
        )
    if recipe.weights is not None:
        # It has been loaded where there are as many other classes.
        for layer in filter(is_classifier, model.layers):
            for name in ("kernel", "bias"):
                variable = getattr(layer, name)
                start = getattr(layer, f"{name}_initializer")
                variable.assign(start(variable.shape, variable.dtype))
    model.card = dataclasses.replace(
        model.card,
        labels=source.class_names and source.class_names[-recipe.classes :],
        preprocessing=dataclasses.replace(
            model.preprocessing,
            image_size=recipe.image_size,
            crop_fraction=recipe.crop_fraction,
            interpolation=recipe.interpolation,
        ),
        preset=None,
    )
    synchronize(model, recipe.synchronized_batch_norm)
    return model


def weights_file(weights: str) -> str:
    """Returns the weights file of a run folder or a hub folder; else what was given.

    A single word names a preset, unless a folder of that name has weights.
    """
    folder, file = Path(weights), Path(weights, "model.weights.h5")
    is_path = folder.is_dir() and len(folder.parts) > 1
    return str(file) if is_path or file.is_file() else weights


def is_classifier(layer: keras.Layer) -> bool:
    """Whether a layer makes a network's outputs."""
    return any(v.path.startswith(HEADS) for v in layer.weights)


def _record(recipe, source):
    record = Preprocessing()
    mean, std = source.mean or record.mean, source.std or record.std
    if len(mean) != recipe.channels:
        mean, std = ((sum(v) / len(v),) * recipe.channels for v in (mean, std))
    return Preprocessing(mean=mean, std=std)


def synchronize(model: keras.Model, synchronized: bool) -> None:
    """Lets batch normalization take its statistics over all devices, or over one."""
    for layer in batch_normalizations(model):
        layer.synchronized = synchronized


def let_learn(model: keras.Model, recipe: Recipe, *, classifier_only: bool) -> None:
    """Sets which layers of a model can be trained, before it is compiled."""
    for layer in model.layers:
        layer.trainable = is_classifier(layer) or not classifier_only
    if recipe.freeze_batch_norm:
        for layer in batch_normalizations(model):
            layer.trainable = False


def compile_model(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    """Gives a built network the optimizer, loss and metrics of a resolved recipe.

    Labels are one-hot, or for sigmoids a number from 0 to 1 for each. Only JAX
    compiles the step. TensorFlow's XLA is slower on CPUs, and a risk with distribution
    strategies; torch's compiler fails on batches of several sizes.
    """
    losses, metrics = keras.losses, keras.metrics
    if Card.of(model).outputs == "sigmoid":
        loss = losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing)
        name, count = "mean_average_precision", recipe.classes
        measured: list[Any] = [
            metrics.BinaryAccuracy("accuracy"),
            metrics.AUC(curve="PR", multi_label=True, num_labels=count, name=name),
        ]
    else:
        loss = losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
        measured = [metrics.CategoricalAccuracy("accuracy")]
        if recipe.classes > 10:
            measured.append(metrics.TopKCategoricalAccuracy(5, "top5_accuracy"))
    model.compile(
        optimizer=make_optimizer(recipe, steps_per_epoch, model),
        loss=loss,
        metrics=measured,
        jit_compile=keras.backend.backend() == "jax",
    )


def bring_back(model: keras.Model) -> None:
    """Gives a model's variables their values in the middle of JAX's `fit`."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


def own_memory(optimizer: keras.optimizers.Optimizer) -> None:
    """Parts an optimizer's averages from the weights that Keras has set to them.

    On JAX the two are one array then, which the next `predict` or `fit` gives away.
    """
    if keras.backend.backend() == "jax":
        for variable in optimizer.variables:
            variable.assign(np.array(keras.ops.convert_to_numpy(variable)))


def batch_normalizations(model: keras.Model) -> list[keras.Layer]:
    """Returns the batch-normalization layers of a model."""
    kind = keras.layers.BatchNormalization
    return [layer for layer in model.layers if isinstance(layer, kind)]


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Sets Keras' dtype policy, and the one before at the end."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
