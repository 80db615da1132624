"""What layers compute at inference where that is linear, in float64."""

import dataclasses

import keras
import numpy as np
from keras import layers

from keras_senet.layers import BatchNormalization, Conv2D
from keras_senet.utils import graph

_KERAS_OWN = {BatchNormalization: layers.BatchNormalization, Conv2D: layers.Conv2D}
NORMALIZATIONS = (layers.BatchNormalization, BatchNormalization)
_PLAIN = (layers.Conv1D, layers.Conv2D, Conv2D, layers.Conv3D, layers.Dense)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_LINEAR = (*_PLAIN, *_DEPTHWISE, *_SEPARABLE, *_TRANSPOSED)


def keras_class(layer) -> type:
    """Returns a layer's class, or Keras' own if ours differs only in how it computes.

    Both have the same arguments and weights.
    """
    return _KERAS_OWN.get(type(layer), type(layer))


@dataclasses.dataclass(frozen=True)
class Affine:
    """`scale * x + offset`, one number of each a channel."""

    scale: np.ndarray
    offset: np.ndarray


def affine(layer, axis: int, shape: tuple) -> Affine | None:
    """Returns the affine map that a layer is at inference, or None if it is none.

    It must have one scale and offset a channel on this axis of inputs of a shape, with
    the batch.
    """
    if type(layer) in NORMALIZATIONS:
        return _normalization(layer) if layer.axis % len(shape) == axis else None
    if type(layer) is layers.Rescaling:
        several = np.ndim(layer.scale) > 0
        if several and keras.config.image_data_format() == "channels_first":
            return None
        scale, offset = layer.scale, layer.offset
    elif type(layer) is layers.Normalization and layer.mean is not None:
        mean = array(layer.mean)
        deviation = np.sqrt(array(layer.variance))
        deviation = np.maximum(deviation, keras.config.epsilon())
        scale, offset = 1 / deviation, -mean / deviation
        if layer.invert:
            scale, offset = deviation, mean
    else:
        return None
    scale, offset = (_by_channel(value, axis, shape) for value in (scale, offset))
    return None if scale is None or offset is None else Affine(scale, offset)


def _normalization(layer):
    deviation = np.sqrt(array(layer.moving_variance) + layer.epsilon)
    scale = (array(layer.gamma) if layer.scale else 1.0) / deviation
    offset = -array(layer.moving_mean) * scale
    return Affine(scale, offset + array(layer.beta) if layer.center else offset)


def _by_channel(value, axis, shape):
    """A value that broadcasts to a shape as one number a channel, or None."""
    value = np.asarray(value, "float64")
    value = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if any(n != 1 for i, n in enumerate(value.shape) if i != axis):
        return None
    return np.broadcast_to(value.reshape(-1), shape[axis])


def array(variable) -> np.ndarray:
    """The values of a variable or tensor in float64."""
    return keras.ops.convert_to_numpy(variable).astype("float64")


def is_linear(layer) -> bool:
    """Whether a layer is a convolution or Dense whose kernel `Linear` can change."""
    return (
        type(layer) in _LINEAR
        and layer.activation is keras.activations.linear
        and not getattr(layer, "lora_enabled", False)
        and not getattr(layer, "quantization_mode", None)
    )


