"""SE-ResNet for ImageNet-sized images, and the generic constructor.

He et al., Deep Residual Learning, arXiv 1512.03385, table 1; SE: arXiv 1709.01507,
figure 3 and table 1.
"""

import dataclasses
from typing import Literal

from keras_senet.models._architecture import Architecture, check_four
from keras_senet.models._blocks import Blocks, Unit, projection, residual, stages
from keras_senet.models._builder import Family, constructor, preprocessing_functions
from keras_senet.models._records import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetArchitecture(Architecture):
    """The row of ResNets, ResNeXts and SENet-154."""

    block: Literal["basic", "bottleneck"] = option(
        "bottleneck",
        "The convolutions of a residual unit: 3x3, 3x3 (basic) or 1x1, 3x3, 1x1 "
        "(bottleneck).",
    )
    blocks: tuple[int, ...] = option((3, 4, 6, 3), "Residual units in stages 2 to 5.")
    filters: tuple[int, ...] = option(
        (64, 128, 256, 512),
        "Number of filters in stages 2 to 5. The output of a bottleneck has four times "
        "as many.",
    )
    cardinality: int = option(1, "Number of groups of the 3x3 convolution.")
    width: int = option(
        64,
        "Number of channels in a group, in stage 2. The 3x3 convolution has "
        "`cardinality * int(filters * width / 64)` channels.",
    )
    half_reduce: bool = option(
        False,
        "Whether the first 1x1 convolution has half as many channels as the 3x3 "
        "convolution (SENet-154).",
    )
    branch_relu: bool = option(
        False,
        "Whether a basic block has a ReLU at the end of its branch, before SE (timm's "
        "legacy SE-ResNet-18 and 34).",
    )
    stride_on: Literal["1x1", "3x3"] = option(
        "3x3",
        "Which convolution of a bottleneck has the stride: the first 1x1 (He et al. "
        "and the released SE-ResNets) or the 3x3 (later ports, ResNeXt).",
        unseen=True,
    )
    stem: Literal["7x7", "deep"] = option(
        "7x7", "One 7x7 convolution, or three 3x3 convolutions."
    )
    stem_filters: tuple[int, ...] | None = option(
        None,
        "Number of filters of each convolution in the stem. By default (64,); "
        "(32, 32, 64) with the deep stem.",
    )
    stem_pool: Literal["padded", "ceil", "conv"] = option(
        "padded",
        'The pooling in the stem. "padded": max pooling with one pixel of padding on '
        'all sides. "ceil": no padding, and the border cuts off the last window (Caffe '
        'and the released files). "conv": a 3x3 convolution with a stride (ResNet-RS).',
        unseen=True,
    )
    shortcut: Literal["1x1", "avg", "3x3"] = option(
        "1x1",
        'The projection. "1x1": a 1x1 convolution. "avg": average pooling, then a 1x1 '
        'convolution (the D form). "3x3": a 3x3 convolution where it has a stride '
        "(SENet-154).",
    )
    anti_alias: bool = option(
        False,
        "Whether average pooling has the strides, in the stem and after the 3x3 "
        "convolutions, instead of the max pooling and the convolutions (timm's aa "
        "networks).",
        unseen=True,
    )

    def __post_init__(self):
        super().__post_init__()
        # The deep stem of the d forms (He et al., arXiv 1812.01187).
        default = (64,) if self.stem == "7x7" else (32, 32, 64)
        if self.stem_filters is None:
            object.__setattr__(self, "stem_filters", default)
        if len(self.stem_filters) != len(default):
            raise ValueError(
                f"`stem_filters` must have {len(default)} numbers for this stem. "
                f"Received: stem={self.stem!r}, stem_filters={self.stem_filters}"
            )
        for name in ("blocks", "filters"):
            check_four(name, getattr(self, name))
        if self.block == "basic":
            self._check_basic()
        if self.anti_alias and (self.stride_on, self.stem_pool) != ("3x3", "padded"):
            raise ValueError(
                "`anti_alias` puts average pooling after the 3x3 convolutions and in "
                "the stem. It needs stride_on='3x3' and stem_pool='padded'. Received: "
                f"stride_on={self.stride_on!r}, stem_pool={self.stem_pool!r}"
            )
        narrowest = self.cardinality * int(min(self.filters) * self.width / 64)
        if narrowest < (2 if self.half_reduce else 1):
            raise ValueError(
                "`width` must give each bottleneck at least one channel: `cardinality "
                "* int(filters * width / 64)`, half as many with `half_reduce`. Use a "
                f"larger one. Received: width={self.width}, filters={self.filters}"
            )

    def _check_basic(self):
        for name, only in (
            ("stride_on", "3x3"),
            ("cardinality", 1),
            ("half_reduce", False),
            ("width", 64),
        ):
            value = getattr(self, name)
            if value != only:
                raise ValueError(
                    f"`{name}` must be {only!r} with basic blocks, which have no 1x1 "
                    f"convolutions and no groups. Received: {name}={value!r}"
                )


