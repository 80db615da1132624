"""Fine-tuning: a trained network, a new classifier, two phases of `model.fit`."""

import collections
import dataclasses
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_senet import data
from keras_senet.models import create_model, network_of
from keras_senet.training._layer_decay import make_decayed_optimizer
from keras_senet.training.callbacks import Curves
from keras_senet.training.curves import read_history
from keras_senet.training.failures import explained
from keras_senet.training.finetune_recipe import FinetuneRecipe
from keras_senet.training.network import batch_normalizations
from keras_senet.training.run_folder import RunFolder, write_json
from keras_senet.weights import network_card, open_checkpoint, save_model, save_weights
from keras_senet.weights.assign import HEADS

# What `save_pretrained` and a training call their weights.
_WEIGHTS = "model.weights.h5"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What a fine-tuning gave.

    Attributes:
        model: The fine-tuned network; it takes raw images, 0..255.
        recipe: How it was made.
        source: The data.
        validation: The batches that each epoch was evaluated on; labels are one-hot.
        image_counts: Images of each class in the training split.
        class_weights: How much each class counts in the loss; all 1 without weights.
        run_folder: Where everything was written.
        history: Values of each epoch, by name; "phase" is 1 or 2.
    """

    model: keras.Model
    recipe: FinetuneRecipe
    source: data.Source
    validation: tf.data.Dataset
    image_counts: tuple[int, ...]
    class_weights: tuple[float, ...]
    run_folder: Path
    history: dict[str, list[float]]


def finetune(
    recipe: FinetuneRecipe,
    source: str | os.PathLike | data.Source,
    run_folder: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> FinetuneResult:
    """Fits a trained network to the classes of other images, on one device.

    In phase 1 only the new classifier learns; batch normalisation works as in
    inference. In phase 2 all layers do, and batch normalisation unless the recipe
    freezes it. The folder gets recipe.json, versions.json, history.csv, curves.png,
    model.keras and model.weights.h5.

    Args:
        recipe: How to train.
        source: What `keras_senet.data.open_source` takes or returned.
        run_folder: A new or empty folder.
        data_dir: Where a data set of that name lies, if not in its usual place.
        callbacks: More Keras callbacks, for both phases.
        verbose: Of `model.fit`.

    Raises:
        ValueError: If the folder is not empty, or the recipe contradicts the data or
            the weights; nothing has been written then.
        FileNotFoundError: If there are no such data or weights.
        OSError: If the data cannot be read.
        RuntimeError: If the loss is no longer finite.
    """
    folder = RunFolder(Path(run_folder))
    folder.check_new()
    if not isinstance(source, data.Source):
        source = data.open_source(
            source,
            data_dir=data_dir,
            on_error=recipe.on_error,
            held_out=recipe.held_out,
        )
    source.check_splits(recipe.train_split, recipe.validation_split)
    counts = count_images(source, recipe.train_split)
    # Not 0: TensorFlow then compares the data's own seeds, which are tensors.
    keras.utils.set_random_seed(recipe.seed + 1)
    model = build_pretrained(recipe, len(source.class_names))
    training, validation = _datasets(recipe, source, model)
    weights = _balanced(counts) if recipe.class_weights else (1.0,) * len(counts)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_start(recipe, _one_device())
    write_json(folder.recipe, {"data": source.name, **recipe.to_json()})
    # The same layers, so that the network is saved without an optimizer.
    trained = keras.Model(model.inputs, model.outputs, name=model.name)
    fit = _Fit(
        trained, recipe, training, validation, weights, folder, callbacks, verbose
    )
    with explained(source, several_workers=False):
        done = fit.phase(1, recipe.head_epochs, recipe.head_learning_rate, 0)
        fit.phase(2, recipe.epochs, recipe.learning_rate, done)
    _set_trainable(model, lambda layer: True)
    header = network_card(model, labels=source.class_names)
    save_model(model, folder.model, header)
    save_weights(model, folder.weights, header)
    return FinetuneResult(
        model=model,
        recipe=recipe,
        source=source,
        validation=validation,
        image_counts=counts,
        class_weights=weights,
        run_folder=folder.path,
        history=read_history(folder.history),
    )


def build_pretrained(recipe: FinetuneRecipe, classes: int) -> keras.Model:
    """Builds the network of a recipe with its weights and a new classifier.

    Args:
        recipe: The recipe.
        classes: Number of the classifier's classes.

    Raises:
        ValueError: If the weights do not fit, or do not name their network.
        FileNotFoundError: If there are no such weights.
    """
    weights = recipe.weights
    if weights is not None and Path(weights).is_dir():
        weights = Path(weights, _WEIGHTS)
    checkpoint = open_checkpoint(weights, recipe.model)
    name = recipe.model or network_of(checkpoint.card)
    if name is None:
        raise ValueError(
            "`model` must name the network, since the weights do not. Received: "
            f"model=None, weights={recipe.weights!r}"
        )
    arguments = dict(recipe.model_arguments)
    if recipe.image_size is not None:
        channels = (checkpoint and checkpoint.channels) or 3
        arguments["input_shape"] = (recipe.image_size, recipe.image_size, channels)
    with warnings.catch_warnings():
        # That the classifier is new is what was asked for.
        warnings.filterwarnings("ignore", "The checkpoint's classifier has")
        model = create_model(
            name,
            weights=weights,
            classes=classes,
            include_preprocessing=True,
            **arguments,
        )
    for layer in model.layers:
        if _is_head(layer):  # it may have been loaded, from as many other classes
            for variable, start in (
                (layer.kernel, layer.kernel_initializer),
                (layer.bias, layer.bias_initializer),
            ):
                variable.assign(start(variable.shape, variable.dtype))
    return model


def count_images(source: data.Source, split: str) -> tuple[int, ...]:
    """Returns how many images of each class a split or a slice of it has."""
    records = source.reader.records(source.part(split))
    labels = records.map(lambda record, label: label).as_numpy_iterator()
    counts = collections.Counter(map(int, labels))
    return tuple(counts[label] for label in range(len(source.class_names)))


def _balanced(counts):
    """Weights with which all classes count the same, and an image 1 on average."""
    present = sum(count > 0 for count in counts)
    return tuple(sum(counts) / (present * n) if n else 1.0 for n in counts)


def _datasets(recipe, source, model):
    record = model.preprocessing
    size = tuple(side or record.image_size for side in model.input_shape[1:3])
    common = {
        "image_size": size,
        "channels": model.input_shape[-1],
        "batch_size": recipe.global_batch_size,
        "crop_fraction": record.crop_fraction,
        "interpolation": record.interpolation,
        "one_hot": True,
    }
    training = data.batches(
        source,
        recipe.train_split,
        training=True,
        augmentation=recipe.augmentation,
        seed=recipe.seed,
        **common,
    )
    return training, data.batches(source, recipe.validation_split, **common)


def _one_device():
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    return tf.distribute.OneDeviceStrategy(devices[0].name)


def _is_head(layer):
    return any(v.path.startswith(HEADS) for v in layer.weights)


def _set_trainable(model, learns):
    for layer in model.layers:
        layer.trainable = learns(layer)


@dataclasses.dataclass
class _Fit:
    """What the two phases have in common."""

    model: keras.Model
    recipe: FinetuneRecipe
    training: tf.data.Dataset
    validation: tf.data.Dataset
    weights: tuple[float, ...]
    folder: RunFolder
    callbacks: Sequence[keras.callbacks.Callback]
    verbose: str | int

    def phase(self, number: int, epochs: int, rate: float, done: int) -> int:
        """Trains for some epochs, or fewer; returns how many are done in all."""
        if epochs == 0:
            return done
        frozen = set()
        if number == 2 and self.recipe.freeze_batch_norm:
            frozen = {layer.name for layer in batch_normalizations(self.model)}
        _set_trainable(
            self.model,
            lambda layer: layer.name not in frozen if number == 2 else _is_head(layer),
        )
        self.model.compile(
            optimizer=make_decayed_optimizer(
                self.model,
                learning_rate=rate,
                decay_steps=epochs * len(self.training),
                layer_decay=self.recipe.layer_decay,
                weight_decay=self.recipe.weight_decay,
            ),
            loss=keras.losses.CategoricalCrossentropy(
                label_smoothing=self.recipe.label_smoothing
            ),
            metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
            jit_compile=False,
        )
        history = self.model.fit(
            self.training,
            validation_data=self.validation,
            initial_epoch=done,
            epochs=done + epochs,
            class_weight=dict(enumerate(self.weights)),
            callbacks=[*self._callbacks(number), *self.callbacks],
            shuffle=False,
            verbose=self.verbose,
        )
        return done + len(history.epoch)

    def _callbacks(self, number):
        title = f"{self.model.name}: new classifier, then all layers"
        ours = [
            keras.callbacks.TerminateOnNaN(raise_error=True),
            _PhaseLog(number),
            keras.callbacks.CSVLogger(self.folder.history, append=number == 2),
            Curves(self.folder.history, self.folder.curves, title),
        ]
        if self.recipe.patience is not None:
            ours.append(
                keras.callbacks.EarlyStopping(
                    patience=self.recipe.patience, restore_best_weights=True
                )
            )
        return ours


class _PhaseLog(keras.callbacks.Callback):
    """Adds the phase and the classifier's learning rate to each epoch's logs."""

    def __init__(self, phase):
        super().__init__()
        self.phase = phase

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        # Under mixed_float16 Keras puts one around it that scales the loss.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        rates = [o.learning_rate for o in optimizer.optimizers]
        logs["learning_rate"] = max(map(float, rates))
        logs["phase"] = self.phase
