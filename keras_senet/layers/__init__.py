"""Layers: squeeze and excitation, and others that networks with it need."""

from keras_senet.layers.batch_normalization import BatchNormalization
from keras_senet.layers.channel_shuffle import ChannelShuffle
from keras_senet.layers.convolution import Conv2D
from keras_senet.layers.squeeze_excite import SqueezeExcite

__all__ = ["BatchNormalization", "ChannelShuffle", "Conv2D", "SqueezeExcite"]
