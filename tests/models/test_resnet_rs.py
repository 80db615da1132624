"""ResNet-RS and anti-aliased networks: counts, and what strides in them."""

import json
from pathlib import Path

import pytest

import keras_senet

GOLDENS = Path(__file__).parents[1] / "goldens"
# Values in millions, arXiv 2103.07579, table 11; all rounded down or up there.
MILLIONS = {50: 36, 101: 64, 152: 87, 200: 93, 270: 130, 350: 164, 420: 192}
TINY = {"blocks": (1, 1, 1, 1), "filters": (8, 8, 8, 8), "input_shape": (64, 64, 3)}


@pytest.mark.parametrize("depth", MILLIONS)
def test_published_sizes(depth):
    golden = json.loads((GOLDENS / f"resnetrs{depth}.json").read_text())["with_se"]
    assert golden["parameters"] / 1e6 == pytest.approx(MILLIONS[depth], abs=1)
    if depth == 50:
        assert golden["parameters"] == 35_745_288  # tf.keras'


def test_average_pools_stride_where_aliases_are_fought():
    model = keras_senet.SEResNet(weights=None, anti_alias=True, **TINY)
    strided = {
        layer.name
        for layer in model.layers
        if getattr(layer, "strides", (1, 1)) == (2, 2)
    }
    units = [f"conv{s}_block1" for s in (3, 4, 5)]
    expected = {"conv1_conv", "pool1_pool", *(f"{u}_2_pool" for u in units)}
    assert strided == expected | {f"{u}_0_conv" for u in units}
    with pytest.raises(ValueError, match="needs stride_on='3x3' and stem_pool="):
        keras_senet.SEResNet(weights=None, anti_alias=True, stem_pool="ceil", **TINY)
