"""A checkpoint: what it is, where it lies, how its names map to ours.

This room knows no model: networks are named by strings.
"""

from keras_senet.weights.assign import assign
from keras_senet.weights.catalogue import default_weights, find_preset, list_weights
from keras_senet.weights.checkpoint import Checkpoint
from keras_senet.weights.header import make_header, save_model, save_weights
from keras_senet.weights.opening import find_host, open_checkpoint, read_checkpoint
from keras_senet.weights.presets import Accuracy, File, Host, Preprocessing, Preset

__all__ = [
    "Accuracy",
    "Checkpoint",
    "File",
    "Host",
    "Preprocessing",
    "Preset",
    "assign",
    "default_weights",
    "find_host",
    "find_preset",
    "list_weights",
    "make_header",
    "open_checkpoint",
    "read_checkpoint",
    "save_model",
    "save_weights",
]