def network(b: Blocks, x):
    """Stem and four stages; strides 4, 8, 16, 32."""
    row = b.architecture
    x = _pool(b, _stem(b, x))
    return stages(
        b,
        x,
        {"basic": basic, "bottleneck": bottleneck}[row.block],
        blocks=row.blocks,
        filters=row.filters,
        first_stage=2,
        stride=4,
    )


def _stem(b, x):
    row = b.architecture
    if row.stem == "7x7":
        return b.conv_norm_relu(x, row.stem_filters[0], 7, 2, name="conv1")
    for i, filters in enumerate(row.stem_filters, 1):
        strides = 2 if i == 1 else 1
        x = b.conv_norm_relu(x, filters, 3, strides, name=f"conv1_{i}")
    return x


def _pool(b, x):
    row = b.architecture
    if row.anti_alias:
        return b.average_pool(x, 2, 2, "pool1_pool")
    if row.stem_pool == "conv":
        return b.conv_norm_relu(x, b.channels(x), 3, 2, name="pool1")
    # Zeros are neutral after a ReLU: one row and column more is the ceil mode.
    margin = 1 if row.stem_pool == "padded" else ((0, 1), (0, 1))
    return b.max_pool(b.pad(x, margin, "pool1_pad"), 3, 2, "pool1_pool")


def _strided(b, x, filters, strides, name, **kwargs):
    """A 3x3 convolution; against aliases, an average pool strides in its place."""
    if strides == 1 or not b.architecture.anti_alias:
        return b.conv_norm_relu(x, filters, 3, strides, name=name, **kwargs)
    x = b.conv_norm_relu(x, filters, 3, name=name, **kwargs)
    return b.average_pool(x, 2, strides, f"{name}_pool", padding="same")


def basic(b: Blocks, x, unit: Unit):
    """3x3 [+SE], 3x3."""
    filters, name = unit.filters, unit.name

    def branch(x):
        x = _strided(b, x, filters, unit.strides, f"{name}_1", dilation=unit.dilation)
        x = b.se_at("3x3", x, unit.stage, name)
        x = b.conv_norm(x, filters, 3, dilation=unit.dilation_behind, name=f"{name}_2")
        return b.relu(x, f"{name}_2_relu") if b.architecture.branch_relu else x

    return residual(b, x, unit, branch, lambda x: shortcut(b, x, unit, filters))


def bottleneck(b: Blocks, x, unit: Unit):
    """1x1, 3x3 (groups) [+SE], 1x1."""
    row, name, out = b.architecture, unit.name, 4 * unit.filters
    inner = row.cardinality * int(unit.filters * row.width / 64)
    if row.stride_on == "1x1":
        first, second, dilation = unit.strides, 1, unit.dilation_behind
    else:
        first, second, dilation = 1, unit.strides, unit.dilation

    def branch(x):
        reduced = inner // 2 if row.half_reduce else inner
        x = b.conv_norm_relu(x, reduced, 1, first, name=f"{name}_1")
        form = {"groups": row.cardinality, "dilation": dilation}
        x = _strided(b, x, inner, second, f"{name}_2", **form)
        x = b.se_at("3x3", x, unit.stage, name)
        return b.conv_norm(x, out, name=f"{name}_3")

    return residual(b, x, unit, branch, lambda x: shortcut(b, x, unit, out))


def shortcut(b: Blocks, x, unit: Unit, filters: int):
    """The identity, or a projection where the map's shape changes."""
    form, strides, name = b.architecture.shortcut, unit.strides, f"{unit.name}_0"
    if form == "avg" and unit.projects:
        x = b.average_pool(x, 2, strides, f"{name}_pool", padding="same")
        return b.conv_norm(x, filters, 1, name=name)
    if form == "3x3" and unit.projects:
        return b.conv_norm(x, filters, 3, strides, dilation=unit.dilation, name=name)
    return projection(b, x, unit, filters)


FAMILY = Family(architecture=ResNetArchitecture, network=network, dilates=True)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)


# What every network of the family leaves to the caller, beside SE.
FORM = ("stride_on", "stem", "stem_filters", "stem_pool", "shortcut", "anti_alias")


def _resnet(depth, block, blocks):
    """Basic blocks have one convolution that can stride, and legacy forms of them."""
    form = ("branch_relu", *FORM[1:]) if block == "basic" else FORM
    return constructor(
        FAMILY,
        f"SEResNet{depth}",
        f"se_resnet{depth}",
        __name__,
        fixed={"block": block, "blocks": blocks},
        arguments=form,
    )


SEResNet18 = _resnet(18, "basic", (2, 2, 2, 2))
SEResNet34 = _resnet(34, "basic", (3, 4, 6, 3))
SEResNet50 = _resnet(50, "bottleneck", (3, 4, 6, 3))
SEResNet101 = _resnet(101, "bottleneck", (3, 4, 23, 3))
SEResNet152 = _resnet(152, "bottleneck", (3, 8, 36, 3))

# For other depths and widths: `SEResNet(blocks=(2, 2, 2, 2), stem="deep")`.
SEResNet = constructor(
    FAMILY,
    "SEResNet",
    "se_resnet",
    __name__,
    arguments=("block", "blocks", "filters", "width", "branch_relu", *FORM),
)
