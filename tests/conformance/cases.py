"""The table of networks that must keep every promise.

TINY has one case for each builder and block type, one block a stage and narrow; FULL
has every constructor, at the smallest image it takes.
"""

from functools import partial

import keras_senet
from keras_senet.models import CONSTRUCTORS, se_resnet_cifar

CLASSES = 5

_NARROW = {
    "blocks": (1, 1, 1, 1),
    "filters": (8, 8, 16, 16),
    "reduction": 4,
    "input_shape": (32, 32, 3),
}
_DEEP = {**_NARROW, "stem": "deep", "stem_filters": (8, 8, 16)}
_NEXT = {**_NARROW, "cardinality": 2, "width": 32}


def _small(network, depth, **kwargs):
    constructor = se_resnet_cifar.small("Tiny", network, depth, **kwargs)
    return partial(constructor, reduction=4, input_shape=(16, 16, 3))


TINY = {
    "resnet_basic": partial(
        keras_senet.SEResNet, block="basic", **_NARROW, stem_filters=(8,)
    ),
    "resnet_bottleneck": partial(
        keras_senet.SEResNet, stride_on="1x1", stem_pool="ceil", **_NARROW
    ),
    "resnet_d": partial(keras_senet.SEResNet, shortcut="avg", **_DEEP),
    "resnext": partial(keras_senet.SEResNeXt, **_NEXT),
    "senet": partial(
        keras_senet.SEResNeXt,
        half_reduce=True,
        shortcut="3x3",
        cardinality=2,
        width=64,
        **_DEEP,
    ),
    "small": _small("tiny", 8),
    "small_preactivated": _small(
        "tiny_preactivated", 11, block="bottleneck", preactivation=True
    ),
    "mobilenet": partial(
        keras_senet.SEMobileNet, alpha=0.25, reduction=4, input_shape=(32, 32, 3)
    ),
}

# What `tests/conformance/test_table.py` holds against the families' blocks.
BLOCKS = {
    "se_resnet": ("resnet_basic", "resnet_bottleneck", "resnet_d"),
    "se_resnext": ("resnext",),
    "senet": ("senet",),
    "se_resnet_cifar": ("small", "small_preactivated"),
    "se_mobilenet": ("mobilenet",),
}


def _smallest(constructor):
    size = constructor.family.min_size
    return partial(constructor, weights=None, input_shape=(size, size, 3))


FULL = {name: _smallest(constructor) for name, constructor in CONSTRUCTORS.items()}


def build(name, **kwargs):
    """Builds a case; `kwargs` override its arguments."""
    return (TINY | FULL)[name](**{"weights": None, "classes": CLASSES, **kwargs})
