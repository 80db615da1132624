"""Training: a recipe, a run folder, `model.fit`."""

import contextlib
import csv
import dataclasses
import importlib.util
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_senet import data
from keras_senet.models import create_model
from keras_senet.training import callbacks as our_callbacks
from keras_senet.training.optimization import make_optimizer
from keras_senet.training.recipes import Recipe
from keras_senet.training.run_folder import RunFolder
from keras_senet.training.state import load_state
from keras_senet.training.strategies import evaluation_batch_size, make_strategy
from keras_senet.weights import Preprocessing, make_header, save_model, save_weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training gave.

    Attributes:
        model: The model with the weights of the last epoch.
        recipe: The resolved recipe.
        run_folder: Where everything was written.
        history: Values of each epoch, by name.
        seconds: Of `model.fit`.
        images_per_second: Training images over those seconds, evaluation included.
    """

    model: keras.Model
    recipe: Recipe
    run_folder: Path
    history: dict[str, list[float]]
    seconds: float
    images_per_second: float


def train(
    recipe: Recipe,
    run_folder: str | os.PathLike,
    *,
    strategy: tf.distribute.Strategy | None = None,
    data_dir: str | os.PathLike | None = None,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> TrainingResult:
    """Trains a network with `model.fit` and writes everything into a run folder.

    The folder gets recipe.json (resolved), versions.json, history.csv, curves.png,
    tensorboard/, checkpoints/ (last.weights.h5, the whole state after the last epoch,
    and best.weights.h5), and at the end model.keras and model.weights.h5 with the
    weights of the last epoch.

    Args:
        recipe: How to train.
        run_folder: A new or empty folder, or with `resume` one that holds a run.
        strategy: Where to train; defaults to `make_strategy()`.
        data_dir: Where the recipe's data lies, if not in its usual place.
        resume: Whether to go on with the run in the folder, after its last epoch.
        callbacks: More Keras callbacks.
        verbose: Of `model.fit`.

    Raises:
        ValueError: If the folder holds another run, or the recipe contradicts the
            data or the model; nothing has been written then.
        FloatingPointError: If the loss is no longer finite.
    """
    folder = RunFolder(Path(run_folder))
    if not resume:
        folder.check_new()
    strategy = strategy or make_strategy()
    source = data.open_source(recipe.data, data_dir=data_dir)
    recipe = resolve_recipe(recipe, source)
    if resume:
        folder.check_same(recipe)
    # Not 0: TensorFlow then compares the data's own seeds, which are tensors.
    keras.utils.set_random_seed(recipe.seed + 1)
    steps = data.steps_per_epoch(
        source,
        recipe.train_split,
        batch_size=recipe.global_batch_size,
        limit=recipe.limit,
        drop_remainder=True,
    )
    with _dtype_policy(recipe.dtype_policy), strategy.scope():
        model = build_model(recipe, source)
        compile_model(model, recipe, steps)
        progress = {}
        if resume and folder.last.exists():
            progress = load_state(model, folder.last)
    epoch = int(progress.get("epoch", 0))
    training, validation = make_datasets(
        recipe, source, replicas=strategy.num_replicas_in_sync, epoch=epoch
    )
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    folder.write_start(recipe, strategy)
    _cut_history(folder.history, epoch)
    start = time.perf_counter()
    logger = keras.callbacks.CSVLogger(folder.history, append=bool(progress))
    ours = _callbacks(recipe, source, folder, model, progress, logger)
    try:
        model.fit(
            training,
            validation_data=validation,
            initial_epoch=epoch,
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            callbacks=[*ours, *callbacks],
            shuffle=False,
            verbose=verbose,
        )
    finally:
        if logger.csv_file is not None:  # Keras leaves it open after an error.
            logger.csv_file.close()
    seconds = time.perf_counter() - start
    header = make_header(model, labels=source.class_names)
    save_model(model, folder.model, header, overwrite=True)
    save_weights(model, folder.weights, header, overwrite=True)
    images = steps * recipe.global_batch_size * (recipe.epochs - epoch)
    return TrainingResult(
        model=model,
        recipe=recipe,
        run_folder=folder.path,
        history=our_callbacks.read_history(folder.history),
        seconds=seconds,
        images_per_second=images / seconds,
    )


def resolve_recipe(recipe: Recipe, source: data.Source) -> Recipe:
    """Fills in what a recipe leaves to the data.

    Raises:
        ValueError: If the recipe contradicts the data.
    """
    for split in (recipe.train_split, recipe.validation_split):
        source.check_split(split)
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


def build_model(recipe: Recipe, source: data.Source) -> keras.Model:
    """Builds the network of a resolved recipe; it takes raw images, 0..255."""
    rate = recipe.dropout_rate
    dropout = {} if rate is None else {"dropout_rate": rate}
    return create_model(
        recipe.model,
        weights=None,
        input_shape=(recipe.image_size, recipe.image_size, recipe.channels),
        classes=recipe.classes,
        include_preprocessing=_preprocessing(recipe, source),
        drop_path_rate=recipe.drop_path_rate,
        **dropout,
        **recipe.model_arguments,
    )


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

    Labels are one-hot. XLA stays off: it is slower on CPUs, and a risk with
    distribution strategies.
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
        jit_compile=False,
    )


def make_datasets(
    recipe: Recipe, source: data.Source, *, replicas: int = 1, epoch: int = 0
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Returns the endless training batches and the evaluation batches of a recipe.

    Args:
        recipe: A resolved recipe.
        source: Its data.
        replicas: Number of copies of the model.
        epoch: The epoch that the training batches start with.
    """
    if recipe.global_batch_size % replicas:
        raise ValueError(
            f"`global_batch_size` must be a multiple of the {replicas} devices. "
            f"Received: global_batch_size={recipe.global_batch_size}"
        )
    common = {
        "image_size": recipe.image_size,
        "channels": recipe.channels,
        "crop_fraction": recipe.crop_fraction,
        "interpolation": recipe.interpolation,
        "limit": recipe.limit,
    }
    training = data.batches(
        source,
        recipe.train_split,
        batch_size=recipe.global_batch_size,
        training=True,
        augmentation=recipe.augmentation,
        seed=recipe.seed,
        epoch=epoch,
        drop_remainder=True,
        **common,
    )
    images = source.splits[recipe.validation_split]
    validation = data.batches(
        source,
        recipe.validation_split,
        batch_size=evaluation_batch_size(
            min(images, recipe.limit or images), recipe.global_batch_size, replicas
        ),
        **common,
    )

    def one_hot(images, labels):
        return images, tf.one_hot(labels, recipe.classes)

    return training.map(one_hot), validation.map(one_hot)


