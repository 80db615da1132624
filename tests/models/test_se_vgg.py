"""SE-VGG-16 against keras.applications and the paper's count."""

import itertools

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.models.se_vgg import SEVGG16

SMALL = {"include_top": False, "input_shape": (32, 32, 3)}
CONVOLUTIONS = [
    [f"block{block}_conv{i}" for i in range(1, count + 1)]
    for block, count in enumerate((2, 2, 3, 3, 3), 1)
]


def host(**kwargs):
    return keras.applications.VGG16(weights=None, **kwargs)


@pytest.mark.parametrize("size", [32, pytest.param(75, marks=pytest.mark.slow)])
def test_plain_host_is_keras_applications(size, randomize, images, relative_error):
    shape = (size, size, 3)
    theirs = randomize(host(input_shape=shape, classes=7))
    ours = SEVGG16(se=False, batch_norm=False, input_shape=shape, classes=7)
    ours.set_weights(theirs.get_weights())
    x = images(2, *shape)
    assert relative_error(ours(x), theirs(x)) < 1e-5


def test_plain_features_are_keras_applications(randomize, images, relative_error):
    theirs = randomize(host(include_top=False))
    ours = SEVGG16(include_top=False, se=False, batch_norm=False)
    ours.set_weights(theirs.get_weights())
    for size in (32, 67):
        x = images(1, size, size + 3, 3)
        assert relative_error(ours(x), theirs(x)) < 1e-5


def test_layer_names_of_host():
    ours = SEVGG16(se=False, batch_norm=False, **SMALL)
    assert [layer.name for layer in ours.layers if layer.weights] == [
        layer.name for layer in host(**SMALL).layers if layer.weights
    ]


def test_count_of_trainable_values(trainable):
    plain = trainable(SEVGG16(se=False, batch_norm=False, **SMALL))
    gated = trainable(SEVGG16(batch_norm=False, **SMALL))
    assert plain == trainable(host(**SMALL))
    assert gated - plain == 226_304 + 4_488
    # gamma instead of the bias.
    normalised = trainable(SEVGG16(**SMALL))
    assert normalised - gated == 4_224


@pytest.mark.slow
def test_count_of_trainable_values_with_top(trainable):
    count = trainable(host()) + 226_304 + 4_488
    assert trainable(SEVGG16(batch_norm=False)) == count


def test_se_changes_the_output(randomize, images, relative_error):
    x = images(1, 32, 32, 3)
    gated = randomize(SEVGG16(**SMALL))
    plain = SEVGG16(se=False, **SMALL)
    for layer in plain.layers:
        layer.set_weights(gated.get_layer(layer.name).get_weights())
    assert relative_error(gated(x), plain(x)) > 1e-2


@pytest.mark.parametrize("stages", [(0,), (2, 4), "all"])
def test_stages_are_the_blocks(stages):
    model = SEVGG16(se_stages=stages, **SMALL)
    gates = [layer.name for layer in model.layers if layer.name.endswith("_se")]
    assert gates == [
        f"{name}_se"
        for stage, names in enumerate(CONVOLUTIONS)
        if stages == "all" or stage in stages
        for name in names
    ]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_se_follows_each_relu(batch_norm):
    model = SEVGG16(batch_norm=batch_norm, **SMALL)
    names = [layer.name for layer in model.layers]
    for name in itertools.chain(*CONVOLUTIONS):
        at = names.index(f"{name}_se")
        assert names[at - 1] == f"{name}_relu"
        assert names[at - 2] == (f"{name}_bn" if batch_norm else name)


@pytest.mark.parametrize("top", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_channels_first(top, randomize, images, relative_error):
    # 64 pixels are as many as the first block's channels, where Keras alone would add
    # the bias along the width, and leave a 2x2 map, whose order the top must keep.
    arguments = {
        "batch_norm": False,
        "include_top": top,
        "pooling": "avg",
        "classes": 7,
    }
    last = randomize(SEVGG16(input_shape=(64, 64, 3), **arguments))
    first = SEVGG16(input_shape=(3, 64, 64), data_format="channels_first", **arguments)
    first.set_weights(last.get_weights())
    x = images(2, 64, 64, 3)
    assert relative_error(first(np.moveaxis(x, -1, 1)), last(x)) < 1e-5


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_preprocessing_is_that_of_keras_applications(
    data_format, images, relative_error
):
    shape = (32, 40, 3) if data_format == "channels_last" else (3, 32, 40)
    model = SEVGG16(
        include_preprocessing=True,
        include_top=False,
        input_shape=shape,
        data_format=data_format,
    )
    normalise = keras.Model(model.input, model.get_layer("block1_conv1").input)
    x = images(1, *shape)
    # Theirs works in place.
    theirs = keras.applications.vgg16.preprocess_input(x.copy(), data_format)
    assert relative_error(normalise(x), theirs) < 1e-5
    pyramid = keras_senet.features(model).output
    assert list(pyramid) == ["P2", "P3", "P4", "P5"]


def test_dropout_follows_both_hidden_layers():
    model = SEVGG16(input_shape=(32, 32, 3), dropout_rate=0.5)
    names = [layer.name for layer in model.layers]
    assert names[-5:] == ["fc1", "fc1_dropout", "fc2", "fc2_dropout", "predictions"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"placement": "post"}, "no residual units"),
        ({"batch_norm": 1}, "`batch_norm` must be True or False"),
        ({"stride_on": "1x1"}, "have no stride"),
        ({"include_top": True, "input_shape": (None, None, 3)}, "flattens"),
    ],
)
def test_rejected_arguments_say_why(arguments, message):
    with pytest.raises(ValueError, match=message):
        SEVGG16(**{**SMALL, **arguments})
