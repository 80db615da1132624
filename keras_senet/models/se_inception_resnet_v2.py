"""SE-Inception-ResNet-v2.

Szegedy et al., arXiv 1602.07261, figures 15 to 19, in the form of keras.applications
(Inception-v3's stem, and 10, 20 and 10 blocks); SE on the branches: arXiv 1709.01507,
section 3.3.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from keras_senet.models._architecture import Architecture
from keras_senet.models._blocks import Blocks, Unit, residual
from keras_senet.models._builder import Family, constructor, preprocessing_functions
from keras_senet.models._inception import (
    Branches,
    Conv,
    Pool,
    inception_a,
    module,
    stem,
)
from keras_senet.models._records import option
from keras_senet.weights.catalogue import HOSTS

_REDUCTION_A: Branches = {
    "3x3": (Conv(384, 3, 2),),
    "3x3dbl": (Conv(256), Conv(256, 3), Conv(384, 3, 2)),
    "pool": (Pool("max", 2),),
}
_REDUCTION_B: Branches = {
    "3x3_a": (Conv(256), Conv(384, 3, 2)),
    "3x3_b": (Conv(256), Conv(288, 3, 2)),
    "3x3dbl": (Conv(256), Conv(288, 3), Conv(320, 3, 2)),
    "pool": (Pool("max", 2),),
}
_BLOCK35: Branches = {
    "1x1": (Conv(32),),
    "3x3": (Conv(32), Conv(32, 3)),
    "3x3dbl": (Conv(32), Conv(48, 3), Conv(64, 3)),
}
_BLOCK17: Branches = {
    "1x1": (Conv(192),),
    "7x7": (Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))),
}
_BLOCK8: Branches = {
    "1x1": (Conv(192),),
    "3x3": (Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))),
}


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A module that makes the map's size, and the residual blocks that keep it."""

    number: int
    entry: str
    entry_branches: Branches
    block: str
    branches: Branches
    count: int
    scale: float


_STAGES = (
    _Stage(3, "mixed_5b", inception_a(96, 64), "block35", _BLOCK35, 10, 0.17),
    _Stage(4, "mixed_6a", _REDUCTION_A, "block17", _BLOCK17, 20, 0.1),
    _Stage(5, "mixed_7a", _REDUCTION_B, "block8", _BLOCK8, 10, 0.2),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InceptionResNetArchitecture(Architecture):
    """The row of Inception-ResNet-v2. A stage is a kind of block: strides 8, 16, 32."""

    placement: Literal["standard", "pre", "post", "identity"] = option(
        "standard",
        unseen=True,
        remedy="A residual branch has several parallel 3x3 convolutions, or none, so "
        "there is no single 3x3 convolution where SE could be placed.",
    )

    stages: ClassVar[tuple[int, ...]] = (3, 4, 5)
    reasons: ClassVar[Mapping[str, str]] = {
        "stride_on": "its residual blocks have no stride.",
        "stem": "its stem is fixed.",
        "stem_pool": "the pooling in its stem is fixed.",
        "shortcut": "its shortcuts are identities.",
    }


def network(b: Blocks, x):
    """Stem, three stages of residual blocks, and a last 1x1 convolution."""
    x = stem(b, x)
    rates = iter(b.drop_path_rates(sum(stage.count for stage in _STAGES)))
    for stage in _STAGES:
        x = module(b, x, stage.entry_branches, stage.entry)
        for i in range(1, stage.count + 1):
            unit = Unit(
                stage=stage.number,
                name=f"{stage.block}_{i}",
                filters=b.channels(x),
                drop_path=next(rates),
            )
            # The very last block is neither scaled nor activated.
            last = stage is _STAGES[-1] and i == stage.count
            scale = 1.0 if last else stage.scale
            x = block(b, x, unit, stage.branches, scale=scale, relu=not last)
    x = b.conv(x, 1536, name="conv_7b")
    return b.relu(b.norm(x, "conv_7b_bn", scale=False), "conv_7b_ac")


def block(b: Blocks, x, unit: Unit, branches: Branches, **merge):
    """Inception module, linear 1x1, SE, scale, sum."""

    def branch(x):
        x = module(b, x, branches, f"{unit.name}_mixed")
        return b.conv(x, unit.filters, use_bias=True, name=f"{unit.name}_conv")

    return residual(b, x, unit, branch, lambda x: x, **merge)


FAMILY = Family(
    architecture=InceptionResNetArchitecture,
    network=network,
    image_size=299,
    min_size=75,
    epsilon=1e-3,
    momentum=0.99,
    preprocessing=HOSTS["se_inception_resnet_v2"].card.preprocessing,
)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)

SEInceptionResNetV2 = constructor(
    FAMILY, "SEInceptionResNetV2", "se_inception_resnet_v2", __name__
)
