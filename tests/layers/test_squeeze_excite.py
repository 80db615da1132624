"""SqueezeExcite against NumPy, with weights for which no two gates are equal."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet import SqueezeExcite

GATES = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "hard_sigmoid": lambda z: np.clip(z + 3, 0, 6) / 6,
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
}


def randomize(layer, seed=0):
    """Gives every weight its own random values, biases too."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0, 0.5, w.shape) for w in layer.weights])


def reference(layer, x, gate="sigmoid", squeeze="avg"):
    """Sections 3.1 and 3.2 of the paper in float64, channels last."""
    weights = [w.astype("float64") for w in layer.get_weights()]
    if len(weights) == 2:
        weights = [weights[0], 0.0, weights[1], 0.0]
    w1, b1, w2, b2 = weights
    x = x.astype("float64")
    axes = tuple(range(1, x.ndim - 1))
    if squeeze != "none":
        pool = {"avg": np.mean, "max": np.max}[squeeze]
        z = pool(x, axis=axes, keepdims=True)
    else:
        z = x
    w1, w2 = (w.reshape(w.shape[-2:]) for w in (w1, w2))
    hidden = np.maximum(z @ w1 + b1, 0)
    return x * GATES[gate](hidden @ w2 + b2)


def images(*shape, seed=1):
    return np.random.default_rng(seed).normal(1, 2, shape).astype("float32")


@pytest.mark.parametrize("spatial", [(9,), (5, 7), (3, 4, 5)], ids=str)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("squeeze", ["avg", "max", "none"])
def test_matches_numpy(spatial, data_format, squeeze):
    x = images(2, *spatial, 12)
    layer = SqueezeExcite(4, squeeze=squeeze, data_format=data_format)
    first = data_format == "channels_first"
    given = np.moveaxis(x, -1, 1) if first else x
    layer.build(given.shape)
    randomize(layer)
    out = keras.ops.convert_to_numpy(layer(given))
    out = np.moveaxis(out, 1, -1) if first else out
    expected = reference(layer, x, squeeze=squeeze)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    gates = keras.ops.convert_to_numpy(layer.excitation(given))
    np.testing.assert_allclose(given * gates, layer(given), rtol=1e-6)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gates(gate, data_format):
    x = images(2, 4, 4, 8)
    layer = SqueezeExcite(2, gate=gate, data_format=data_format)
    given = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
    layer.build(given.shape)
    randomize(layer)
    out = keras.ops.convert_to_numpy(layer(given))
    out = np.moveaxis(out, 1, -1) if data_format == "channels_first" else out
    np.testing.assert_allclose(out, reference(layer, x, gate), rtol=1e-5, atol=1e-5)


def test_no_bias():
    x = images(2, 4, 4, 8)
    layer = SqueezeExcite(2, use_bias=False)
    layer.build(x.shape)
    randomize(layer)
    assert [w.path.split("/", 1)[1] for w in layer.weights] == [
        "reduce/kernel",
        "expand/kernel",
    ]
    np.testing.assert_allclose(layer(x), reference(layer, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "channels", "width"),
    [
        ({}, 64, 4),
        ({}, 216, 13),  # 13.5: the paper's C / r, rounded down
        ({"reduction": 16}, 8, 1),
        ({"reduction": 999}, 8, 1),
        ({"reduction": np.int64(4)}, 64, 16),
        ({"squeeze_filters": 7}, 64, 7),
        ({"divisor": 8}, 64, 8),
        ({"divisor": 8}, 192, 16),  # 12 is half way: timm rounds up
        ({"divisor": 8}, 176, 8),
        ({"divisor": 8, "reduction": 4}, 88, 24),  # 22 is nearer to 24
        ({"divisor": 3}, 74, 6),  # 4.625 is nearer to 6
        ({"divisor": 3}, 64, 3),
        ({"divisor": 8, "squeeze_filters": 4}, 64, 4),
    ],
)
def test_squeeze_width(arguments, channels, width):
    layer = SqueezeExcite(**arguments)
    layer.build((None, 4, 4, channels))
    assert layer.weights[0].shape == (1, 1, channels, width)


