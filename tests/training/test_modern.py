"""Averaged weights, accumulated gradients, frozen and synchronised normalisation."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_senet.data import open_source
from keras_senet.training import Recipe, make_strategy
from keras_senet.training.callbacks import FreezeBatchNormalization
from keras_senet.training.checkpoints import Checkpoints
from keras_senet.training.datasets import resolve_recipe
from keras_senet.training.network import batch_normalizations, compile_model

IMAGES = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
LABELS = np.eye(2, dtype="float32")[(IMAGES[:, 0] > 0).astype(int)]


def make(**values):
    """A model compiled by a recipe; the same weights every time."""
    keras.utils.set_random_seed(1)
    recipe = Recipe(
        model="se_resnet20",
        classes=2,
        global_batch_size=8,
        schedule="constant",
        momentum=0.0,
        reference_batch_size=8,
        **values,
    )
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    compile_model(model, recipe, 2)
    return model, recipe


def data(batch_size):
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(batch_size)


def weights(model):
    return [np.array(v) for v in model.trainable_variables]


def test_accumulated_gradients_are_those_of_the_whole_batch():
    results = []
    for steps in (1, 2):
        model, recipe = make(accumulation_steps=steps)
        # Otherwise each part would have its own statistics.
        model.layers[1].trainable = False
        assert recipe.step_batch_size == 8 // steps
        model.fit(data(recipe.step_batch_size), shuffle=False, verbose=0)
        results.append(weights(model))
        assert int(model.optimizer.iterations) == 2
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-6)


def test_accumulation_works_in_our_strategy():
    with make_strategy().scope():
        model, _ = make(accumulation_steps=2, ema_momentum=0.5)
    before = weights(model)
    model.fit(data(4), shuffle=False, verbose=0)
    for old, new in zip(before, weights(model), strict=True):
        assert not np.array_equal(old, new)


def test_accumulation_is_for_one_device():
    source = open_source("bundled")
    _, recipe = make(accumulation_steps=2)
    with pytest.raises(ValueError, match="must be 1 on 2 devices"):
        resolve_recipe(dataclasses.replace(recipe, classes=None), source, 2)


def test_the_average_moves_as_far_with_accumulation():
    assert make(ema_momentum=0.9)[0].optimizer.ema_momentum == 0.9
    half = make(ema_momentum=0.9, accumulation_steps=2)[0].optimizer.ema_momentum
    assert half**2 == pytest.approx(0.9)
    assert not make()[0].optimizer.use_ema


class Seen(keras.callbacks.Callback):
    """Keeps the weights and their averages at the end of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        size = len(self.model.trainable_variables)
        variables = self.model.optimizer.variables
        averages = [v for v in variables if v.path.endswith("_average")]
        assert len(averages) == size
        self.averages = [np.array(v) for v in averages]
        self.raw = weights(self.model)


def test_averaged_weights_are_evaluated_and_saved(tmp_path):
    model, _ = make(ema_momentum=0.5)
    checkpoints, seen = Checkpoints(tmp_path, model.save_weights), Seen()
    callbacks = [checkpoints, keras.callbacks.SwapEMAWeights(), seen]
    history = model.fit(
        data(8),
        validation_data=data(8),
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    ).history
    assert (
        max(np.abs(a - b).max() for a, b in zip(seen.raw, seen.averages, strict=True))
        > 1e-3
    )
    best = keras.models.clone_model(model)
    best.load_weights(tmp_path / "best.weights.h5")
    for written, end, average in zip(
        weights(best), weights(model), seen.averages, strict=True
    ):
        np.testing.assert_allclose(written, average, atol=1e-6)
        np.testing.assert_allclose(end, average, atol=1e-6)
    loss = model.evaluate(data(8), verbose=0)[0]
    assert history["val_loss"][0] == pytest.approx(loss, abs=1e-5)


class Kept(keras.callbacks.Callback):
    """Keeps all weights at the end of each epoch, and what could be trained."""

    def __init__(self):
        super().__init__()
        self.weights, self.trainable = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.trainable.append(self.model.layers[1].trainable)

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append({v.path: np.array(v) for v in self.model.variables})


def test_batch_normalisation_is_frozen_in_the_last_epochs():
    model, _ = make(ema_momentum=0.5)
    kept = Kept()
    model.fit(
        data(8),
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[FreezeBatchNormalization(1), kept],
    )
    assert kept.trainable == [True] * 2 + [False] * 4
    first, *others = kept.weights
    for path, value in first.items():
        for later in others:
            same = np.array_equal(later[path], value)
            assert same == ("batch_normalization" in path), path
    assert model.layers[1].trainable


def test_batch_normalisation_changes_before_it_is_frozen():
    model, _ = make()
    before = [np.array(v) for v in batch_normalizations(model)[0].variables]
    model.fit(
        data(8), shuffle=False, verbose=0, callbacks=[FreezeBatchNormalization(1)]
    )
    for old, new in zip(before, batch_normalizations(model)[0].variables, strict=True):
        assert not np.array_equal(old, new)
