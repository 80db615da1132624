"""Training by a recipe on images in memory, without TensorFlow's pipeline."""

import random
import types
from collections.abc import Sequence

import keras
import numpy as np

from keras_senet.training.callbacks import LearningRateLog, make_plateau
from keras_senet.training.network import (
    build_model,
    compile_model,
    dtype_policy,
    own_memory,
)
from keras_senet.training.optimization import check_rates
from keras_senet.training.recipe import Recipe, filled
from keras_senet.utils.errors import require
from keras_senet.utils.labelled import without_column

# What needs TensorFlow's data pipeline, its strategies or a run folder.
_ONLY_TRAIN = (
    "weights", "limit", "linear_probe", "head_epochs", "passes", "stop_early",
    "freeze_batch_norm", "freeze_batch_norm_epochs", "synchronized_batch_norm",
    "class_weights", "augmentation", "rand_augment", "random_erasing", "mixup",
    "cutmix",
)  # fmt: skip


def fit_arrays(
    recipe: Recipe,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Trains a recipe's network on arrays, on any backend of Keras.

    This function calls `model.fit` with the recipe's network, optimizer, schedule and
    loss, on one device. It writes no files, and the recipe's fields about data files
    have no effect. Fields that need TensorFlow's data pipeline or strategies raise an
    error; for these, use `keras_senet.training.train`.

    Args:
        recipe: How to train. `classes` None is the highest label plus one.
        images: (N, H, W, C) in 0..255, square, of any real dtype. If they do not fill
            the last batch, some images are left out; the seed selects them.
        labels: (N,) or (N, 1) integers from 0.
        validation: Images and labels to evaluate after each epoch.
        callbacks: More Keras callbacks.
        verbose: Of `model.fit`.

    Returns:
        The trained model, which takes raw images, and the values of each epoch by name.

    Raises:
        ValueError: If the recipe and the arrays do not fit, or the recipe has a field
            that does not work with arrays.
        RuntimeError: If the loss is not finite.

    Example:

    >>> recipe = keras_senet.training.Recipe(
    ...     model="se_resnet20", epochs=1, global_batch_size=8
    ... )
    >>> trained, history = keras_senet.training.fit_arrays(
    ...     recipe, images, np.arange(16) % 4, verbose=0
    ... )
    >>> trained.output_shape
    (None, 4)
    """
    given = [(images, labels)] if validation is None else [(images, labels), validation]
    pairs = [(np.asarray(x), without_column(y)) for x, y in given]
    _check(recipe, pairs)
    check_rates(recipe)
    images, labels = pairs[0]
    classes = recipe.classes or int(np.max(labels)) + 1
    if classes < 2:
        raise ValueError(
            f"There must be at least two classes. Received: {classes}. For two classes "
            "with one output, use keras_senet.training.train (with TensorFlow)."
        )
    for _, y in pairs:
        if np.min(y) < 0 or np.max(y) >= classes:
            raise ValueError(
                f"Labels must be from 0 to {classes - 1} for {classes} classes. "
                f"Received: labels from {np.min(y)} to {np.max(y)}."
            )
    recipe = filled(
        recipe,
        image_size=images.shape[1],
        channels=images.shape[3],
        classes=classes,
        crop_fraction=1.0,
        interpolation="bilinear",
    )
    _seed(recipe.seed + 1)
    steps = len(images) // recipe.step_batch_size
    with dtype_policy(recipe.dtype_policy):
        model = build_model(recipe, _statistics(images))
        compile_model(model, recipe, steps)
    ours = [keras.callbacks.TerminateOnNaN(raise_error=True)]
    if plateau := make_plateau(recipe, "val_loss" if pairs[1:] else "loss"):
        ours.append(plateau)
    if recipe.ema_momentum:
        ours.append(keras.callbacks.SwapEMAWeights())
    if keras.backend.backend() == "torch":
        import torch

        # Its loader draws for each pass over images, those that are held out too.
        ours.append(
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, _: torch.manual_seed(recipe.seed + epoch)
            )
        )
    held_out = [(x, keras.utils.to_categorical(y, classes)) for x, y in pairs[1:]]
    used = np.random.default_rng(recipe.seed).permutation(len(images))
    used = np.sort(used[: steps * recipe.step_batch_size])
    history = model.fit(
        images[used],
        keras.utils.to_categorical(labels[used], classes),
        batch_size=recipe.step_batch_size,
        epochs=recipe.epochs,
        validation_data=held_out[0] if held_out else None,
        callbacks=[*ours, *callbacks, LearningRateLog()],
        verbose=verbose,
    )
    own_memory(model.optimizer)
    return model, history.history


def _check(recipe, pairs):
    images = pairs[0][0]
    for x, y in pairs:
        shape = x.shape
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (1, 3):
            raise ValueError(
                "`images` must be square, (N, H, W, 1) or (N, H, W, 3). "
                f"Received: images of shape {shape}."
            )
        if shape[1:] != images.shape[1:]:
            raise ValueError(
                "The images of `validation` must have the shape of the others. "
                f"Received: shapes {shape} and {images.shape}."
            )
        if y.shape != shape[:1] or not np.issubdtype(y.dtype, np.integer):
            raise ValueError(
                "`labels` must be one integer for each of the images. Received: labels "
                f"of shape {y.shape} and dtype {y.dtype} for {len(x)} images."
            )
        scaled = x.dtype != np.uint8 and len(x) and 0 < x.max() <= 1
        if not len(x) or not 0 <= x.min() <= x.max() <= 255 or scaled:
            ends = f"values from {x.min()} to {x.max()}" if len(x) else "no image"
            raise ValueError(f"Images must be raw, 0..255. Received: {ends}.")
    for name, side in (("image_size", images.shape[1]), ("channels", images.shape[3])):
        if getattr(recipe, name) not in (None, side):
            raise ValueError(
                f"`{name}` must be that of the images, {side}. Received: "
                f"{name}={getattr(recipe, name)}. Leave it out."
            )
    if len(images) < recipe.step_batch_size:
        raise ValueError(
            "There must be at least `global_batch_size` images. "
            f"Received: {len(images)} images, "
            f"global_batch_size={recipe.global_batch_size}"
        )
    require(recipe.epochs is not None, "be given for arrays", epochs=recipe.epochs)
    plain = Recipe(model=recipe.model or "se_resnet20")
    for name in _ONLY_TRAIN:
        value, wanted = getattr(recipe, name), getattr(plain, name)
        if value != wanted:
            raise ValueError(
                f"`{name}` must be {wanted!r} for arrays. Received: {name}={value!r}. "
                "keras_senet.training.train supports other values (with TensorFlow)."
            )


def _seed(seed):
    if keras.backend.backend() == "tensorflow":
        keras.utils.set_random_seed(seed)
    else:
        # As Keras does, which would import TensorFlow for it. Its layers draw their
        # seeds from Python's generator, and arrays are shuffled by NumPy's.
        random.seed(seed)
        np.random.seed(seed)


def _statistics(images):
    """What a source says of its images: each channel's mean and deviation, in 0..1."""
    mean, std = (
        of(images, (0, 1, 2), dtype=np.float64) / 255 for of in (np.mean, np.std)
    )
    std = np.maximum(std, 1 / 255)  # of a channel that is the same everywhere
    return types.SimpleNamespace(
        mean=tuple(mean), std=tuple(std), class_names=None, multi_label=False
    )
