"""Image bytes to pixels inside tf.data, whole or only a window of them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Window(NamedTuple):
    """The part of an image that is kept, and what it is resized to afterwards."""

    place: Callable[[tf.Tensor], tf.Tensor]
    """From an image's shape (H, W, C) to the part (y, x, height, width)."""
    size: tuple[int, int]
    """(height, width) in pixels."""


def crop(image: tf.Tensor, window: Window | None = None) -> tf.Tensor:
    """Returns the part of a decoded image that the window keeps, or all of it."""
    if window is None:
        return image
    y, x, height, width = tf.unstack(window.place(tf.shape(image)))
    return image[y : y + height, x : x + width]


def decode_jpeg(
    contents: tf.Tensor, *, channels: int, window: Window | None = None
) -> tf.Tensor:
    """Decodes JPEG bytes to uint8 (H, W, C); of a window only the blocks it needs.

    A window of a large photograph is decoded at a half, a quarter or an eighth of its
    size, if that still has twice the pixels a side that it is resized to. Its corners
    are then multiples of this ratio.

    The accurate transform is Pillow's, so that both give the same pixels.
    """
    if window is None:
        return tf.io.decode_jpeg(
            contents, channels=channels, dct_method="INTEGER_ACCURATE"
        )
    place = window.place(tf.io.extract_jpeg_shape(contents))
    spare = tf.reduce_min(place[2:] // tf.multiply(2, window.size))

    def decode(ratio):
        return tf.image.decode_and_crop_jpeg(
            contents,
            place // ratio,
            channels=channels,
            ratio=ratio,
            dct_method="INTEGER_ACCURATE",
        )

    ratios = (1, 2, 4, 8)
    return tf.switch_case(
        tf.reduce_sum(tf.cast(spare >= ratios[1:], tf.int32)),
        [functools.partial(decode, ratio) for ratio in ratios],
    )


def decode_image(
    contents: tf.Tensor, *, channels: int, window: Window | None = None
) -> tf.Tensor:
    """Decodes JPEG, PNG, BMP or GIF bytes (the first frame) to uint8 (H, W, C)."""

    def other_format():
        image = tf.io.decode_image(contents, channels, expand_animations=False)
        return crop(image, window)

    return tf.cond(
        tf.io.is_jpeg(contents),
        lambda: decode_jpeg(contents, channels=channels, window=window),
        other_format,
    )
