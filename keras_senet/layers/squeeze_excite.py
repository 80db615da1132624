"""Squeeze and excitation, the idea of the package."""

import functools
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

import keras
from keras import ops

from keras_senet.utils.errors import as_integer, checked_data_format, nearest

# The form that is one operation with the normalisation before it, see `call`.
_FUSED = ("avg", "channels_last", "float32")


@keras.saving.register_keras_serializable("keras_senet")
class SqueezeExcite(keras.layers.Layer):
    """Squeeze-and-excitation block: multiplies each channel by a gate.

    Squeeze: the mean of each channel over its positions. Excitation: two 1x1
    convolutions, `C -> C / reduction -> C`, compute one gate for each channel from
    these means. Scale: the input is multiplied by the gates.

    Reference: Hu et al., [Squeeze-and-Excitation Networks](
    https://arxiv.org/abs/1709.01507), section 3. Section 6 has the alternatives to
    `reduction=16`, the mean and the sigmoid; section 7.1 has `squeeze="none"`.

    Args:
        reduction: Integer r. The squeeze width is `C // reduction`, at least 1.
            Defaults to 16.
        squeeze_filters: The squeeze width itself, instead of `reduction`; `divisor`
            does not change it.
        divisor: The width that `reduction` gives is rounded to the nearest multiple of
            `divisor`, at least `divisor`. Defaults to 1: rounded down, as in the paper.
        squeeze: `"avg"` or `"max"` over all positions, or `"none"`: no pooling, and a
            gate for each position.
        activation: Activation between the two convolutions. Defaults to `"relu"`.
        gate: Activation that makes the gate. Defaults to `"sigmoid"`.
        use_bias: Whether the convolutions have biases. Defaults to `True`.
        identity_start: Whether the layer starts as the exact identity. Its last
            kernel and bias start at zero, and the gate is divided by its value at
            zero. This division stays, so the same weights give another result
            without this option.
        data_format: `"channels_last"` or `"channels_first"`; `None` is Keras' setting.
        kernel_initializer: Initializer of both kernels (with `identity_start`, the
            last kernel is zero). Defaults to `"he_normal"`.
        bias_initializer: Initializer of both biases. Defaults to `"zeros"`.
        kernel_regularizer: Regularizer of both kernels.
        bias_regularizer: Regularizer of both biases.
        kernel_constraint: Constraint on both kernels.
        bias_constraint: Constraint on both biases.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: Feature maps, a tensor of a floating-point type. With a 16-bit compute
            type, the mean is still computed in float32.

    Input shape:
        `(batch, *spatial, channels)`, or `(batch, channels, *spatial)` with
        `data_format="channels_first"`; 1, 2 or 3 spatial axes of any size, which
        may be unknown.

    Output shape:
        The input's.

    Raises:
        ValueError: If an argument is out of its range, or both `reduction` and
            `squeeze_filters` are given.

    Example:

    >>> x = keras.random.normal((2, 7, 7, 64))
    >>> layer = keras_senet.SqueezeExcite(reduction=16)
    >>> layer(x).shape
    (2, 7, 7, 64)
    >>> layer.excitation(x).shape
    (2, 1, 1, 64)
    """

    def __init__(
        self,
        reduction: int | None = None,
        squeeze_filters: int | None = None,
        divisor: int = 1,
        squeeze: Literal["avg", "max", "none"] = "avg",
        activation: str | Callable | None = "relu",
        gate: str | Callable = "sigmoid",
        use_bias: bool = True,
        identity_start: bool = False,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        kernel_initializer="he_normal",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        _refuse_ratios("SqueezeExcite", kwargs)
        super().__init__(**kwargs)
        form = check_form(
            reduction=reduction,
            squeeze_filters=squeeze_filters,
            divisor=divisor,
            squeeze=squeeze,
            gate=gate,
            use_bias=use_bias,
            identity_start=identity_start,
        )
        for name, value in form.items():
            setattr(self, name, value)
        self.activation = as_activation("activation", activation)
        self.data_format = checked_data_format(data_format)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)

    def build(self, input_shape):
        rank = len(input_shape)
        axis = 1 if self.data_format == "channels_first" else rank - 1
        if not 3 <= rank <= 5:
            raise ValueError(
                "The input must have a batch axis, 1, 2 or 3 spatial axes and a "
                f"channel axis. Received: input_shape={tuple(input_shape)}"
            )
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                "The number of channels must be known. Received: input_shape="
                f"{tuple(input_shape)}, data_format={self.data_format!r}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes={axis: channels})
        pooled_shape = (input_shape[0], *[1] * (rank - 2))
        width = self.squeeze_filters or squeeze_width(
            channels, self.reduction, self.divisor
        )
        self.reduce = self._convolution("reduce", rank - 2, width)
        self.reduce.build((*pooled_shape, channels))
        self.expand = self._convolution("expand", rank - 2, channels)
        self.expand.build((*pooled_shape, width))

    def call(self, inputs):
        # What a BatchNormalization left, on TensorFlow and in training only.
        normalized = getattr(inputs, "_keras_senet_normalized", None)
        form = (self.squeeze, self.data_format, self.compute_dtype)
        # Others may keep values, draw numbers or be another function in training.
        plain = type(self).excitation is SqueezeExcite.excitation and all(
            getattr(keras.activations, getattr(part, "__name__", ""), None) is part
            for part in (self.activation, self.gate)
        )
        if normalized is None or not plain or form != _FUSED:
            return inputs * self.excitation(inputs)
        from keras_senet.layers import _tensorflow as kernels

        return kernels.excite(inputs, normalized, self._gates, self.variables)

    def excitation(self, inputs):
        """Returns the gate of each channel.

        Args:
            inputs: Feature maps, as for the call.

        Returns:
            A tensor of the compute type with the axes of the input. The spatial axes
            have length 1; with `squeeze="none"`, they have that of the input.

        Raises:
            ValueError: If the maps are symbolic: Keras would save what makes the gates
                apart from this layer, and could not load it.
        """
        if isinstance(inputs, keras.KerasTensor):
            raise ValueError(
                "`excitation` takes arrays and tensors. Received: a symbolic tensor of "
                f"shape {inputs.shape}. For a model that returns gates, take them from "
                f"keras_senet.fold(model): get_layer({self.name!r}).input[1]."
            )
        if not self.built:
            self.build(inputs.shape)
        # The two convolutions run channels last: after the squeeze that costs nothing,
        # and a gate such as the softmax finds the channels on its axis.
        squeezed = self._squeeze(inputs)
        if self.data_format == "channels_first":
            return ops.moveaxis(self._gates(ops.moveaxis(squeezed, 1, -1)), -1, 1)
        return self._gates(squeezed)

    def _gates(self, squeezed):
        gates = self.gate(self.expand(self.activation(self.reduce(squeezed))))
        if self.identity_start:
            start = ops.zeros((1,) * (gates.ndim - 1) + gates.shape[-1:], gates.dtype)
            gates = gates / self.gate(start)
        return gates

    def _squeeze(self, inputs):
        inputs = ops.cast(inputs, self.compute_dtype)
        if self.squeeze == "none":
            return inputs
        first = 2 if self.data_format == "channels_first" else 1
        axes = tuple(range(first, first + inputs.ndim - 2))
        if self.squeeze == "max":
            return ops.max(inputs, axes, keepdims=True)
        # A float16 sum over a large map overflows.
        exact = keras.backend.result_type(self.compute_dtype, "float32")
        mean = ops.mean(ops.cast(inputs, exact), axes, keepdims=True)
        return ops.cast(mean, self.compute_dtype)

    def _convolution(self, name, spatial_rank, filters):
        convolution = getattr(keras.layers, f"Conv{spatial_rank}D")
        zero = self.identity_start and name == "expand"
        return convolution(
            filters,
            1,
            use_bias=self.use_bias,
            data_format="channels_last",
            kernel_initializer="zeros" if zero else _fresh(self.kernel_initializer),
            bias_initializer="zeros" if zero else _fresh(self.bias_initializer),
            kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer,
            kernel_constraint=self.kernel_constraint,
            bias_constraint=self.bias_constraint,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=name,
        )

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "reduction": self.reduction,
            "squeeze_filters": self.squeeze_filters,
            "divisor": self.divisor,
            "squeeze": self.squeeze,
            "activation": keras.activations.serialize(self.activation),
            "gate": keras.activations.serialize(self.gate),
            "use_bias": self.use_bias,
            "identity_start": self.identity_start,
            "data_format": self.data_format,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
        }


