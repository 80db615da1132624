"""Where a network looks, against the formulas in NumPy."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conformance import cases
from keras import layers

import keras_senet
from keras_senet.analysis import class_activation, overlay

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 4, 6, 3), dtype="float32")
CONV = RNG.normal(0, 1, (1, 1, 3, 4)).astype("float32")
REDUCE = RNG.normal(0, 1, (4, 2)).astype("float32")
EXPAND = RNG.normal(0, 1, (2, 4)).astype("float32")
DENSE = RNG.normal(0, 1, (4, 3)).astype("float32")


def by_hand(classes=3, activation="softmax", data_format="channels_last", top=True):
    """A convolution, SE, a mean and a dense layer, without biases."""
    first = data_format == "channels_first"
    x = inputs = keras.Input((3, 4, 6) if first else (4, 6, 3))
    # TensorFlow has no convolution of channels first on some CPUs.
    x = layers.Permute((2, 3, 1))(x) if first else x
    x = layers.Conv2D(4, 1, activation="relu", use_bias=False, name="conv")(x)
    x = layers.Permute((3, 1, 2))(x) if first else x
    form = {"use_bias": False, "data_format": data_format}
    x = keras_senet.SqueezeExcite(squeeze_filters=2, name="se", **form)(x)
    weights = [CONV, REDUCE.reshape(1, 1, 4, 2), EXPAND.reshape(1, 1, 2, 4)]
    if top:
        x = layers.GlobalAveragePooling2D(data_format=data_format, name="mean")(x)
        x = layers.Dense(classes, activation, use_bias=False, name="scores")(x)
        weights.append(DENSE[:, :classes])
    model = keras.Model(inputs, x, name="by_hand")
    model.set_weights(weights)
    return model


def reference(images, index, method):
    """Grad-CAM at the output of SE and of the convolution, and CAM with the gates."""
    maps = np.maximum(images @ CONV[0, 0], 0)
    means = maps.mean((1, 2))
    hidden = np.maximum(means @ REDUCE, 0)
    gates = 1 / (1 + np.exp(-hidden @ EXPAND))
    weights = DENSE.T[index]
    if method == "conv":
        # y = sum_j w_j m_j g_j(m), with the means m of the map.
        inner = REDUCE[None] * (hidden > 0)[:, None] @ EXPAND
        slopes = (weights * means * gates * (1 - gates))[:, None] * inner
        found = maps * (weights * gates + slopes.sum(-1))[:, None, None]
    else:
        found = maps * (weights * gates)[:, None, None]
    found = np.maximum(found.sum(-1), 0)
    return found / np.maximum(found.max((1, 2), keepdims=True), 1e-9)


METHODS = {"se": {}, "conv": {"layer": "conv"}, "gates": {"by": "gates"}}


def close(a, b, tolerance=1e-5):
    np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_reference(method, index):
    found = class_activation(by_hand(), IMAGES, index, **METHODS[method])
    expected = reference(IMAGES, np.full(3, index), method)
    assert found.shape == (3, 4, 6) and found.dtype == "float32"
    close(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_channels_first_is_the_reference(method):
    model = by_hand(data_format="channels_first")
    found = class_activation(model, np.moveaxis(IMAGES, 3, 1), 1, **METHODS[method])
    close(found, reference(IMAGES, np.full(3, 1), method))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_reference_on_other_backends(backend):
    pytest.importorskip(backend)
    words = ["-q", "-p", "no:cacheprovider", __file__, "-k", "reference and not other"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "12 passed" in done.stdout


def test_the_class_with_the_highest_score_and_one_for_each_image():
    model = by_hand()
    best = model.predict(IMAGES, verbose=0).argmax(-1)
    close(class_activation(model, IMAGES), reference(IMAGES, best, "se"))
    given = class_activation(model, IMAGES, [2, 0, 1], batch_size=2)
    close(given, reference(IMAGES, [2, 0, 1], "se"))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", None])
def test_the_score_is_taken_before_the_activation(activation):
    model = by_hand(activation=activation)
    close(class_activation(model, IMAGES, 1), reference(IMAGES, [1] * 3, "se"))
    outputs = layers.Activation("softmax")(layers.Reshape((3,))(model.output))
    behind = keras.Model(model.input, outputs)
    if activation is None:
        close(class_activation(behind, IMAGES, 1), reference(IMAGES, [1] * 3, "se"))


@pytest.mark.parametrize("squash", [keras.ops.softmax, keras.ops.sigmoid])
def test_the_score_is_taken_before_an_operation(squash):
    model = by_hand(activation=None)
    behind = keras.Model(model.input, squash(model.output))
    close(class_activation(behind, IMAGES, 1), reference(IMAGES, [1] * 3, "se"))


@pytest.mark.parametrize("by", ["gradients", "gates"])
def test_integers_and_se_called_by_keyword(by):
    model = by_hand()
    se, *last = model.layers[2:]
    x = se(inputs=model.get_layer("conv").output)
    for layer in last:
        x = layer(x)
    called = keras.Model(model.input, x)
    whole = np.rint(20 * IMAGES).astype("uint8")
    expected = class_activation(model, whole.astype("float32"), 1, by=by)
    close(class_activation(called, whole, 1, by=by), expected)


def test_one_unit_speaks_for_class_1_and_against_class_0():
    model = by_hand(classes=1, activation="sigmoid")
    close(class_activation(model, IMAGES, 1), reference(IMAGES, [0] * 3, "se"))
    model.set_weights([*model.get_weights()[:-1], -DENSE[:, :1]])
    close(class_activation(model, IMAGES, 0), reference(IMAGES, [0] * 3, "se"))
    chosen = (model.predict(IMAGES, verbose=0)[:, 0] > 0.5).astype(int)
    close(class_activation(model, IMAGES), class_activation(model, IMAGES, chosen))


def nested_backbone():
    inputs = keras.Input((4, 6, 3))
    x = by_hand(top=False)(layers.Rescaling(1.0)(inputs))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(3, "softmax", use_bias=False)(x))


def nested_network():
    return keras.Sequential([keras.Input((4, 6, 3)), layers.Rescaling(1.0), by_hand()])


@pytest.mark.parametrize("make", [nested_backbone, nested_network])
@pytest.mark.parametrize("method", METHODS)
def test_nested_models(make, method):
    model = make()
    model.set_weights(by_hand().get_weights())
    expected = reference(IMAGES, [1] * 3, method)
    close(class_activation(model, IMAGES, 1, **METHODS[method]), expected)
    if method == "conv":
        close(class_activation(model, IMAGES, 1, "by_hand/conv"), expected)
    if method == "se":
        close(class_activation(model, IMAGES, 1, "by_hand/se"), expected)


def test_a_small_map_is_brought_to_the_images_size():
    inputs = keras.Input((8, 12, 3))
    x = layers.AveragePooling2D(2)(inputs)
    model = keras.Model(inputs, by_hand()(x))
    big = np.repeat(np.repeat(IMAGES, 2, 1), 2, 2)
    found = class_activation(model, big, 1)
    rows, columns = ((np.arange(2 * n) + 0.5) / 2 - 0.5 for n in (4, 6))
    for image, map_ in zip(found, reference(IMAGES, [1] * 3, "se"), strict=True):
        tall = np.stack([np.interp(rows, range(4), map_[:, i]) for i in range(6)], 1)
        wide = np.stack([np.interp(columns, range(6), row) for row in tall])
        close(image, wide / wide.max())


@pytest.mark.parametrize("name", ["small", "mobilenet", "inception", "vgg"])
def test_networks_of_the_package(name, randomize):
    model = randomize(cases.build(name))
    x = RNG.normal(0, 1, (2, *model.input_shape[1:])).astype("float32")
    before = [np.array(v) for v in model.variables]
    found = class_activation(model, x)
    assert found.shape == x.shape[:3]
    assert (found.max((1, 2)) == 1).all() and found.min() >= 0
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize("layer", [None, "conv3_block1_2_bn"])
@pytest.mark.parametrize("training", [False, True])
def test_fused(layer, training, randomize):
    # In training the gradient of a fused network passes this normalisation by.
    plain, fused = (randomize(cases.build("small", fused=f)) for f in (False, True))
    x = RNG.normal(0, 1, (4, 16, 16, 3)).astype("float32")
    before = [np.array(v) for v in fused.variables]
    maps = [class_activation(m, x, 1, layer, training=training) for m in (plain, fused)]
    assert maps[0].std() > 0.01
    close(*maps, 1e-3)
    for old, variable in zip(before, fused.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_mixed_precision(randomize):
    model = randomize(cases.build("small"))
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = cases.build("small")
    finally:
        keras.config.set_dtype_policy(policy)
    mixed.set_weights(model.get_weights())
    x = RNG.normal(0, 1, (2, 16, 16, 3)).astype("float32")
    close(class_activation(mixed, x, 0), class_activation(model, x, 0), 0.1)


def plain():
    inputs = keras.Input((4, 6, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.Dense(5)(layers.Flatten(name="flat")(x))
    return keras.Model(inputs, layers.Dense(3)(x))


def largest():
    model = by_hand()
    x = layers.GlobalMaxPooling2D()(model.get_layer("se").output)
    return keras.Model(model.input, layers.Dense(3)(x))


def aside():
    inputs = keras.Input((4, 6, 3))
    unused = layers.Conv2D(4, 1, name="unused")(inputs)
    used = layers.Conv2D(4, 1)(inputs)
    inner = keras.Model(inputs, [used, unused])
    x = layers.GlobalAveragePooling2D()(inner(inputs)[0])
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize(
    ("make", "kwargs", "message"),
    [
        (largest, {"by": "gates"}, "something else follows 'se'"),
        (aside, {"layer": "unused"}, "must lead to the scores.*/unused'"),
        (lambda: layers.Dense(2), {}, "functional or built sequential"),
        (lambda: by_hand(top=False), {}, "one output \\(batch, classes\\)"),
        (by_hand, {"by": "chance"}, "'gradients' or 'gates'"),
        (by_hand, {"class_index": 3}, "classes of the model, 0 to 2"),
        (by_hand, {"class_index": [0, 1]}, "2 classes for 3 images"),
        (by_hand, {"class_index": 0.5}, "classes of the model"),
        (by_hand, {"layer": "convs"}, "Did you mean 'conv'"),
        (by_hand, {"layer": "mean"}, "one output of shape .* the shape \\(None, 4\\)"),
        (by_hand, {"images": IMAGES[0]}, "must be a batch"),
        (by_hand, {"images": IMAGES[:0]}, "`images` must hold images"),
        (plain, {"by": "gates"}, "something else follows 'conv'"),
        (by_hand, {"by": "gates", "layer": "conv"}, "something else follows 'conv'"),
    ],
)
def test_what_cannot_be_shown_is_said(make, kwargs, message):
    with pytest.raises(ValueError, match=message):
        class_activation(make(), **{"images": IMAGES, **kwargs})


def test_gates_of_a_network_without_are_said():
    inputs = keras.Input((4, 6, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(ValueError, match="needs a SqueezeExcite layer for the 4"):
        class_activation(model, IMAGES, by="gates")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("high", [1.0, 255.0])
def test_overlay(channels, high):
    image = np.linspace(0, high, 24 * channels).reshape(4, 6, channels)
    where = np.zeros((4, 6), "float32")
    where[1, 2] = 1
    picture = overlay(image, where)
    assert (picture.shape, picture.dtype) == ((4, 6, 3), "uint8")
    assert picture[1, 2, 0] > picture[1, 2, 2]  # warm where it looks
    close(picture, overlay(image * 255 / high, where), 1)
