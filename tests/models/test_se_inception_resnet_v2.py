"""SE-Inception-ResNet-v2 against keras.applications."""

import keras
import numpy as np
import pytest

from keras_senet.models._blocks import Blocks, Unit
from keras_senet.models._inception import Conv
from keras_senet.models.se_inception_resnet_v2 import (
    InceptionResNetArchitecture,
    SEInceptionResNetV2,
    block,
)

BLOCKS = {
    3: [f"block35_{i}" for i in range(1, 11)],
    4: [f"block17_{i}" for i in range(1, 21)],
    5: [f"block8_{i}" for i in range(1, 11)],
}
NAMES = [name for names in BLOCKS.values() for name in names]


def host(**kwargs):
    return keras.applications.InceptionResNetV2(weights=None, **kwargs)


def small_block(data_format="channels_last", **architecture):
    """One block, of eight channels."""
    b = Blocks(
        architecture=InceptionResNetArchitecture(**architecture),
        data_format=data_format,
    )
    shape = (6, 8, 8) if data_format == "channels_last" else (8, 6, 8)
    inputs = keras.Input(shape)
    branches = {"1x1": (Conv(4),), "3x3": (Conv(4), Conv(6, (1, 3)))}
    unit = Unit(stage=5, name="block8_1", filters=8)
    return keras.Model(inputs, block(b, inputs, unit, branches, scale=0.2))


@pytest.fixture(scope="module")
def plain():
    return SEInceptionResNetV2(include_top=False, se=False)


@pytest.fixture(scope="module")
def gated():
    return SEInceptionResNetV2(include_top=False, drop_path_rate=0.39)


@pytest.mark.slow
def test_plain_host_is_keras_applications(plain, randomize, images, relative_error):
    theirs = randomize(host(include_top=False, input_shape=(None, None, 3)))
    plain.set_weights(theirs.get_weights())
    for shape in ((75, 75), (75, 109)):
        x = images(1, *shape, 3)
        assert relative_error(plain(x), theirs(x)) < 1e-5
    named = {layer.name for layer in theirs.layers if "_conv" in layer.name}
    assert named <= {layer.name for layer in plain.layers}


def test_count_of_trainable_values(plain, gated, trainable):
    # keras.applications' InceptionResNetV2 without its top, which the slow test counts.
    assert trainable(plain) == 54_276_192
    assert trainable(gated) - trainable(plain) == 8_495_360 + 48_620
    gates = [layer.name for layer in gated.layers if layer.name.endswith("_se")]
    assert gates == [f"{name}_se" for name in NAMES]


@pytest.mark.slow
def test_se_changes_the_output(plain, gated, randomize, images, relative_error):
    for layer in plain.layers:
        layer.set_weights(randomize(gated.get_layer(layer.name)).get_weights())
    x = images(1, 75, 75, 3)
    assert relative_error(gated(x), plain(x)) > 1e-2


def test_se_is_on_the_branch_before_its_scale(gated):
    for name in NAMES:
        gate = gated.get_layer(f"{name}_se")
        assert gate.input is gated.get_layer(f"{name}_conv").output
        after = "drop" if name == "block8_10" else "scale"
        assert gated.get_layer(f"{name}_{after}").input is gate.output


def test_paths_drop_more_and_more(gated):
    rates = [gated.get_layer(f"{name}_drop").rate for name in NAMES[1:]]
    assert rates == pytest.approx([0.01 * i for i in range(1, 40)])


@pytest.mark.parametrize("stages", [(3,), (4, 5)])
def test_stages_are_the_kinds_of_block(stages):
    row = InceptionResNetArchitecture(se_stages=stages)
    assert [stage for stage in BLOCKS if row.has_se(stage)] == list(stages)
    names = [layer.name for layer in small_block(se_stages=stages).layers]
    assert ("block8_1_se" in names) == (5 in stages)


@pytest.mark.parametrize("placement", ["pre", "identity", "post"])
def test_placement(placement):
    model = small_block(placement=placement)
    gate = model.get_layer("block8_1_se")
    if placement == "post":
        assert gate.input is model.get_layer("block8_1_out").output
        assert model.output is gate.output
        return
    assert gate.input is model.input
    shortcut = model.get_layer("block8_1_add").input[0]
    first = model.get_layer("block8_1_mixed_1x1_1_conv").input
    changed, kept = (first, shortcut) if placement == "pre" else (shortcut, first)
    assert changed is gate.output
    assert kept is model.input


def test_block_is_scaled_branch_plus_input(randomize, images, relative_error):
    model = randomize(small_block(se=False))
    x = images(2, 6, 8, 8)
    branch = keras.Model(model.input, model.get_layer("block8_1_conv").output)
    assert relative_error(model(x), np.maximum(x + 0.2 * branch(x), 0)) < 1e-6


def test_channels_first(randomize, images, relative_error):
    # The map is as wide as deep, where Keras alone would add the bias along the width.
    last, first = randomize(small_block()), small_block("channels_first")
    first.set_weights(last.get_weights())
    x = images(2, 6, 8, 8)
    y = np.moveaxis(first(np.moveaxis(x, -1, 1)), 1, -1)
    assert relative_error(y, last(x)) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"placement": "3x3"}, "several parallel 3x3 convolutions"),
        ({"shortcut": "avg"}, "its shortcuts are identities"),
    ],
)
def test_rejected_arguments_say_why(arguments, message):
    with pytest.raises(ValueError, match=message):
        SEInceptionResNetV2(include_top=False, **arguments)


@pytest.mark.slow
def test_plain_host_of_full_size(randomize, images, relative_error, trainable):
    theirs = randomize(host())
    ours = SEInceptionResNetV2(se=False)
    ours.set_weights(theirs.get_weights())
    x = images(1, 299, 299, 3)
    assert relative_error(ours(x), theirs(x)) < 1e-5
    assert trainable(ours) == trainable(theirs)


@pytest.mark.slow
def test_channels_first_of_full_depth(randomize, images, relative_error):
    last = randomize(SEInceptionResNetV2(include_top=False))
    first = SEInceptionResNetV2(include_top=False, data_format="channels_first")
    first.set_weights(last.get_weights())
    x = images(1, 75, 75, 3)
    y = np.moveaxis(first(np.moveaxis(x, -1, 1)), 1, -1)
    assert relative_error(y, last(x)) < 1e-5
