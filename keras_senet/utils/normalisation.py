"""Whether a model normalises its images."""

import keras
import numpy as np

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


def normalises(model: keras.Model) -> bool | None:
    """Whether a model normalises raw images 0..255 itself; None where nothing tells.

    One that carries a `preprocessing` record without beginning so leaves it to others;
    so does a network of this package that was built without its preprocessing, which
    keeps no record of it. Of other models nothing is known.
    """
    if takes_raw_images(model):
        return True
    marks = ("constructor", "preprocessing")
    return False if any(getattr(model, mark, None) for mark in marks) else None
