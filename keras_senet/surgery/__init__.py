"""Surgery: from a model to another model."""

from keras_senet.surgery.features import features

__all__ = ["features"]
