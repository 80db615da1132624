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
    graph.check_one_input(model)
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
    rows = 2 if graph.data_format(model) == "channels_first" else 1
    height = shape[rows]
    last = {}
    for call in graph.Graph(model).cuts():
        size = shapes[id(call.outputs[0])]
        if len(size) != 4 or isinstance(call.layer, layers.ZeroPadding2D):
            continue
        if size[rows] == 1 and height > 64:  # pooled: MobileNet's top keeps 4 axes
            continue
        last[round(math.log2(height / size[rows]))] = call.outputs[0]
    return last
