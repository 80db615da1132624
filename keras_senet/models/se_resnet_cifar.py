"""SE-ResNet for 32x32 images.

He et al., arXiv 1512.03385, section 4.2, with 1x1 projections; pre-activation: He et
al., arXiv 1603.05027; wide: Zagoruyko and Komodakis, arXiv 1605.07146.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from keras_senet.models._architecture import Architecture
from keras_senet.models._blocks import Blocks, Unit, projection, residual, stages
from keras_senet.models._builder import Family, constructor, preprocessing_functions
from keras_senet.models._records import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallResNetArchitecture(Architecture):
    """The row of the networks for small images."""

    block: Literal["basic", "bottleneck"] = option(
        "basic",
        "The convolutions of a residual unit: 3x3, 3x3 (basic) or 1x1, 3x3, 1x1 "
        "(bottleneck).",
    )
    blocks: tuple[int, ...] = option((3, 3, 3), "Residual units in stages 1 to 3.")
    widen: int = option(
        1, "Factor for the number of channels of the stages, 16, 32 and 64."
    )
    preactivation: bool = option(
        False, "Whether batch normalization and ReLU come before each convolution."
    )

    stages: ClassVar[tuple[int, ...]] = (1, 2, 3)
    reasons: ClassVar[Mapping[str, str]] = {
        "stride_on": "its units have their stride on the first 3x3 convolution.",
        "stem": "the stem of small-image networks is one 3x3 convolution.",
        "stem_pool": "small-image networks do not pool after the stem.",
        "shortcut": "its projections are 1x1 convolutions.",
    }


def network(b: Blocks, x):
    """Stem and three stages; strides 1, 2, 4."""
    row = b.architecture
    if row.preactivation:
        x = b.conv(x, 16, 3, name="conv0_conv")
    else:
        x = b.conv_norm_relu(x, 16, 3, name="conv0")
    x = stages(
        b,
        x,
        preactivated if row.preactivation else postactivated,
        blocks=row.blocks,
        filters=tuple(row.widen * filters for filters in (16, 32, 64)),
        first_stage=1,
        stride=1,
    )
    if row.preactivation:
        x = b.relu(b.norm(x, "post_bn"), "post_relu")
    return x


def postactivated(b: Blocks, x, unit: Unit):
    """3x3 [+SE], 3x3; or 1x1, 3x3 [+SE], 1x1."""
    *inner, (out, last_size, _) = _convolutions(b, unit)

    def branch(x):
        for i, (filters, size, strides) in enumerate(inner, 1):
            x = b.conv_norm_relu(x, filters, size, strides, name=f"{unit.name}_{i}")
            if size == 3:
                x = b.se_at("3x3", x, unit.stage, unit.name)
        return b.conv_norm(x, out, last_size, name=f"{unit.name}_{len(inner) + 1}")

    return residual(b, x, unit, branch, lambda x: projection(b, x, unit, out))


def preactivated(b: Blocks, x, unit: Unit):
    """The same with normalisation and ReLU before each convolution.

    A unit that changes the map's shape projects the activated map, and its SE before
    the unit ("pre") acts on the activated map too: the shortcut has left by then.
    """
    (filters, size, strides), *rest = _convolutions(b, unit)
    out = rest[-1][0]
    projects = unit.strides > 1 or b.channels(x) != out
    active = b.relu(b.norm(x, f"{unit.name}_0_bn"), f"{unit.name}_0_relu")

    def branch(x):
        x = b.conv(x, filters, size, strides, name=f"{unit.name}_1_conv")
        before = size
        for i, (width, kernel_size, step) in enumerate(rest, 2):
            x = b.relu(b.norm(x, f"{unit.name}_{i}_bn"), f"{unit.name}_{i}_relu")
            if before == 3:
                x = b.se_at("3x3", x, unit.stage, unit.name)
            x = b.conv(x, width, kernel_size, step, name=f"{unit.name}_{i}_conv")
            before = kernel_size
        return x

    def shortcut(_):
        if not projects:
            return x
        return b.conv(active, out, 1, unit.strides, name=f"{unit.name}_0_conv")

    return residual(b, active, unit, branch, shortcut, relu=False)


def _convolutions(b, unit):
    """Width, kernel size and strides of a unit's convolutions."""
    filters, strides = unit.filters, unit.strides
    if b.architecture.block == "basic":
        return [(filters, 3, strides), (filters, 3, 1)]
    return [(filters, 1, 1), (filters, 3, strides), (4 * filters, 1, 1)]


FAMILY = Family(
    architecture=SmallResNetArchitecture,
    network=network,
    image_size=32,
    min_size=8,
    classes=10,
)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)


def small(name, network, depth, *, block="basic", widen=1, preactivation=False):
    """Makes the constructor of the network with `depth` convolutions."""
    convolutions = 2 if block == "basic" else 3
    units = (depth - 2) // 3 // convolutions
    return constructor(
        FAMILY,
        name,
        network,
        __name__,
        fixed={"block": block, "blocks": (units,) * 3, "widen": widen},
        defaults={"preactivation": preactivation},
        arguments=("preactivation",),
    )


SEResNet20 = small("SEResNet20", "se_resnet20", 20)
SEResNet32 = small("SEResNet32", "se_resnet32", 32)
SEResNet44 = small("SEResNet44", "se_resnet44", 44)
SEResNet56 = small("SEResNet56", "se_resnet56", 56)
SEResNet110 = small("SEResNet110", "se_resnet110", 110)
SEResNet164 = small(
    "SEResNet164", "se_resnet164", 164, block="bottleneck", preactivation=True
)
SEWideResNet16_8 = small(
    "SEWideResNet16_8", "se_wide_resnet16_8", 16, widen=8, preactivation=True
)
