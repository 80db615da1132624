"""Grey networks with an RGB input."""

import dataclasses

import keras
import numpy as np
import pytest
from conformance import cases

from keras_senet.card import Preprocessing
from keras_senet.surgery import rgb_input

RGB = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
GREY = RGB @ np.float32([[0.299], [0.587], [0.114]])


def _grey(**options):
    return cases.build("small", classes=3, input_shape=(32, 32, 1), **options)


@pytest.mark.parametrize("raw", [True, False])
def test_says_what_the_grey_network_says(raw, randomize):
    record = raw and Preprocessing(mean=(0.5,), std=(0.25,))
    model = randomize(_grey(include_preprocessing=record))
    model.card = card = dataclasses.replace(model.card, labels=("a", "b", "c"))
    changed = rgb_input(model)
    assert changed.input_shape == (None, 32, 32, 3)
    assert changed.output_names == model.output_names
    scale = 1 if raw else 1 / 255
    expected = model.predict(scale * GREY, verbose=0)
    np.testing.assert_allclose(
        changed.predict(scale * RGB, verbose=0), expected, atol=1e-5
    )
    assert np.ptp(expected) > 0.01
    assert changed.card.labels == card.labels
    assert changed.card.normalises == card.normalises == raw
    assert changed.card.input_shape == (32, 32, 3)
    assert changed.layers[1].trainable_weights == []
    assert changed.layers[-1] is model.layers[-1]


def test_a_network_of_colours_is_refused():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    with pytest.raises(ValueError, match=r"grey images, .* takes \(None, 8, 8, 3\)"):
        rgb_input(model)


def test_integers_stay_integers():
    inputs = keras.Input((8, 8, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    found = rgb_input(network)(RGB[:, :8, :8].astype("uint8"))
    grey = np.rint(RGB[:, :8, :8].astype("uint8") @ np.float32([0.299, 0.587, 0.114]))
    np.testing.assert_allclose(found[:, 0], grey.mean((1, 2)) / 255, atol=1e-3)
