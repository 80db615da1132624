"""SE-ShuffleNet against the papers' counts and tables."""

import keras
import numpy as np
import pytest

from keras_senet.models._blocks import Blocks, Unit
from keras_senet.models.se_shufflenet import (
    SEShuffleNet,
    ShuffleNetArchitecture,
    shuffled,
)

SMALL = {"input_shape": (64, 64, 3), "classes": 7}
UNITS = {3: 4, 4: 8, 5: 4}
NAMES = [f"conv{s}_block{i}" for s in UNITS for i in range(1, UNITS[s] + 1)]


def gates(model):
    return [layer.name for layer in model.layers if layer.name.endswith("_se")]


def unit(strides, **architecture):
    """One unit of 24 channels, to 24 or 48."""
    b = Blocks(
        architecture=ShuffleNetArchitecture(**architecture),
        data_format="channels_last",
    )
    inputs = keras.Input((8, 8, 36))
    filters = 36 if strides == 1 else 72
    u = Unit(stage=4, name="conv4_block2", filters=filters, strides=strides)
    return keras.Model(inputs, shuffled(b, inputs, u))


def test_count_of_trainable_values(trainable):
    plain, gated = SEShuffleNet(se=False), SEShuffleNet()
    assert trainable(plain) == 1_865_728
    # The paper counts no FC biases.
    assert trainable(SEShuffleNet(se_bias=False)) == 2_476_144
    assert trainable(gated) == 2_484_533
    assert gates(gated) == [f"{name}_se" for name in NAMES]


def test_maps_and_groups_are_the_tables():
    model = SEShuffleNet()
    for stage, (size, filters) in {3: (28, 240), 4: (14, 480), 5: (7, 960)}.items():
        last = model.get_layer(f"conv{stage}_block{UNITS[stage]}_out")
        assert last.output.shape == (None, size, size, filters)
    groups = [model.get_layer(f"{name}_1_conv").groups for name in NAMES]
    assert groups == [1] + [3] * 15
    assert {model.get_layer(f"{name}_3_conv").groups for name in NAMES} == {3}
    # The channels that SE scales where a unit strides.
    widths = [model.get_layer(f"conv{s}_block1_se").output.shape[-1] for s in UNITS]
    assert widths == [216, 240, 480]


def test_unit_is_its_definition(randomize, images, relative_error):
    model = randomize(unit(1, se=False))
    x = images(2, 8, 8, 36)

    def norm(y, name):
        gamma, beta, mean, variance = model.get_layer(name).get_weights()
        return (y - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def grouped(y, name):
        (kernel,) = model.get_layer(name).get_weights()
        parts = zip(np.split(y, 3, -1), np.split(kernel[0, 0], 3, -1), strict=True)
        return np.concatenate([part @ matrix for part, matrix in parts], -1)

    y = np.maximum(norm(grouped(x, "conv4_block2_1_conv"), "conv4_block2_1_bn"), 0)
    y = y[..., [0, 3, 6, 1, 4, 7, 2, 5, 8]]
    (kernel,) = model.get_layer("conv4_block2_2_conv").get_weights()
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = sum(
        padded[:, i : i + 8, j : j + 8] * kernel[i, j, :, 0]
        for i in range(3)
        for j in range(3)
    )
    y = norm(y, "conv4_block2_2_bn")
    y = norm(grouped(y, "conv4_block2_3_conv"), "conv4_block2_3_bn")
    assert relative_error(model(x), np.maximum(x + y, 0)) < 1e-5


def test_unit_that_strides_concatenates_the_pooled_input(images, relative_error):
    model = unit(2)
    x = images(2, 8, 8, 36)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [
        padded[:, i : i + 8 : 2, j : j + 8 : 2] for i in (0, 1, 2) for j in (0, 1, 2)
    ]
    pooled = np.maximum(np.mean(windows, 0), 0)
    assert model.output_shape == (None, 4, 4, 72)
    assert relative_error(model(x)[..., :36], pooled) < 1e-5


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "3x3"])
def test_placement(placement, strides):
    model = unit(strides, placement=placement)
    name = "conv4_block2"
    shortcut = f"{name}_0_pool" if strides == 2 else None
    before = {
        "standard": f"{name}_3_bn",
        "pre": None,
        "post": f"{name}_out",
        "identity": shortcut,
        "3x3": f"{name}_2_bn",
    }[placement]
    expected = model.input if before is None else model.get_layer(before).output
    gate = model.get_layer(f"{name}_se")
    assert gate.input is expected
    merged = model.get_layer(f"{name}_{'concat' if strides == 2 else 'add'}").input
    after = {
        "standard": merged[1],
        "pre": model.get_layer(f"{name}_1_conv").input,
        "post": model.output,
        "identity": merged[0],
        "3x3": model.get_layer(f"{name}_3_conv").input,
    }[placement]
    assert gate.output is after


def test_stages_are_numbered_by_their_stride():
    model = SEShuffleNet(se_stages=(4,), **SMALL)
    assert gates(model) == [f"conv4_block{i}_se" for i in range(1, 9)]


def test_se_changes_the_output(randomize, images, relative_error):
    gated = randomize(SEShuffleNet(include_top=False))
    plain = SEShuffleNet(include_top=False, se=False)
    for layer in plain.layers:
        layer.set_weights(gated.get_layer(layer.name).get_weights())
    x = images(1, 64, 97, 3)
    assert relative_error(gated(x), plain(x)) > 1e-2


def test_paths_drop_where_there_is_a_sum():
    model = SEShuffleNet(drop_path_rate=0.15, **SMALL)
    drops = {layer.name: layer.rate for layer in model.layers if "_drop" in layer.name}
    expected = {
        f"{name}_drop": pytest.approx(0.01 * i)
        for i, name in enumerate(NAMES)
        if not name.endswith("block1")
    }
    assert drops == expected


@pytest.mark.slow
def test_channels_first_of_full_depth(randomize, images, relative_error):
    last = randomize(SEShuffleNet(**SMALL))
    shape = {"input_shape": (3, 64, 64), "data_format": "channels_first"}
    first = SEShuffleNet(**{**SMALL, **shape})
    first.set_weights(last.get_weights())
    x = images(2, 64, 64, 3)
    assert relative_error(first(np.moveaxis(x, -1, 1)), last(x)) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride_on": "3x3"}, "stride on the depthwise"),
        ({"se_stages": (2, 3)}, "tuple of stages from"),
    ],
)
def test_rejected_arguments_say_why(arguments, message):
    with pytest.raises(ValueError, match=message):
        SEShuffleNet(**{**SMALL, **arguments})
