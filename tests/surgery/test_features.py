"""The last map of each stage, by name."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.utils import graph

# The layers whose outputs are P2 to P5.
LAST = {
    "SEResNet50": ["conv2_block3_out", "conv3_block4_out", "conv4_block6_out"],
    "SEResNeXt50": ["conv2_block3_out", "conv3_block4_out", "conv4_block6_out"],
    "SEMobileNet": ["conv_pw_3_se", "conv_pw_5_se", "conv_pw_11_se"],
    "SEVGG16": ["block3_conv3_se", "block4_conv3_se", "block5_conv3_se"],
    "SEInceptionV3": ["conv5_relu", "mixed2_se", "mixed7_se"],
}


SMALL = {
    "blocks": (1, 1, 1, 1),
    "filters": (8, 8, 16, 16),
    "reduction": 4,
    "input_shape": (64, 64, 3),
}


@pytest.mark.parametrize("name", LAST)
def test_last_maps(name):
    constructor = getattr(keras_senet, name)
    model = constructor(weights=None, include_top=False, input_shape=(160, 160, 3))
    maps = keras_senet.features(model)
    expected = [model.get_layer(layer).output for layer in LAST[name]]
    expected.append(model.output)
    assert list(maps.output) == ["P2", "P3", "P4", "P5"]
    assert all(a is b for a, b in zip(maps.output.values(), expected, strict=True))
    # An encoder of a U-Net has the strides 2 to 32.
    maps = keras_senet.features(model, range(1, 6)).pyramid_outputs
    assert list(maps) == ["P1", "P2", "P3", "P4", "P5"]
    for level, tensor in enumerate(maps.values(), 1):
        # InceptionV3 does not pad: 160 pixels become 79, 36, 17, 8 and 3.
        assert abs(tensor.shape[1] - 160 / 2**level) <= 4


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_strides_and_values(data_format, images, randomize):
    first = data_format == "channels_first"
    shape = (3, 64, 96) if first else (64, 96, 3)
    model = randomize(
        keras_senet.SEResNet(
            blocks=(1, 1, 1, 1),
            filters=(8, 8, 16, 16),
            input_shape=shape,
            data_format=data_format,
        )
    )
    x = images(1, *shape)
    maps = keras_senet.features(model)(x)
    for level in (2, 3, 4, 5):
        size = maps[f"P{level}"].shape[2:] if first else maps[f"P{level}"].shape[1:3]
        assert tuple(size) == (64 // 2**level, 96 // 2**level)
    pooled = np.mean(maps["P5"], axis=(2, 3) if first else (1, 2))
    top = keras.Model(model.input, model.get_layer("avg_pool").output)
    np.testing.assert_allclose(top(x), pooled, rtol=1e-5, atol=1e-6)


def test_post_placement_includes_se():
    model = keras_senet.SEResNet(blocks=(1, 1, 1, 1), placement="post")
    maps = keras_senet.features(model)
    assert maps.output["P3"] is model.get_layer("conv3_block1_se").output


def test_output_stride_ends_the_pyramid():
    model = keras_senet.SEResNet(
        blocks=(1, 1, 1, 1), output_stride=8, include_top=False
    )
    maps = keras_senet.features(model)
    assert list(maps.output) == ["P2", "P3"]
    assert maps.output["P3"] is model.output


def test_chosen_levels_and_name():
    model = keras_senet.SEResNet(blocks=(1, 1, 1, 1))
    maps = keras_senet.features(model, (1, 4), name="neck")
    assert (maps.name, list(maps.output)) == ("neck", ["P1", "P4"])
    assert list(keras_senet.features(model, np.int64(4)).output) == ["P4"]
    for levels in ((6,), (2.0, 3.0), (), "P3", 2.5):
        with pytest.raises(ValueError, match="`levels` must be some of"):
            keras_senet.features(model, levels)


def pyramid(**kwargs):
    """Maps at strides 2 to 16 of a small network."""
    return keras_senet.features(keras_senet.SEResNet(**SMALL | kwargs), range(1, 5))


def same(model, other, x):
    a, b = model(x), other(x)
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_what_detectors_ask_a_backbone_for():
    backbone = pyramid()
    assert type(backbone).__name__ == "Features"
    assert backbone.image_shape == (64, 64, 3)
    assert backbone.dtype_policy.name == "float32"
    assert list(backbone.pyramid_outputs) == ["P1", "P2", "P3", "P4"]
    assert all(a is b for a, b in zip(
        backbone.pyramid_outputs.values(), backbone.output.values(), strict=True
    ))  # fmt: skip
    card = backbone.card
    assert (card.outputs, card.classes, card.include_top) == ("features", None, False)
    assert (card.constructor, card.architecture.reduction) == (None, 4)
    assert card.input_shape == (64, 64, 3)


def _saved(model, tmp_path):
    model.save(tmp_path / "backbone.keras")
    return keras.saving.load_model(tmp_path / "backbone.keras")


COPIES = {
    "config": lambda m, _: type(m).from_config(m.get_config()),
    "object": lambda m, _: keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(m)))
    ),
    "clone": lambda m, _: keras.models.clone_model(m),
    "deepcopy": lambda m, _: copy.deepcopy(m),
    "pickle": lambda m, _: pickle.loads(pickle.dumps(m)),
    "file": _saved,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_copies_are_backbones(way, dtype, randomize, images, tmp_path):
    model = randomize(pyramid())
    if dtype:
        model = keras_senet.features(model, range(1, 5), dtype=dtype, name=model.name)
    other = COPIES[way](model, tmp_path)
    other.set_weights(model.get_weights())
    assert type(other) is type(model)
    assert other.card == model.card
    assert other.dtype_policy.name == model.dtype_policy.name
    assert (other.name, other.image_shape) == (model.name, model.image_shape)
    configs = [json.dumps(m.get_config(), sort_keys=True) for m in (model, other)]
    assert configs[0] == configs[1]
    same(model, other, images(1, 64, 64, 3))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_dtype_is_that_of_copies_of_all_layers(dtype, randomize, images):
    network = randomize(keras_senet.SEResNet(**SMALL))
    plain = keras_senet.features(network)
    cast = keras_senet.features(network, dtype=dtype)
    policy = keras.DTypePolicy(dtype)
    assert cast.dtype_policy.name == dtype
    x = images(2, 64, 64, 3)
    for a, b in zip(plain(x).values(), cast(x).values(), strict=True):
        assert keras.backend.standardize_dtype(b.dtype) == policy.compute_dtype
        a, b = (np.asarray(keras.ops.cast(t, "float32")) for t in (a, b))
        assert np.max(np.abs(a - b)) < 0.1 * np.max(np.abs(a))
    for layer in cast._flatten_layers():
        if not isinstance(layer, keras.layers.InputLayer):
            assert layer.compute_dtype == policy.compute_dtype
            assert layer.variable_dtype == policy.variable_dtype
    assert not {id(v) for v in cast.variables} & {id(v) for v in network.variables}
    assert {id(v) for v in plain.variables} <= {id(v) for v in network.variables}
    assert plain.dtype_policy.name == "float32"


def test_policy_is_that_of_the_network():
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        network = keras_senet.SEResNet(**SMALL)
    finally:
        keras.config.set_dtype_policy(policy)
    assert keras_senet.features(network).dtype_policy.name == "mixed_bfloat16"


def test_any_keras_model():
    model = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3))
    maps = keras_senet.features(model)
    assert [t.shape[1] for t in maps.output.values()] == [24, 12, 6, 3]
    plain = keras.Sequential([keras.Input((64, 64, 3))])
    for filters in (4, 6):
        plain.add(keras.layers.Conv2D(filters, 3, strides=2, padding="same"))
    maps = keras_senet.features(plain)
    assert maps(np.zeros((1, 64, 64, 3)))["P2"].shape == (1, 16, 16, 6)
    with pytest.raises(ValueError, match="functional or built sequential"):
        keras_senet.features(keras.layers.Dense(1))


def test_one_level():
    network = keras_senet.SEResNet20(weights=None, input_shape=(32, 32, 3))
    assert keras_senet.features(network, levels=2).output_names


def test_a_level_of_numpy_and_a_model_within_another():
    inner = keras_senet.SEResNet18(
        weights=None,
        include_top=False,
        data_format="channels_first",
        input_shape=(3, 64, 64),
    )
    inputs = keras.Input((3, 64, 64))
    outer = keras.Model(inputs, inner(inputs))
    assert graph.data_format(outer) == "channels_first"
    assert list(keras_senet.features(inner, np.int64(2)).pyramid_outputs) == ["P2"]