def squeeze_width(channels: int, reduction: float, divisor: int) -> int:
    """Returns C / r rounded to a multiple of the divisor, with 1 rounded down."""
    half = divisor / 2 if divisor > 1 else 0
    return max(divisor, int(channels / reduction + half) // divisor * divisor)


def check_form(
    *,
    reduction: int | None = None,
    squeeze_filters: int | None = None,
    divisor: int = 1,
    squeeze: str = "avg",
    gate: str | Callable = "sigmoid",
    use_bias: bool = True,
    identity_start: bool = False,
) -> dict[str, Any]:
    """Returns arguments of `SqueezeExcite`, checked, as the layer keeps them."""
    if reduction is not None and squeeze_filters is not None:
        raise ValueError(
            "Only one of `reduction` and `squeeze_filters` may be given. Received: "
            f"reduction={reduction!r}, squeeze_filters={squeeze_filters!r}"
        )
    if squeeze_filters is None:
        reduction = as_integer(
            "reduction",
            16 if reduction is None else reduction,
            "It is the paper's r: 16 squeezes 256 channels to 16, so a ratio of 1/4 is "
            "reduction=4.",
        )
    else:
        squeeze_filters = as_integer("squeeze_filters", squeeze_filters)
    if squeeze not in ("avg", "max", "none"):
        raise ValueError(
            "`squeeze` must be 'avg', 'max' or 'none' (no pooling). "
            f"Received: squeeze={squeeze!r}"
        )
    function = as_activation("gate", gate)
    if identity_start and not ops.convert_to_numpy(function(ops.zeros((1, 2))))[0, 0]:
        raise ValueError(
            "`gate` must not be zero at zero with `identity_start`, which divides by "
            f"that value. Received: gate={gate!r}. Use 'sigmoid' or another gate."
        )
    return {
        "reduction": reduction,
        "squeeze_filters": squeeze_filters,
        "divisor": as_integer("divisor", divisor),
        "squeeze": squeeze,
        "gate": function,
        "use_bias": bool(use_bias),
        "identity_start": bool(identity_start),
    }


def as_activation(name: str, value: Any) -> Callable:
    """Returns the activation that an argument names; ValueError for an unknown one."""
    try:
        return keras.activations.get(value)
    except ValueError:
        known = [n for n in dir(keras.activations) if n.islower() and n[0] != "_"]
        raise ValueError(
            f"`{name}` must be None, a function or the name of one of "
            f"keras.activations. Received: {name}={value!r}.{nearest(value, known)}"
        ) from None


_P, _R = ParamSpec("_P"), TypeVar("_R")

# What others call the reduction, or one over it.
RATIOS = frozenset({"ratio", "se_ratio", "rd_ratio", "reduction_ratio"})


def as_reduction(ratio: Any) -> str:
    """Returns the argument that says here what a ratio says elsewhere, as text."""
    is_share = isinstance(ratio, float) and 0 < ratio < 1
    return f"reduction={round(1 / ratio) if is_share else ratio!r}, the paper's r"


def _refuse_ratios(name, given):
    for ratio in RATIOS.intersection(given):
        argument = as_reduction(given[ratio])
        raise TypeError(f"{name} does not take `{ratio}`. Use {argument}.")


def names_reduction(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Lets a function that takes `reduction` name it where somebody writes a ratio."""

    @functools.wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        _refuse_ratios(function.__name__, kwargs)
        return function(*args, **kwargs)

    return checked


def _fresh(initializer):
    """An initializer object gives the same values at each call: each kernel its own."""
    return initializer.clone() if hasattr(initializer, "clone") else initializer
