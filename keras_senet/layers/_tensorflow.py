"""What TensorFlow does faster than Keras' formulas; imported on that backend only."""

import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import keras
import tensorflow as tf


class Normalized(NamedTuple):
    """How batch normalization made its output in a training step."""

    x: tf.Tensor  # the maps, (N, H, W, C); all others are (C,)
    gamma: tf.Tensor
    beta: tf.Tensor
    mean: tf.Tensor  # the batch's
    deviation: tf.Tensor  # the square root of its variance plus epsilon


def normalize_batch(x, gamma, beta, epsilon: float):
    """Batch normalization by the statistics of the batch, in one kernel.

    Returns the normalised maps, and the batch's mean and (biased) variance. Maps are
    (N, H, W, C), of type float32, float16 or bfloat16; all others (C,), float32.
    """
    nothing = tf.zeros([0])
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=nothing, variance=nothing, epsilon=epsilon
    )
    # The kernel's variance is the unbiased one, Keras' moving variance is not.
    count = tf.cast(tf.size(x) // x.shape[-1], variance.dtype)
    return y, mean, variance * (tf.maximum(count - 1, 1) / count)


def normalize(x, gamma, beta, mean, variance, epsilon: float):
    """Batch normalization by given statistics; types as of `normalize_batch`."""
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    ).y


def excite(y, normalized: Normalized, gate: Callable, variables: Sequence):
    """Squeeze by the mean, excitation and scale of what batch normalization made.

    Normalisation and SE are one operation to the gradient. With x̂ = (x - mean) /
    deviation, y = gamma * x̂ + beta and a gradient d that comes in, all sums over
    positions that either of them needs are those of d and of d * x; and the gradient
    for x is a linear function of d and x, one pass over memory. Separately each
    would make passes of its own, and `y` would have to be kept.

    A second derivative is an error, and with respect to `y` the gradient is None: it
    goes straight to x, gamma and beta. Nor is there a derivative in forward mode.
    Networks with `fused=False` have all three.

    `gate` makes the gates from the means, both (N, 1, 1, C), and reads `variables`.
    """
    mean, deviation = normalized.mean, normalized.deviation
    variables = [v for v in variables if keras.backend.is_float_dtype(v.dtype)]

    def gates_of(squeezed, weights):
        # Within a `keras.StatelessScope`, weights are tensors that no tape knows.
        with keras.StatelessScope(zip(variables, weights, strict=True)):
            return gate(squeezed)

    @tf.custom_gradient
    def scaled(x, gamma, beta, *weights):
        x_hat = (_mean(x) - mean) / deviation
        squeezed = gamma * x_hat + beta
        gates = gates_of(squeezed, weights)

        def gradient(d):
            d = tf.ensure_shape(d, x.shape)
            size = tf.cast(tf.shape(d)[1] * tf.shape(d)[2], d.dtype)
            d_mean, d_x_mean = _means_with_product(d, x)
            d_x_hat = (d_x_mean - mean * d_mean) / deviation
            d_gates = size * (gamma * d_x_hat + beta * d_mean)
            with tf.GradientTape() as tape:
                tape.watch([squeezed, *weights])
                again = gates_of(squeezed, weights)
            d_squeezed, *d_weights = tape.gradient(again, [squeezed, *weights], d_gates)
            # The gradient for y is d * gates + shift; these are its sums.
            shift = d_squeezed / size
            d_beta = size * _total(d_mean * gates + shift)
            d_gamma = size * _total(d_x_hat * gates + shift * x_hat)
            count = size * tf.cast(tf.shape(d)[0], d.dtype)
            slope = -gamma * d_gamma / (count * deviation**2)
            d_x = _linear(
                d,
                gates * gamma / deviation,
                x,
                slope,
                (shift - d_beta / count) * gamma / deviation - slope * mean,
            )
            return _only_first(d_x, d_gamma, d_beta, *d_weights)

        return y * gates, gradient

    weights = [v.value for v in variables]
    read = [normalized.gamma, normalized.beta, *weights]
    return scaled(normalized.x, *map(tf.convert_to_tensor, read))


@tf.custom_gradient
def _only_first(*gradients):
    """Returns the gradients, which miss that mean and deviation depend on x."""

    def gradient(*_):
        raise NotImplementedError(
            "Batch normalization and SE in TensorFlow's fused kernels have no second "
            "derivative in training. Build the network with fused=False, or use "
            "keras.layers.BatchNormalization before SqueezeExcite."
        )

    return gradients, gradient


def _total(x):
    return tf.reduce_sum(x, (0, 1, 2))


def _mean(x):
    """The mean over the positions, (N, H, W, C) -> (N, 1, 1, C)."""
    if None in x.shape[1:3]:
        return tf.reduce_mean(x, (1, 2), keepdims=True)
    # Half the time of reduce_mean on a CPU.
    return tf.nn.avg_pool2d(x, x.shape[1:3], 1, "VALID")


# So many bytes of maps stay in the cache of a core while their sums are taken.
_CACHED = 2**19


