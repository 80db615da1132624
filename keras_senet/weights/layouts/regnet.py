"""RegNets of timm (`regnet.py`), of torchvision, and of tf.keras.applications.

The same network under three tables of names. Keras pads a strided convolution below
and right only, and wrote the normalisation, which has no weights, into its networks.
"""

import re
from typing import Any

from keras_senet.card import Preprocessing
from keras_senet.weights.layouts._names import plain_names, translate
from keras_senet.weights.layouts._resnet import Arrays, describe_se, units_of

# Of each library, the tables of `translate`.
_TIMM = {
    "top": {"stem.conv": "conv1_conv", "stem.bn": "conv1_bn", "head.fc": "predictions"},
    "block": {
        **{f"conv{i}.conv": f"{i}_conv" for i in (1, 2, 3)},
        **{f"conv{i}.bn": f"{i}_bn" for i in (1, 2, 3)},
        "se.fc1": "se/reduce",
        "se.fc2": "se/expand",
        "downsample.conv": "0_conv",
        "downsample.bn": "0_bn",
    },
    "unit": re.compile(r"s(\d)\.b(\d+)\.(.+)"),
    "shift": (1, 0),
}
_TORCHVISION = {
    "top": {"stem.0": "conv1_conv", "stem.1": "conv1_bn", "fc": "predictions"},
    "block": {
        **{f"f.{letter}.0": f"{i}_conv" for i, letter in enumerate("abc", 1)},
        **{f"f.{letter}.1": f"{i}_bn" for i, letter in enumerate("abc", 1)},
        "f.se.fc1": "se/reduce",
        "f.se.fc2": "se/expand",
        "proj.0": "0_conv",
        "proj.1": "0_bn",
    },
    "unit": re.compile(r"trunk_output\.block(\d)\.block\d-(\d+)\.(.+)"),
}
_KERAS = {
    "top": {
        "stem_conv": "conv1_conv",
        "stem_bn": "conv1_bn",
        "head_dense": "predictions",
    },
    "block": {
        "conv_1x1_1": "1_conv",
        "conv_1x1_1_bn": "1_bn",
        "conv_3x3": "2_conv",
        "conv_3x3_bn": "2_bn",
        "conv_1x1_2": "3_conv",
        "conv_1x1_2_bn": "3_bn",
        "squeeze_and_excite_squeeze": "se/reduce",
        "squeeze_and_excite_excite": "se/expand",
        "skip_1x1": "0_conv",
        "skip_bn": "0_bn",
    },
    "unit": re.compile(r".*_Stage_(\d)_[XY]Block_(\d+)_(.+)"),
    "shift": (2, 1),
}
# In Keras, before the names of the stem and the head: the network's, and a number.
_KERAS_PREFIX = re.compile(r"^(.*_(?=stem_)|\d+(?=head_))")


def matches(arrays: Arrays) -> bool:
    return _tables(arrays) is not None


def read(arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
    tables, arrays = _tables(arrays), plain_names(arrays)
    if tables is _KERAS:
        arrays = {_KERAS_PREFIX.sub("", path): array for path, array in arrays.items()}
    arrays = translate(arrays, **tables)
    units = units_of(arrays)
    firsts = [units[stage][1]["2_conv"] for stage in (2, 3, 4, 5)]
    row = {
        **describe_se(arrays, units, _width, (1,), "1_conv"),
        "placement": "3x3",
        "blocks": [len(units[stage]) for stage in (2, 3, 4, 5)],
        "filters": [shape[3] for shape in firsts],
        "group_width": firsts[0][2],
        "padding": "same" if tables is _KERAS else "even",
    }
    return arrays, row


def preprocessing(arrays: Arrays) -> Preprocessing | None:
    # tf.keras' networks divide by 255 only.
    if _tables(arrays) is not _KERAS:
        return None
    return Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3)


def _tables(arrays):
    names = plain_names(arrays)
    if "s1.b1.conv1.conv.weight" in names:
        return _TIMM
    if "trunk_output.block1.block1-0.f.a.0.weight" in names:
        return _TORCHVISION
    return _KERAS if any(map(_KERAS["unit"].fullmatch, names)) else None


def _width(channels, reduction, divisor):
    return max(1, round(channels / reduction))
