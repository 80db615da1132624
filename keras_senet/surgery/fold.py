"""The same function with fewer operations, for inference."""

import collections
import dataclasses

import keras

from keras_senet.card import Card
from keras_senet.layers import BatchNormalization, ChannelShuffle, SqueezeExcite
from keras_senet.network import with_card
from keras_senet.surgery import _places
from keras_senet.surgery._copying import fill, fresh, unique_name
from keras_senet.surgery._expansion import Excitation, shuffle
from keras_senet.surgery._plan import Plan, Step, key, trains
from keras_senet.utils import graph


@dataclasses.dataclass(frozen=True)
class Folding:
    """What `fold` did, call by call.

    Attributes:
        steps: In the order of the models and of what was done.
    """

    steps: tuple[Step, ...]

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

    Batch normalisation and other scales and offsets of the channels are folded into
    the convolution or dense layer before or behind them, where that is exact; dropout
    and stochastic depth are gone; SE becomes a pool, two 1x1 convolutions and a
    product. Where SE follows a linear 1x1 convolution of fewer channels, the squeeze
    is read off those, and one smaller matrix takes the place of the convolution's and
    SE's first: a mean over positions commutes with a matrix, and so does
    `squeeze="none"`. New values are computed in float64.

    The result consists of Keras' own layers and loads without this package; layers
    that stay keep their names. The model itself stays as it is. What cannot be folded
    (shared convolutions, those whose output has another use, subclassed models) stays.

    Reference: Hu et al., [Squeeze-and-Excitation Networks](
    https://arxiv.org/abs/1709.01507), section 3, for the form that is folded.

    Args:
        model: A Keras model; a subclassed one is returned itself.
        name: Name of the new model, by default the old one's.

    Returns:
        A functional model with the same inputs and outputs. Its `folding.steps` tell
        what was done with each layer concerned, `print(folded.folding)` lists them.

    Raises:
        ValueError: If `model` is no Keras model.

    Example:

    >>> folded = keras_senet.fold(model)
    >>> folded.save("folded.keras")
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`model` must be a keras.Model. Received: "
            f"model={model!r} (of type {type(model).__name__})"
        )
    if not graph.is_functional(model):
        why = "only a functional or built sequential model tells which layers it calls"
        model.folding = Folding((Step(layer=model.name, done="kept", why=why),))
        return model
    calls = [call for m in _places.models(model) for call in graph.calls(m)]
    counts = collections.Counter(id(call.layer) for call in calls)
    training = {id(call.layer) for call in calls if trains(call)}
    steps = []
    folded = _Fold(counts, training, steps).fold(model, name)
    # Its variables are not those of the constructor any more.
    card = dataclasses.replace(Card.of(model), constructor=None)
    folded = with_card(folded, card)
    folded.folding = Folding(tuple(steps))
    return folded


class _Fold:
    """One folding of a model and those nested in it."""

    def __init__(self, counts, training, steps):
        self.counts, self.training, self.steps = counts, training, steps
        self.copies = {}

    def fold(self, model, name=None):
        plan = Plan(model, self.counts)
        self.steps += plan.steps
        taken = {call.layer.name for call in graph.calls(model)}
        entered, copied = {}, []

        def run(call, args, kwargs):
            x = keras.tree.flatten((args, kwargs))[0]
            if key(call) in plan.removed:
                return x
            if key(call) in plan.linear:
                entered[key(call)] = x
                layer = plan.linear[key(call)].make()
                y = layer(x)
                plan.linear[key(call)].fill(layer)
                return y
            if id(call.layer) not in self.copies:
                self.copies[id(call.layer)] = self._copy(
                    call, plan, lambda name: unique_name(name, taken), copied
                )
            copy = self.copies[id(call.layer)]
            inner = plan.inner.get(key(call))
            if inner is not None:
                return copy(x, entered[key(inner)])
            return copy(*args, **kwargs)

        inputs, outputs = graph.replay(model, run)
        for copy, layer in copied:
            fill(copy, layer)
        return keras.Model(inputs, outputs, name=name or model.name)

    def _copy(self, call, plan, name, copied):
        layer = call.layer
        if type(layer) is SqueezeExcite:
            inner = plan.inner[key(call)]
            return Excitation(
                layer,
                len(call.inputs[0].shape),
                name,
                linear=plan.linear.get(inner and key(inner)),
                factor=plan.factors[key(call)],
            )
        if type(layer) is ChannelShuffle:
            return shuffle(layer, call.inputs[0].shape, name)
        if graph.is_functional(layer) and id(layer) not in self.training:
            return self.fold(layer)
        if type(layer) is BatchNormalization:
            copy = keras.layers.BatchNormalization.from_config(layer.get_config())
        else:
            try:
                copy = fresh(layer)
            except (NotImplementedError, TypeError, ValueError):
                why = "its `get_config` does not make it again; both models share it"
                step = Step(layer=layer.name, done="kept", why=why, model=plan.name)
                self.steps.append(step)
                return layer
        copied.append((copy, layer))
        return copy
