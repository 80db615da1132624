"""The Caffe release as ported to torch (`timm/models/senet.py`, pretrained-models).

Stem pool in ceil mode, SE width C // 16. SE-ResNets stride on the first 1x1, the
grouped networks on the 3x3; in the 18 and 34 SE comes after the second ReLU.
"""

from typing import Any

from keras_senet.weights.layouts._names import UNIT, plain_names, translate
from keras_senet.weights.layouts._resnet import Arrays, describe_resnet

_STEM = {"layer0.conv1": "conv1_conv", "layer0.bn1": "conv1_bn"}
_DEEP_STEM = {
    **{f"layer0.conv{i}": f"conv1_{i}_conv" for i in (1, 2, 3)},
    **{f"layer0.bn{i}": f"conv1_{i}_bn" for i in (1, 2, 3)},
}
_BLOCK = {**UNIT, "se_module.fc1": "se/reduce", "se_module.fc2": "se/expand"}


def matches(arrays: Arrays) -> bool:
    return "layer0.conv1.weight" in plain_names(arrays)


def read(arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
    arrays = plain_names(arrays)
    stem = _DEEP_STEM if "layer0.conv3.weight" in arrays else _STEM
    arrays = translate(arrays, {**stem, "last_linear": "predictions"}, _BLOCK)
    row = describe_resnet(arrays, stem_pool="ceil")
    row["branch_relu"] = row["block"] == "basic"
    row["stride_on"] = "1x1" if row.get("cardinality") == 1 else "3x3"
    return arrays, row
