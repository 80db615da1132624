"""The same function with fewer operations, for inference."""

import collections
import dataclasses
import functools

import keras
import numpy as np
from keras import layers

from keras_senet.layers import ChannelShuffle, SqueezeExcite
from keras_senet.network import derived
from keras_senet.surgery._expansion import excitation, shuffle
from keras_senet.surgery._linear import (
    NORMALIZATIONS,
    Affine,
    Linear,
    affine,
    is_linear,
    keras_class,
)
from keras_senet.utils import graph
from keras_senet.utils.copying import fill, fresh, in_float32

_IDENTITIES = (
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)
_PADDINGS = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldingStep:
    """What `fold` did with one call of a layer.

    Attributes:
        layer: The layer's name.
        done: "folded" into another layer, "removed", "expanded" into Keras' layers,
            "merged" (expanded, with the squeeze from the map before the linear
            convolution), or "kept" if none of the others was possible.
        into: The layer that it was folded into, or that it was merged with.
        why: Why it was kept.
        model: The model that the layer is in: the given one or a nested one.
    """

    layer: str
    done: str
    into: str = ""
    why: str = ""
    model: str = ""


@dataclasses.dataclass(frozen=True)
class Folding:
    """What `fold` did, call by call.

    Attributes:
        steps: In the order of the models and of what was done.

    Example:

    >>> folded = keras_senet.fold(model)
    >>> sum(step.done == "folded" for step in folded.folding.steps) > 10
    True
    """

    steps: tuple[FoldingStep, ...]

    def __str__(self) -> str:
        counts = collections.Counter(step.done for step in self.steps)
        lines = [", ".join(f"{n} {done}" for done, n in counts.items()) or "nothing"]
        for step in self.steps:
            into = f" {step.into}" if step.into else ""
            why = f": {step.why}" if step.why else ""
            lines.append(f"{step.layer} {step.done}{into}{why}")
        return "\n".join(lines)


def fold(model: keras.Model, *, name: str | None = None) -> keras.Model:
    """Returns a network that computes the same with fewer operations, for inference.

    - Batch normalization and other scales and offsets of channels become part of the
      convolution or dense layer before or after them, if the result is exact.
    - Dropout and stochastic depth are removed.
    - SE becomes a pooling, two 1x1 convolutions and a product.
    - If SE follows a linear 1x1 convolution with fewer input channels, the squeeze is
      computed from these. One smaller matrix replaces that convolution and the first
      one of SE. This is exact, because a mean over positions commutes with a matrix.

    New values are computed in float64. The result has only Keras' own layers and loads
    without this package. Layers that stay keep their names. `model` does not change.
    Some parts cannot be folded and stay: shared convolutions, convolutions whose output
    is used twice, subclassed models.

    Reference: Hu et al., [Squeeze-and-Excitation Networks](
    https://arxiv.org/abs/1709.01507), section 3, for the form that is folded.

    Args:
        model: A Keras model; a subclassed one is returned itself.
        name: Name of the new model, by default the old one's.

    Returns:
        A functional model with the same inputs and outputs. `print(folded.folding)`
        lists what was done with each layer; `folded.folding.steps` has the same as
        data.

    Raises:
        ValueError: If `model` is no Keras model.

    Example:

    >>> folded = keras_senet.fold(model)
    >>> folded.save("folded.keras")
    """
    graph.check_model(model)
    if not graph.is_functional(model):
        why = "only functional and built sequential models show which layers they call"
        model.folding = Folding((FoldingStep(layer=model.name, done="kept", why=why),))
        return model
    calls = [call for m in graph.models(model) for call in graph.calls(m)]
    counts = collections.Counter(id(call.layer) for call in calls)
    training = {id(call.layer) for call in calls if call.trains}
    steps = []
    folded = _Fold(counts, training, steps).fold(model, name)
    # Its variables are not those of the constructor any more.
    folded = derived(folded, model, constructor=None)
    folded.folding = Folding(tuple(steps))
    return folded


def inference_form(model: keras.Model, *, folded: bool) -> keras.Model:
    """Returns a model as it is written: in float32, and folded where that is asked.

    One with a layer that Keras cannot copy is not folded. `model` does not change.

    Raises:
        ValueError: If it is no Keras model with known inputs.
    """
    graph.check_known_inputs(model)
    model = in_float32(model)
    try:
        return fold(model) if folded else model
    # Keras' words for a layer without get_config, for one with another function, and
    # for one whose get_config leaves an argument out.
    except (NotImplementedError, TypeError, ValueError):
        return model


