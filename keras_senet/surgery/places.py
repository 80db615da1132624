"""Where SE goes in a network that is known by its graph only."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable

import keras

from keras_senet.layers import SqueezeExcite
from keras_senet.utils import graph
from keras_senet.utils.errors import check_known, nearest

After = str | re.Pattern | Iterable[str] | Callable[[keras.layers.Layer], bool] | None

# Inception-ResNet's own layer in keras.applications adds, and scales on the way.
_SUMS = ("Add", "CustomScaleLayer")
_PRODUCTS = ("Multiply",)
_CONCATENATIONS = ("Concatenate",)
# What may stand between SE and the sum: scales and stochastic depth.
_SCALES = ("Dropout", "LayerScale", "Rescaling", "StochasticDepth")
_SCALES += ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
_ACTIVATIONS = ("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU")
_ACTIVATIONS += ("Relu", "Relu6", "Silu")  # of keras.ops
_ROLES = re.compile(r"_(add|concat|relu|out|ac)$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A place for SE: the output of one call of a layer.

    Attributes:
        layer: Name of the layer that SE follows.
        name: Name of the SE layer; the calls of one layer share it.
        rule: "residual", "concatenation", "convolution" or "given".
        skipped: Why no SE goes here, or "".
        model: Name of the model that the layer is in: the given one or a nested one.

    Example:

    >>> place = keras_senet.surgery.places(keras.applications.ResNet50(weights=None))[0]
    >>> place.name, place.rule
    ('conv2_block1_se', 'residual')
    """

    layer: str
    name: str
    rule: str
    skipped: str = ""
    model: str = ""
    tensor: object = dataclasses.field(default=None, repr=False, compare=False)


def places(model: keras.Model, after: After = None) -> list[Place]:
    """Returns where `graft` puts SE, and what it skips and why.

    Args:
        model: A functional or sequential model.
        after: As for `graft`.

    Returns:
        The places in the order of the graph. Those with `skipped` get no SE.

    Raises:
        ValueError: As `graft`, but an empty list where there is no place.

    Example:

    >>> host = keras.applications.MobileNetV2(weights=None)
    >>> found = keras_senet.surgery.places(host)
    >>> found[0].layer, found[0].skipped
    ('block_2_project_BN', '')
    """
    check_graftable(model)
    nets = [graph.Graph(m) for m in graph.models(model)]
    find = _by_rule
    if after is not None:
        find = functools.partial(_given, selects=_selector(after, nets))
    return [place for net in nets for place in _named(net, find(net))]


def check_graftable(model) -> None:
    """Raises if the calls of a model are not known."""
    if not graph.is_functional(model):
        raise ValueError(
            "`model` must be a functional or a built sequential model. Received: "
            f"{type(model).__name__} {getattr(model, 'name', '')!r}. Add "
            "keras_senet.SqueezeExcite to its code, or build it as a functional model."
        )


def _named(net, places):
    """The places, their names numbered where the model or another layer has them."""
    taken = {call.layer.name for call in net.calls}
    names = {}
    for place in places:
        if not place.skipped:
            layer = net.maker(place.tensor).layer
            # A ReLU may be called anywhere; only what has weights is the same place.
            shared = layer if getattr(layer, "weights", ()) else place.tensor
            key = id(shared), place.name
            if key not in names:
                names[key] = graph.unique_name(place.name, taken)
            place = dataclasses.replace(place, name=names[key])
        yield place


def _by_rule(net):
    """The first of the three rules that finds a place, skipped ones included."""
    for rule in (_residual, _concatenation, _convolution):
        found = list({id(p.tensor): p for p in rule(net)}.values())
        if found:
            return [_checked(net, p) for p in found]
    return []


def _given(net, selects):
    for call in net.calls:
        if not selects(call.layer):
            continue
        name = call.layer.name
        if len(call.outputs) != 1 or not 3 <= len(call.outputs[0].shape) <= 5:
            shapes = [tuple(t.shape) for t in call.outputs]
            raise ValueError(
                "`after` must select layers with one output of 3 to 5 axes: batch, 1 "
                f"to 3 spatial axes, channels. Received: layer {name!r} with the "
                f"output {shapes}. Leave it out of `after`."
            )
        yield Place(
            layer=name,
            name=f"{name}_se",
            rule="given",
            model=net.name,
            tensor=call.outputs[0],
        )


def _selector(after, nets):
    names = [call.layer.name for net in nets for call in net.calls]
    if isinstance(after, keras.Layer):
        after = [after.name]
    if callable(after):
        return after
    if isinstance(after, (str, re.Pattern)):
        try:
            pattern = re.compile(after)
        except re.error as error:
            raise ValueError(
                "`after` must be a regular expression. Received: "
                f"after={after!r}: {error}. Use re.escape(name) for a name as it is."
            ) from None
        if not any(map(pattern.fullmatch, names)):
            raise ValueError(
                "`after` must match the whole name of a layer. Received: "
                f"after={pattern.pattern!r}.{nearest(pattern.pattern, names)}"
            )
        return lambda layer: pattern.fullmatch(layer.name)
    if not isinstance(after, Iterable):
        raise ValueError(
            "`after` must be a regular expression, names of layers or a function. "
            f"Received: after={after!r}"
        )
    wanted = set(after)
    for name in sorted(wanted, key=str):
        check_known(name, names, "`after` must name layers that the model calls")
    return lambda layer: layer.name in wanted


