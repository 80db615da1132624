"""What happens to one image: the fixed geometry and the random changes.

Every random function is stateless: the same seed gives the same result.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_senet.utils.errors import nearest, require

KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos3": "lanczos3"}
_LARGEST_RADIUS = 3
_ASPECTS = (3 / 4, 4 / 3)


def resize_and_crop(
    image: tf.Tensor,
    size: tuple[int, int],
    *,
    crop_fraction: float = 1.0,
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Resizes to cover `size` / `crop_fraction`, antialiased, and crops the centre.

    For a square `size` this is the usual evaluation: the short side becomes
    size / crop_fraction, the long side keeps the proportions, and the centre is kept.
    The result equals Pillow's resizing and torchvision's crop up to rounding. The whole
    package uses this function to prepare images.

    Args:
        image: (H, W, C), 0..255, uint8 or float.
        size: (height, width) of the result.
        crop_fraction: Share of the resized image's side that the crop keeps, in (0, 1].
        interpolation: "bilinear", "bicubic" or "lanczos3".

    Returns:
        The image, (height, width, C): unchanged if it already has this size, else
        float32 with whole numbers in 0..255.

    Raises:
        ValueError: If `image` has another form, or an argument is out of its range.

    Example:

    >>> image = keras_senet.data.read_image("cat.jpg")
    >>> keras_senet.data.resize_and_crop(image, (32, 32)).shape
    (32, 32, 3)
    """
    check_fit(crop_fraction, interpolation)
    image = tf.convert_to_tensor(image)
    if image.shape.rank not in (3, None):
        raise ValueError(
            f"`image` must be (H, W, C). Received: an image of shape {image.shape}."
        )
    box = covered_box(size, crop_fraction)
    if image.shape[:2].as_list() == list(size) == list(box):
        return image
    height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
    # The long side is cut to whole pixels, as torchvision's Resize does.
    covered = tf.where(
        box[0] * width >= box[1] * height,
        tf.stack([box[0], width * box[0] // height]),
        tf.stack([height * box[1] // width, box[1]]),
    )
    # torchvision's int(round(margin / 2)): halves go to the even number.
    offset = tf.round(tf.cast(covered - size, tf.float32) / 2)
    scale = tf.cast(covered, tf.float32) / tf.cast([height, width], tf.float32)
    # What no pixel kept depends on is left out: of a long, thin image nearly all.
    reach = _LARGEST_RADIUS * tf.maximum(1 / scale, 1) + 1
    start = tf.maximum(tf.floor(offset / scale - reach), 0)
    stop = tf.cast(tf.math.ceil((offset + size) / scale + reach), tf.int32)
    top, left = tf.unstack(tf.cast(start, tf.int32))
    image = image[top : stop[0], left : stop[1]]
    # Pillow resizes the width first and stores whole values in between; where bicubic
    # overshoots there, one step over both axes differs by up to 20 levels.
    for axis in (1, 0):
        shift = start[axis] * scale[axis] - offset[axis]
        image = _resample(image, axis, size[axis], scale[axis], shift, interpolation)
    return tf.ensure_shape(image, (*size, image.shape[-1]))


def check_fit(crop_fraction: float, interpolation: str) -> None:
    """Raises a ValueError if no image can be resized and cropped so."""
    if interpolation not in KERNELS:
        raise ValueError(
            f"`interpolation` must be one of {list(KERNELS)}. Received: interpolation="
            f"{interpolation!r}.{nearest(interpolation, KERNELS)}"
        )
    share = "lie above 0 and at most at 1"
    require(0 < crop_fraction <= 1, share, crop_fraction=crop_fraction)


def covered_box(size: tuple[int, int], crop_fraction: float) -> tuple[int, int]:
    """Returns (height, width) that an image is resized to cover before the crop."""
    # Rounded down, but not for a quotient that is whole but for rounding.
    return tuple(int(side / crop_fraction + 1e-6) for side in size)


def _resample(image, axis, length, scale, shift, interpolation):
    """Resizes one axis and rounds; the pixel x comes to lie at scale * x + shift."""
    # Along the first axis of a matrix, TensorFlow adds up whole rows at a time.
    lines = tf.transpose(image, (1, 0, 2)) if axis else image
    shape = tf.shape(lines)
    lines = tf.raw_ops.ScaleAndTranslate(
        images=tf.reshape(lines, (1, shape[0], 1, -1)),
        size=(length, 1),
        scale=tf.stack([scale, 1]),
        translation=tf.stack([shift, 0]),
        kernel_type=KERNELS[interpolation],
        antialias=True,
    )
    lines = tf.clip_by_value(tf.floor(lines + 0.5), 0.0, 255.0)
    lines = tf.reshape(lines, (length, shape[1], image.shape[2]))
    return tf.transpose(lines, (1, 0, 2)) if axis else lines


def to_grey(image: tf.Tensor) -> tf.Tensor:
    """Returns the grey image (H, W, 1) that Pillow makes of a uint8 RGB one."""
    weights = tf.constant((19595, 38470, 7471))  # ITU-R BT.601's luma, over 2^16
    luma = tf.reduce_sum(tf.cast(image, tf.int32) * weights, -1, keepdims=True)
    return tf.cast((luma + 2**15) // 2**16, tf.uint8)


def random_window(
    shape: tf.Tensor,
    seed: tf.Tensor,
    *,
    area: tuple[float, float] = (0.08, 1.0),
) -> tf.Tensor:
    """Draws the window (y, x, height, width) of a random-resized crop.

    Its width over its height lies between 3/4 and 4/3, and its share of an image of
    `shape` (H, W, C) within the bounds `area`.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=_ASPECTS,
        area_range=area,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], axis=0)


random_flip = tf.image.stateless_random_flip_left_right


def random_shift(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Pads with four zeros on all sides and crops the old size at a random place."""
    padded = tf.pad(image, [(4, 4), (4, 4), (0, 0)])
    return tf.image.stateless_random_crop(padded, tf.shape(image), seed)


def _shift_and_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return random_flip(random_shift(image, seed), tf.random.fold_in(seed, 1))


# Bounds of the share of the original image that is drawn as a window first.
WINDOW_AREAS = {"imagenet": (0.08, 1.0), "mobile": (0.25, 1.0)}

# What follows the geometry.
AUGMENTATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "none": lambda image, seed: image,
    "flip": random_flip,
    "cifar": _shift_and_flip,
    "imagenet": random_flip,
    "mobile": random_flip,
}
