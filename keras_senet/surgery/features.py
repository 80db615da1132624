"""A classification network as the backbone of a detector or a segmenter."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from keras_senet.card import Card
from keras_senet.network import Features
from keras_senet.utils import graph
from keras_senet.utils.errors import integer_or_none


def features(
    model: keras.Model,
    levels: int | Sequence[int] | None = None,
    *,
    dtype=None,
    name: str | None = None,
) -> Features:
    """Returns a model of the last map of each stage, a feature pyramid (section 5.3).

    Level l is the last map at stride 2^l that all paths through the network share: the
    output of the last block of a stage, with SE. The layers, and so the weights, are
    shared with `model`.

    Args:
        model: A functional model of one image, with or without its top. A network
            made with `output_stride` has no levels beyond that stride.
        levels: The levels, or one; by default all from 2 on. A U-Net needs them from
            1 on.
        dtype: A dtype policy for all layers, such as "mixed_bfloat16"; the new model
            then has copies of the layers.
        name: Name of the new model, by default the old one's with "_features".

    Returns:
        A model with the same input that returns a dictionary: "P2" -> the map at
        stride 4, `(batch, rows, columns, channels)`, and so on. With its
        `pyramid_outputs`, `image_shape` and `dtype_policy` it is a backbone for
        KerasHub's `RetinaNetBackbone` and `DeepLabV3Backbone`.

    Raises:
        ValueError: If the model is not functional or has no such level.

    Example:

    >>> network = keras_senet.SEResNet50(
    ...     weights=None, include_top=False, input_shape=(512, 512, 3)
    ... )
    >>> backbone = keras_senet.features(network)
    >>> {name: map.shape[1:] for name, map in backbone.pyramid_outputs.items()}
    {'P2': (128, 128, 256), 'P3': (64, 64, 512), ...}
    >>> pyramid = keras_hub.models.RetinaNetBackbone(  # doctest: +SKIP
    ...     backbone, min_level=3, max_level=7, use_p5=False
    ... )
    """
    graph.check_one_input(model)
    found = _last_maps(model)
    available = [level for level in sorted(found) if level >= 2]
    wanted = available if levels is None else np.ravel(levels).tolist()
    if not wanted or not set(map(integer_or_none, wanted)) <= set(found):
        raise ValueError(
            f"`levels` must be some of {sorted(found)}, the stages of {model.name!r}. "
            f"Received: levels={levels!r}"
        )
    card = dataclasses.replace(
        Card.of(model),
        constructor=None,
        include_top=False,
        outputs="features",
        classes=None,
        labels=None,
    )
    return Features(
        graph.graph_of(model).input,
        {f"P{level}": found[level] for level in sorted(wanted)},
        name=name or f"{model.name}_features",
        dtype=dtype,
        card=card,
    )


def _last_maps(model):
    """The last tensor at each level that every path goes through."""
    image = model.inputs[0]
    shape = tuple(1024 if n is None and i else n for i, n in enumerate(image.shape))
    shapes = graph.shapes(model, [shape])
    rows = 2 if graph.data_format(model) == "channels_first" else 1
    height = before = shape[rows]
    level, last = 0, {}
    for call in graph.Graph(model).cuts():
        size = shapes[id(call.outputs[0])]
        if len(size) != 4 or isinstance(call.layer, layers.ZeroPadding2D):
            continue
        if size[rows] == 1 and height > 64:  # pooled: MobileNet's top keeps 4 axes
            continue
        # From map to map: networks without padding get away from the powers of two.
        level += round(math.log2(before / size[rows]))
        before = size[rows]
        last[level] = call.outputs[0]
    return last
