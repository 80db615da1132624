"""Surgery: from a model to another model."""

from keras_senet.surgery.features import features
from keras_senet.surgery.fold import Folding, fold
from keras_senet.surgery.graft import graft, ungraft
from keras_senet.surgery.places import Place, places
from keras_senet.surgery.prune import prune
from keras_senet.surgery.rgb_input import rgb_input

__all__ = [
    "Folding",
    "Place",
    "features",
    "fold",
    "graft",
    "places",
    "prune",
    "rgb_input",
    "ungraft",
]
