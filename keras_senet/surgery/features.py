"""A classification network as the backbone of a detector or a segmenter."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from keras_senet.utils import graph


def features(
    model: keras.Model, levels: Sequence[int] | None = None, *, name: str | None = None
) -> keras.Model:
    """Returns a model of the last map of each stage, the pyramid of section 5.3.

    Level l is the last map at stride 2^l that all paths through the network pass:
    the output of a stage's last block, SE included. The layers, and so the weights,
    are shared with `model`.

    Args:
        model: A functional model of one image, with or without its top. A network
            made with `output_stride` has no levels beyond that stride.
        levels: The levels wanted, by default all from 2 on.
        name: Name of the new model, by default the old one's with "_features".

    Returns:
        A model with the same input that returns a dictionary: "P2" -> the map at
        stride 4, `(batch, rows, columns, channels)`, and so on.

    Raises:
        ValueError: If the model is not functional or has no such level.

    Example:

    >>> backbone = keras_senet.SEResNet50(weights=None, include_top=False)
    >>> maps = keras_senet.features(backbone)(images)
    >>> maps["P3"].shape  # of images with 224 x 224 pixels
    (1, 28, 28, 512)
    """
    if not graph.is_functional(model) or len(model.inputs) != 1:
        raise ValueError(
            "`model` must be a functional model with one input. Received: "
            f"{type(model).__name__} {getattr(model, 'name', '')!r}"
        )
    found = _last_maps(model)
    available = [level for level in sorted(found) if level >= 2]
    wanted = available if levels is None else list(levels)
    missing = [level for level in wanted if level not in found]
    if missing or not wanted:
        raise ValueError(
            f"`levels` must be some of {sorted(found)}, the stages of {model.name!r}. "
            f"Received: levels={levels!r}"
        )
    outputs = {f"P{level}": found[level] for level in wanted}
    inputs = graph.graph_of(model).input
    return keras.Model(inputs, outputs, name=name or f"{model.name}_features")


def _last_maps(model):
    """The last tensor at each level that every path goes through."""
    image = model.inputs[0]
    # Large enough for networks without padding to keep close to the powers of two.
    shape = tuple(1024 if n is None and i else n for i, n in enumerate(image.shape))
    shapes = graph.shapes(model, [shape])
    axes = (2, 3) if _is_channels_first(model) else (1, 2)
    height = shape[axes[0]]
    last = {}
    for tensor, layer in _bottlenecks(model):
        size = shapes[id(tensor)]
        if len(size) != 4 or isinstance(layer, layers.ZeroPadding2D):
            continue
        if size[axes[0]] == 1 and height > 64:  # pooled: MobileNet's top keeps 4 axes
            continue
        last[round(math.log2(height / size[axes[0]]))] = tensor
    return last


def _is_channels_first(model):
    # Without weights, a layer may treat channels as rows: VGG's reversal of colours.
    weighted = [layer for layer in model.layers if layer.weights]
    formats = {getattr(layer, "data_format", None) for layer in weighted}
    return "channels_first" in formats


def _bottlenecks(model):
    """Yields the tensors that, removed, cut the input from the output."""
    calls = list(graph.calls(model))
    last_use = {id(model.outputs[0]): len(calls)}
    for position, call in enumerate(calls):
        for tensor in call.inputs:
            last_use[id(tensor)] = max(last_use.get(id(tensor), 0), position)
    alive = {id(model.inputs[0])}
    for position, call in enumerate(calls):
        alive.update(id(t) for t in call.outputs if id(t) in last_use)
        alive = {t for t in alive if last_use[t] > position}
        if len(call.outputs) == 1 and alive == {id(call.outputs[0])}:
            yield call.outputs[0], call.layer
