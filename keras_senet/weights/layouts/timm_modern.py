"""timm's ResNets with SE (`timm/models/resnet.py`), and their plain hosts.

Stride on the 3x3, stem pool padded by one pixel, SE width a multiple of 8.
"""

import re
from typing import Any

from keras_senet.utils.errors import short
from keras_senet.weights.layouts._names import UNIT, plain_names, translate
from keras_senet.weights.layouts._resnet import Arrays, describe_resnet

_STEM = {"conv1": "conv1_conv", "bn1": "conv1_bn"}
_DEEP_STEM = {
    "conv1.0": "conv1_1_conv",
    "conv1.1": "conv1_1_bn",
    "conv1.3": "conv1_2_conv",
    "conv1.4": "conv1_2_bn",
    "conv1.6": "conv1_3_conv",
    "bn1": "conv1_3_bn",
    "maxpool.0": "pool1_conv",
    "maxpool.1": "pool1_bn",
}
_BLOCK = {**UNIT, "se.fc1": "se/reduce", "se.fc2": "se/expand"}
_AVERAGE_SHORTCUT = {"downsample.1": "0_conv", "downsample.2": "0_bn"}

# Pools have no weights: what only a network's name tells.
_POOLS = re.compile(r"res(?:net|next)(aa|blur)\d", re.IGNORECASE)


def named_row(name: str) -> dict[str, Any]:
    """Returns what a network's name in timm says of its row, beside the arrays."""
    found = _POOLS.search(name)
    kind = found.group(1).lower() if found else ""
    if kind == "blur":
        raise ValueError(
            f"{short(name)} uses blurring for its strides, which this package does not "
            "support. Without blurring, its predictions would be wrong."
        )
    return {"anti_alias": bool(kind)}


def matches(arrays: Arrays) -> bool:
    names = plain_names(arrays)
    return "layer1.0.conv1.weight" in names and "bn1.weight" in names


def read(arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
    arrays = plain_names(arrays)
    # Whether a shortcut's second module is its convolution: then the first is a pool.
    average = any(
        name.endswith("downsample.1.weight") and array.ndim == 4
        for name, array in arrays.items()
    )
    stem = _DEEP_STEM if "conv1.0.weight" in arrays else _STEM
    block = {**_BLOCK, **(_AVERAGE_SHORTCUT if average else {})}
    arrays = translate(arrays, {**stem, "fc": "predictions"}, block)
    row = describe_resnet(arrays, divisor=8, average_shortcut=average, stride_on="3x3")
    return arrays, row
