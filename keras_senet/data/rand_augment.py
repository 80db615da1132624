"""RandAugment and random erasing of single images, with Keras' own layers.

The layers draw from seeds that are handed to them: the variable that they would draw
from is shared by all parallel calls, so that no epoch could be repeated.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

# RandAugment's N, arXiv 1909.13719, section 4.
OPERATIONS_PER_IMAGE = 2
GREY = 128


class Draws(keras.random.SeedGenerator):
    """Seeds for Keras' random layers that follow from a key of two integers alone."""

    def __init__(self, key: tf.Tensor):
        self.key = key
        self.count = 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        self.count += 1
        return tf.random.fold_in(self.key, self.count)


def transformation(layer: keras.Layer, images: tf.Tensor, key: tf.Tensor) -> Any:
    """Draws what a random image layer of Keras is to do with images (N, H, W, C)."""
    layer.backend.set_backend("tensorflow")
    return layer.get_random_transformation(images, training=True, seed=Draws(key))


def _changed(layer: keras.Layer, images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    return layer.transform_images(images, transformation(layer, images, key))


def _solarized(layer, strength):
    """Inverts what is brighter than a threshold, the lower the stronger."""

    def apply(images, key):
        # The layer's own thresholds begin at zero whatever it is told.
        layer.backend.set_backend("tensorflow")
        threshold = 255 * (1 - strength * tf.random.stateless_uniform((), key))
        drawn = {"additions": 0.0, "thresholds": threshold}
        return layer.transform_images(images, drawn)

    return apply


def _operations(strength: float, channels: int) -> list[Callable]:
    """The operations (images, key) -> images; at strength 1 as far as AutoAugment's.

    Arguments beyond those of arXiv 1805.09501, table 6, are Keras' units.
    """
    layers = keras.layers
    turned = {"fill_mode": "constant", "fill_value": GREY, "seed": 0}
    bits = 8 - round(4 * strength)
    operations = [
        lambda images, key: images,
        layers.RandomShear(x_factor=0.3 * strength, **turned),
        layers.RandomShear(y_factor=0.3 * strength, **turned),
        layers.RandomTranslation(0.45 * strength, 0.0, **turned),
        layers.RandomTranslation(0.0, 0.45 * strength, **turned),
        layers.RandomRotation(30 / 360 * strength, **turned),
        layers.RandomBrightness(0.5 * strength, seed=0),
        layers.RandomContrast(0.9 * strength, seed=0),
        layers.RandomSharpness((0.5 - 0.45 * strength, 0.5 + 0.45 * strength), seed=0),
        layers.RandomPosterization((bits, bits), seed=0),
        _solarized(layers.Solarization(threshold_factor=1.0, seed=0), strength),
        layers.AutoContrast(),
        layers.Equalization(),
    ]
    if channels == 3:
        operations.append(layers.RandomColorDegeneration(0.9 * strength, seed=0))

    return [
        functools.partial(_changed, x) if isinstance(x, keras.Layer) else x
        for x in operations
    ]


def rand_augment(
    strength: float, channels: int
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns the function (image, seed) -> image of RandAugment.

    Two operations, drawn for each image, follow each other. Each draws how far it goes
    up to the share `strength` of its range. Of the layer `keras.layers.RandAugment` it
    differs in that only these two are computed, that rotations end at 30 degrees, and
    that shifts go both ways; grey images lose no colours.
    """
    operations = _operations(strength, channels)

    def change(image, seed):
        shape = image.shape
        images = tf.cast(image, tf.float32)[tf.newaxis]
        for number in range(OPERATIONS_PER_IMAGE):
            key = tf.random.fold_in(seed, number)
            index = tf.random.stateless_uniform(
                (), key, maxval=len(operations), dtype=tf.int32
            )
            branches = [
                lambda operation=operation, images=images, key=key: tf.ensure_shape(
                    operation(images, tf.random.fold_in(key, 0)), (1, *shape)
                )
                for operation in operations
            ]
            images = tf.switch_case(index, branches)
        return tf.clip_by_value(images[0], 0.0, 255.0)

    return change


def random_erasing(share: float) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns the function (image, seed) -> image of random erasing.

    In a share of the images, noise fills a rectangle of 2 to 33 % (arXiv 1708.04896).
    """
    layer = keras.layers.RandomErasing((share, share), seed=0)

    def erase(image, seed):
        images = tf.cast(image, tf.float32)[tf.newaxis]
        return tf.ensure_shape(_changed(layer, images, seed)[0], image.shape)

    return erase
