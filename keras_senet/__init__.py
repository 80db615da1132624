"""Squeeze-and-excitation networks for Keras 3.

The names below are the public ones. Those that need TensorFlow's data pipeline or its
converters are imported when they are first used.
"""

import importlib

from keras_senet.analysis import complexity
from keras_senet.layers import SqueezeExcite
from keras_senet.models import create_model, list_models
from keras_senet.models.se_bn_inception import SEBNInception
from keras_senet.models.se_inception_resnet_v2 import SEInceptionResNetV2
from keras_senet.models.se_inception_v3 import SEInceptionV3
from keras_senet.models.se_mobilenet import SEMobileNet
from keras_senet.models.se_resnet import (
    SEResNet,
    SEResNet18,
    SEResNet34,
    SEResNet50,
    SEResNet101,
    SEResNet152,
)
from keras_senet.models.se_resnet_cifar import (
    SEResNet20,
    SEResNet32,
    SEResNet44,
    SEResNet56,
    SEResNet110,
    SEResNet164,
    SEWideResNet16_8,
)
from keras_senet.models.se_resnext import SEResNeXt, SEResNeXt50, SEResNeXt101
from keras_senet.models.se_shufflenet import SEShuffleNet
from keras_senet.models.se_vgg import SEVGG16
from keras_senet.models.senet import SENet154
from keras_senet.preprocessing import decode_predictions, preprocess_input
from keras_senet.surgery import features, fold, graft, prune, ungraft
from keras_senet.version import __version__
from keras_senet.weights import Preprocessing, list_weights

_LAZY = {
    "compare_variants": "keras_senet.export",
    "evaluate": "keras_senet.evaluation",
    "export_onnx": "keras_senet.export",
    "export_saved_model": "keras_senet.export",
    "export_tflite": "keras_senet.export",
    "load_pretrained": "keras_senet.hub",
    "save_pretrained": "keras_senet.hub",
    "search_int8": "keras_senet.export",
    "verify": "keras_senet.export",
}

__all__ = [
    "SEVGG16",
    "Preprocessing",
    "SEBNInception",
    "SEInceptionResNetV2",
    "SEInceptionV3",
    "SEMobileNet",
    "SENet154",
    "SEResNeXt",
    "SEResNeXt50",
    "SEResNeXt101",
    "SEResNet",
    "SEResNet18",
    "SEResNet20",
    "SEResNet32",
    "SEResNet34",
    "SEResNet44",
    "SEResNet50",
    "SEResNet56",
    "SEResNet101",
    "SEResNet110",
    "SEResNet152",
    "SEResNet164",
    "SEShuffleNet",
    "SEWideResNet16_8",
    "SqueezeExcite",
    "__version__",
    "compare_variants",
    "complexity",
    "create_model",
    "decode_predictions",
    "evaluate",
    "export_onnx",
    "export_saved_model",
    "export_tflite",
    "features",
    "fold",
    "graft",
    "list_models",
    "list_weights",
    "load_pretrained",
    "preprocess_input",
    "prune",
    "save_pretrained",
    "search_int8",
    "ungraft",
    "verify",
]


def __getattr__(name):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'keras_senet' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY})
