"""Squeeze and excitation into any network, and out of it again."""

import math
from collections.abc import Callable, Iterable

import keras
import numpy as np

from keras_senet.card import Card
from keras_senet.layers import SqueezeExcite
from keras_senet.layers.squeeze_excite import names_reduction
from keras_senet.models import CONSTRUCTORS
from keras_senet.network import derived
from keras_senet.surgery.places import After, check_graftable, places
from keras_senet.utils import graph
from keras_senet.utils.copying import copied
from keras_senet.utils.errors import check_known


@names_reduction
def graft(
    model: keras.Model,
    after: After = None,
    *,
    reduction: int | None = None,
    squeeze_filters: int | None = None,
    divisor: int = 1,
    squeeze: str = "avg",
    activation: str | Callable = "relu",
    gate: str | Callable = "sigmoid",
    use_bias: bool = True,
    name: str | None = None,
) -> keras.Model:
    """Returns a copy of a network with SE. Its output is the same until you train it.

    The copy has its own layers, with the same names and values; `model` does not
    change. The copy is not compiled. SE is also put into nested functional models, by
    the same rules; nested subclassed models are copied without SE.

    Without `after`, the first of these rules that finds a place is used:

    1. SE follows the branch of each residual sum of two inputs (before a scale or
       stochastic depth).
    2. SE follows each concatenation that is not part of a larger one.
    3. SE follows the activation after each pointwise convolution; without pointwise
       convolutions, after each spatial one.

    Branches that already have a gate (EfficientNet, MobileNetV3) are skipped.
    `keras_senet.surgery.places` lists all places and the reason for each skipped one.

    Reference: Hu et al., [Squeeze-and-Excitation Networks](
    https://arxiv.org/abs/1709.01507), section 3.3.

    Args:
        model: A built functional or sequential model.
        after: The layers that SE follows: their names, a regular expression that
            matches the whole name, or a function that takes a layer and returns a
            bool. The name of an SE layer is then `{layer}_se`. Without `after`, it has
            the name of the sum, concatenation or activation: `conv2_block1_se`.
        reduction: As for `SqueezeExcite`, like all arguments up to `use_bias`.
        squeeze_filters: The squeeze width itself, instead of `reduction`; `divisor`
            does not change it.
        divisor: The width that `reduction` gives is rounded to a multiple of this.
        squeeze: "avg", "max" or "none".
        activation: Activation between SE's convolutions.
        gate: Activation that makes the gate. It must not be zero at zero.
        use_bias: Whether SE's convolutions have biases.
        name: Name of the new model, by default the old one's.

    Returns:
        A functional model with the same inputs and outputs.

    Raises:
        ValueError: If the model is not functional, there is no place for SE, or `after`
            selects an output that is not a feature map.

    Example:

    >>> model = keras.applications.MobileNetV2(weights=None)
    >>> grafted = keras_senet.graft(model, reduction=8)
    """
    found = places(model, after)
    wanted = [place for place in found if not place.skipped]
    if not wanted:
        raise ValueError(_no_place(model, found))
    form = {
        "reduction": reduction,
        "squeeze_filters": squeeze_filters,
        "divisor": divisor,
        "squeeze": squeeze,
        "activation": activation,
        "gate": gate,
        "use_bias": use_bias,
        "identity_start": True,
    }
    by_tensor = {id(p.tensor): p for p in wanted}
    made = {}

    def insert(call, results, owner):
        tensor = call.outputs[0]
        place = by_tensor.get(id(tensor))
        if place is None:
            return results
        # A layer called twice is followed by one SE called twice.
        key = (id(owner), place.name)
        if key not in made:
            made[key] = SqueezeExcite(
                **form,
                data_format=getattr(call.layer, "data_format", None)
                or graph.data_format(owner),
                dtype=_policy(owner, call),
                name=place.name,
            )
        return made[key](keras.tree.flatten(results)[0])

    grafted = keras.Model(*copied(model, insert), name=name or model.name)
    if after is not None or squeeze_filters is not None or activation != "relu":
        return _described(grafted, model, None)
    config = next(iter(made.values())).get_config()
    return _described(grafted, model, {**config, "se": True, "se_bias": use_bias})


