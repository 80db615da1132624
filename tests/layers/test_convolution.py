"""Grouped convolutions against Keras' own, which go through XLA."""

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.layers import Conv2D
from keras_senet.models import _blocks

tf = pytest.importorskip("tensorflow")
kernels = pytest.importorskip("keras_senet.layers._tensorflow")

# What a layer is given, and the channels of its input.
CASES = {
    "plain": ({"filters": 8, "kernel_size": 3, "groups": 4}, 8),
    "strided": ({"filters": 12, "kernel_size": 3, "strides": 2, "groups": 4}, 8),
    "dilated": ({"filters": 8, "kernel_size": 3, "dilation_rate": 2, "groups": 2}, 8),
    "same": ({"filters": 8, "kernel_size": 3, "padding": "same", "groups": 4}, 8),
    "same, strided": (
        {"filters": 8, "kernel_size": 3, "strides": 2, "padding": "same", "groups": 2},
        8,
    ),
    "long kernel": (
        {"filters": 8, "kernel_size": (1, 3), "padding": "same", "groups": 4},
        8,
    ),
    "pointwise": ({"filters": 9, "kernel_size": 1, "groups": 3}, 12),
    "depthwise": ({"filters": 20, "kernel_size": 3, "groups": 20}, 20),
    "several a channel": ({"filters": 36, "kernel_size": 3, "groups": 18}, 18),
    "parts of unlike size": ({"filters": 12, "kernel_size": 3, "groups": 6}, 48),
    "wide groups": ({"filters": 4, "kernel_size": 1, "groups": 2}, 256),
    "one group": ({"filters": 8, "kernel_size": 3}, 8),
    "bias and activation": (
        {"filters": 8, "kernel_size": 3, "groups": 4, "activation": "silu"},
        8,
    ),
}


def step(kind, arguments, channels, dtype="float32", data_format="channels_last"):
    """The outputs of a layer with drawn weights, and all gradients, as float64."""
    layer = kind(**arguments, data_format=data_format, dtype=dtype)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 6, channels))
    if data_format == "channels_first":
        x = x.transpose(0, 3, 1, 2)
    x = tf.cast(x, layer.compute_dtype)
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))

    @tf.function(autograph=False)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        targets = [x, *(w.value for w in layer.weights)]
        return [y, *tape.gradient(y, targets, tf.cos(y))]

    return [np.asarray(tf.cast(v, "float64")) for v in run(x)]


@functools.cache
def exact(case):
    """Keras' own step in float64."""
    return step(keras.layers.Conv2D, *CASES[case], "float64")


def assert_near(found, expected, tolerance):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert abs(a - b).max() <= tolerance * abs(b).max()


@pytest.fixture(params=["asked", "block diagonal"])
def form(request, monkeypatch):
    """What the device answered, and what it answers where no gradient is native."""
    if request.param == "block diagonal":
        monkeypatch.setattr(
            kernels, "_grouped_form", lambda *args: kernels._block_diagonal
        )


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_keras_own(form, case):
    assert_near(step(Conv2D, *CASES[case]), exact(case), 3e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_is_as_near_as_keras_own(form, policy):
    tolerance = 2e-2 if "bfloat16" in policy else 3e-3
    assert_near(step(Conv2D, *CASES["same"], policy), exact("same"), tolerance)
    layer = Conv2D(8, 3, groups=4, dtype=policy)
    assert layer(np.ones((1, 4, 4, 8))).dtype == layer.compute_dtype
    assert layer.kernel.dtype == layer.variable_dtype


@pytest.mark.parametrize("case", ["plain", "same, strided", "dilated", "pointwise"])
def test_channels_first_is_keras_own(case):
    first = step(Conv2D, *CASES[case], data_format="channels_first")
    first[:2] = [v.transpose(0, 2, 3, 1) for v in first[:2]]
    assert_near(first, exact(case), 3e-6)


def test_native_forward_pass_is_that_of_the_block_diagonal_form():
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, 5, 5, 48)), "float32")
    kernel = tf.constant(rng.normal(size=(3, 3, 8, 12)), "float32")
    options = {"strides": 1, "padding": "SAME", "data_format": "NHWC"}
    both = [
        f(x, kernel, 6, **options).numpy()
        for f in (kernels._native, kernels._block_diagonal)
    ]
    assert_near(both[:1], both[1:], 1e-6)


