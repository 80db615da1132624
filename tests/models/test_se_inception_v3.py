"""SE-Inception-v3 against keras.applications and the community's convention."""

import keras
import numpy as np
import pytest

from keras_senet.models.se_inception_v3 import SEInceptionV3


def host(**kwargs):
    return keras.applications.InceptionV3(weights=None, **kwargs)


def gates(model):
    return [layer.name for layer in model.layers if layer.name.endswith("_se")]


@pytest.fixture(scope="module")
def plain():
    return SEInceptionV3(include_top=False, se=False)


@pytest.fixture(scope="module")
def gated():
    return SEInceptionV3(include_top=False)


@pytest.mark.slow
def test_plain_host_is_keras_applications(plain, randomize, images, relative_error):
    theirs = randomize(host(input_shape=(75, 80, 3), classes=7))
    ours = SEInceptionV3(se=False, input_shape=(75, 80, 3), classes=7)
    ours.set_weights(theirs.get_weights())
    x = images(1, 75, 80, 3)
    assert relative_error(ours(x), theirs(x)) < 1e-5
    # All but the top's kernel and bias.
    weights = theirs.get_weights()[:-2]
    theirs = host(include_top=False, input_shape=(96, 75, 3))
    theirs.set_weights(weights)
    plain.set_weights(weights)
    x = images(1, 96, 75, 3)
    assert relative_error(plain(x), theirs(x)) < 1e-5


def test_count_of_trainable_values(plain, gated, trainable):
    # keras.applications' InceptionV3 without its top, which the slow test counts.
    assert trainable(plain) == 21_768_352
    assert trainable(gated) - trainable(plain) == 1_650_944 + 10_676
    assert gates(gated) == [f"mixed{i}_se" for i in range(11)]
    assert gates(plain) == []


def test_se_follows_the_concatenation(plain, gated, randomize, images, relative_error):
    for name in gates(gated):
        concatenation = gated.get_layer(name.removesuffix("_se"))
        assert gated.get_layer(name).input is concatenation.output
    randomize(gated)
    for layer in plain.layers:
        layer.set_weights(gated.get_layer(layer.name).get_weights())
    x = images(1, 75, 75, 3)
    assert relative_error(gated(x), plain(x)) > 1e-2


def test_stages_begin_with_the_module_that_halves_the_map():
    model = SEInceptionV3(include_top=False, se_stages=(4,))
    assert gates(model) == [f"mixed{i}_se" for i in range(3, 8)]


@pytest.mark.slow
def test_channels_first_of_full_depth(gated, randomize, images, relative_error):
    first = SEInceptionV3(include_top=False, data_format="channels_first")
    first.set_weights(randomize(gated).get_weights())
    x = images(1, 75, 75, 3)
    y = np.moveaxis(first(np.moveaxis(x, -1, 1)), 1, -1)
    assert relative_error(y, gated(x)) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"placement": "3x3"}, "whole Inception module is the transformation"),
        ({"se_stages": (2,)}, "tuple of stages from"),
        ({"shortcut": "avg"}, "it has no shortcuts"),
        ({"input_shape": (74, 75, 3)}, "at least 75 pixels"),
        ({"drop_path_rate": 0.1}, "needs residual branches"),
    ],
)
def test_rejected_arguments_say_why(arguments, message):
    with pytest.raises(ValueError, match=message):
        SEInceptionV3(include_top=False, **arguments)


@pytest.mark.slow
def test_plain_host_of_full_size(randomize, images, relative_error, trainable):
    theirs = randomize(host())
    ours = SEInceptionV3(se=False)
    ours.set_weights(theirs.get_weights())
    x = images(1, 299, 299, 3)
    assert relative_error(ours(x), theirs(x)) < 1e-5
    assert trainable(ours) == trainable(theirs)
