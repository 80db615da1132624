"""SENet-154, the network of the authors' ILSVRC 2017 entry.

Hu et al., arXiv 1709.01507, appendix: a 64x4d SE-ResNeXt-152 with (a) half as wide a
first 1x1 in each bottleneck, (b) a stem of three 3x3 convolutions, (c) 3x3 projections
where they stride and (d) dropout before the classifier.
"""

from keras_senet.models._builder import constructor, preprocessing_functions
from keras_senet.models.se_resnet import FAMILY, FORM

preprocess_input, decode_predictions = preprocessing_functions(FAMILY)

SENet154 = constructor(
    FAMILY,
    "SENet154",
    "senet154",
    __name__,
    fixed={"blocks": (3, 8, 36, 3), "cardinality": 64, "width": 4, "half_reduce": True},
    arguments=FORM,
    defaults={"stem": "deep", "stem_filters": (64, 64, 128), "shortcut": "3x3"},
    dropout_rate=0.2,
)
