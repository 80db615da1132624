"""Surgery: from a model to another model."""

from keras_senet.surgery._places import Place
from keras_senet.surgery.features import features
from keras_senet.surgery.fold import Folding, fold
from keras_senet.surgery.graft import graft, places, ungraft
from keras_senet.surgery.prune import prune

__all__ = [
    "Folding",
    "Place",
    "features",
    "fold",
    "graft",
    "places",
    "prune",
    "ungraft",
]
