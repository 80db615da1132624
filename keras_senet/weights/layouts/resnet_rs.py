"""tf.keras.applications' ResNet-RS; its normalisation layers have no weights."""

import re
from typing import Any

from keras_senet.weights.layouts._names import translate
from keras_senet.weights.layouts._resnet import Arrays, describe_resnet

_UNIT = re.compile(r"BlockGroup(\d)__block_(\d+)_{1,2}([a-z].*)")
_TOP = {
    **{f"stem_conv_{i}": f"conv1_{i}_conv" for i in (1, 2, 3)},
    **{f"stem_batch_norm_{i}": f"conv1_{i}_bn" for i in (1, 2, 3)},
    "stem_conv_4": "pool1_conv",
    "stem_batch_norm_4": "pool1_bn",
    "predictions": "predictions",
}
_BLOCK = {
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
    # The stem's names begin with the network's.
    arrays = {re.sub(".*(?=stem_)", "", path): array for path, array in arrays.items()}
    arrays = translate(arrays, _TOP, _BLOCK, _UNIT, (0, 1))
    row = describe_resnet(arrays, average_shortcut=True, stride_on="3x3")
    return arrays, {**row, "anti_alias": False}
