"""ChannelShuffle against its definition."""

import keras
import numpy as np
import pytest

from keras_senet.layers import ChannelShuffle


def reference(x, groups):
    """Channel j of group i comes to position j * groups + i."""
    channels = x.shape[-1] // groups
    order = [i * channels + j for j in range(channels) for i in range(groups)]
    return x[..., order]


@pytest.mark.parametrize(("groups", "channels"), [(3, 12), (2, 10), (1, 4), (4, 4)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_order_of_the_channels(groups, channels, data_format, images):
    x = images(2, 3, 5, channels)
    layer = ChannelShuffle(groups, data_format)
    if data_format == "channels_last":
        y = layer(x)
    else:
        y = np.moveaxis(layer(np.moveaxis(x, -1, 1)), 1, -1)
    np.testing.assert_array_equal(y, reference(x, groups))


def test_unknown_sizes(images):
    inputs = keras.Input((None, None, 6))
    model = keras.Model(inputs, ChannelShuffle(3)(inputs))
    assert model.output_shape == (None, None, None, 6)
    for shape in ((1, 4, 7, 6), (3, 2, 2, 6)):
        x = images(*shape)
        y = model.predict(x, verbose=0)
        np.testing.assert_array_equal(y, reference(x, 3))


def test_config_gives_the_layer_back():
    layer = ChannelShuffle(3, "channels_first", name="shuffle")
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "keras_senet>ChannelShuffle"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("groups", [0, 1.5, "3"])
def test_groups_must_be_positive(groups):
    with pytest.raises(ValueError, match="`groups` must be a positive integer"):
        ChannelShuffle(groups)


def test_channels_must_be_a_multiple():
    with pytest.raises(ValueError, match=r"multiple of `groups`.*groups=4"):
        ChannelShuffle(4)(np.zeros((1, 2, 2, 6), "float32"))


def test_the_data_format_must_be_one():
    with pytest.raises(ValueError, match="`data_format` must be"):
        ChannelShuffle(2, "NCHW")


def test_other_than_maps_are_refused():
    with pytest.raises(ValueError, match=r"4 axes\. Received: input_shape=\(1, 2, 4\)"):
        ChannelShuffle(2).build((1, 2, 4))
