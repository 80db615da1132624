"""A grey network for programs that only have colour images."""

import keras
import numpy as np

from keras_senet.network import derived
from keras_senet.utils import graph

# ITU-R BT.601's luma, as Pillow and MediaPipe compute grey.
_LUMA = (0.299, 0.587, 0.114)


def rgb_input(model: keras.Model, *, name: str | None = None) -> keras.Model:
    """Returns a grey network with an RGB input: its first layer makes the image grey.

    Phone libraries such as MediaPipe's ImageClassifier only take RGB images. Export
    what this function returns to give them a file of a grey network. The layers, and so
    the weights, are shared with `model`.

    Args:
        model: A functional model of one image with one channel.
        name: Name of the new model, by default the old one's.

    Returns:
        A model that takes images with three channels, red, green and blue, in the range
        that `model` takes, and returns what `model` returns for
        0.299 R + 0.587 G + 0.114 B.

    Raises:
        ValueError: If the model is not functional or does not take grey images.

    Example:

    >>> grey = keras_senet.SEResNet20(weights="fashion_mnist")
    >>> keras_senet.surgery.rgb_input(grey).input_shape
    (None, 28, 28, 3)
    """
    graph.check_one_input(model)
    (old,) = graph.graph_of(model).inputs
    data_format = graph.data_format(model)
    axis = 1 if data_format == "channels_first" else -1
    if len(old.shape) != 4 or old.shape[axis] != 1:
        raise ValueError(
            "`model` must take grey images, with one channel. Received: "
            f"{model.name!r}, which takes {tuple(old.shape)}"
        )
    shape = list(old.shape)
    shape[axis] = 3
    images = keras.Input(batch_shape=shape, dtype=old.dtype, name=old.name)
    to_grey = keras.layers.Conv2D(
        1,
        1,
        use_bias=False,
        data_format=data_format,
        trainable=False,
        dtype="float32",
        name="rgb_to_grey",
    )
    if keras.backend.is_float_dtype(old.dtype):
        grey = to_grey(images)
    else:
        grey = keras.ops.round(to_grey(keras.ops.cast(images, "float32")))
        grey = keras.ops.cast(grey, old.dtype)
    to_grey.kernel.assign(np.reshape(_LUMA, (1, 1, 3, 1)))
    outputs = graph.Graph(model).replay(
        lambda call, args, kwargs: call.layer(*args, **kwargs), [grey]
    )[1]
    grey_too = keras.Model(images, outputs, name=name or model.name)
    known = {"constructor": None, "architecture": None}
    return derived(grey_too, model, **known, input_shape=tuple(shape[1:]))
