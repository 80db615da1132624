"""SE-MobileNet.

Howard et al., MobileNets, arXiv 1704.04861, table 1; SE after each pointwise
convolution: arXiv 1709.01507, table 3, which gives the cost but not the place.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from keras import layers

from keras_senet.models._architecture import Architecture
from keras_senet.models._blocks import Blocks
from keras_senet.models._builder import (
    Family,
    constructor,
    head_dtype,
    preprocessing_functions,
)
from keras_senet.models._input import Options
from keras_senet.models._records import option
from keras_senet.weights.catalogue import HOSTS

# Width of each pointwise convolution and strides of the depthwise one; table 1.
_WIDTHS = (64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)
_STRIDES = (1, 2, 1, 2, 1, 2, *(1,) * 5, 2, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetArchitecture(Architecture):
    """The row of MobileNets. A stage is the blocks at one stride: 2, 4, 8, 16, 32."""

    placement: Literal["standard"] = option(
        "standard", remedy="A MobileNet has no residual units."
    )
    alpha: float = option(1.0, "Factor for the number of channels of each convolution.")

    stages: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5)
    reasons: ClassVar[Mapping[str, str]] = {
        "stride_on": "its depthwise convolutions have the strides.",
        "stem": "its stem is one 3x3 convolution.",
        "stem_pool": "it does not pool after the stem.",
        "shortcut": "it has no shortcuts.",
    }

    def __post_init__(self):
        super().__post_init__()
        if int(32 * self.alpha) < 1:
            raise ValueError(
                "`alpha` must be at least 1/32, so that the first convolution keeps a "
                f"channel. Received: alpha={self.alpha!r}"
            )


def network(b: Blocks, x):
    """Stem and 13 blocks; the map's stride goes from 2 to 32."""
    alpha = b.architecture.alpha
    # Unlike the blocks, the host's stem pads by the image's size.
    x = b.conv(x, int(32 * alpha), 3, 2, padding="same", name="conv1")
    x = _norm_relu6(b, x, "conv1")
    stage = 1
    for i, (filters, strides) in enumerate(zip(_WIDTHS, _STRIDES, strict=True), 1):
        stage += strides - 1
        x = separable(b, x, int(filters * alpha), strides, stage, i)
    return x


def separable(b: Blocks, x, filters: int, strides: int, stage: int, index: int):
    """3x3 depthwise, 1x1, SE; each convolution with a ReLU6."""
    name = f"conv_dw_{index}"
    padding = "same" if strides == 1 else "valid"
    if strides > 1:
        x = b.pad(x, ((0, 1), (0, 1)), f"conv_pad_{index}")
    x = b.depthwise(x, strides, padding=padding, name=name)
    x = _norm_relu6(b, x, name)
    name = f"conv_pw_{index}"
    x = _norm_relu6(b, b.conv(x, filters, name=name), name)
    return b.se(x, stage, name)


def _norm_relu6(b, x, name):
    return layers.Activation("relu6", name=f"{name}_relu")(b.norm(x, f"{name}_bn"))


def head(b: Blocks, x, classes: int, options: Options):
    """The host's: a 1x1 convolution of the averages, which are a 1x1 map."""
    x = layers.GlobalAveragePooling2D(
        data_format=b.data_format, keepdims=True, name="avg_pool"
    )(x)
    if options.dropout_rate:
        x = layers.Dropout(options.dropout_rate, name="dropout")(x)
    x = layers.Conv2D(
        classes, 1, data_format=b.data_format, dtype=head_dtype(), name="conv_preds"
    )(x)
    x = layers.Reshape((classes,), name="reshape")(x)
    return layers.Activation(
        options.classifier_activation, dtype=head_dtype(), name="predictions"
    )(x)


FAMILY = Family(
    architecture=MobileNetArchitecture,
    network=network,
    head=head,
    epsilon=1e-3,
    momentum=0.99,
    dropout_rate=1e-3,
    drops_paths=False,
    preprocessing=HOSTS["se_mobilenet"].card.preprocessing,
)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)

SEMobileNet = constructor(
    FAMILY, "SEMobileNet", "se_mobilenet", __name__, arguments=("alpha",)
)