@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid", "softmax", "softplus"])
@pytest.mark.parametrize("squeeze", ["avg", "none"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_identity_start_is_exact(gate, squeeze, dtype):
    layer = SqueezeExcite(
        4, gate=gate, squeeze=squeeze, identity_start=True, dtype=dtype
    )
    x = keras.ops.cast(images(2, 5, 5, 16), layer.compute_dtype)
    exact = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
    np.testing.assert_array_equal(keras.ops.cast(layer(x), "float32"), exact)


def test_identity_start_is_trained_in_two_steps():
    layer = SqueezeExcite(4, identity_start=True)
    model = keras.Sequential([layer, keras.layers.GlobalAveragePooling2D()])
    x, y = images(8, 5, 5, 16), images(8, 16, seed=2)
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    before = layer.get_weights()
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    for old, new in zip(before, layer.get_weights(), strict=True):
        assert np.abs(new - old).max() > 0


@pytest.mark.parametrize("gate", ["relu", "tanh"])
def test_identity_start_refuses_a_gate_that_is_zero_at_zero(gate):
    with pytest.raises(ValueError, match="`gate` must not be zero at zero"):
        SqueezeExcite(gate=gate, identity_start=True)


def test_mean_is_taken_in_float32():
    layer = SqueezeExcite(2, dtype="mixed_float16")
    x = np.full((1, 64, 64, 4), 60000.0, "float16")
    layer.build(x.shape)
    layer.set_weights([np.full(w.shape, 1e-6) for w in layer.weights])
    assert np.isfinite(keras.ops.convert_to_numpy(layer.excitation(x))).all()


def test_dynamic_spatial_sizes():
    inputs = keras.Input((None, None, 8))
    layer = SqueezeExcite(2)
    model = keras.Model(inputs, layer(inputs))
    randomize(layer)
    assert model.output_shape == (None, None, None, 8)
    for size in (3, 6):
        x = images(2, size, size + 1, 8)
        out = model.predict(x, verbose=0)
        np.testing.assert_allclose(out, reference(layer, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", [0, -1, 0.25, True, "16", 16.0])
def test_bad_reduction(reduction):
    with pytest.raises(ValueError, match="`reduction` must be a positive integer") as e:
        SqueezeExcite(reduction)
    assert repr(reduction) in str(e.value)
    assert "reduction=4" in str(e.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reduction": 4, "squeeze_filters": 4}, "Only one of"),
        ({"squeeze_filters": 0}, "`squeeze_filters` must be a positive integer"),
        ({"divisor": 0.5}, "`divisor` must be a positive integer"),
        ({"squeeze": "mean"}, "`squeeze` must be 'avg', 'max' or 'none'"),
        ({"data_format": "NHWC"}, "`data_format` must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SqueezeExcite(**arguments)


@pytest.mark.parametrize("shape", [(None, 8), (None, 2, 2, 2, 2, 8)])
def test_bad_rank(shape):
    with pytest.raises(ValueError, match="1, 2 or 3 spatial axes"):
        SqueezeExcite().build(shape)


def test_unknown_channels():
    with pytest.raises(ValueError, match="number of channels must be known"):
        SqueezeExcite().build((None, 4, 4, None))


def test_config_is_complete():
    arguments = {
        "reduction": None,
        "squeeze_filters": 5,
        "divisor": 2,
        "squeeze": "max",
        "activation": "gelu",
        "gate": "hard_sigmoid",
        "use_bias": False,
        "identity_start": True,
        "data_format": "channels_first",
        "kernel_initializer": keras.initializers.GlorotNormal(seed=3),
        "bias_initializer": "ones",
        "kernel_regularizer": keras.regularizers.L2(0.1),
        "bias_regularizer": keras.regularizers.L1(0.2),
        "kernel_constraint": keras.constraints.MaxNorm(3),
        "bias_constraint": keras.constraints.NonNeg(),
    }
    layer = SqueezeExcite(**arguments, name="gate")
    config = layer.get_config()
    assert set(arguments) <= set(config)
    copy = SqueezeExcite.from_config(json.loads(json.dumps(config)))
    assert copy.get_config() == config
    x = images(2, 12, 4, 4)
    copy.build(x.shape)
    layer.build(x.shape)
    randomize(layer)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), layer(x))


def _saved(model, path):
    model.save(path)
    return keras.models.load_model(path)


@pytest.mark.parametrize(
    "again",
    [
        _saved,
        lambda model, path: keras.Model.from_config(model.get_config()),
        lambda model, path: keras.models.clone_model(model),
    ],
    ids=["saved", "from_config", "cloned"],
)
@pytest.mark.parametrize("frozen", ["by argument", "by attribute"])
def test_frozen_layer_stays_frozen(frozen, again, tmp_path):
    inputs = keras.Input((4, 4, 8))
    layer = SqueezeExcite(4, trainable=frozen != "by argument", name="se")
    model = keras.Model(inputs, layer(inputs))
    layer.trainable = False
    copy = again(model, tmp_path / "model.keras")
    assert not copy.trainable_weights
    copy.get_layer("se").trainable = True
    assert len(copy.trainable_weights) == 4


def test_registered_name_is_frozen():
    name = keras.saving.get_registered_name(SqueezeExcite)
    assert name == "keras_senet>SqueezeExcite"


def test_an_initializer_object_gives_each_kernel_its_own_values():
    layer = SqueezeExcite(1, kernel_initializer=keras.initializers.HeNormal())
    layer.build((None, 4, 4, 6))
    reduce, _, expand, _ = layer.get_weights()
    assert np.abs(reduce - expand).max() > 0


SCRIPT = """
import sys
import numpy as np, keras
from keras_senet.layers import SqueezeExcite
assert keras.backend.backend() == sys.argv[1]
results = []
for squeeze in ("avg", "max", "none"):
    for data_format in ("channels_last", "channels_first"):
        layer = SqueezeExcite(4, squeeze=squeeze, data_format=data_format)
        x = np.random.default_rng(1).normal(1, 2, (2, 5, 7, 12)).astype("float32")
        x = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
        layer.build(x.shape)
        rng = np.random.default_rng(0)
        layer.set_weights([rng.normal(0, 0.5, w.shape) for w in layer.weights])
        results.append(keras.ops.convert_to_numpy(layer(x)).ravel())
np.save(sys.argv[2], np.concatenate(results))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backends_agree(backend, tmp_path):
    pytest.importorskip(backend)
    results = {}
    for name in ("tensorflow", backend):
        path = tmp_path / f"{name}.npy"
        subprocess.run(
            [sys.executable, "-c", SCRIPT, name, str(path)],
            env={**os.environ, "KERAS_BACKEND": name},
            check=True,
        )
        results[name] = np.load(path)
    np.testing.assert_allclose(
        results[backend], results["tensorflow"], rtol=1e-5, atol=1e-5
    )


def test_public_name():
    assert keras_senet.SqueezeExcite is SqueezeExcite


def test_gates_in_a_graph_come_from_the_folded_network(tmp_path):
    """Keras saved those of `excitation` to files that it could not load."""
    inputs = keras.Input((8, 8, 6))
    x = keras_senet.SqueezeExcite(2, name="se")(keras.layers.Conv2D(6, 3)(inputs))
    model = keras.Model(inputs, keras_senet.SqueezeExcite(3, name="other")(x))
    layer = model.get_layer("se")
    with pytest.raises(ValueError, match=r"symbolic.*get_layer\('se'\)\.input\[1\]"):
        layer.excitation(layer.input)
    folded = keras_senet.fold(model)
    gates = [folded.get_layer(name).input[1] for name in ("se", "other")]
    both = keras.Model(folded.input, [folded.output, *gates])
    both.save(tmp_path / "gates.keras")
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype("float32")
    _, first, second = keras.models.load_model(tmp_path / "gates.keras")(images)
    maps = model.get_layer(index=1)(images)
    np.testing.assert_allclose(first, layer.excitation(maps), rtol=1e-5)
    expected = model.get_layer("other").excitation(layer(maps))
    np.testing.assert_allclose(second, expected, rtol=1e-5)
