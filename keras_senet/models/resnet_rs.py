"""ResNet-RS: SE-ResNets of the D form whose stem pool is a convolution.

Bello et al., Revisiting ResNets, arXiv 2103.07579, table 11.
"""

from keras_senet.models._builder import constructor, preprocessing_functions
from keras_senet.models.se_resnet import FAMILY

preprocess_input, decode_predictions = preprocessing_functions(FAMILY)


def _resnet_rs(depth, blocks):
    return constructor(
        FAMILY,
        f"ResNetRS{depth}",
        f"resnetrs{depth}",
        __name__,
        fixed={
            "block": "bottleneck",
            "blocks": blocks,
            "stem": "deep",
            "stem_filters": (32, 32, 64),
            "stem_pool": "conv",
            "shortcut": "avg",
        },
        defaults={"reduction": 4},
        dropout_rate=0.25,
    )


ResNetRS50 = _resnet_rs(50, (3, 4, 6, 3))
ResNetRS101 = _resnet_rs(101, (3, 4, 23, 3))
ResNetRS152 = _resnet_rs(152, (3, 8, 36, 3))
ResNetRS200 = _resnet_rs(200, (3, 24, 36, 3))
ResNetRS270 = _resnet_rs(270, (4, 29, 53, 4))
ResNetRS350 = _resnet_rs(350, (4, 36, 72, 4))
ResNetRS420 = _resnet_rs(420, (4, 44, 87, 4))