def _means_with_product(x, y):
    """The means of x and of x * y over the positions, both (N, 1, 1, C).

    One CPU takes them some images at a time: their maps stay in the cache, and the
    product of all would be the largest map of a training step. Image by image, small
    maps would cost less than the loop itself.
    """
    if not _on_one_cpu():
        return _mean(x), _mean(x * y)
    count, shape = tf.shape(x)[0], x.shape[1:]
    room = _CACHED // (4 * shape.num_elements()) if shape.is_fully_defined() else 1
    # The parts are equal: both of these are powers of two, and one divides the batch.
    part = tf.minimum(count & -count, 1 << max(room, 1).bit_length() - 1)
    part = tf.maximum(part, 1)  # of a batch without images

    # Not slices of `part` images, whose number XLA takes for one.
    parted = tf.concat([[count // part, part], tf.shape(x)[1:]], 0)
    xs, ys = tf.reshape(x, parted), tf.reshape(y, parted)

    def means(index):
        some = tf.ensure_shape(xs[index], (None, *shape))
        return _mean(some), _mean(some * tf.ensure_shape(ys[index], (None, *shape)))

    kinds = x.dtype, x.dtype
    parts = tf.map_fn(means, tf.range(count // part), fn_output_signature=kinds)
    return [tf.reshape(means, (count, 1, 1, shape[-1])) for means in parts]


def _linear(x, x_factor, y, y_factor, offset):
    """x * x_factor + y * y_factor + offset.

    TensorFlow reads and writes memory for each operation; XLA on one CPU once for all.
    """
    function = _compiled_sum if _on_one_cpu() else _sum
    return function(x, x_factor, y, y_factor, offset)


def _sum(x, x_factor, y, y_factor, offset):
    return x * x_factor + y * y_factor + offset


_compiled_sum = tf.function(_sum, autograph=False, jit_compile=True)


def _on_one_cpu():
    devices = {device.device_type for device in tf.config.list_logical_devices()}
    return devices == {"CPU"} and tf.distribute.get_strategy().num_replicas_in_sync == 1


def grouped_convolution(x, kernel, groups: int, *, bias=False, **options):
    """A grouped convolution of 4D maps without XLA; None if the device has no way.

    The kernel is (height, width, channels of x / groups, filters). `bias` says whether
    a bias is added to what comes back. The options are `strides`, `padding`,
    `data_format` and `dilations` of `tf.nn.convolution`.
    """
    # Graphs know a device where a scope names one; else GPUs come first.
    kind = tf.DeviceSpec.from_string(x.device or "").device_type
    kind = kind or ("GPU" if tf.config.list_logical_devices("GPU") else "CPU")
    form = _grouped_form(kind, x.dtype.name, options["data_format"], bias)
    return None if form is None else form(x, kernel, groups, **options)


@functools.cache
def _grouped_form(kind: str, dtype: str, data_format: str, bias: bool):
    """The first form of a grouped convolution that works on a kind of device.

    It is tried out on a tiny one: what works depends on the device, on the way that
    TensorFlow was built and on its settings.
    """
    if kind not in ("CPU", "GPU"):
        return None
    # In a thread of its own, where no graph is traced and no tape is paused.
    with ThreadPoolExecutor(1) as thread:
        for form in (_native, _block_diagonal):
            options = form, f"{kind}:0", dtype, data_format, bias
            if thread.submit(_works, *options).result():
                return form
    return None


def _works(form, device: str, dtype: str, data_format: str, bias: bool) -> bool:
    """Whether a form of a grouped convolution has a gradient, and a bias if asked."""
    options = {"strides": 1, "padding": "SAME", "data_format": data_format}
    shape = (1, 3, 3, 4) if data_format == "NHWC" else (1, 4, 3, 3)
    with tf.device(device):
        x, kernel = tf.ones(shape, dtype), tf.ones((3, 3, 2, 4), dtype)

        @tf.function(autograph=False)
        def biased(x, kernel):
            y = form(x, kernel, 2, **options)
            return tf.nn.relu(tf.nn.bias_add(y, tf.ones(4, dtype), data_format))

        try:
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = form(x, kernel, 2, **options)
            tape.gradient(y, [x, kernel])
            if bias:
                # Graphs have all three operations in one kernel of its own.
                biased(x, kernel)
        except tf.errors.OpError:
            return False
    return True


def _native(x, kernel, groups, **options):
    return tf.nn.convolution(x, kernel, **options)


def _block_diagonal(x, kernel, groups, **options):
    """A grouped convolution as plain ones of a few groups each.

    The kernel of each has zeros between its groups. Measured on CPUs with 4 to 32
    channels a group, four groups are a good number: fewer make many small
    convolutions, more multiply by zeros most of the time. A part has at least 16
    channels, and takes no second group from 128 on.
    """
    height, width, channels, filters = kernel.shape
    count = max(math.ceil(16 / channels), min(4, 128 // channels), 1)
    counts = [min(count, groups - first) for first in range(0, groups, count)]
    axis = 3 if options["data_format"] == "NHWC" else 1
    filters //= groups
    outputs = []
    for x_part, part, n in zip(
        tf.split(x, [n * channels for n in counts], axis),
        tf.split(kernel, [n * filters for n in counts], 3),
        counts,
        strict=True,
    ):
        blocks = tf.reshape(part, (height, width, 1, channels, n, filters))
        diagonal = tf.reshape(tf.eye(n, dtype=kernel.dtype), (n, 1, n, 1))
        shape = (height, width, n * channels, n * filters)
        dense = tf.reshape(blocks * diagonal, shape)
        outputs.append(tf.nn.convolution(x_part, dense, **options))
    return tf.concat(outputs, axis)
