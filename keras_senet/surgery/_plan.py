"""What `fold` does with each call of a model."""

import dataclasses

import keras
import numpy as np
from keras import layers

from keras_senet.layers import SqueezeExcite
from keras_senet.surgery._linear import (
    NORMALIZATIONS,
    Affine,
    Linear,
    affine,
    is_linear,
)
from keras_senet.utils import graph

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
class Step:
    """What `fold` did with one call of a layer.

    Attributes:
        layer: The layer's name.
        done: "folded" into another layer, "removed", "expanded" into Keras' layers,
            "merged" (expanded, with the squeeze read off the map before the linear
            convolution), or "kept" where one of the others was looked for in vain.
        into: The layer that it was folded into, or that it was merged with.
        why: Why it was kept.
        model: The model that the layer is in: the given one or a nested one.
    """

    layer: str
    done: str
    into: str = ""
    why: str = ""
    model: str = ""


def key(call: graph.Call) -> int:
    """What tells the calls of one model apart."""
    return id(call.outputs[0])


class Plan:
    """The fate of each call of one model.

    Attributes:
        steps: The report.
        removed: The calls that return their input, by `key` as all that follow.
        linear: What each call of a convolution or dense layer computes, with what is
            folded into it.
        factors: What the gate is multiplied by, for each call of SE.
        inner: The linear call whose input the squeeze is read off, or None.
    """

    def __init__(self, model: keras.Model, counts: dict[int, int]):
        self.name, self._counts = model.name, counts
        self._calls = list(graph.calls(model))
        self._outputs = {id(t) for t in model.outputs}
        self._maker = {id(t): c for c in self._calls for t in c.outputs}
        self._source, self._users = {}, {}
        for call in self._calls:
            for tensor in call.inputs:
                self._users.setdefault(id(tensor), []).append(call)
        self.steps, self.removed = [], set()
        self.linear, self.factors, self.inner = {}, {}, {}
        for work in (self._identities, self._follow, self._precede, self._gates):
            work()
        self._keep()

    def _identities(self):
        for call in self._calls:
            layer = call.layer
            known = type(layer) in _IDENTITIES or is_stochastic_depth(layer)
            linear = type(layer) is layers.Activation and (
                layer.activation is keras.activations.linear
            )
            if (known and not trains(call)) or linear:
                self._remove(call, "removed")

    def _follow(self):
        """Folds affine maps into the linear layers before them."""
        for call in self._calls:
            if not (is_linear(call.layer) and self._is_single(call)):
                continue
            linear = Linear(call.layer, len(call.outputs[0].shape))
            if not _adds_bias_rightly(linear, call.outputs[0]):
                continue
            self.linear[key(call)] = linear
            while (user := self._only_user(call.outputs[0])) is not None:
                found = self._affine(user, linear.axis)
                if found is None or not self._remove(user, "folded", call):
                    break
                linear.follow(found)

    def _precede(self):
        """Folds affine maps into the linear layers behind them."""
        for call in reversed(self._calls):
            if not call.outputs:
                continue
            user, padded = self._only_user(call.outputs[0]), False
            while user is not None and type(user.layer) in _PADDINGS:
                user, padded = self._only_user(user.outputs[0]), True
            linear = self.linear.get(user and key(user))
            if linear is None:
                continue
            found = self._affine(call, linear.axis)
            if found is None or not linear.takes(found, padded=padded):
                continue
            if self._remove(call, "folded", user):
                linear.precede(found)

    def _gates(self):
        """Finds what SE's squeeze can be read off, and scales that its gate takes."""
        for call in self._calls:
            if type(call.layer) is not SqueezeExcite:
                continue
            inner, factor = None, 1.0
            if self._is_single(call):
                inner, factor = self._inner(call), self._factor(call)
            self.inner[key(call)], self.factors[key(call)] = inner, factor
            if inner is None:
                self._report(call, "expanded")
            else:
                self._report(call, "merged", inner.layer.name)

    def _inner(self, call):
        """The linear call before SE, where its input has fewer channels."""
        tensor = self._resolved(call.inputs[0])
        maker = self._maker.get(id(tensor))
        linear = self.linear.get(maker and key(maker))
        if linear is None or not linear.is_pointwise():
            return None
        se = call.layer
        strides = getattr(maker.layer, "strides", (1,))
        reads = se.squeeze == "none" or (se.squeeze == "avg" and set(strides) == {1})
        agrees = (
            linear.axis == _axis(se, len(tensor.shape))
            and maker.inputs[0].dtype == tensor.dtype
        )
        return maker if reads and agrees and linear.inputs < linear.outputs else None

    def _factor(self, call):
        axis = _axis(call.layer, len(call.outputs[0].shape))
        factor = 1.0
        while (user := self._only_user(call.outputs[0])) is not None:
            found = self._affine(user, axis)
            if found is None or np.any(found.offset) or np.ptp(found.scale):
                break
            if not self._remove(user, "folded", call):
                break
            factor *= float(found.scale[0])
        return factor

    def _keep(self):
        """Reports what is left of the kinds that are folded or removed."""
        for call in self._calls:
            kinds = (*NORMALIZATIONS, *_IDENTITIES)
            if isinstance(call.layer, kinds) and key(call) not in self.removed:
                if trains(call):
                    why = "it is called with training=True"
                elif type(call.layer) not in kinds:
                    why = "its class is not Keras' own"
                elif id(call.outputs[0]) in self._outputs:
                    why = "it makes an output of the model"
                else:
                    why = "no linear convolution or dense layer beside it can take it"
                self._report(call, "kept", why=why)

    def _affine(self, call, axis) -> Affine | None:
        if key(call) in self.removed or trains(call) or len(call.inputs) != 1:
            return None
        return affine(call.layer, axis, tuple(call.inputs[0].shape))

    def _remove(self, call, done, into=None) -> bool:
        """Lets a call return its input, where that has the type of its output."""
        source, target = call.inputs[0], call.outputs[0]
        if id(target) in self._outputs or source.dtype != target.dtype:
            return False
        source = self._resolved(source)
        self._source[id(target)] = source
        users = self._users.setdefault(id(source), [])
        users[:] = [user for user in users if user is not call]
        users += self._users.pop(id(target), [])
        self.removed.add(key(call))
        self._report(call, done, into.layer.name if into else "")
        return True

    def _resolved(self, tensor):
        while id(tensor) in self._source:
            tensor = self._source[id(tensor)]
        return tensor

    def _only_user(self, tensor):
        """The one call that uses a tensor, if nothing else does."""
        users = self._users.get(id(tensor), ())
        return users[0] if len(users) == 1 and id(tensor) not in self._outputs else None

    def _is_single(self, call):
        return self._counts[id(call.layer)] == 1

    def _report(self, call, done, into="", why=""):
        self.steps.append(
            Step(layer=call.layer.name, done=done, into=into, why=why, model=self.name)
        )


def is_stochastic_depth(layer) -> bool:
    """Whether a layer is that of keras.applications' ConvNeXt, which has no name."""
    kind = type(layer)
    return kind.__name__ == "StochasticDepth" and kind.__module__.startswith("keras.")


def trains(call: graph.Call) -> bool:
    """Whether a call is one of training whatever the model is called for."""
    return call.kwargs.get("training") is True or any(a is True for a in call.args)


def _axis(layer, rank):
    return 1 if layer.data_format == "channels_first" else rank - 1


def _adds_bias_rightly(linear, output):
    # Keras 3.15.1 on TensorFlow adds a bias along the last axis of channels-first
    # maps, where that is as long as the channels' or may be.
    if keras.backend.backend() != "tensorflow" or linear.axis == len(output.shape) - 1:
        return True
    return output.shape[-1] not in (None, linear.outputs)
