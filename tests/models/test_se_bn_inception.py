"""SE-BN-Inception against the released definition."""

import keras
import numpy as np
import pytest

from keras_senet.models.se_bn_inception import SEBNInception

WIDTHS = {
    "inception_3a": (28, 256),
    "inception_3b": (28, 320),
    "inception_3c": (14, 576),
    "inception_4a": (14, 576),
    "inception_4b": (14, 576),
    "inception_4c": (14, 608),
    "inception_4d": (14, 608),
    "inception_4e": (7, 1056),
    "inception_5a": (7, 1024),
    "inception_5b": (7, 1024),
}


def gates(model):
    return [layer.name for layer in model.layers if layer.name.endswith("_se")]


@pytest.fixture(scope="module")
def gated():
    return SEBNInception()


@pytest.fixture(scope="module")
def plain():
    return SEBNInception(se=False)


def test_count_of_trainable_values(plain, gated, trainable):
    assert trainable(plain) == 11_285_224
    assert trainable(gated) == 11_931_622


def test_se_is_on_the_released_concatenations(gated):
    assert gates(gated) == [f"{name}_se" for name in WIDTHS]
    for name, (size, width) in WIDTHS.items():
        concatenation = gated.get_layer(name)
        assert concatenation.output.shape == (None, size, size, width)
        assert gated.get_layer(f"{name}_se").input is concatenation.output


def test_stages_begin_with_the_module_that_halves_the_map():
    model = SEBNInception(include_top=False, se_stages=(3, 5))
    names = ["3a", "3b", "4e", "5a", "5b"]
    assert gates(model) == [f"inception_{name}_se" for name in names]


def test_average_pools_count_the_zeros(plain, randomize, images, relative_error):
    randomize(plain)
    before, after = "pool2", "inception_3a_pool"
    maps = keras.Model(
        plain.input, [plain.get_layer(before).output, plain.get_layer(after).output]
    )
    x, pooled = (np.asarray(y) for y in maps(images(1, 224, 224, 3)))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [padded[:, i : i + 28, j : j + 28] for i in range(3) for j in range(3)]
    assert relative_error(pooled, np.sum(windows, 0) / 9) < 1e-5
    # In a corner, five of the nine are zeros.
    corner = np.sum(x[0, :2, :2], (0, 1)) / 9
    assert relative_error(pooled[0, 0, 0], corner) < 1e-5


def test_strided_pools_cut_the_last_window_off():
    # Caffe's ceil mode: ceil((n - 3) / 2) + 1, of the first convolution's half.
    model = SEBNInception(include_top=False, input_shape=(225, 226, 3))
    assert model.get_layer("pool1").output.shape[1:3] == (56, 56)
    # Odd maps, on which the released branches do not match.
    model = SEBNInception(include_top=False, input_shape=(210, 235, 3))
    assert model.get_layer("pool2").output.shape[1:3] == (26, 29)
    assert model.get_layer("inception_3c").output.shape[1:3] == (13, 15)
    assert model.output_shape == (None, 7, 8, 1024)


def test_last_pool_is_a_maximum(plain, images, relative_error):
    maps = keras.Model(
        plain.input,
        [
            plain.get_layer("inception_5a").output,
            plain.get_layer("inception_5b_pool").output,
        ],
    )
    x, pooled = (np.asarray(y) for y in maps(images(1, 224, 224, 3)))
    assert relative_error(pooled[0, 0, 0], x[0, :2, :2].max((0, 1))) < 1e-6
    assert relative_error(pooled[0, 3, 3], x[0, 2:5, 2:5].max((0, 1))) < 1e-6


def test_se_changes_the_output(plain, gated, randomize, images, relative_error):
    randomize(gated)
    for layer in plain.layers:
        layer.set_weights(gated.get_layer(layer.name).get_weights())
    x = images(1, 224, 224, 3)
    assert relative_error(gated(x), plain(x)) > 1e-2


@pytest.mark.slow
def test_channels_first_of_full_depth(gated, randomize, images, relative_error):
    last = SEBNInception(include_top=False)
    last.set_weights(randomize(gated).get_weights()[:-2])
    first = SEBNInception(include_top=False, data_format="channels_first")
    first.set_weights(last.get_weights())
    x = images(1, 64, 77, 3)
    y = np.moveaxis(first(np.moveaxis(x, -1, 1)), 1, -1)
    assert relative_error(y, last(x)) < 1e-5


def test_placement_says_why_there_is_one():
    with pytest.raises(ValueError, match="whole Inception module"):
        SEBNInception(placement="identity")
