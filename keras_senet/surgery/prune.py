"""A narrower network: without the channels that matter least."""

import collections
import dataclasses
import numbers
from typing import Literal

import keras
import numpy as np
from keras import layers
from keras.ops import convert_to_numpy

from keras_senet.analysis import mean_gates
from keras_senet.layers import SqueezeExcite
from keras_senet.network import derived
from keras_senet.utils import graph
from keras_senet.utils.copying import copied, fill, fresh

IMPORTANCES = ("gates", "weights", "both", "outgoing")


def prune(
    model: keras.Model,
    data=None,
    keep: float = 0.7,
    importance: Literal["gates", "weights", "both", "outgoing"] = "gates",
    *,
    name: str | None = None,
) -> keras.Model:
    """Returns a copy of a network without its least important channels.

    Only channels that are independent of others are removed: those between the
    convolutions of a residual unit, those of a stem before a projection, and all
    channels of a network without residual sums. Each group of channels keeps the same
    share. Channels that a residual sum connects stay, because all units of a stage
    write to them. Channels of grouped convolutions, of concatenations and of layers
    that this function does not know stay too.

    The importance of a channel is one of:

    - "gates": the mean of its gate over the data, if an SE layer scales this channel
      (SE inside the unit, VGG, MobileNet). If SE scales a later map (standard
      placement): the norm of the weights that read the channel, each multiplied by the
      gain of batch normalization and the mean gate behind it, through all convolutions
      of the unit. In stages without SE, only weights and gains count.
    - "weights": the sum of the absolute values of the kernel that makes it (Li et al.,
      arXiv 1608.08710).
    - "both": the product of the two.
    - "outgoing": like "gates" with all gates equal to 1. The difference between the two
      is the effect of the gates.

    The copy is not compiled. Train it further to regain accuracy.

    Reference: Hu et al., [Squeeze-and-Excitation Networks](
    https://arxiv.org/abs/1709.01507), whose conclusion proposes gates for pruning.

    Args:
        model: A functional model; it does not change.
        data: Images as the model takes them, an array or batches. Labels are not used.
            Needed for "gates" and "both".
        keep: The share of the channels that stay (0..1), rounded, at least one channel.
        importance: How the importance of a channel is computed.
        name: Name of the new model, by default the old one's.

    Returns:
        A functional model with the same inputs and outputs.

    Raises:
        ValueError: If an argument is out of range, the data is missing, no channel can
            be removed, or the network has no gates for "gates" and "both".

    Example:

    >>> small = keras_senet.prune(model, images, keep=0.5)
    >>> keras_senet.complexity(small).gflops / keras_senet.complexity(model).gflops
    0.53
    """
    graph.check_one_input(model)
    if not isinstance(keep, numbers.Real) or not 0 < keep <= 1:
        raise ValueError(f"`keep` must be above 0, at most 1. Received: keep={keep!r}")
    if importance not in IMPORTANCES:
        raise ValueError(
            f"`importance` must be one of {', '.join(map(repr, IMPORTANCES))}. "
            f"Received: importance={importance!r}"
        )
    channels = find_channels(model)
    free = channels.free()
    if not free:
        raise ValueError(
            "`model` must have channels that are not connected to others by a sum, a "
            f"group or a concatenation. Received: {model.name!r}, which has none."
        )
    scores = _scores(model, channels, free, data, importance)
    kept = {}
    for space in free:
        count = max(1, round(keep * space.size))
        order = np.argsort(-scores[space], kind="stable")
        kept[space] = np.sort(order[:count])
    return _rebuild(model, channels, kept, name)


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
POINTWISE = {
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu",
    "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink",
}  # fmt: skip


@dataclasses.dataclass(eq=False)
class _Space:
    """Channels that are kept or removed together.

    They are what one convolution or dense layer writes, under the names of all the
    layers that hand it on.

    Attributes:
        size: Their number; 0 where it does not matter.
        fixed: Whether all of them stay.
        first: Whether they are on axis 1 instead of the last.
    """

    size: int = 0
    fixed: bool = False
    first: bool = False


