"""A checkpoint: what it is, where it lies, how its names map to ours.

This room knows no model: networks are named by strings.
"""

from keras_senet.card import Preprocessing
from keras_senet.weights.assign import assign
from keras_senet.weights.catalogue import default_weights, find_preset, list_weights
from keras_senet.weights.checkpoint import Checkpoint
from keras_senet.weights.opening import find_host, open_checkpoint, read_checkpoint
from keras_senet.weights.presets import Accuracy, File, Host, Preset
from keras_senet.weights.saving import network_card, save_model, save_weights

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
    "network_card",
    "open_checkpoint",
    "read_checkpoint",
    "save_model",
    "save_weights",
]
