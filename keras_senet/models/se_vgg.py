"""SE-VGG-16.

Simonyan and Zisserman, arXiv 1409.1556, table 1, configuration D; with batch
normalisation: arXiv 1709.01507, table 2; SE after the nonlinearity that follows each
convolution: section 3.3.
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
    predictions,
    preprocessing_functions,
)
from keras_senet.models._input import Options
from keras_senet.models._records import option
from keras_senet.weights.catalogue import HOSTS

# Convolutions of each block and their width.
_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VGGArchitecture(Architecture):
    """The row of VGG-16. A stage is a block: their strides are 1, 2, 4, 8, 16."""

    placement: Literal["standard"] = option(
        "standard", remedy="A VGG has no residual units."
    )
    batch_norm: bool = option(
        True,
        "Whether batch normalization follows each convolution, instead of a bias. "
        "False is the form of keras.applications.",
    )

    stages: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)
    reasons: ClassVar[Mapping[str, str]] = {
        "stride_on": "its convolutions have no stride.",
        "stem": "it has no stem.",
        "stem_pool": "it has no stem.",
        "shortcut": "it has no shortcuts.",
    }


def network(b: Blocks, x):
    """Five blocks, each ended by a pool; the last map's stride is 32."""
    for stage, (count, filters) in enumerate(_BLOCKS):
        block = f"block{stage + 1}"
        for i in range(1, count + 1):
            x = convolution(b, x, filters, stage, f"{block}_conv{i}")
        x = b.max_pool(x, 2, 2, f"{block}_pool")
    return x


def convolution(b: Blocks, x, filters: int, stage: int, name: str):
    """3x3 [batch normalization], ReLU, SE."""
    normalises = b.architecture.batch_norm
    x = b.conv(x, filters, 3, use_bias=not normalises, name=name)
    if normalises:
        x = b.norm(x, f"{name}_bn")
    return b.se(b.relu(x, f"{name}_relu"), stage, name)


def head(b: Blocks, x, classes: int, options: Options):
    """Two hidden layers over the whole last map, dropout after each."""
    x = layers.Flatten(b.data_format, name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(
            4096, activation="relu", kernel_initializer="he_normal", name=name
        )(x)
        if options.dropout_rate:
            x = layers.Dropout(options.dropout_rate, name=f"{name}_dropout")(x)
    return predictions(x, classes, options)


FAMILY = Family(
    architecture=VGGArchitecture,
    network=network,
    head=head,
    flattens=True,
    drops_paths=False,
    preprocessing=HOSTS["se_vgg16"].card.preprocessing,
)
preprocess_input, decode_predictions = preprocessing_functions(FAMILY)

SEVGG16 = constructor(
    FAMILY, "SEVGG16", "se_vgg16", __name__, arguments=("batch_norm",)
)