class _Fold:
    """One folding of a model and those nested in it."""

    def __init__(self, counts, training, steps):
        self.counts, self.training, self.steps = counts, training, steps
        self.copies = {}

    def fold(self, model, name=None):
        net = graph.Graph(model)
        plan = _Plan(net, self.counts, self.steps)
        taken = {call.layer.name for call in net.calls}
        unique_name = functools.partial(graph.unique_name, taken=taken)
        entered, copied = {}, []

        def run(call, args, kwargs):
            x = keras.tree.flatten((args, kwargs))[0]
            if call in plan.removed:
                return x
            if call in plan.linear:
                entered[call] = x
                layer = plan.linear[call].make()
                y = layer(x)
                plan.linear[call].fill(layer)
                return y
            key = id(call.layer)
            if key not in self.copies:
                self.copies[key] = self._copy(call, plan, unique_name, copied)
            copy = self.copies[key]
            inner, _ = plan.excitations.get(call, (None, None))
            if inner is not None:
                return copy(x, entered[inner])
            is_layer = isinstance(copy, keras.Operation)
            return copy(*args, **kwargs) if is_layer else copy(x)

        inputs, outputs = net.replay(run)
        for copy, layer in copied:
            fill(copy, layer)
        return keras.Model(inputs, outputs, name=name or model.name)

    def _copy(self, call, plan, name, copied):
        layer = call.layer
        if call in plan.excitations:
            inner, factor = plan.excitations[call]
            rank, linear = len(call.inputs[0].shape), plan.linear.get(inner)
            return excitation(layer, rank, name, linear=linear, factor=factor)
        if type(layer) is ChannelShuffle:
            calls = [c for c in plan.net.calls if c.layer is layer]
            shapes = {tuple(c.inputs[0].shape) for c in calls}
            if len(shapes) == 1:
                return shuffle(layer, *shapes, name)
        if graph.is_functional(layer) and id(layer) not in self.training:
            return self.fold(layer)
        try:
            copy = fresh(layer, keras_class(layer))
        except (NotImplementedError, TypeError, ValueError):
            why = "its `get_config` does not make it again; both models share it"
            plan.report(call, "kept", why=why)
            return layer
        copied.append((copy, layer))
        return copy


