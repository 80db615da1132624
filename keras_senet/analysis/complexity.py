"""Parameters, multiply-adds and activations, from the built graph."""

import dataclasses
import math
from collections.abc import Iterator

import keras
from keras import layers

from keras_senet.layers import SqueezeExcite
from keras_senet.utils import graph
from keras_senet.utils.errors import integer_or_none


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerComplexity:
    """The costs of one layer for one image.

    Attributes:
        name: The layer's name, with those of the models it is nested in.
        kind: The layer's class.
        output_shape: Of its first output, without the batch axis.
        parameters: Number of values in all its weights.
        trainable: Number of values in its trainable weights.
        multiply_adds: Of convolutions and matrix products; of SE, also one
            multiplication for each value that it scales.
        activations: Number of values that it returns; of SE, that its two
            convolutions return.
        is_se: Whether it is squeeze and excitation.

    Example:

    >>> costs = keras_senet.complexity(model)
    >>> sum(layer.parameters for layer in costs.layers if layer.is_se)
    8484
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: int
    multiply_adds: int
    activations: int
    is_se: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Complexity:
    """The costs of a network for one image.

    Attributes:
        layers: The costs of each layer.
        parameters: Number of values in all weights, as `model.count_params()`.
        trainable: Number of values in the trainable weights.
        multiply_adds: Multiply-adds; the paper's "FLOPs" (section 4).
        activations: Values that convolutions and matrix products return.
        se_parameters: SE's share of `parameters`.
        se_multiply_adds: SE's share of `multiply_adds`.
        se_formula: The paper's (2 / r) sum N_s C_s^2 (section 4, equation 5). It
            equals the size of SE's kernels if C / r is an integer, and ignores biases.

    Example:

    >>> costs = keras_senet.complexity(model)
    >>> costs.parameters == model.count_params()
    True
    """

    layers: tuple[LayerComplexity, ...]
    parameters: int
    trainable: int
    multiply_adds: int
    activations: int
    se_parameters: int
    se_multiply_adds: int
    se_formula: float

    @property
    def gflops(self) -> float:
        """Billions of multiply-adds, as the paper counts."""
        return self.multiply_adds / 1e9


def complexity(
    model: keras.Model, *, input_shape: tuple[int, ...] | None = None
) -> Complexity:
    """Counts parameters and multiply-adds of a model for one image.

    Multiply-adds are counted for convolutions, `Dense` and `SqueezeExcite`. For other
    layers with matrix products (`MultiHeadAttention`, `LSTM`, `TimeDistributed`, ...)
    they are 0; their parameters are counted.

    Args:
        model: Any built functional or sequential Keras model.
        input_shape: Shape of an image, without the batch axis; needed if the model
            leaves its size open.

    Raises:
        ValueError: If the model or one nested in it is subclassed, or its image size
            is unknown.

    Example:

    >>> keras_senet.complexity(model).gflops
    0.03
    """
    rows = tuple(_layers(model, _input_shapes(model, input_shape), set()))
    se = [row for row in rows if row.is_se]
    return Complexity(
        layers=rows,
        parameters=model.count_params(),
        trainable=sum(math.prod(w.shape) for w in model.trainable_weights),
        multiply_adds=sum(row.multiply_adds for row in rows),
        activations=sum(row.activations for row in rows if row.multiply_adds),
        se_parameters=sum(row.parameters for row in se),
        se_multiply_adds=sum(row.multiply_adds for row in se),
        se_formula=_se_formula(model),
    )


def _input_shapes(model, input_shape):
    _check(model)
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if input_shape is not None:
        if len(shapes) != 1:
            raise ValueError(
                "`input_shape` is only for models with one input. Received: a model "
                f"with {len(shapes)} inputs."
            )
        if integer_or_none(input_shape) is not None:
            raise ValueError(
                "`input_shape` must be (height, width, channels), for example "
                f"(224, 224, 3). Received: input_shape={input_shape!r}"
            )
        shapes = [tuple(map(integer_or_none, input_shape))]
    for shape in shapes:
        if None in shape:
            remedy = "Set it, for example input_shape=(224, 224, 3)."
            if len(shapes) > 1:
                remedy = "Build the model with fixed sizes."
            raise ValueError(
                "The image size must be known. Received: a model with the input shape "
                f"{shape}. {remedy}"
            )
    return [(None, *shape) for shape in shapes]


def _check(model):
    if not graph.is_functional(model):
        raise ValueError(
            "`model` and all models inside it must be built functional or sequential "
            f"Keras models. Received: {type(model).__name__} "
            f"{getattr(model, 'name', '')!r}"
        )


def _layers(model, input_shapes, counted, prefix="") -> Iterator[LayerComplexity]:
    shapes = graph.shapes(model, input_shapes)
    for call in graph.calls(model):
        layer = call.layer
        if not isinstance(layer, layers.Layer):
            continue
        inputs = [shapes[id(tensor)] for tensor in call.inputs]
        if isinstance(layer, keras.Model):
            _check(layer)
            yield from _layers(layer, inputs, counted, f"{prefix}{layer.name}/")
            continue
        output = tuple(shapes[id(call.outputs[0])][1:])
        # A shared layer costs its operations at each call, its weights once.
        weights = [] if id(layer) in counted else layer.weights
        counted.add(id(layer))
        yield LayerComplexity(
            name=prefix + layer.name,
            kind=type(layer).__name__,
            output_shape=output,
            parameters=sum(math.prod(w.shape) for w in weights),
            trainable=sum(math.prod(w.shape) for w in weights if w.trainable),
            multiply_adds=_multiply_adds(layer, tuple(inputs[0][1:]), output),
            activations=_activations(layer, output),
            is_se=isinstance(layer, SqueezeExcite),
        )


def _activations(layer, output_shape) -> int:
    if isinstance(layer, SqueezeExcite):
        width, channels = layer.expand.kernel.shape[-2:]
        return (width + channels) * _gates(layer, output_shape)
    return math.prod(output_shape)


def _gates(layer, output_shape) -> int:
    """How many gates a channel has: one, or without a squeeze one a position."""
    positions = math.prod(output_shape) // layer.expand.filters
    return positions if layer.squeeze == "none" else 1


def _multiply_adds(layer, input_shape, output_shape) -> int:
    if isinstance(layer, SqueezeExcite):
        kernels = sum(math.prod(c.kernel.shape) for c in (layer.reduce, layer.expand))
        return kernels * _gates(layer, output_shape) + math.prod(output_shape)
    kernel = getattr(layer, "kernel", None)
    if isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        return math.prod(output_shape) * math.prod(layer.kernel_size)
    if isinstance(layer, (layers.SeparableConv1D, layers.SeparableConv2D)):
        inner = layer.depthwise_kernel.shape[-2] * layer.depth_multiplier
        positions = math.prod(output_shape) // layer.filters
        return positions * inner * (math.prod(layer.kernel_size) + layer.filters)
    if isinstance(layer, (layers.Conv1D, layers.Conv2D, layers.Conv3D)):
        return math.prod(output_shape) * math.prod(kernel.shape[:-1])
    transposed = (layers.Conv1DTranspose, layers.Conv2DTranspose)
    if isinstance(layer, (*transposed, layers.Conv3DTranspose)):
        return math.prod(input_shape) * math.prod(kernel.shape[:-1])
    if isinstance(layer, layers.Dense):
        return math.prod(output_shape) * kernel.shape[0]
    return 0


def _se_formula(model) -> float:
    every = {id(layer): layer for part in graph.models(model) for layer in part.layers}
    blocks = [layer for layer in every.values() if isinstance(layer, SqueezeExcite)]
    shapes = [(layer, *layer.reduce.kernel.shape[-2:]) for layer in blocks]
    return float(sum(2 / (x.reduction or c / width) * c**2 for x, c, width in shapes))
