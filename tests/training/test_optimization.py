"""Schedules against a NumPy reference, and what the optimizers do to kernels."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.training.optimization import (
    check_keras,
    classifier_rate,
    learning_rate_factors,
    make_optimizer,
    make_schedule,
)
from keras_senet.training.recipe import Recipe

STEPS = 10
BASE = Recipe(
    model="se_resnet20",
    epochs=8,
    global_batch_size=64,
    learning_rate=0.2,
    reference_batch_size=128,
)


def rates(**values):
    schedule = make_schedule(dataclasses.replace(BASE, **values), STEPS)
    steps = np.arange(BASE.epochs * STEPS)
    return np.array([float(schedule(step)) for step in steps])


def test_cosine_with_warmup():
    actual = rates(schedule="cosine", warmup_epochs=2.0)
    steps = np.arange(80)
    falling = 0.1 * 0.5 * (1 + np.cos(np.pi * (steps - 20) / 60))
    expected = np.where(steps < 20, 0.1 * steps / 20, falling)
    np.testing.assert_allclose(actual, expected, atol=1e-7)


def test_cosine_alone():
    expected = 0.1 * 0.5 * (1 + np.cos(np.pi * np.arange(80) / 80))
    np.testing.assert_allclose(rates(schedule="cosine"), expected, atol=1e-7)


def test_steps_begin_with_an_epoch():
    actual = rates(schedule="step", step_at=(0.25, 0.75), step_factor=0.1)
    expected = np.repeat([0.1, 0.01, 0.001], [20, 40, 20])
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "values",
    [{"schedule": "constant"}, {"schedule": "plateau"}]
    + [{"schedule": "step", "step_at": ()}],
)
def test_constant_rates(values):
    assert make_schedule(dataclasses.replace(BASE, **values), STEPS) == 0.1


def tiny_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Conv2D(5, 3, name="conv"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, name="dense", activation="softmax"),
        ],
        name="tiny",
    )
    for layer in ("conv", "bn", "dense"):
        for variable in model.get_layer(layer).trainable_variables:
            variable.assign(np.random.normal(size=variable.shape))
    return model


def steps_with(recipe, count=1):
    """Changes of each variable over some steps, with and without decay."""
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 3))
    y = keras.utils.to_categorical(np.arange(8) % 2, 2)
    results = []
    for values in ({"l2": 0.0, "weight_decay": 0.0}, {}):
        model = tiny_model()
        before = {v.path: np.array(v) for v in model.trainable_variables}
        optimizer = make_optimizer(dataclasses.replace(recipe, **values), STEPS, model)
        model.compile(optimizer, "categorical_crossentropy", jit_compile=False)
        for _ in range(count):
            model.train_on_batch(x, y)
        after = {v.path: np.array(v) for v in model.trainable_variables}
        results.append((before, after))
    (before, plain), (_, decayed) = results
    return before, plain, decayed


@pytest.mark.parametrize(
    ("values", "strength"),
    [
        ({"optimizer": "sgd", "l2": 0.03}, 0.03),
        ({"optimizer": "sgd", "weight_decay": 0.3}, 0.3),
        ({"optimizer": "adamw", "weight_decay": 0.3}, 0.3),
    ],
)
def test_decay_touches_kernels_only(values, strength):
    recipe = dataclasses.replace(BASE, schedule="constant", **values)
    before, plain, decayed = steps_with(recipe)
    for path, start in before.items():
        expected = -0.1 * strength * start if path.endswith("kernel") else 0
        actual = decayed[path] - plain[path]
        np.testing.assert_allclose(actual, expected + 0 * start, atol=1e-6)


def test_older_keras_is_refused_where_layers_have_rates_of_their_own(monkeypatch):
    monkeypatch.delattr(keras.optimizers, "MultiOptimizer", raising=False)
    check_keras(BASE)
    probe = {"layer_decay": 0.7, "linear_probe": True, "epochs": 0}
    check_keras(dataclasses.replace(BASE, **probe))
    for values in ({"layer_decay": 0.7}, {"se_rate_factor": 5.0}):
        with pytest.raises(ImportError, match=r"needs Keras 3\.15 or later\. This is"):
            check_keras(dataclasses.replace(BASE, **values))


@pytest.mark.parametrize("values", [{"l2": 0.03}, {"weight_decay": 0.3}])
def test_se_without_decay(values):
    model = keras_senet.SEResNet20(weights=None, reduction=4)
    before = {v.path: np.array(v) for v in model.trainable_variables}
    recipe = dataclasses.replace(BASE, schedule="constant", se_decay=False, **values)
    optimizer = make_optimizer(recipe, STEPS, model)
    variables = model.trainable_variables
    penalised = {v.path for v in variables if getattr(v, "regularizer", None)}
    optimizer.apply([keras.ops.zeros(v.shape) for v in variables], variables)
    decayed = {v.path for v in variables if np.any(before[v.path] != np.array(v))}
    kernels = {v.path for v in variables if v.name == "kernel"}
    expected = {path for path in kernels if "_se/" not in path}
    assert len(kernels) == len(expected) + 2 * 9
    assert (decayed | penalised) == expected


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="needs Keras 3.15"
)
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_se_has_a_rate_of_its_own(decay):
    model = keras_senet.SEResNet20(weights=None, reduction=4)
    factors = learning_rate_factors(model, decay)
    before = {v.path: np.array(v) for v in model.trainable_variables}
    recipe = dataclasses.replace(
        BASE, schedule="constant", layer_decay=decay, se_rate_factor=5.0
    )
    optimizer = make_optimizer(recipe, STEPS, model)
    variables = model.trainable_variables
    optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)
    assert classifier_rate(optimizer) == pytest.approx(0.1)
    se = [v for v in variables if "_se/" in v.path]
    assert len(se) == 9 * 4
    for variable in variables:
        rate = 0.1 * factors[variable.path] * (5 if "_se/" in variable.path else 1)
        change = np.array(variable) - before[variable.path]
        np.testing.assert_allclose(change, -rate + 0 * change, rtol=1e-4)


def test_l2_pulls_as_the_docstring_says():
    """With momentum m, decoupled decay w pulls as hard as l2 = w (1 - m)."""
    common = {"schedule": "constant", "learning_rate": 1e-3, "momentum": 0.9}
    l2 = dataclasses.replace(BASE, l2=0.01, **common)
    decoupled = dataclasses.replace(BASE, weight_decay=0.1, **common)
    pulls = []
    for recipe in (l2, decoupled):
        _, plain, decayed = steps_with(recipe, count=200)
        path = next(path for path in plain if path.endswith("dense/kernel"))
        pulls.append(np.linalg.norm(decayed[path] - plain[path]))
    # The gradient's pull needs 1 / (1 - m) = 10 steps to build up.
    assert pulls[0] == pytest.approx(pulls[1] * 190 / 200, rel=0.05)
