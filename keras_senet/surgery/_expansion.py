"""This package's own layers, written in Keras' layers."""

import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from keras_senet.layers import ChannelShuffle, SqueezeExcite
from keras_senet.surgery._linear import Linear, array


def excitation(
    se: SqueezeExcite,
    rank: int,
    name: Callable[[str], str],
    *,
    linear: Linear | None = None,
    factor: float = 1.0,
) -> Callable:
    """Returns the function that a `SqueezeExcite` is, of Keras' layers.

    It takes the map x and returns x times its gate. With `linear`, the pointwise layer
    that makes x, it takes that one's input too, and reads the squeeze off it: a mean
    over positions commutes with a matrix, and that matrix and the first one of SE
    become one. `rank` is the number of axes of x; `name` makes the name of a new layer
    from the one wanted; the gate is multiplied by `factor`.
    """
    first, pools = se.data_format == "channels_first", se.squeeze != "none"
    channels, ones = se.expand.kernel.shape[-1], (1,) * (rank - 2)
    kernel = array(se.reduce.kernel)
    kernel = kernel.reshape(kernel.shape[-2:])
    bias = array(se.reduce.bias) if se.use_bias else np.zeros(kernel.shape[-1])
    strides = 1
    if linear is not None:
        bias, kernel = bias + linear.bias @ kernel, linear.matrix() @ kernel
        strides = 1 if pools else getattr(linear.layer, "strides", 1)

    def make(kind, role, *args, **kwargs):
        kwargs = {"dtype": se.dtype_policy, "trainable": se.trainable, **kwargs}
        kind = getattr(layers, kind)
        return kind(*args, **kwargs, name=name(f"{se.name}_{role}"))

    steps = []
    if pools:
        kind = {"avg": "Average", "max": "Max"}[se.squeeze]
        # As in SE, a mean over a large map of a 16-bit type is taken in 32 bits.
        exact = keras.backend.result_type(se.compute_dtype, "float32")
        dtype = exact if se.squeeze == "avg" else se.dtype_policy
        kind = f"Global{kind}Pooling{rank - 2}D"
        form = {"data_format": se.data_format, "keepdims": not first}
        steps.append(make(kind, "pool", **form, dtype=dtype))
    if first and pools:
        steps.append(make("Reshape", "to_last", (*ones, len(kernel))))
    elif first:
        steps.append(make("Permute", "to_last", (*range(2, rank), 1)))
    kind = f"Conv{rank - 2}D"
    form = {"data_format": "channels_last", "kernel_initializer": "zeros"}
    form |= {"activation": se.activation, "strides": strides}
    biased = bool(se.use_bias or np.any(bias))
    reduce = make(kind, "fc1", len(bias), 1, **form, use_bias=biased)
    form |= {"activation": se.gate, "strides": 1}
    expand = make(kind, "fc2", channels, 1, **form, use_bias=se.use_bias)
    steps += [reduce, expand]
    if se.identity_start:
        factor = factor / array(se.gate(keras.ops.zeros((*ones, 1, channels))))[0]
    if np.any(factor != 1):
        # One number where all channels have the same, as with every usual gate.
        same = np.max(factor) == np.min(factor)
        factor = float(np.max(factor)) if same else factor.tolist()
        steps.append(make("Rescaling", "rescale", factor))
    if first and pools:
        steps.append(make("Reshape", "to_first", (channels, *ones)))
    elif first:
        steps.append(make("Permute", "to_first", (rank - 1, *range(1, rank - 1))))
    product = layers.Multiply(dtype=se.dtype_policy, name=se.name)

    def run(x, inner=None):
        gates = _through(steps, x if inner is None else inner)
        reduce.kernel.assign(kernel.reshape(reduce.kernel.shape))
        if biased:
            reduce.bias.assign(bias)
        expand.kernel.assign(array(se.expand.kernel))
        if se.use_bias:
            expand.bias.assign(array(se.expand.bias))
        return product([x, gates])

    return run


def _through(steps, x):
    return functools.reduce(lambda y, step: step(y), steps, x)


def shuffle(layer: ChannelShuffle, shape: tuple, name: Callable[[str], str]):
    """Returns the function that a `ChannelShuffle` is on maps of a shape."""
    first = layer.data_format == "channels_first"
    rows, columns, channels = (*shape[2:], shape[1]) if first else shape[1:]
    groups = layer.groups
    if rows is None and columns is None:
        # A reshape cannot have two unknown sizes.
        order = np.arange(channels).reshape(groups, -1).T.reshape(-1).tolist()
        return lambda x: keras.ops.take(x, order, axis=1 if first else 3)
    sizes = rows or -1, columns or -1
    if first:
        table, order = (groups, channels // groups, -1), (2, 1, 3)
        result = channels, *sizes
    else:
        table, order = (-1, groups, channels // groups), (1, 3, 2)
        result = *sizes, channels
    policy = layer.dtype_policy
    steps = (
        layers.Reshape(table, dtype=policy, name=name(f"{layer.name}_table")),
        layers.Permute(order, dtype=policy, name=name(f"{layer.name}_deal")),
        layers.Reshape(result, dtype=policy, name=layer.name),
    )
    return functools.partial(_through, steps)