def _is_gate(net, call) -> bool:
    """Whether a call multiplies a map by a gate for each of its channels."""
    if isinstance(call.layer, SqueezeExcite):
        return True
    if not _is(call, _PRODUCTS) or len(call.inputs) != 2:
        return False
    for gate, x in (call.inputs, call.inputs[::-1]):
        if len(gate.shape) != len(x.shape) or not 3 <= len(x.shape) <= 5:
            continue
        # (N, 1, 1, C), or (N, C, 1, 1)
        ones = sum(n == 1 for n in gate.shape[1:])
        if ones < len(gate.shape) - 2:
            continue
        pooled = any("Global" in _kind(c) for c in net.history(gate))
        if pooled or sum(n == 1 for n in x.shape[1:]) < ones:
            return True
    return False


def _residual(net):
    """The branch of every two-input residual sum.

    Where a network sums, a unit that halves its map may concatenate its branch with
    the pooled input (ShuffleNet).
    """
    found = []
    for call in net.calls:
        sums = _is(call, _SUMS)
        if len(call.inputs) != 2 or not (sums or _is(call, _CONCATENATIONS)):
            continue
        sides = [  # and the calls that make a tensor and no part of the other
            (tensor, net.history(tensor) - net.history(other))
            for tensor, other in (call.inputs, call.inputs[::-1])
        ]
        sides.sort(key=lambda side: _convolutions(side[1]))
        (_, shortcut), (branch, inner) = sides
        if _convolutions(inner) <= _convolutions(shortcut):
            continue
        # Two branches, or a part of a cell that concatenates its sums (NASNet).
        users = net.users(call.outputs[0])
        if _convolutions(shortcut) > 1 or any(_is(u, _CONCATENATIONS) for u in users):
            continue
        pools = any("Pooling" in _kind(call) for call in shortcut)
        if not sums and (_convolutions(shortcut) or not pools):
            continue
        place = _place(net, _before_scales(net, branch), call, "residual")
        if any(_is_gate(net, c) for c in inner):
            place = dataclasses.replace(place, skipped="its branch has a gate already")
        found.append((sums, place))
    return [place for _, place in found] if any(sums for sums, _ in found) else []


def _concatenation(net):
    """Each concatenation that is no part of a larger one."""
    for call in net.calls:
        if _is(call, _CONCATENATIONS) and not _is_part(net, call.outputs[0]):
            yield _place(net, call.outputs[0], call, "concatenation")


def _is_part(net, tensor):
    for call in net.users(tensor):
        if _is(call, (*_CONCATENATIONS, *_SUMS)):
            return True
        if _is_convolution(call) or len(call.outputs) != 1:
            continue
        if call.outputs[0].shape == tensor.shape and _is_part(net, call.outputs[0]):
            return True
    return False


def _convolution(net):
    """The activation after each pointwise, else after each spatial convolution."""
    pointwise, spatial = [], []
    for call in net.calls:
        kind = _kind(call)
        if not (_is_convolution(call) and "Conv" in kind and len(call.inputs) == 1):
            continue
        if any("Global" in _kind(c) for c in net.history(call.outputs[0])):
            continue
        active = _activated(net, call)
        if active is None:
            continue
        place = _place(net, active.outputs[0], active, "convolution")
        sizes = set(getattr(call.layer, "kernel_size", (0,)))
        (pointwise if sizes == {1} else spatial).append(place)
    return pointwise or spatial


def _activated(net, call):
    """The call that makes the activated output of a convolution."""
    if getattr(call.layer.activation, "__name__", "linear") != "linear":
        return call
    users = net.users(call.outputs[0])
    # Keras' bias along the channels of channels-first maps takes a Permute.
    passing = ("Normalization", "Permute")
    while len(users) == 1 and any(word in _kind(users[0]) for word in passing):
        users = net.users(users[0].outputs[0])
    activated = len(users) == 1 and _is(users[0], _ACTIVATIONS)
    return users[0] if activated else None


def _place(net, tensor, named_by, rule):
    maker = net.maker(tensor)
    return Place(
        layer=maker.layer.name if maker else "",
        name=_ROLES.sub("", named_by.layer.name) + "_se",
        rule=rule,
        model=net.name,
        tensor=tensor,
    )


def _checked(net, place):
    """The place, skipped where it is no map or has a gate already."""
    maker, users = net.maker(place.tensor), net.users(place.tensor)
    is_map = 3 <= len(place.tensor.shape) <= 5
    why = place.skipped
    if maker is None or len(maker.outputs) != 1 or not is_map:
        why = "it is not a map that a layer makes"
    elif any(_is_gate(net, call) for call in (maker, *users)):
        why = why or "it has a gate already"
    return dataclasses.replace(place, skipped=why)


def _before_scales(net, tensor):
    while (maker := net.maker(tensor)) is not None and _is(maker, _SCALES):
        tensor = maker.inputs[0]
    return tensor


def _kind(call):
    return type(call.layer).__name__


def _is(call, kinds):
    return _kind(call) in kinds


def _is_convolution(call):
    is_one = "Conv" in _kind(call) or _is(call, ("Dense", "EinsumDense"))
    return is_one or graph.is_functional(call.layer)


def _convolutions(calls):
    return sum(map(_is_convolution, calls))