@dataclasses.dataclass(frozen=True)
class _Channels:
    """The spaces of a model.

    Attributes:
        net: The model's calls.
        spaces: `id` of a tensor -> its space.
    """

    net: graph.Graph
    spaces: dict[int, _Space]

    def before(self, call: graph.Call) -> _Space:
        """The space that a call reads."""
        return self.spaces[id(call.inputs[0])]

    def behind(self, call: graph.Call) -> _Space:
        """The space that a call writes."""
        return self.spaces[id(call.outputs[0])]

    def free(self) -> list[_Space]:
        """The spaces that can be made narrower, in the order of the graph."""
        written = (self.behind(c) for c in self.net.calls if is_matrix(c.layer))
        return [s for s in dict.fromkeys(written) if not s.fixed and s.size > 1]


def find_channels(model: keras.Model) -> _Channels:
    """Finds the spaces of a functional model.

    What is not understood, a sum among them, keeps all channels that it touches.
    """
    net = graph.Graph(model)
    calls = [call for part in graph.models(model) for call in graph.calls(part)]
    times = collections.Counter(id(call.layer) for call in calls)
    spaces = {id(t): _Space(fixed=True) for t in model.inputs}
    for call in net.calls:
        layer = call.layer
        inputs = [spaces[id(t)] for t in call.inputs]
        shared = times[id(layer)] > 1 and bool(getattr(layer, "weights", ()))
        whole = shared or getattr(layer, "lora_enabled", False)
        pairs = zip(inputs, call.inputs, strict=True)
        if not all(_is_on_axis(layer, space, tensor) for space, tensor in pairs):
            _fix(inputs)
        is_map = not isinstance(layer, SqueezeExcite) or len(call.inputs[0].shape) == 4
        if whole or len(call.outputs) != 1 or not is_map:
            space = _fix(inputs)
        elif is_matrix(layer):
            width = layer.units if isinstance(layer, layers.Dense) else layer.filters
            space = _Space(width, _mixes(layer), graph.channel_axis(layer, 4) == 1)
        elif len(inputs) == 1 and _passes(layer) and not _mixes(layer):
            space = inputs[0]
        else:
            space = _fix(inputs)
        spaces.update((id(t), space) for t in call.outputs)
    _fix([spaces[id(t)] for t in model.outputs])
    return _Channels(net, spaces)


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
    known = (getattr(f, "__name__", "") in POINTWISE for f in functions if f)
    return not all(known)


def _is_on_axis(layer, space, tensor):
    """Whether the channels of a layer are on the axis that a space has in a tensor."""
    rank = len(tensor.shape)
    axis = 1 if space.first else rank - 1
    if isinstance(layer, layers.BatchNormalization):
        return layer.axis % rank == axis
    if hasattr(layer, "data_format") or isinstance(layer, layers.Dense):
        return axis == graph.channel_axis(layer, rank)
    return True


def _fix(spaces):
    for space in spaces:
        space.fixed = True
    return _Space(fixed=True)


def _scores(model, channels, free, data, importance):
    """Space -> one number a channel."""
    magnitudes = {space: _magnitude(channels, space) for space in free}
    if importance == "weights":
        return magnitudes
    gates = None
    if importance != "outgoing":
        if data is None:
            raise ValueError(
                f"`data` must be images for importance={importance!r}, because the "
                "gates depend on them. Received: data=None. Pass images, or use "
                "importance='weights'."
            )
        gates = mean_gates(model, data)
    judge = _Judge(channels, gates)
    scores = {space: judge.score(space) for space in free}
    if gates is not None and not judge.used:
        raise ValueError(
            f"importance={importance!r} needs SE inside the unit or at the end of its "
            "branch, so that gates act on the channels that are pruned. Received: "
            f"{model.name!r}, where no gate does. Use importance='weights'."
        )
    if importance == "both":
        return {space: magnitudes[space] * scores[space] for space in free}
    return scores


def _magnitude(channels, space):
    """The sum of magnitudes of each channel's kernel, over all its makers."""
    total = np.zeros(space.size)
    for call in channels.net.calls:
        if is_matrix(call.layer) and channels.behind(call) is space:
            kernel = convert_to_numpy(call.layer.kernel)
            total += np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 1)))
    return total


