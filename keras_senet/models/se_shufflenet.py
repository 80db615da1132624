"""SE-ShuffleNet, 1x, three groups.

Zhang et al., arXiv 1707.01083, table 1 and figure 2; SE on the branches: arXiv
1709.01507, table 3. The paper counts its stages from 2, at stride 8; here a stage is
log2 of the stride, as in every family.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from keras_senet.layers import ChannelShuffle
from keras_senet.models._architecture import Architecture
from keras_senet.models._blocks import Blocks, Unit, residual, stages
from keras_senet.models._builder import Family, constructor, preprocessing_functions

_GROUPS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShuffleNetArchitecture(Architecture):
    """The row of ShuffleNet: stages 3 to 5, whose strides are 8, 16, 32."""

    stages: ClassVar[tuple[int, ...]] = (3, 4, 5)
    reasons: ClassVar[Mapping[str, str]] = {
        "stride_on": "its units have their stride on the depthwise 3x3 convolution.",
        "stem": "its stem is one 3x3 convolution.",
        "stem_pool": "the pooling in its stem is fixed.",
        "shortcut": "its shortcuts are identities, or pooling in units with a stride.",
    }


def network(b: Blocks, x):
    """Stem and three stages, each of which begins with a unit that strides."""
    x = b.conv_norm_relu(x, 24, 3, 2, name="conv1")
    x = b.max_pool(b.pad(x, 1, "pool1_pad"), 3, 2, "pool1_pool")
    return stages(
        b,
        x,
        shuffled,
        blocks=(4, 8, 4),
        filters=(240, 480, 960),
        first_stage=3,
        stride=4,
        first_strides=2,
    )


def shuffled(b: Blocks, x, unit: Unit):
    """Grouped 1x1, shuffle, depthwise 3x3 [+SE], grouped 1x1.

    A unit that strides concatenates its branch with the pooled input, and makes only
    the channels that this lacks.
    """
    name, inner = unit.name, unit.filters // 4
    strides = unit.strides > 1
    out = unit.filters - b.channels(x) if strides else unit.filters
    # The stem's channels are too few for groups (section 3.2).
    groups = 1 if b.channels(x) == 24 else _GROUPS

    def branch(x):
        x = b.conv_norm_relu(x, inner, groups=groups, name=f"{name}_1")
        x = ChannelShuffle(_GROUPS, b.data_format, name=f"{name}_shuffle")(x)
        x = b.depthwise(x, unit.strides, name=f"{name}_2_conv")
        x = b.se_at("3x3", b.norm(x, f"{name}_2_bn"), unit.stage, name)
        return b.conv_norm(x, out, groups=_GROUPS, name=f"{name}_3")

    def shortcut(x):
        if not strides:
            return x
        return b.average_pool(b.pad(x, 1, f"{name}_0_pad"), 3, 2, f"{name}_0_pool")

    return residual(b, x, unit, branch, shortcut, concatenate=strides)


FAMILY = Family(architecture=ShuffleNetArchitecture, network=network)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)

SEShuffleNet = constructor(FAMILY, "SEShuffleNet", "se_shufflenet", __name__)
