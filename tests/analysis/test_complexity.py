"""Counts against the paper's, and against sums done by hand."""

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet import SqueezeExcite, complexity

# Table 2 of the paper: G multiply-adds of the plain network and with SE.
GFLOPS = {
    "SEResNet50": ({"stride_on": "1x1"}, 3.86, 3.87),
    "SEResNet101": ({"stride_on": "1x1"}, 7.58, 7.60),
    "SEResNet152": ({"stride_on": "1x1"}, 11.30, 11.32),
    "SEResNeXt50": ({}, 4.24, 4.25),
    "SEResNeXt101": ({}, 7.99, 8.00),
    "SEMobileNet": ({}, 0.569, 0.572),
}


_LARGE = ("SEResNet101", "SEResNet152", "SEResNeXt101")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in _LARGE else ())
        for name in GFLOPS
    ],
)
def test_gflops_of_table_2(name):
    kwargs, plain, with_se = GFLOPS[name]
    constructor = getattr(keras_senet, name)
    host, whole = (
        complexity(constructor(weights=None, se=se, **kwargs)) for se in (False, True)
    )
    assert host.gflops == pytest.approx(plain, rel=0.003)
    assert whole.gflops == pytest.approx(with_se, rel=0.003)
    assert whole.multiply_adds - host.multiply_adds == whole.se_multiply_adds
    # A difference of figures with three digits.
    assert whole.gflops - host.gflops == pytest.approx(with_se - plain, rel=0.5)


def test_no_squeeze_costs_what_section_7_1_says():
    model = keras_senet.SEResNet50(weights=None, squeeze="none", stride_on="1x1")
    assert complexity(model).gflops == pytest.approx(4.27, rel=0.005)


def test_stride_on_the_3x3():
    plain = keras_senet.SEResNet50(weights=None, se=False)
    assert complexity(plain).gflops == pytest.approx(4.089, abs=0.0005)


def test_formula_of_section_4():
    counted = complexity(keras_senet.SEResNet50(weights=None, se_bias=False))
    assert counted.se_formula == counted.se_parameters == 2_514_944
    biased = complexity(keras_senet.SEResNet50(weights=None))
    assert biased.se_formula == 2_514_944
    assert biased.se_parameters == 28_088_024 - 25_557_032


def _by_hand():
    inputs = keras.Input((8, 6, 4))
    x = keras.layers.Conv2D(12, 3, padding="same", groups=2, name="grouped")(inputs)
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", name="deep")(x)
    x = SqueezeExcite(4, name="se")(x)
    x = keras.layers.SeparableConv2D(5, 3, padding="same", name="separable")(x)
    x = keras.layers.Conv2DTranspose(2, 2, 2, name="transposed")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(7, name="dense")(x))


def test_each_kind_of_layer_by_hand():
    counted = complexity(_by_hand())
    assert {row.name: row.multiply_adds for row in counted.layers} == {
        "grouped": 8 * 6 * 12 * 9 * 2,
        "deep": 4 * 3 * 12 * 9,
        "se": 12 * 3 + 3 * 12 + 4 * 3 * 12,
        "separable": 4 * 3 * 12 * (9 + 5),
        "transposed": 4 * 3 * 12 // 12 * 5 * 2 * 2 * 2,
        "pool": 0,
        "dense": 2 * 7,
    }
    assert counted.parameters == _by_hand().count_params()
    assert counted.se_multiply_adds == 12 * 3 + 3 * 12 + 4 * 3 * 12
    maps = 8 * 6 * 12 + 4 * 3 * 12 + 4 * 3 * 5 + 8 * 6 * 2
    assert counted.activations == maps + (3 + 12) + 7


def test_activations_without_a_squeeze():
    inputs = keras.Input((4, 3, 12))
    model = keras.Model(inputs, SqueezeExcite(4, squeeze="none")(inputs))
    assert complexity(model).activations == 4 * 3 * (3 + 12)


def test_shared_layers_and_nested_models():
    inner = keras.Sequential([keras.layers.Conv2D(3, 3, padding="same", name="conv")])
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, inner(inner(inputs)), name="outer")
    counted = complexity(model)
    assert counted.multiply_adds == 2 * 8 * 8 * 3 * 27
    assert counted.parameters == 27 * 3 + 3
    rows = [row for row in counted.layers if row.name.endswith("/conv")]
    assert [row.multiply_adds for row in rows] == [8 * 8 * 3 * 27] * 2
    assert [row.parameters for row in rows] == [27 * 3 + 3, 0]


def test_open_image_sizes():
    model = keras_senet.SEResNet18(weights=None, include_top=False)
    fixed = keras_senet.SEResNet18(
        weights=None, include_top=False, input_shape=(64, 96, 3)
    )
    before = len(model.layers[1]._inbound_nodes)
    counted = complexity(model, input_shape=np.array([64, 96, 3]))
    assert type(counted.multiply_adds) is type(counted.activations) is int
    assert counted.multiply_adds == complexity(fixed).multiply_adds
    assert len(model.layers[1]._inbound_nodes) == before
    with pytest.raises(ValueError, match="image size must be known"):
        complexity(model)
    with pytest.raises(ValueError, match=r"for example \(224, 224, 3\)\. Received"):
        complexity(model, input_shape=224)


def test_the_open_one_of_several_inputs_is_named():
    two = [keras.Input((4,)), keras.Input((None, None, 3))]
    pooled = keras.layers.GlobalAveragePooling2D()(two[1])
    model = keras.Model(two, keras.layers.Concatenate()([two[0], pooled]))
    with pytest.raises(ValueError, match=r"\(None, None, 3\)\. Build the model with"):
        complexity(model)


def test_channels_first_costs_the_same():
    last = keras_senet.SEResNet20(weights=None)
    first = keras_senet.SEResNet20(weights=None, data_format="channels_first")
    assert complexity(first).multiply_adds == complexity(last).multiply_adds


def test_subclassed_model():
    class Mine(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="functional or sequential"):
        complexity(Mine())
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=r"Keras models\. Received: Mine 'mine'"):
        complexity(keras.Model(inputs, Mine(name="mine")(inputs)))
