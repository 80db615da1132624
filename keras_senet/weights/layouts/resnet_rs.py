"""tf.keras.applications' ResNet-RS; its normalisation layers have no weights."""

import re
from typing import Any

from keras_senet.weights.layouts._resnet import Arrays, describe_resnet

_UNIT = re.compile(r"BlockGroup(\d)__block_(\d+)_{1,2}([a-z].*)")
_STEM = re.compile(r".*stem_(conv|batch_norm)_(\d)")
# Name of a unit's layer -> ours.
_NAMES = {
    **{f"conv_{i}": f"{i}_conv" for i in (1, 2, 3)},
    **{f"batch_norm_{i}": f"{i}_bn" for i in (1, 2, 3)},
    "se_se_reduce": "se/reduce",
    "se_se_expand": "se/expand",
    "projection_conv": "0_conv",
    "projection_batch_norm": "0_bn",
}


def matches(arrays: Arrays) -> bool:
    return any(_UNIT.fullmatch(path.rpartition("/")[0]) for path in arrays)


def read(arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
    arrays = {_name(path): array for path, array in arrays.items()}
    row = describe_resnet(arrays, average_shortcut=True, stride_on="3x3")
    return arrays, {**row, "anti_alias": False}


def _name(path):
    layer, _, variable = path.rpartition("/")
    unit, stem = _UNIT.fullmatch(layer), _STEM.fullmatch(layer)
    if unit and unit.group(3) in _NAMES:
        stage, index, name = unit.groups()
        return f"conv{stage}_block{int(index) + 1}_{_NAMES[name]}/{variable}"
    if stem:
        part = {"conv": "conv", "batch_norm": "bn"}[stem.group(1)]
        number = stem.group(2)
        name = "pool1" if number == "4" else f"conv1_{number}"
        return f"{name}_{part}/{variable}"
    if layer == "predictions":
        return path
    raise ValueError(
        f"Names must be those of tf.keras' ResNet-RS. Received: {layer!r}."
    )
