"""What happens to one image: the fixed geometry and the random changes.

Every random function is stateless: the same seed gives the same result.
"""

from collections.abc import Callable

import tensorflow as tf

KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos3": "lanczos3"}


def resize_and_crop(
    image: tf.Tensor,
    size: tuple[int, int],
    *,
    crop_fraction: float = 1.0,
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Resizes to cover `size` / `crop_fraction`, antialiased, and crops the centre.

    For a square `size` this is the usual evaluation: the short side becomes
    size / crop_fraction, the long side keeps the proportions (rounded down, as
    torchvision does), and the centre is kept. Only the pixels kept are computed.

    Args:
        image: (H, W, C), uint8 or float.
        size: (height, width) of the result.
        crop_fraction: How much of the resized image's side the crop keeps, in (0, 1].
        interpolation: "bilinear", "bicubic" or "lanczos3".

    Returns:
        (height, width, C): the image as it is where its static size needs no change,
        else float32 in 0..255, not resampled where the scale is one.
    """
    # Rounded down, but not for a quotient that is whole but for rounding.
    box = tuple(int(side / crop_fraction + 1e-6) for side in size)
    if image.shape[:2].as_list() == list(size) == list(box):
        return image
    height, width = tf.unstack(tf.shape(image)[:2])
    wider = box[0] * width >= box[1] * height
    covered = tf.where(
        wider,
        tf.stack([box[0], width * box[0] // height]),
        tf.stack([height * box[1] // width, box[1]]),
    )
    offset = tf.round(tf.cast(covered - tf.constant(size), tf.float32) / 2)

    def cropped():
        y, x = tf.unstack(tf.cast(offset, tf.int32))
        return tf.cast(image[y : y + size[0], x : x + size[1]], tf.float32)

    def resized():
        return tf.raw_ops.ScaleAndTranslate(
            images=image[tf.newaxis],
            size=size,
            scale=tf.cast(covered, tf.float32) / tf.cast([height, width], tf.float32),
            translation=-offset,
            kernel_type=KERNELS[interpolation],
            antialias=True,
        )[0]

    fits = tf.reduce_all(covered == [height, width])
    fitted = tf.clip_by_value(tf.cond(fits, cropped, resized), 0.0, 255.0)
    return tf.ensure_shape(fitted, (*size, image.shape[-1]))


def random_window(
    shape: tf.Tensor,
    seed: tf.Tensor,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Draws the window (y, x, height, width) of a random-resized crop.

    Args:
        shape: The image's (H, W, C).
        seed: Two integers.
        area: Bounds of the window's share of the image.
        aspect: Bounds of its width over its height.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=aspect,
        area_range=area,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], axis=0)


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors every second image left to right."""
    return tf.image.stateless_random_flip_left_right(image, seed)


def random_shift(image: tf.Tensor, seed: tf.Tensor, *, padding: int = 4) -> tf.Tensor:
    """Pads with zeros on all sides and crops the old size at a random place."""
    padded = tf.pad(image, [(padding, padding), (padding, padding), (0, 0)])
    return tf.image.stateless_random_crop(padded, tf.shape(image), seed)


def _unchanged(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return image


def _shift_and_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return random_flip(random_shift(image, seed), tf.random.fold_in(seed, 1))


# Bounds of the share of the original image that is drawn as a window first.
WINDOW_AREAS = {"imagenet": (0.08, 1.0), "mobile": (0.25, 1.0)}

# What follows the geometry.
AUGMENTATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "none": _unchanged,
    "flip": random_flip,
    "cifar": _shift_and_flip,
    "imagenet": random_flip,
    "mobile": random_flip,
}
