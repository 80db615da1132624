"""This package's own layers, written in Keras' layers."""

import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from keras_senet.layers import ChannelShuffle, SqueezeExcite
from keras_senet.surgery._linear import Linear, array


class Excitation:
    """The Keras layers that compute a `SqueezeExcite`.

    With `linear`, SE's input is the output of that pointwise layer and the squeeze is
    read off its input: a mean over positions commutes with a matrix, and that matrix
    and the first one of SE become one.

    Args:
        se: The layer.
        rank: The number of axes of its input.
        name: Makes the name of a new layer from the one wanted.
        linear: The pointwise layer before it, or None.
        factor: What the gate is multiplied by.
    """

    def __init__(
        self,
        se: SqueezeExcite,
        rank: int,
        name: Callable[[str], str],
        *,
        linear: Linear | None = None,
        factor: float = 1.0,
    ):
        self.se, self._spatial, self._name = se, rank - 2, name
        kernel = array(se.reduce.kernel)
        kernel = kernel.reshape(kernel.shape[-2:])
        bias = array(se.reduce.bias) if se.use_bias else np.zeros(kernel.shape[-1])
        strides = 1
        if linear is not None:
            bias, kernel = bias + linear.bias @ kernel, linear.matrix() @ kernel
            strides = getattr(linear.layer, "strides", 1)
        self._kernel, self._bias = kernel, bias
        self._before = [*self._squeeze(len(kernel))]
        self._reduce = self._convolution(
            "fc1",
            len(bias),
            activation=se.activation,
            use_bias=bool(se.use_bias or np.any(bias)),
            strides=strides if se.squeeze == "none" else 1,
        )
        channels = se.expand.kernel.shape[-1]
        self._expand = self._convolution(
            "fc2", channels, activation=se.gate, use_bias=se.use_bias
        )
        self._after = [*self._scale(channels, factor), *self._restore(channels)]
        self._product = layers.Multiply(dtype=se.dtype_policy, name=se.name)

    def __call__(self, x, inner=None):
        """Returns `x` times its gate; `inner` is the input of `linear`."""
        y = x if inner is None else inner
        for layer in (*self._before, self._reduce, self._expand, *self._after):
            y = layer(y)
        self._fill()
        return self._product([x, y])

    def _squeeze(self, channels):
        """The pool; what follows has the channels last."""
        se = self.se
        first = se.data_format == "channels_first"
        if se.squeeze == "none":
            if first:
                order = (*range(2, self._spatial + 2), 1)
                yield self._layer(layers.Permute, "to_last", order)
            return
        kind = {"avg": "Average", "max": "Max"}[se.squeeze]
        # As in SE, a mean over a large map of a 16-bit type is taken in 32 bits.
        exact = keras.backend.result_type(se.compute_dtype, "float32")
        yield self._layer(
            getattr(layers, f"Global{kind}Pooling{self._spatial}D"),
            "pool",
            data_format=se.data_format,
            keepdims=not first,
            dtype=exact if se.squeeze == "avg" else se.dtype_policy,
        )
        if first:
            shape = (*[1] * self._spatial, channels)
            yield self._layer(layers.Reshape, "to_last", shape)

    def _scale(self, channels, factor):
        """The division by the gate at zero, and the factor."""
        if self.se.identity_start:
            start = keras.ops.zeros((*[1] * (self._spatial + 1), channels))
            factor = factor / array(self.se.gate(start))[0]
        if np.all(factor == 1):
            return
        # One number where all channels have the same, as with every usual gate.
        same = np.max(factor) == np.min(factor)
        factor = float(np.max(factor)) if same else factor.tolist()
        yield self._layer(layers.Rescaling, "rescale", factor)

    def _restore(self, channels):
        """The channels back to the first axis, where they were."""
        if self.se.data_format == "channels_last":
            return
        if self.se.squeeze == "none":
            order = (self._spatial + 1, *range(1, self._spatial + 1))
            yield self._layer(layers.Permute, "to_first", order)
        else:
            shape = (channels, *[1] * self._spatial)
            yield self._layer(layers.Reshape, "to_first", shape)

    def _convolution(self, role, filters, **kwargs):
        return self._layer(
            getattr(layers, f"Conv{self._spatial}D"),
            role,
            filters,
            1,
            data_format="channels_last",
            kernel_initializer="zeros",
            **kwargs,
        )

    def _layer(self, kind, role, *args, **kwargs):
        return kind(
            *args,
            **{"dtype": self.se.dtype_policy, "trainable": self.se.trainable, **kwargs},
            name=self._name(f"{self.se.name}_{role}"),
        )

    def _fill(self):
        kernel = self._reduce.kernel
        kernel.assign(self._kernel.reshape(kernel.shape))
        if self._reduce.use_bias:
            self._reduce.bias.assign(self._bias)
        self._expand.kernel.assign(_own(self.se.expand.kernel))
        if self.se.use_bias:
            self._expand.bias.assign(_own(self.se.expand.bias))


def _own(variable):
    """Its values in memory of their own: JAX gives away that of a variable."""
    return np.array(keras.ops.convert_to_numpy(variable))


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
    return lambda x: functools.reduce(lambda y, step: step(y), steps, x)
