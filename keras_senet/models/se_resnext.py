"""SE-ResNeXt 32x4d, and the generic constructor.

Xie et al., Aggregated Residual Transformations, arXiv 1611.05431, table 1: SE-ResNet's
bottleneck with a grouped 3x3 convolution.
"""

from keras_senet.models._builder import constructor, preprocessing_functions
from keras_senet.models.se_resnet import FAMILY, FORM

preprocess_input, decode_predictions = preprocessing_functions(FAMILY)


def _resnext(depth, blocks):
    return constructor(
        FAMILY,
        f"SEResNeXt{depth}",
        f"se_resnext{depth}",
        __name__,
        fixed={"blocks": blocks, "cardinality": 32, "width": 4},
        arguments=FORM,
    )


SEResNeXt50 = _resnext(50, (3, 4, 6, 3))
SEResNeXt101 = _resnext(101, (3, 4, 23, 3))

# For other forms: `SEResNeXt(blocks=(3, 4, 23, 3), cardinality=64)` is 101 64x4d.
SEResNeXt = constructor(
    FAMILY,
    "SEResNeXt",
    "se_resnext",
    __name__,
    defaults={"cardinality": 32, "width": 4},
    arguments=("blocks", "filters", "cardinality", "width", "half_reduce", *FORM),
)
