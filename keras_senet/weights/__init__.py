"""A checkpoint: what it is, where it lies, how its names map to ours."""

from keras_senet.weights.presets import Preprocessing

__all__ = ["Preprocessing"]
