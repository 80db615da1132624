"""Image bytes to pixels inside tf.data, whole or only a window of them."""

from collections.abc import Callable

import tensorflow as tf

# From an image's shape (H, W, C) to the window (y, x, height, width) to keep.
Window = Callable[[tf.Tensor], tf.Tensor]


def crop(image: tf.Tensor, window: Window | None = None) -> tf.Tensor:
    """Returns the part of a decoded image that the window keeps, or all of it."""
    if window is None:
        return image
    y, x, height, width = tf.unstack(window(tf.shape(image)))
    return image[y : y + height, x : x + width]


def decode_jpeg(
    contents: tf.Tensor, *, channels: int, window: Window | None = None
) -> tf.Tensor:
    """Decodes JPEG bytes to uint8 (H, W, C); of a window only the blocks it needs.

    The accurate transform is Pillow's, so that both give the same pixels.
    """
    if window is None:
        return tf.io.decode_jpeg(
            contents, channels=channels, dct_method="INTEGER_ACCURATE"
        )
    return tf.image.decode_and_crop_jpeg(
        contents,
        window(tf.io.extract_jpeg_shape(contents)),
        channels=channels,
        dct_method="INTEGER_ACCURATE",
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