def ungraft(
    model: keras.Model,
    layers: str | Iterable[str] | None = None,
    *,
    tolerance: float = 1e-6,
    name: str | None = None,
) -> keras.Model:
    """Returns a copy of a network without the SE layers that change nothing.

    An SE layer is removed if its gate is constant (one of its kernels is zero) and
    differs from 1 by at most `tolerance`. Other SE layers stay.

    Args:
        model: A built functional or sequential model; it does not change.
        layers: Name or names of the SE layers to remove, by default all that can be
            removed. A name selects all layers with this name, in nested models too.
        tolerance: Largest difference of a gate from 1.
        name: Name of the new model, by default the old one's.

    Returns:
        A functional model with the same inputs and outputs.

    Raises:
        ValueError: If the model is not functional, none of its SE layers can be
            removed, or one of the named layers cannot be removed.

    Example:

    >>> host = keras.applications.MobileNetV2(weights=None)
    >>> grafted = keras_senet.graft(host)
    >>> keras_senet.ungraft(grafted).count_params() == host.count_params()
    True
    """
    check_graftable(model)
    blocks = {
        id(call.layer): call.layer
        for m in graph.models(model)
        for call in graph.calls(m)
        if isinstance(call.layer, SqueezeExcite)
    }
    far = {block: _distance(layer) for block, layer in blocks.items()}
    if layers is None:
        out = {block for block in blocks if far[block] <= tolerance}
    else:
        out = _named(blocks, [layers] if isinstance(layers, str) else layers)
    for block, layer in blocks.items():
        if block in out and far[block] > tolerance:
            how = "depends on the input" if math.isinf(far[block]) else "is not 1"
            raise ValueError(
                f"`layers` must name SE whose gate is 1 within tolerance={tolerance}. "
                f"Received: {layer.name!r}, whose gate {how}. Leave it out, or, if its "
                "gate is constant, increase `tolerance`."
            )
    if not out:
        raise ValueError(
            "`model` must have a SqueezeExcite layer whose gate is constant and 1 "
            f"within tolerance={tolerance}. Received: {model.name!r}, where this is "
            f"true for none of the {len(blocks)} SE layers."
        )
    plain = keras.Model(*copied(model, without=out), name=name or model.name)
    return _described(plain, model, {"se": False} if len(out) == len(blocks) else None)


def _named(blocks, names):
    """The ids of the SE layers with these names."""
    known, names = [layer.name for layer in blocks.values()], list(names)
    for name in names:
        rule = "`layers` must name SqueezeExcite layers of the model"
        check_known(name, known, rule)
    return {block for block, layer in blocks.items() if layer.name in names}


def _distance(layer):
    """The largest difference of a constant gate from 1; of any other, infinity."""
    kernels = (layer.reduce.kernel, layer.expand.kernel)
    if all(np.any(keras.ops.convert_to_numpy(kernel)) for kernel in kernels):
        return math.inf
    rank = len(layer.reduce.kernel.shape)
    shape = [1] * rank
    shape[graph.channel_axis(layer, rank)] = layer.reduce.kernel.shape[-2]
    gates = layer.excitation(keras.ops.zeros(shape, layer.compute_dtype))
    return float(np.max(np.abs(keras.ops.convert_to_numpy(gates) - 1.0)))


def _described(copy, model, changes):
    """The copy with the model's card, and of the changes what its row has."""
    card = Card.of(model)
    row = card.architecture
    if changes and changes["se"] and _squeezes_by_input(card):
        changes = None
    if changes and row and row.placement == "standard" and row.se_stages == "all":
        row = {name: changes.get(name, value) for name, value in row.items()}
        return derived(copy, model, architecture=row)
    return derived(copy, model, constructor=None, architecture=None)


def _policy(owner, call):
    """The dtype policy of a call's layer, or of the last one before an operation."""
    net = graph.Graph(owner)
    while call is not None and not hasattr(call.layer, "dtype_policy"):
        call = net.maker(call.inputs[0])
    return None if call is None else call.layer.dtype_policy


def _squeezes_by_input(card):
    """Whether the family gives SE another width than `graft` does."""
    build = CONSTRUCTORS.get(card.constructor)
    return build is not None and build.spec.family.architecture.squeezes_by_input


def _no_place(model, found):
    known = f" {len(found)} places were skipped: {found[0].skipped}." if found else ""
    return (
        "`model` must have a place for SE: a residual sum, a concatenation or an "
        f"activated convolution. Received: {model.name!r}.{known} Name the layers that "
        "SE shall follow in `after`."
    )
