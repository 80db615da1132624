"""RegNetY: the networks of a design space in which the widths of stages grow linearly.

Radosavovic et al., Designing Network Design Spaces, arXiv 2003.13678; the depths,
widths and groups are those of its figure 15 and of pycls. RegNetX is the same without
SE: `RegNetY(se=False, ...)`.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from keras_senet.models._architecture import Architecture, check_four
from keras_senet.models._blocks import Blocks, Unit, projection, residual, stages
from keras_senet.models._builder import Family, constructor, preprocessing_functions
from keras_senet.models._records import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegNetArchitecture(Architecture):
    """The row of RegNets."""

    reduction: int = option(
        4,
        "The paper's r: SE squeezes to C / r values, where C is the number of channels "
        "of the unit's input.",
        layer="reduction",
    )
    placement: Literal["standard", "pre", "post", "identity", "3x3"] = option(
        "3x3", unseen=True
    )
    blocks: tuple[int, ...] = option((1, 1, 4, 7), "Residual units in stages 2 to 5.")
    filters: tuple[int, ...] = option(
        (24, 56, 152, 368), "Number of channels of all convolutions in stages 2 to 5."
    )
    group_width: int = option(
        8, "Number of channels in each group of the 3x3 convolution."
    )
    padding: Literal["even", "same"] = option(
        "even",
        "Padding of a 3x3 convolution with a stride: one pixel on all sides, or as in "
        "keras.applications, where an image of even size is padded only at the bottom "
        "and right.",
        unseen=True,
    )

    squeezes_by_input: ClassVar[bool] = True
    reasons: ClassVar[Mapping[str, str]] = {
        "cardinality": "its groups have a fixed width, `group_width`.",
        "width": "its groups have a fixed width, `group_width`.",
        "stride_on": "its units have their stride on the 3x3 convolution.",
        "stem": "its stem is one 3x3 convolution.",
        "stem_pool": "it does not pool after the stem.",
        "shortcut": "its projections are 1x1 convolutions.",
    }

    def __post_init__(self):
        super().__post_init__()
        for name, unit in (("blocks", 1), ("filters", self.group_width)):
            check_four(name, getattr(self, name), unit)


def network(b: Blocks, x):
    """Stem and four stages; strides 2, then 4, 8, 16, 32."""
    row = b.architecture
    x = b.conv_norm_relu(x, 32, 3, 2, padding=row.padding, name="conv1")
    return stages(
        b,
        x,
        block,
        blocks=row.blocks,
        filters=row.filters,
        first_stage=2,
        stride=2,
        first_strides=2,
    )


def block(b: Blocks, x, unit: Unit):
    """1x1, 3x3 (groups) [+SE], 1x1, all of one width."""
    row, name, filters = b.architecture, unit.name, unit.filters
    share = b.channels(x) / row.reduction / row.divisor
    b = dataclasses.replace(b, squeeze_filters=max(1, round(share)) * row.divisor)

    def branch(x):
        x = b.conv_norm_relu(x, filters, name=f"{name}_1")
        x = b.conv_norm_relu(
            x,
            filters,
            3,
            unit.strides,
            groups=filters // row.group_width,
            dilation=unit.dilation,
            padding=row.padding,
            name=f"{name}_2",
        )
        x = b.se_at("3x3", x, unit.stage, name)
        return b.conv_norm(x, filters, name=f"{name}_3")

    return residual(b, x, unit, branch, lambda x: projection(b, x, unit, filters))


FAMILY = Family(architecture=RegNetArchitecture, network=network, dilates=True)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)


def _regnet(size, blocks, filters, group_width):
    """A network of about `size` hundred million multiply-adds."""
    return constructor(
        FAMILY,
        f"RegNetY{size:03}",
        f"regnety_{size:03}",
        __name__,
        fixed={"blocks": blocks, "filters": filters, "group_width": group_width},
        arguments=("padding",),
    )


RegNetY002 = _regnet(2, (1, 1, 4, 7), (24, 56, 152, 368), 8)
RegNetY004 = _regnet(4, (1, 3, 6, 6), (48, 104, 208, 440), 8)
RegNetY006 = _regnet(6, (1, 3, 7, 4), (48, 112, 256, 608), 16)
RegNetY008 = _regnet(8, (1, 3, 8, 2), (64, 128, 320, 768), 16)
RegNetY016 = _regnet(16, (2, 6, 17, 2), (48, 120, 336, 888), 24)
RegNetY032 = _regnet(32, (2, 5, 13, 1), (72, 216, 576, 1512), 24)
RegNetY040 = _regnet(40, (2, 6, 12, 2), (128, 192, 512, 1088), 64)
RegNetY064 = _regnet(64, (2, 7, 14, 2), (144, 288, 576, 1296), 72)
RegNetY080 = _regnet(80, (2, 4, 10, 1), (168, 448, 896, 2016), 56)
RegNetY120 = _regnet(120, (2, 5, 11, 1), (224, 448, 896, 2240), 112)
RegNetY160 = _regnet(160, (2, 4, 11, 1), (224, 448, 1232, 3024), 112)
RegNetY320 = _regnet(320, (2, 5, 12, 1), (232, 696, 1392, 3712), 232)
RegNetY640 = _regnet(640, (2, 5, 12, 1), (328, 984, 1968, 4920), 328)
RegNetY1280 = _regnet(1280, (2, 7, 17, 1), (528, 1056, 2904, 7392), 264)

# For other depths and widths: `RegNetY(blocks=..., filters=..., group_width=...)`.
RegNetY = constructor(
    FAMILY,
    "RegNetY",
    "regnety",
    __name__,
    arguments=("blocks", "filters", "group_width", "padding"),
)
