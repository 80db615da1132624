"""Layers: squeeze and excitation, and what a network with it needs beside Keras'."""

from keras_senet.layers.batch_normalization import BatchNormalization
from keras_senet.layers.channel_shuffle import ChannelShuffle
from keras_senet.layers.convolution import Conv2D
from keras_senet.layers.squeeze_excite import SqueezeExcite

__all__ = ["BatchNormalization", "ChannelShuffle", "Conv2D", "SqueezeExcite"]
