"""SE-MobileNet against keras.applications and the paper's count."""

import keras
import numpy as np
import pytest

from keras_senet.models.se_mobilenet import SEMobileNet

SMALL = {"alpha": 0.25, "input_shape": (64, 64, 3), "classes": 7}


def host(**kwargs):
    return keras.applications.MobileNet(weights=None, **kwargs)


@pytest.mark.parametrize(("size", "alpha"), [(64, 0.25), (75, 0.5)])
def test_plain_host_is_keras_applications(
    randomize, images, relative_error, size, alpha
):
    shape = (size, size, 3)
    theirs = randomize(host(alpha=alpha, input_shape=shape, classes=7))
    ours = SEMobileNet(se=False, alpha=alpha, input_shape=shape, classes=7)
    ours.set_weights(theirs.get_weights())
    x = images(2, *shape)
    assert relative_error(ours(x), theirs(x)) < 1e-5


def test_plain_features_are_keras_applications(randomize, images, relative_error):
    theirs = randomize(host(include_top=False, alpha=0.25, input_shape=(None, None, 3)))
    ours = SEMobileNet(include_top=False, se=False, alpha=0.25)
    ours.set_weights(theirs.get_weights())
    for size in (64, 97):
        x = images(1, size, size + 3, 3)
        assert relative_error(ours(x), theirs(x)) < 1e-5


def test_layer_names_of_host():
    ours = SEMobileNet(se=False, **SMALL)
    theirs = host(**SMALL)
    named = [layer.name for layer in theirs.layers if layer.weights]
    assert [layer.name for layer in ours.layers if layer.weights] == named


def test_count_of_trainable_values(trainable):
    # The paper's 4.7 M; its count has no FC biases.
    assert trainable(SEMobileNet()) - trainable(host()) == 479_744 + 6_324
    plain, unbiased = SEMobileNet(se=False), SEMobileNet(se_bias=False)
    assert trainable(plain) == trainable(host())
    assert trainable(unbiased) - trainable(plain) == 479_744


def test_se_changes_the_output(randomize, images, relative_error):
    x = images(1, 64, 64, 3)
    gated = randomize(SEMobileNet(include_top=False, alpha=0.25))
    plain = SEMobileNet(include_top=False, alpha=0.25, se=False)
    for layer in plain.layers:
        layer.set_weights(gated.get_layer(layer.name).get_weights())
    assert relative_error(gated(x), plain(x)) > 1e-2


@pytest.mark.parametrize(
    ("stages", "blocks"),
    [((1,), [1]), ((2, 3), [2, 3, 4, 5]), ((5,), [12, 13]), ("all", range(1, 14))],
)
def test_stages(stages, blocks):
    model = SEMobileNet(se_stages=stages, **SMALL)
    gates = [layer.name for layer in model.layers if layer.name.endswith("_se")]
    assert gates == [f"conv_pw_{i}_se" for i in blocks]


def test_se_follows_the_relu6_of_the_pointwise_convolution():
    model = SEMobileNet(**SMALL)
    names = [layer.name for layer in model.layers]
    for i in range(1, 14):
        at = names.index(f"conv_pw_{i}_se")
        assert names[at - 1] == f"conv_pw_{i}_relu"


def test_channels_first(randomize, images, relative_error):
    last = randomize(SEMobileNet(**SMALL))
    shape = {"input_shape": (3, 64, 64), "data_format": "channels_first"}
    first = SEMobileNet(**{**SMALL, **shape})
    first.set_weights(last.get_weights())
    x = images(2, 64, 64, 3)
    assert relative_error(first(np.moveaxis(x, -1, 1)), last(x)) < 1e-5


def test_top_drops_out_as_the_host_does():
    assert SEMobileNet(**SMALL).get_layer("dropout").rate == 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"placement": "pre"}, "no residual units"),
        ({"alpha": float("inf")}, "`alpha` must be a number"),
        ({"alpha": 0.0}, "`alpha` must be at least 1/32"),
        ({"stem": "deep"}, "its stem is one 3x3"),
        ({"drop_path_rate": 0.1}, "needs residual branches"),
    ],
)
def test_rejected_arguments_say_why(arguments, message):
    with pytest.raises(ValueError, match=message):
        SEMobileNet(**{**SMALL, **arguments})
