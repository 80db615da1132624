"""Layers: squeeze and excitation, and what a network with it needs beside Keras'."""

from keras_senet.layers.channel_shuffle import ChannelShuffle
from keras_senet.layers.fused_batch_normalization import FusedBatchNormalization
from keras_senet.layers.squeeze_excite import SqueezeExcite

__all__ = ["ChannelShuffle", "FusedBatchNormalization", "SqueezeExcite"]
