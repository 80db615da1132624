"""What a model's layers say of its images and of its outputs."""

from typing import Any

import keras
import numpy as np


def outputs_of(activation: Any) -> str | None:
    """Returns what outputs behind an activation mean, or None where it does not tell.

    Args:
        activation: What `keras.activations.get` takes; None and "linear" are logits.
    """
    function = keras.activations.get(activation)
    known = {
        keras.activations.softmax: "softmax",
        keras.activations.sigmoid: "sigmoid",
        keras.activations.linear: "logits",
    }
    return next((name for f, name in known.items() if function is f), None)


def outputs_of_model(model: keras.Model) -> str | None:
    """Returns what the layer that makes a model's output says of its meaning."""
    outputs = getattr(model, "outputs", None) or [None]  # None: subclassed
    history = getattr(outputs[0], "_keras_history", None)
    if history and not isinstance(history.operation, keras.Layer):
        return None  # an operation of `keras.ops`, with an activation or without
    for layer in reversed(model.layers):
        if isinstance(layer, keras.Model):
            return outputs_of_model(layer)
        if isinstance(layer, keras.layers.Softmax):
            return "softmax"
        if isinstance(layer, keras.layers.Activation | keras.layers.Dense):
            return outputs_of(layer.activation)
        if not isinstance(layer, keras.layers.Flatten | keras.layers.Reshape):
            return None
    return None


# A scale below this turns 0..255 into something near one: 1/255, 1/127.5, 1/58.4.
_RAW_SCALE = 0.1
# A mean above this is one of pixels, such as 104, 117, 124.
_RAW_MEAN = 1.0


def takes_raw_images(model: keras.Model) -> bool:
    """Whether the model begins by normalising images of 0..255.

    True where the first layer that changes the range of the values is a Rescaling or
    Normalization with a factor near 1/255, or one that subtracts a mean in pixels.
    """
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