def traced(layer, channels=8):
    """The graph of a layer's training step."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, channels))])
    def run(x):
        with tf.GradientTape() as tape:
            y = layer(x)
        return tape.gradient(y, layer.kernel.value)

    return run.get_concrete_function().graph.as_graph_def()


def uses_xla(graph):
    return any("_XlaMustCompile" in part.attr for part in graph.library.function)


def test_nothing_goes_through_xla(form):
    layer = Conv2D(8, 3, groups=4)
    layer.build((None, None, None, 8))
    assert not uses_xla(traced(layer))


def test_keras_own_layer_still_goes_through_xla():
    layer = keras.layers.Conv2D(8, 3, groups=4)
    layer.build((None, None, None, 8))
    assert uses_xla(traced(layer)), (
        "Keras runs grouped convolutions without XLA now: compare its speed with that "
        "of keras_senet.layers.Conv2D, which may no longer be needed."
    )


@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_device_that_runs_a_graph_is_asked(monkeypatch, device):
    devices = [tf.config.LogicalDevice(f"/{d}:0", d) for d in {"CPU", device}]
    monkeypatch.setattr(
        tf.config,
        "list_logical_devices",
        lambda kind=None: [d for d in devices if kind in (None, d.device_type)],
    )
    asked = []
    monkeypatch.setattr(
        kernels,
        "_grouped_form",
        lambda *arguments: asked.append(arguments) or kernels._native,
    )
    layer = Conv2D(8, 3, groups=4, dtype="mixed_bfloat16")
    layer.build((None, None, None, 8))
    traced(layer)
    assert asked == [(device, "bfloat16", "NHWC", True)]


def test_device_without_either_form_is_left_to_keras(monkeypatch):
    assert kernels._grouped_form("TPU", "float32", "NHWC", False) is None
    monkeypatch.setattr(kernels, "_grouped_form", lambda *args: None)
    layer = Conv2D(8, 3, groups=4)
    layer.build((None, None, None, 8))
    assert uses_xla(traced(layer))


WITHOUT_ONEDNN = """
import keras, numpy as np, tensorflow as tf
from keras_senet.layers import Conv2D, _tensorflow as kernels
for bias in (True, False):
    form = kernels._grouped_form("CPU", "float32", "NHWC", bias)
    assert form is kernels._block_diagonal
    assert kernels._grouped_form("CPU", "float32", "NCHW", bias) is None
x = np.random.default_rng(0).normal(size=(4, 6, 6, 8)).astype("float32")
model = keras.Sequential([
    keras.Input((6, 6, 8)), Conv2D(8, 3, groups=4), keras.layers.Flatten(),
    keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
losses = [model.train_on_batch(x, np.ones((4, 1))) for _ in range(3)]
assert losses[2] < losses[0], losses
"""


@pytest.mark.slow
def test_training_without_onednn():
    """As on processors that TensorFlow has no oneDNN for."""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    subprocess.run(
        [sys.executable, "-c", WITHOUT_ONEDNN], check=True, timeout=120, env=environment
    )


WITH_JAX = """
import sys, keras, numpy as np
from keras_senet.layers import Conv2D
x = np.random.default_rng(0).normal(size=(2, 5, 5, 8)).astype("float32")
layer, own = Conv2D(8, 3, groups=4), keras.layers.Conv2D(8, 3, groups=4)
y = layer(x)
own.build(x.shape)
own.set_weights(layer.get_weights())
assert np.array_equal(np.asarray(y), np.asarray(own(x)))
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
def test_jax_runs_keras_own():
    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [sys.executable, "-c", WITH_JAX], check=True, timeout=120, env=environment
    )


def test_config_survives():
    layer = Conv2D(8, 3, groups=4, dilation_rate=2, activation="relu", name="conv")
    config = keras.layers.serialize(layer)
    assert config["registered_name"] == "keras_senet>Conv2D"
    again = keras.layers.deserialize(config)
    assert type(again) is Conv2D
    own = keras.layers.Conv2D.from_config(layer.get_config())
    assert again.get_config() == layer.get_config() == own.get_config()


TINY = {
    "weights": None,
    "classes": 5,
    "input_shape": (32, 32, 3),
    "blocks": (1, 1, 1, 1),
    "filters": (8, 8, 16, 16),
    "reduction": 4,
    "cardinality": 2,
    "width": 32,
}


def test_networks_use_it():
    layers = keras_senet.SEResNeXt(**TINY).layers
    grouped = [layer for layer in layers if getattr(layer, "groups", 1) > 1]
    assert len(grouped) == 4
    assert {type(layer) for layer in grouped} == {Conv2D}


def test_files_of_networks_with_keras_own_layer(tmp_path, monkeypatch, images):
    """Those of version 0.1."""
    with monkeypatch.context() as patch:
        patch.setattr(_blocks, "Conv2D", keras.layers.Conv2D)
        old = keras_senet.SEResNeXt(**TINY)
    old.save(tmp_path / "old.keras")
    old.save_weights(tmp_path / "old.weights.h5")
    new = keras_senet.SEResNeXt(**TINY)
    assert any(type(layer) is Conv2D for layer in new.layers)
    assert not any(type(layer) is Conv2D for layer in old.layers)
    new.load_weights(tmp_path / "old.weights.h5")
    loaded = keras.models.load_model(tmp_path / "old.keras")
    x = images(2, 32, 32, 3)
    np.testing.assert_allclose(loaded(x), old(x), atol=1e-6)
    np.testing.assert_allclose(new(x), old(x), atol=1e-6)