def _callbacks(recipe, source, folder, model, progress, logger):
    plateau = None
    if recipe.schedule == "plateau":
        plateau = keras.callbacks.ReduceLROnPlateau(
            "val_loss", recipe.step_factor, recipe.patience
        )
    checkpoints = our_callbacks.Checkpoints(
        folder.checkpoints,
        make_header(model, labels=source.class_names),
        progress=progress,
        plateau=plateau,
    )
    ours = [
        our_callbacks.StopOnNaN(folder.last),
        our_callbacks.LearningRateLog(),
        plateau,
        logger,
        _tensorboard(folder.tensorboard),
        checkpoints,
        our_callbacks.Curves(
            folder.history, folder.curves, f"{recipe.model} on {source.name}"
        ),
    ]
    return [callback for callback in ours if callback]


def _tensorboard(folder):
    # tensorflow does not depend on tensorboard; its logs are a convenience.
    if importlib.util.find_spec("tensorboard") is None:
        return None
    return keras.callbacks.TensorBoard(folder, write_graph=False)


def _cut_history(path, epochs):
    """Drops the rows of epochs that no checkpoint has."""
    if not path.exists():
        return
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))  # None, if it stopped in its first epoch.
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows[: epochs + 1])


@contextlib.contextmanager
def _dtype_policy(name):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
