"""Surgery: from a model to another model."""

from keras_senet.surgery.features import features
from keras_senet.surgery.fold import Folding, fold
from keras_senet.surgery.graft import graft, ungraft
from keras_senet.surgery.places import Place, places
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
