"""The table of networks that must keep every promise.

TINY has one case for each builder and block type, one block a stage and narrow; FULL
has every constructor but the LARGE, at the smallest image it takes.
"""

import dataclasses
from functools import partial

import pytest

import keras_senet
from keras_senet.models import (
    CONSTRUCTORS,
    se_bn_inception,
    se_inception_resnet_v2,
    se_inception_v3,
    se_resnet_cifar,
    se_shufflenet,
    se_vgg,
)
from keras_senet.models._blocks import Unit
from keras_senet.models._builder import constructor, pooled_head
from keras_senet.models._inception import Conv, Fork, Pool, convolve, module

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


def _tiny(family, network, arguments=()):
    """A family's frame around a few of its blocks: its own table is one size only."""
    family = dataclasses.replace(
        family, network=network, head=pooled_head, flattens=False, min_size=16
    )
    build = constructor(family, "Tiny", "tiny", __name__, arguments=arguments)
    return partial(build, reduction=4, input_shape=(16, 16, 3))


def _inception(b, x):
    x = convolve(b, x, Conv(8, 3, 2), "conv1")
    fork = Fork((Conv(4, (1, 3)), Conv(4, (3, 1))))
    branches = {
        "1x1": (Conv(4),),
        "3x3": (Conv(4), fork),
        "pool": (Pool("avg"), Conv(4)),
    }
    x = b.se(module(b, x, branches, "mixed0"), 4, "mixed0")
    branches = {"3x3": (Conv(8, 3, 2),), "pool": (Pool("max", 2),)}
    return b.se(module(b, x, branches, "mixed1"), 5, "mixed1")


def _inception_resnet(b, x):
    x = convolve(b, x, Conv(32, 3, 2), "conv1")
    branches = {"1x1": (Conv(4),), "3x3": (Conv(4), Conv(4, (1, 3)))}
    unit = Unit(stage=3, name="block35_1", filters=32)
    return se_inception_resnet_v2.block(b, x, unit, branches, scale=0.2)


def _bn_inception(b, x):
    x = b.conv_norm_relu(x, 8, 3, 2, name="conv1")
    for stage, name, *widths in (
        (3, "3a", 4, (4, 4), (4, 4), "avg", 4),
        (4, "3c", None, (4, 4), (4, 4), "max", None),
        (5, "5b", 4, (4, 4), (4, 4), "max", 4),
    ):
        x = se_bn_inception.inception(b, x, stage, f"inception_{name}", *widths)
    return x


def _vgg(b, x):
    x = se_vgg.convolution(b, x, 32, 0, "block1_conv1")
    x = b.max_pool(x, 2, 2, "block1_pool")
    return se_vgg.convolution(b, x, 32, 1, "block2_conv1")


def _shufflenet(b, x):
    # The normalisation after a depthwise convolution undoes the gamma before it, whose
    # gradient is zero but for epsilon.
    b = dataclasses.replace(b, epsilon=0.1)
    x = b.conv_norm_relu(x, 24, 3, 2, name="conv1")
    unit = Unit(stage=3, name="conv3_block1", filters=60, strides=2)
    x = se_shufflenet.shuffled(b, x, unit)
    unit = Unit(stage=3, name="conv3_block2", filters=60)
    return se_shufflenet.shuffled(b, x, unit)


TINY = {
    "resnet_basic": partial(
        keras_senet.SEResNet, block="basic", **_NARROW, stem_filters=(8,)
    ),
    "resnet_bottleneck": partial(
        keras_senet.SEResNet, stride_on="1x1", stem_pool="ceil", **_NARROW
    ),
    "resnet_d": partial(keras_senet.SEResNet, shortcut="avg", **_DEEP),
    "resnet_rs": partial(
        keras_senet.SEResNet, shortcut="avg", stem_pool="conv", **_DEEP
    ),
    "resnext": partial(keras_senet.SEResNeXt, **_NEXT),
    "resnext_aa": partial(keras_senet.SEResNeXt, anti_alias=True, **_NEXT),
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
    "inception": _tiny(se_inception_v3.FAMILY, _inception),
    "inception_resnet": _tiny(se_inception_resnet_v2.FAMILY, _inception_resnet),
    "bn_inception": _tiny(se_bn_inception.FAMILY, _bn_inception),
    "vgg": _tiny(se_vgg.FAMILY, _vgg),
    "vgg_biased": partial(
        _tiny(se_vgg.FAMILY, _vgg, ("batch_norm",)), batch_norm=False
    ),
    "regnet": partial(
        keras_senet.RegNetY,
        blocks=(1, 2, 1, 1),
        filters=(8, 8, 16, 16),
        group_width=4,
        input_shape=(32, 32, 3),
    ),
    "shufflenet": _tiny(se_shufflenet.FAMILY, _shufflenet),
    "mobilenet": partial(
        keras_senet.SEMobileNet, alpha=0.25, reduction=4, input_shape=(32, 32, 3)
    ),
}

# What takes long is tried on a few of them by default, and with `-m slow` on all.
FEW = "resnet_bottleneck", "regnet", "shufflenet", "small_preactivated"
SOME = [
    name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in TINY
]

# What `tests/conformance/test_table.py` holds against the families' blocks.
BLOCKS = {
    "regnet": ("regnet",),
    "se_resnet": ("resnet_basic", "resnet_bottleneck", "resnet_d"),
    "resnet_rs": ("resnet_rs",),
    "se_resnext": ("resnext", "resnext_aa"),
    "senet": ("senet",),
    "se_resnet_cifar": ("small", "small_preactivated"),
    "se_inception_v3": ("inception",),
    "se_inception_resnet_v2": ("inception_resnet",),
    "se_bn_inception": ("bn_inception",),
    "se_vgg": ("vgg", "vgg_biased"),
    "se_mobilenet": ("mobilenet",),
    "se_shufflenet": ("shufflenet",),
}


def _smallest(constructor):
    size = constructor.family.min_size
    return partial(constructor, weights=None, input_shape=(size, size, 3))


# Too large to train twice in 24 GiB: their golden is what is built of them.
LARGE = {
    *("regnety_320", "regnety_640", "regnety_1280"),
    *("resnetrs270", "resnetrs350", "resnetrs420"),
}
FULL = {
    name: _smallest(constructor)
    for name, constructor in CONSTRUCTORS.items()
    if name not in LARGE
}

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in FULL]


def build(name, **kwargs):
    """Builds a case; `kwargs` override its arguments."""
    return (TINY | FULL)[name](**{"weights": None, "classes": CLASSES, **kwargs})