class _Plan:
    """The fate of each call of one model.

    Attributes:
        removed: The calls that return their input.
        linear: What each call of a convolution or dense layer computes, with what is
            folded into it.
        excitations: Of each call of SE that Keras' layers replace, the linear call
            whose input the squeeze is read off, or None, and the gate's factor.
    """

    def __init__(self, net: graph.Graph, counts: dict[int, int], steps: list):
        self.net, self._counts, self._steps = net, counts, steps
        self.removed, self.linear, self.excitations = set(), {}, {}
        self._identities()
        self._follow()
        self._precede()
        self._gates()
        self._keep()

    def _identities(self):
        for call in self.net.calls:
            layer = call.layer
            known = type(layer) in _IDENTITIES or _is_stochastic_depth(layer)
            linear = type(layer) is layers.Activation and (
                layer.activation is keras.activations.linear
            )
            is_one = len(call.inputs) == len(call.outputs) == 1
            if is_one and ((known and not call.trains) or linear):
                self._remove(call, "removed")

    def _follow(self):
        """Folds affine maps into the linear layers before them."""
        for call in self.net.calls:
            if not (is_linear(call.layer) and self._is_single(call)):
                continue
            linear = Linear(call.layer, len(call.outputs[0].shape))
            if not _adds_bias_rightly(linear, call.outputs[0]):
                continue
            self.linear[call] = linear
            while (user := self.net.only_user(call.outputs[0])) is not None:
                found = self._affine(user, linear.axis)
                if found is None or not self._remove(user, "folded", call):
                    break
                linear.follow(found)

    def _precede(self):
        """Folds affine maps into the linear layers behind them."""
        for call in reversed(self.net.calls):
            if not call.outputs:
                continue
            user, padded = self.net.only_user(call.outputs[0]), False
            while user is not None and type(user.layer) in _PADDINGS:
                user, padded = self.net.only_user(user.outputs[0]), True
            linear = self.linear.get(user)
            if linear is None:
                continue
            found = self._affine(call, linear.axis)
            if found is None or not linear.takes(found, padded=padded):
                continue
            if self._remove(call, "folded", user):
                linear.precede(found)

    def _gates(self):
        """Finds what SE's squeeze can be read off, and scales that its gate takes."""
        for call in self.net.calls:
            if not _is_excitation(call):
                if type(call.layer) is SqueezeExcite:
                    self.report(call, "kept", why="its input has a mask")
                continue
            inner, factor = None, 1.0
            if self._is_single(call):
                inner, factor = self._inner(call), self._factor(call)
            self.excitations[call] = inner, factor
            if inner is None:
                self.report(call, "expanded")
            else:
                self.report(call, "merged", inner.layer.name)

    def _inner(self, call):
        """The linear call before SE, where its input has fewer channels."""
        tensor = self.net.source(call.inputs[0])
        maker = self.net.maker(tensor)
        linear = self.linear.get(maker)
        if linear is None or not linear.is_pointwise():
            return None
        se = call.layer
        strides = getattr(maker.layer, "strides", (1,))
        reads = se.squeeze == "none" or (se.squeeze == "avg" and set(strides) == {1})
        on_axis = linear.axis == graph.channel_axis(se, len(tensor.shape))
        same = maker.inputs[0].dtype == tensor.dtype
        fewer = linear.inputs < linear.outputs
        return maker if reads and on_axis and same and fewer else None

    def _factor(self, call):
        axis = graph.channel_axis(call.layer, len(call.outputs[0].shape))
        factor = 1.0
        while (user := self.net.only_user(call.outputs[0])) is not None:
            found = self._affine(user, axis)
            if found is None or np.any(found.offset) or np.ptp(found.scale):
                break
            if not self._remove(user, "folded", call):
                break
            factor *= float(found.scale[0])
        return factor

    def _keep(self):
        """Reports what is left of the kinds that are folded or removed."""
        for call in self.net.calls:
            kinds = (*NORMALIZATIONS, *_IDENTITIES)
            if isinstance(call.layer, kinds) and call not in self.removed:
                if call.trains:
                    why = "it is called with training=True"
                elif type(call.layer) not in kinds:
                    why = "its class is not Keras' own"
                elif self.net.is_output(call.outputs[0]):
                    why = "it makes an output of the model"
                else:
                    why = "no linear convolution or dense layer beside it can take it"
                self.report(call, "kept", why=why)

    def _affine(self, call, axis) -> Affine | None:
        if call in self.removed or call.trains or len(call.inputs) != 1:
            return None
        return affine(call.layer, axis, tuple(call.inputs[0].shape))

    def _remove(self, call, done, into=None) -> bool:
        """Lets a call return its input, where that has the type of its output."""
        source, target = call.inputs[0], call.outputs[0]
        if self.net.is_output(target) or source.dtype != target.dtype:
            return False
        self.net.bypass(call)
        self.removed.add(call)
        self.report(call, done, into.layer.name if into else "")
        return True

    def _is_single(self, call):
        return self._counts[id(call.layer)] == 1

    def report(self, call, done, into="", why=""):
        where = {"layer": call.layer.name, "model": self.net.name}
        self._steps.append(FoldingStep(**where, done=done, into=into, why=why))


def _is_stochastic_depth(layer) -> bool:
    """Whether a layer is that of keras.applications' ConvNeXt, which has no name."""
    kind = type(layer)
    return kind.__name__ == "StochasticDepth" and kind.__module__.startswith("keras.")


def _is_excitation(call: graph.Call) -> bool:
    """Whether a call is one of SE that Keras' layers can make as it is.

    SE takes no notice of a mask, and Keras' pool does.
    """
    masks = [getattr(tensor, "_keras_mask", None) for tensor in call.inputs]
    return type(call.layer) is SqueezeExcite and not any(m is not None for m in masks)


def _adds_bias_rightly(linear, output):
    # Keras 3.15.1 on TensorFlow adds a bias along the last axis of channels-first
    # maps, where that is as long as the channels' or may be.
    if keras.backend.backend() != "tensorflow" or linear.axis == len(output.shape) - 1:
        return True
    return output.shape[-1] not in (None, linear.outputs)