class Linear:
    """A convolution or Dense with linear activation, and what is folded into it.

    Attributes:
        layer: The layer; it stays as it is.
        axis: The axis of its output's channels.
        bias: One number for each output channel, float64.
    """

    def __init__(self, layer, rank: int):
        self.layer = layer
        self.axis = graph.channel_axis(layer, rank)
        # Each as (*window, inputs / groups, outputs).
        self._kernels, self._groups = self._read()
        filters = self._kernels[-1].shape[-1]
        self.bias = array(layer.bias) if layer.use_bias else np.zeros(filters)

    def _read(self):
        if type(self.layer) in _SEPARABLE:
            depthwise = array(self.layer.depthwise_kernel)
            groups = depthwise.shape[-2]
            depthwise = depthwise.reshape(*depthwise.shape[:-2], 1, -1)
            return [depthwise, array(self.layer.pointwise_kernel)], [groups, 1]
        kernel = array(self.layer.kernel)
        if type(self.layer) in _DEPTHWISE:
            shape = *kernel.shape[:-2], 1, kernel.shape[-2] * kernel.shape[-1]
            return [kernel.reshape(shape)], [kernel.shape[-2]]
        if type(self.layer) in _TRANSPOSED:
            return [kernel.swapaxes(-1, -2)], [1]
        return [kernel], [getattr(self.layer, "groups", 1)]

    @property
    def inputs(self) -> int:
        return self._kernels[0].shape[-2] * self._groups[0]

    @property
    def outputs(self) -> int:
        return len(self.bias)

    def is_pointwise(self) -> bool:
        """Whether each position of the output is a matrix times one of the input."""
        kernel = self._kernels[0]
        return type(self.layer) in _PLAIN and kernel.size == np.prod(kernel.shape[-2:])

    def matrix(self) -> np.ndarray:
        """The matrix of a pointwise layer, (inputs, outputs)."""
        groups, kernel = self._groups[0], self._kernels[0]
        kernel = kernel.reshape(kernel.shape[-2], groups, -1)
        matrix = np.zeros((groups, kernel.shape[0], groups, kernel.shape[2]))
        for group in range(groups):
            matrix[group, :, group] = kernel[:, group]
        return matrix.reshape(self.inputs, self.outputs)

    def follow(self, affine: Affine) -> None:
        """Works in an affine map of the output."""
        self._kernels[-1] = self._kernels[-1] * affine.scale
        self.bias = self.bias * affine.scale + affine.offset

    def takes(self, affine: Affine, *, padded: bool = False) -> bool:
        """Whether an affine map of the input can be worked in.

        An offset cannot where zeros are padded, by the layer or before it (`padded`):
        they had none.
        """
        if not np.any(affine.offset):
            return True
        if padded or type(self.layer) in _TRANSPOSED:
            return False
        valid = getattr(self.layer, "padding", "valid") == "valid"
        return valid or self.is_pointwise()

    def precede(self, affine: Affine) -> None:
        """Works in an affine map of the input that `takes` agrees to."""
        kernel, groups = self._kernels[0], self._groups[0]
        width = kernel.shape[-1] // groups

        def each(values):  # (inputs,) -> (inputs / groups, outputs)
            return np.repeat(values.reshape(groups, -1).T, width, axis=1)

        taps = kernel.reshape(-1, *kernel.shape[-2:]).sum(0)
        offset = (taps * each(affine.offset)).sum(0)
        for pointwise in self._kernels[1:]:
            offset = offset @ pointwise.reshape(pointwise.shape[-2:])
        self.bias = self.bias + offset
        self._kernels[0] = kernel * each(affine.scale)

    def make(self, name: str | None = None):
        """Returns the layer that computes this, to be filled when it is built."""
        config = {**self.layer.get_config(), "name": name or self.layer.name}
        config["use_bias"] = bool(self.layer.use_bias or np.any(self.bias))
        for kernel in ("kernel", "depthwise", "pointwise"):
            if f"{kernel}_initializer" in config:
                config[f"{kernel}_initializer"] = "zeros"
        return keras_class(self.layer).from_config(config)

    def fill(self, layer) -> None:
        """Assigns kernel and bias to the layer that `make` returned."""
        if type(layer) in _SEPARABLE:
            variables = [layer.depthwise_kernel, layer.pointwise_kernel]
        else:
            variables = [layer.kernel]
        for variable, kernel in zip(variables, self._kernels, strict=True):
            if type(layer) in _TRANSPOSED:
                kernel = kernel.swapaxes(-1, -2)
            variable.assign(kernel.reshape(variable.shape))
        if layer.use_bias:
            layer.bias.assign(self.bias)
