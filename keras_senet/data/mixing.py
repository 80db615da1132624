"""Mixup and CutMix of a batch: the images, and in the same proportions their labels."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_senet.data.rand_augment import transformation

# Below, Keras' draws of Beta(alpha, alpha) can be zero divided by zero in float32.
LEAST_ALPHA = 0.2


def make_mixer(mixup: float, cutmix: float) -> Callable:
    """Returns the function (images, soft labels, seed) -> the same, mixed.

    Each image is mixed with another one of its batch: a weighted mean (mixup, arXiv
    1710.09412), or a rectangle of the other (CutMix, arXiv 1905.04899). The weights
    are drawn from Beta(alpha, alpha), one for each image; an alpha of 0 is without.
    With both, each batch gets one of them, and either is as likely.
    """
    layers = []
    if mixup:
        layers.append(keras.layers.MixUp(mixup, seed=0))
    if cutmix:
        layers.append(keras.layers.CutMix((cutmix, cutmix), seed=0))

    def mixed(layer, images, labels, seed):
        drawn = transformation(layer, images, seed)
        return (
            tf.ensure_shape(layer.transform_images(images, drawn), images.shape),
            tf.ensure_shape(layer.transform_labels(labels, drawn), labels.shape),
        )

    def mix(images, labels, seed):
        if not layers:
            return images, labels
        if len(layers) == 1:
            return mixed(layers[0], images, labels, seed)
        first = tf.random.stateless_uniform((), seed) < 0.5
        key = tf.random.fold_in(seed, 0)
        return tf.cond(
            first,
            lambda: mixed(layers[0], images, labels, key),
            lambda: mixed(layers[1], images, labels, key),
        )

    return mix
