"""What TensorFlow does faster than Keras' formulas; imported on that backend only."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Affine(NamedTuple):
    """What batch normalisation did in a training step: output = scale * x + offset.

    Attributes:
        x: The maps that were normalised, (N, H, W, C).
        scale: One number a channel, (C,).
        offset: One number a channel, (C,).
    """

    x: tf.Tensor
    scale: tf.Tensor
    offset: tf.Tensor


def normalize_batch(x, gamma, beta, epsilon: float):
    """Batch normalisation by the statistics of the batch, in one kernel.

    Args:
        x: Maps, (N, H, W, C), of type float32, float16 or bfloat16.
        gamma: Scale, (C,), float32.
        beta: Offset, (C,), float32.
        epsilon: Added to the variance.

    Returns:
        The normalised maps, and the batch's mean and (biased) variance, (C,).
    """
    nothing = tf.zeros([0])
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=nothing, variance=nothing, epsilon=epsilon
    )
    # The kernel's variance is the unbiased one, Keras' moving variance is not.
    count = tf.cast(tf.size(x) // x.shape[-1], variance.dtype)
    return y, mean, variance * (tf.maximum(count - 1, 1) / count)


def normalize(x, gamma, beta, mean, variance, epsilon: float):
    """Batch normalisation by given statistics; the arguments are as above."""
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    ).y


def excite(y, affine: Affine, gate: Callable):
    """Squeeze by the mean, excitation and scale, whose gradient does not keep `y`.

    `y` is as large as the convolution's output `x`, which batch normalisation keeps for
    its own gradient: with y = scale * x + offset, the gradient of a channel's gate,
    sum(d * y), is scale * sum(d * x) + offset * sum(d). And y's gradient is made in one
    pass instead of one for the squeeze, one for the product and one for their sum.

    There is no second derivative.

    Args:
        y: The output of batch normalisation, (N, H, W, C).
        affine: What made it.
        gate: Makes the gates from the means, (N, 1, 1, C) -> (N, 1, 1, C).
    """

    @tf.custom_gradient
    def scaled(y):
        mean = tf.reduce_mean(y, (1, 2), keepdims=True)
        gates = gate(mean)

        def gradient(d, variables=None):
            total = tf.reduce_sum(d, (1, 2), keepdims=True)
            product = tf.reduce_sum(d * affine.x, (1, 2), keepdims=True)
            d_gates = affine.scale * product + affine.offset * total
            variables = variables or []
            with tf.GradientTape() as tape:
                tape.watch(mean)
                again = gate(mean)
            d_mean, *d_variables = tape.gradient(again, [mean, *variables], d_gates)
            positions = tf.cast(tf.shape(d)[1] * tf.shape(d)[2], d.dtype)
            d_y = d * gates + d_mean / positions
            return (d_y, d_variables) if variables else d_y

        return y * gates, gradient

    return scaled(y)
