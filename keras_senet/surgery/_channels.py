"""Which channels of a network belong together.

A space is what one convolution or dense layer writes, under the names of all the layers
that hand it on. It can be made narrower if everything that touches it is known.
"""

import collections
import dataclasses

import keras
from keras import layers

from keras_senet.layers import SqueezeExcite
from keras_senet.utils import graph

# One value a channel in, the same channel out; weights, if any, are a channel's own.
_PASSING = (
    layers.Activation,
    layers.BatchNormalization,
    layers.ReLU,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.ZeroPadding2D,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    SqueezeExcite,
)

# Activations of one value at a time; others, as softmax, may look at all channels.
_POINTWISE = {
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu",
    "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink",
}  # fmt: skip


@dataclasses.dataclass(eq=False)
class Space:
    """Channels that are kept or removed together.

    Attributes:
        size: Their number; 0 where it does not matter.
        fixed: Whether all of them stay.
        first: Whether they are on axis 1 instead of the last.
    """

    size: int = 0
    fixed: bool = False
    first: bool = False


@dataclasses.dataclass(frozen=True)
class Channels:
    """The spaces of a model.

    Attributes:
        net: The model's calls.
        spaces: `id` of a tensor -> its space.
    """

    net: graph.Graph
    spaces: dict[int, Space]

    def before(self, call: graph.Call) -> Space:
        """The space that a call reads."""
        return self.spaces[id(call.inputs[0])]

    def behind(self, call: graph.Call) -> Space:
        """The space that a call writes."""
        return self.spaces[id(call.outputs[0])]

    def free(self) -> list[Space]:
        """The spaces that can be made narrower, in the order of the graph."""
        written = (self.behind(c) for c in self.net.calls if is_matrix(c.layer))
        return [s for s in dict.fromkeys(written) if not s.fixed and s.size > 1]


def find(model: keras.Model) -> Channels:
    """Finds the spaces of a functional model.

    What is not understood, a sum among them, keeps all channels that it touches.
    """
    net = graph.Graph(model)
    times = collections.Counter(id(call.layer) for call in net.calls)
    spaces = {id(t): Space(fixed=True) for t in _flat(model.inputs)}
    for call in net.calls:
        layer = call.layer
        inputs = [spaces[id(t)] for t in call.inputs]
        shared = times[id(layer)] > 1 and bool(getattr(layer, "weights", ()))
        pairs = zip(inputs, call.inputs, strict=True)
        if not all(_is_on_axis(layer, space, tensor) for space, tensor in pairs):
            _fix(inputs)
        if shared or len(call.outputs) != 1:
            space = _fix(inputs)
        elif is_matrix(layer):
            space = Space(_width(layer), _mixes(layer), _is_first(layer))
        elif len(inputs) == 1 and _passes(layer) and not _mixes(layer):
            space = inputs[0]
        else:
            space = _fix(inputs)
        spaces.update((id(t), space) for t in call.outputs)
    _fix([spaces[id(t)] for t in _flat(model.outputs)])
    return Channels(net, spaces)


def is_matrix(layer) -> bool:
    """Whether a layer mixes all its input channels: a convolution without groups."""
    if isinstance(layer, (layers.Conv2DTranspose, layers.DepthwiseConv2D)):
        return False
    if isinstance(layer, layers.Conv2D):
        return layer.groups == 1
    return isinstance(layer, layers.Dense)


def _passes(layer):
    if isinstance(layer, layers.DepthwiseConv2D):
        return layer.depth_multiplier == 1
    return isinstance(layer, _PASSING)


def _mixes(layer):
    """Whether its activation may look at all channels at once."""
    functions = (getattr(layer, name, None) for name in ("activation", "gate"))
    known = (getattr(f, "__name__", "") in _POINTWISE for f in functions if f)
    return not all(known)


def _is_first(layer):
    return getattr(layer, "data_format", None) == "channels_first"


def _is_on_axis(layer, space, tensor):
    """Whether the channels of a layer are on the axis that a space has in a tensor."""
    rank = len(tensor.shape)
    axis = 1 if space.first else rank - 1
    if isinstance(layer, layers.BatchNormalization):
        return layer.axis % rank == axis
    if hasattr(layer, "data_format") or isinstance(layer, layers.Dense):
        return axis == (1 if _is_first(layer) else rank - 1)
    return True


def _width(layer):
    return layer.units if isinstance(layer, layers.Dense) else layer.filters


def _fix(spaces):
    for space in spaces:
        space.fixed = True
    return Space(fixed=True)


def _flat(tensors):
    return keras.tree.flatten(tensors)
