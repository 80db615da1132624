"""Small-image networks: what their files say about the image."""

import pytest

import keras_senet
from keras_senet.weights import save_weights


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_file_gives_the_shape_of_the_image(tmp_path, shape):
    model = keras_senet.SEResNet20(weights=None, input_shape=shape)
    path = save_weights(model, tmp_path / "model.weights.h5")
    again = keras_senet.SEResNet20(weights=str(path))
    assert again.input_shape == (None, *shape)


def test_file_gives_the_shape_of_a_channels_first_image(tmp_path):
    model = keras_senet.SEResNet20(
        weights=None, input_shape=(1, 28, 28), data_format="channels_first"
    )
    path = save_weights(model, tmp_path / "model.weights.h5")
    again = keras_senet.SEResNet20(weights=str(path), data_format="channels_last")
    assert again.input_shape == (None, 28, 28, 1)
