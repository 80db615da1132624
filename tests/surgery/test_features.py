"""The last map of each stage, by name."""

import keras
import numpy as np
import pytest

import keras_senet

# The layers whose outputs are P2 to P5.
LAST = {
    "SEResNet50": ["conv2_block3_out", "conv3_block4_out", "conv4_block6_out"],
    "SEResNeXt50": ["conv2_block3_out", "conv3_block4_out", "conv4_block6_out"],
    "SEMobileNet": ["conv_pw_3_se", "conv_pw_5_se", "conv_pw_11_se"],
    "SEVGG16": ["block3_conv3_se", "block4_conv3_se", "block5_conv3_se"],
    "SEInceptionV3": ["conv5_relu", "mixed2_se", "mixed7_se"],
}


@pytest.mark.parametrize("name", LAST)
def test_last_maps(name):
    model = getattr(keras_senet, name)(weights=None, include_top=False)
    maps = keras_senet.features(model)
    expected = [model.get_layer(layer).output for layer in LAST[name]]
    expected.append(model.output)
    assert list(maps.output) == ["P2", "P3", "P4", "P5"]
    assert all(a is b for a, b in zip(maps.output.values(), expected, strict=True))


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
    with pytest.raises(ValueError, match="`levels` must be some of"):
        keras_senet.features(model, (6,))


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
