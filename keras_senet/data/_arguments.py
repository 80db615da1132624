"""Whether the arguments of `batches` make sense."""

import numbers

from keras_senet.data.augmentation import AUGMENTATIONS, KERNELS
from keras_senet.data.mixing import LEAST_ALPHA
from keras_senet.utils.errors import is_positive_integer, nearest


def check_choices(
    augmentation: str, interpolation: str, channels: int | None, crop_fraction: float
) -> None:
    """Raises if a name is unknown or a value out of range."""
    for name, value, options in (
        ("augmentation", augmentation, AUGMENTATIONS),
        ("interpolation", interpolation, KERNELS),
    ):
        if value not in options:
            raise ValueError(
                f"`{name}` must be one of {list(options)}. "
                f"Received: {name}={value!r}.{nearest(value, options)}"
            )
    if channels not in (None, 1, 3):
        raise ValueError(
            "`channels` must be 1 (grey), 3 (RGB) or None for the data's own. "
            f"Received: channels={channels!r}."
        )
    if not 0 < crop_fraction <= 1:
        raise ValueError(
            "`crop_fraction` must lie above 0 and at most at 1. "
            f"Received: crop_fraction={crop_fraction!r}."
        )


def check_training(training: bool, epoch: int | None, **random: str | float) -> None:
    """Raises if evaluation is asked for anything random, or a number is out of 0..1."""
    for name, value in random.items():
        if not training and value not in ("none", 0):
            raise ValueError(
                f"`{name}` is for training; evaluation sees the images as they are. "
                f"Received: {name}={value!r}. Pass training=True or drop it."
            )
        if not isinstance(value, str) and not 0 <= value <= 1:
            raise ValueError(
                f"`{name}` must lie between 0 and 1. Received: {name}={value!r}."
            )
    if not training and epoch is not None:
        raise ValueError(
            "`epoch` is for training; evaluation is the same every time. "
            f"Received: epoch={epoch!r}. Pass training=True or drop it."
        )
    if epoch is not None and (not isinstance(epoch, numbers.Integral) or epoch < 0):
        raise ValueError(
            f"`epoch` must be an integer from 0. Received: epoch={epoch!r}."
        )


def check_mixing(one_hot: bool, **alphas: float) -> None:
    """Raises if labels cannot be mixed, or an alpha is too small for float32."""
    for name, value in alphas.items():
        if value and (not one_hot or value < LEAST_ALPHA):
            raise ValueError(
                f"`{name}` must be 0 or lie between {LEAST_ALPHA} and 1, and needs "
                f"one_hot=True. Received: {name}={value!r}, one_hot={one_hot!r}."
            )


def checked_worker(
    worker: tuple[int, int],
    batch_size: int,
    step: int,
    epoch: int | None,
    drop_remainder: bool,
) -> tuple[int, int]:
    """Returns the index of the worker and their number."""
    index, workers = worker
    if (
        not 0 <= index < workers
        or batch_size % workers
        or (workers > 1 and not drop_remainder)
    ):
        raise ValueError(
            "`worker` must be (i, n) with i from 0 and below n, for whole batches "
            "(drop_remainder=True) of a multiple of n images. "
            f"Received: worker={worker!r}, batch_size={batch_size}."
        )
    if step != 0 and (not is_positive_integer(step) or epoch is None):
        raise ValueError(
            "`step` must be an integer from 0 and belongs to `epoch`. "
            f"Received: step={step!r}, epoch={epoch!r}."
        )
    return index, workers
