"""RegNetY against the paper's rule, and against counts of other implementations."""

import json
from pathlib import Path

import numpy as np
import pytest

import keras_senet
from keras_senet.models import CONSTRUCTORS, regnet

GOLDENS = Path(__file__).parents[1] / "goldens"
TINY = {
    "blocks": (1, 1, 1, 1),
    "filters": (8, 8, 16, 16),
    "group_width": 4,
    "input_shape": (64, 64, 3),
    "classes": 5,
}

# w0, wa, wm, group width, depth: the settings of pycls; values in timm; trainable
# values there, in millions with two digits, as its results say.
PAPER = {
    "002": (24, 36.44, 2.49, 8, 13, 3.16),
    "004": (48, 27.89, 2.09, 8, 16, 4.34),
    "006": (48, 32.54, 2.32, 16, 15, 6.06),
    "008": (56, 38.84, 2.4, 16, 14, 6.26),
    "016": (48, 20.71, 2.65, 24, 27, 11.20),
    "032": (80, 42.63, 2.66, 24, 21, 19.44),
    "040": (96, 31.41, 2.24, 64, 22, 20.65),
    "064": (112, 33.22, 2.27, 72, 25, 30.58),
    "080": (192, 76.82, 2.19, 56, 17, 39.18),
    "120": (168, 73.36, 2.37, 112, 19, 51.82),
    "160": (200, 106.23, 2.48, 112, 18, 83.59),
    "320": (232, 115.89, 2.53, 232, 20, 145.05),
    "640": (352, 147.48, 2.4, 328, 20, 281.38),
    "1280": (456, 160.83, 2.52, 264, 27, 644.81),
}


@pytest.mark.parametrize("size", PAPER)
def test_rows_follow_the_papers_rule(size):
    """Widths of units grow linearly, are rounded to w0 * wm ** n, then to groups."""
    w0, wa, wm, group, depth, millions = PAPER[size]
    steps = np.round(np.log(1 + wa / w0 * np.arange(depth)) / np.log(wm))
    widths = np.round(w0 * wm**steps / 8) * 8
    fixed = CONSTRUCTORS[f"regnety_{size}"].spec.fixed
    values, blocks = np.unique(widths, return_counts=True)
    groups = np.minimum(group, values)
    assert fixed["blocks"] == tuple(blocks)
    assert fixed["filters"] == tuple(np.round(values / groups) * groups)
    assert fixed["group_width"] == group
    golden = json.loads((GOLDENS / f"regnety_{size}.json").read_text())
    assert round(golden["with_se"]["trainable"] / 1e6, 2) == millions


def test_values_and_multiply_adds():
    model = keras_senet.RegNetY032(weights=None)
    assert model.count_params() == 19_502_498  # tf.keras'
    # The paper's table: 0.2, 0.4, 0.6, 0.8, 1.6, 3.2 and so on; timm counts 3.20.
    golden = json.loads((GOLDENS / "regnety_032.json").read_text())
    assert golden["with_se"]["multiply_adds"] == pytest.approx(3.2e9, rel=0.01)


def gates(**arguments):
    model = keras_senet.RegNetY(weights=None, **{**TINY, **arguments})
    return [x for x in model.layers if x.name.endswith("_se")], model


def test_se_is_as_wide_as_a_share_of_the_units_input():
    layers, model = gates(filters=(8, 16, 24, 40), blocks=(1, 2, 1, 1))
    widths = {x.name: x.reduce.filters for x in layers}
    assert widths == {
        "conv2_block1_se": 8,  # the stem's 32
        "conv3_block1_se": 2,
        "conv3_block2_se": 4,
        "conv4_block1_se": 4,
        "conv5_block1_se": 6,
    }
    assert layers[0].input is model.get_layer("conv2_block1_2_relu").output
    layers, _ = gates(filters=(12, 16, 24, 40), reduction=8)
    # 12 / 8 and 24 / 8 are rounded, to the even number in the middle.
    assert [x.reduce.filters for x in layers] == [4, 2, 2, 3]
    layers, _ = gates(filters=(12, 16, 24, 40), divisor=8)
    assert {x.reduce.filters for x in layers} == {8}


@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity"])
def test_placement(placement):
    layers, model = gates(placement=placement)
    merged = model.get_layer("conv3_block1_add").input
    after = {
        "standard": merged[1],
        "pre": model.get_layer("conv3_block1_1_conv").input,
        "post": model.get_layer("conv4_block1_1_conv").input,
        "identity": merged[0],
    }[placement]
    assert [x.output is after for x in layers].count(True) == 1


def test_strides_and_dilation():
    model = keras_senet.RegNetY(weights=None, output_stride=8, **TINY)
    units = [model.get_layer(f"conv{s}_block1_2_conv") for s in (2, 3, 4, 5)]
    assert [u.output.shape[1] for u in units] == [16, 8, 8, 8]
    assert [u.dilation_rate[0] for u in units] == [1, 1, 1, 2]


def test_padding_as_in_keras_files(randomize, images, relative_error):
    """Below and right only; of an odd size, as the other: on all sides."""
    even = randomize(keras_senet.RegNetY(weights=None, **TINY))
    same = keras_senet.RegNetY(weights=None, padding="same", **TINY)
    same.set_weights(even.get_weights())
    x = images(1, 64, 64, 3)
    assert relative_error(same(x), even(x)) > 1e-3
    shape = {"input_shape": (33, 33, 3)}  # 17, 9, 5, 3
    models = [
        keras_senet.RegNetY(weights=None, **{**TINY, **shape}, padding=padding)
        for padding in ("even", "same")
    ]
    for model in models:
        model.set_weights(even.get_weights())
    x = images(1, 33, 33, 3)
    assert relative_error(models[1](x), models[0](x)) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": (8, 8, 16, 18)}, "multiples of `group_width`, 4, one for each"),
        ({"blocks": (1, 1, 1)}, "`blocks` must be four positive integers, one"),
        ({"stem": "deep"}, "does not take `stem`: its stem is one 3x3 convolution"),
        ({"cardinality": 32}, "its groups have a fixed width, `group_width`"),
        ({"padding": "valid"}, "`padding` must be"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_senet.RegNetY(weights=None, **{**TINY, **arguments})


def test_families_share_one_record():
    assert keras_senet.RegNetY032.family is regnet.FAMILY