class _Judge:
    """How much of each channel the gates let through; without gates, all of it."""

    def __init__(self, channels, gates):
        self.channels = channels
        self.gates = gates
        self.known = {}
        self.used = False

    def score(self, space):
        """One number for each channel of a space."""
        if space not in self.known:
            own = self._own(space)
            self.known[space] = self._through_weights(space) if own is None else own
        return self.known[space]

    def _own(self, space):
        """The mean gates of the SE layers on a space, None where there is none."""
        if self.gates is None:
            return None
        found = [
            self.gates[call.layer.name]
            for call in self.channels.net.calls
            if isinstance(call.layer, SqueezeExcite)
            and self.channels.before(call) is space
        ]
        self.used = self.used or bool(found)
        return np.prod(np.abs(found), axis=0) if found else None

    def _through_weights(self, space):
        squares = np.zeros(space.size)
        for call in self.channels.net.calls:
            if is_matrix(call.layer) and self.channels.before(call) is space:
                kernel = convert_to_numpy(call.layer.kernel) * self._strength(call)
                axes = (*range(kernel.ndim - 2), kernel.ndim - 1)
                squares += np.square(kernel).sum(axis=axes)
        return np.sqrt(squares)

    def _strength(self, call):
        """What follows a convolution: normalisation's gain times the gate, or more."""
        strength = np.ones(convert_to_numpy(call.layer.kernel).shape[-1])
        linear = True
        users = self.channels.net.users(call.outputs[0])
        while len(users) == 1:
            (reader,) = users
            layer = reader.layer
            if isinstance(layer, SqueezeExcite):
                self.used = True
                known = self.gates is not None
                return strength * np.abs(self.gates[layer.name]) if known else strength
            if self.channels.behind(reader) is not self.channels.before(reader):
                break
            if isinstance(layer, layers.BatchNormalization) and linear:
                strength = strength * _gain(layer)
            linear = linear and not isinstance(layer, (layers.Activation, layers.ReLU))
            users = self.channels.net.users(reader.outputs[0])
        behind = self.channels.behind(call)
        return strength if behind.fixed else strength * self.score(behind)


def _gain(norm):
    """What batch normalization multiplies each channel with."""
    gain = 1.0 / np.sqrt(convert_to_numpy(norm.moving_variance) + norm.epsilon)
    return np.abs(gain * convert_to_numpy(norm.gamma)) if norm.scale else gain


def _rebuild(model, channels, kept, name):
    narrowed = {}
    for call in channels.net.calls:
        sides = kept.get(channels.before(call)), kept.get(channels.behind(call))
        if any(side is not None for side in sides):
            narrowed[id(call.layer)] = sides

    def narrow(layer):
        return _narrow(layer, *narrowed.get(id(layer), (None, None)))

    def give(copy, layer):
        if id(layer) in narrowed and getattr(layer, "weights", ()):
            _fill_narrow(copy, layer, *narrowed[id(layer)])
        else:
            fill(copy, layer)

    ends = copied(model, make=narrow, give=give)
    pruned = keras.Model(*ends, name=name or model.name)
    # The widths are no longer those of the constructor's row.
    return derived(pruned, model, constructor=None, architecture=None)


def _narrow(layer, before, behind):
    """A fresh layer for the channels that are kept; None is all."""
    changes = {}
    if isinstance(layer, SqueezeExcite) and before is not None:
        # The squeeze keeps its width.
        width = layer.reduce.filters
        changes = {"reduction": None, "squeeze_filters": width, "divisor": 1}
    elif isinstance(layer, layers.Dense) and behind is not None:
        changes = {"units": len(behind)}
    elif is_matrix(layer) and behind is not None:
        changes = {"filters": len(behind)}
    return fresh(layer, **changes)


def _fill_narrow(copy, layer, before, behind):
    """Gives a narrow layer the values of the channels that are kept."""
    if isinstance(layer, SqueezeExcite):
        _fill_narrow(copy.reduce, layer.reduce, before, None)
        _fill_narrow(copy.expand, layer.expand, None, behind)
        return
    for target, source in zip(copy.variables, layer.variables, strict=True):
        target.assign(_slice(layer, source, before, behind))


def _slice(layer, variable, before, behind):
    value, sides = convert_to_numpy(variable), ()
    if value.ndim == 1:  # a bias, or what batch normalization has
        sides = ((0, behind),)
    elif is_matrix(layer):
        sides = ((value.ndim - 2, before), (value.ndim - 1, behind))
    elif isinstance(layer, layers.DepthwiseConv2D):
        sides = ((2, before),)
    for axis, kept in sides:
        if kept is not None:
            value = np.take(value, kept, axis)
    return value
