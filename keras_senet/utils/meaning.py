"""What a model's layers say of its images and of its outputs."""

from typing import Any

import keras
import numpy as np

from keras_senet.utils import graph


def outputs_of(activation: Any) -> str | None:
    """Returns what outputs behind an activation mean, or None where it does not tell.

    None and "linear", as `keras.activations.get` takes them, are logits.
    """
    function = keras.activations.get(activation)
    known = {
        keras.activations.softmax: "softmax",
        keras.activations.sigmoid: "sigmoid",
        keras.activations.linear: "logits",
    }
    return next((name for f, name in known.items() if function is f), None)


def outputs_of_model(model: keras.Model, place: int = 0) -> str | None:
    """Returns what the layer that makes one of a model's outputs says of its meaning.

    None where it does not tell, as an operation of `keras.ops` or a subclassed model.
    """
    if not graph.is_functional(model):
        return None
    calls, tensor = graph.Graph(model), graph.graph_of(model).outputs[place]
    while (call := calls.maker(tensor)) is not None:
        layer = call.layer
        if graph.is_functional(layer):
            places = [id(output) for output in call.outputs]
            return outputs_of_model(layer, places.index(id(tensor)))
        if isinstance(layer, keras.layers.Softmax):
            return "softmax"
        has_activation = isinstance(layer, keras.layers.Activation | keras.layers.Dense)
        meaning = outputs_of(layer.activation) if has_activation else None
        # Mixed precision puts a linear activation behind the softmax.
        is_idle = isinstance(layer, keras.layers.Activation) and meaning == "logits"
        if is_idle or isinstance(layer, keras.layers.Flatten | keras.layers.Reshape):
            tensor = call.inputs[0]
        else:
            return meaning
    return None


# A scale below this turns 0..255 into something near one: 1/255, 1/127.5, 1/58.4.
_RAW_SCALE = 0.1
# A mean above this is one of pixels, such as 104, 117, 124.
_RAW_MEAN = 1.0


def takes_raw_images(model: keras.Model) -> bool:
    """Whether the model begins by normalising images of 0..255.

    True where the first layer that changes the range of the values is a Rescaling or
    Normalization with a factor near 1/255, or one that subtracts a mean in pixels.
    Inputs that are no RGB or grey images are no pixels.
    """
    shapes = [tensor.shape for tensor in getattr(model, "inputs", None) or ()]
    if shapes and not any(len(s) == 4 and {s[1], s[-1]} & {1, 3} for s in shapes):
        return False
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling):
            scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
            if np.max(np.abs(scale)) < _RAW_SCALE:
                return True
            return bool(np.max(-offset / scale) > _RAW_MEAN)
        if isinstance(layer, keras.layers.Normalization):
            return bool(np.max(np.asarray(layer.mean)) > _RAW_MEAN)
        if layer.weights:
            return False
    return False
