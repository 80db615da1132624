"""A preset's preprocessing: images in, class names out."""

import functools
import importlib.resources
import json
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_senet.card import Preprocessing
from keras_senet.utils.errors import (
    as_integer,
    checked_data_format,
    checked_labels,
)
from keras_senet.weights import Host, Preset, find_preset
from keras_senet.weights.catalogue import HOSTS

# For a network that does not say how its images are prepared: resized, no more.
PLAIN = Preprocessing(crop_fraction=1.0, interpolation="bilinear")


def find_preprocessing(preset: "Preset | Host | Preprocessing | str") -> Preprocessing:
    """Returns the preprocessing of a preset.

    Args:
        preset: A record, or the name or alias of a preset. The name of a network means
            its "imagenet" weights, or those of its keras.applications host.

    Raises:
        ValueError: If there is no such preset.
    """
    if isinstance(preset, Preprocessing):
        return preset
    if isinstance(preset, Preset | Host):
        return preset.card.preprocessing
    found = _find(preset) or HOSTS.get(str(preset))
    if found is None:
        raise ValueError(
            "`preset` must be a Preprocessing record, a preset of "
            "keras_senet.list_weights() or a network that has one. "
            f"Received: preset={preset!r}"
        )
    return found.card.preprocessing


def _find(preset):
    name = str(preset)
    return find_preset(name) or find_preset("imagenet", name)


def preprocess_input(x, data_format: str | None = None, *, preset):
    """Normalises images for the network of a preset.

    `include_preprocessing=True` puts the same computation into the network. The images
    must already have the right size, see `resize_and_crop`.

    Args:
        x: RGB images of values 0..255, `(height, width, channels)` or a batch of them,
            or channels first: a NumPy array or a tensor, also inside tf.data. It does
            not change.
        data_format: "channels_last" or "channels_first"; None is Keras' setting.
        preset: A `Preprocessing` record, a preset's name ("se_resnet50.ra2_in1k") or a
            network's ("se_resnet50").

    Returns:
        `(x / 255 - mean) / std`, with the same shape and the channels in the order of
        the preset. A NumPy array or a tensor, like `x`; float32, or the type of `x` if
        that is a floating-point type.

    Raises:
        ValueError: If the preset is unknown, or the channels do not fit it.

    Example:

    >>> x = np.full((1, 224, 224, 3), 255.0, "float32")
    >>> keras_senet.preprocess_input(x, preset="se_resnet50.ra2_in1k").shape
    (1, 224, 224, 3)
    """
    record = find_preprocessing(preset)
    data_format = checked_data_format(data_format)
    axis = -1 if data_format == "channels_last" else -3
    if not isinstance(x, np.ndarray) and not _is_tensorflow(x):
        x = ops.convert_to_tensor(x)
    is_image = len(x.shape) in (3, 4)
    channels = x.shape[axis] if is_image else None
    fits = channels is None or len(record.mean) in (1, channels)
    if not (is_image and fits):
        raise ValueError(
            f"`x` must be images of {len(record.mean)} channels, or a batch of them. "
            f"Received: x of shape {tuple(x.shape)} {data_format}"
        )
    flip, cast = _flip_and_cast(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    if not keras.backend.is_float_dtype(dtype):
        dtype = "float32"
    if record.channel_order == "BGR":
        x = flip(x, axis)
    scale, offset = along(record, axis)
    return cast(x, dtype) * cast(scale, dtype) + cast(offset, dtype)


def _is_tensorflow(x):
    """Tensors of tf.data are TensorFlow's whatever backend Keras runs on."""
    return type(x).__module__.startswith("tensorflow")


def _flip_and_cast(x):
    if isinstance(x, np.ndarray):
        return np.flip, np.asarray
    if not _is_tensorflow(x):
        return ops.flip, ops.cast
    import tensorflow as tf

    return lambda x, axis: tf.reverse(x, [axis]), tf.cast


def along(record: Preprocessing, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scale and offset of a normalisation, to be broadcast to images.

    They are for channels in the network's order, along the axis -1 or -3.
    """
    shape = [1, 1, 1]
    shape[axis] = -1
    return tuple(np.reshape(values, shape) for values in record.scale_and_offset())


def resize_and_crop(image, preprocessing: Preprocessing | str):
    """Resizes and crops an image for a network.

    Args:
        image: One RGB or grey image of values 0..255, `(height, width, channels)`: an
            array or a TensorFlow tensor.
        preprocessing: A record, or a preset's name.

    Returns:
        A float32 TensorFlow tensor `(image_size, image_size, channels)` of values
        0..255; integers if `image` has integers or was resized.
    """
    import tensorflow as tf

    from keras_senet import data

    record = find_preprocessing(preprocessing)
    fitted = data.resize_and_crop(
        image,
        (record.image_size, record.image_size),
        crop_fraction=record.crop_fraction,
        interpolation=record.interpolation,
    )
    return tf.cast(fitted, tf.float32)


def decode_predictions(
    preds,
    top: int = 5,
    *,
    preset: "Preset | str | None" = None,
    labels: Sequence[str] | None = None,
) -> list[list[tuple[str, str, float]]]:
    """Names the classes of the highest scores. Works offline.

    Args:
        preds: `(batch, classes)`, probabilities or logits.
        top: How many classes for each image.
        preset: The preset with the class names; by default ImageNet's 1000 classes.
        labels: The class names, instead of `preset`.

    Returns:
        For each image, `top` tuples (identifier, name, score), the highest score
        first. The identifier is that of WordNet for ImageNet, else the class number.

    Raises:
        ValueError: If `preds` is not two-dimensional with one column for each class.

    Example:

    >>> scores = model.predict(images, verbose=0)
    >>> best = keras_senet.decode_predictions(scores, top=1, labels=names)
    >>> len(best), best[0][0][1] in names
    (16, True)
    """
    preds = np.asarray(ops.convert_to_numpy(preds))
    if labels is not None and preset is not None:
        raise ValueError(
            "Only one of `preset` and `labels` may be given. Received: "
            f"preset={preset!r}, {len(labels)} labels."
        )
    if preset is not None:
        found = preset if isinstance(preset, Preset) else _find(preset)
        if found is None:
            raise ValueError(
                "`preset` must be a preset of keras_senet.list_weights(). "
                f"Received: preset={preset!r}"
            )
        labels = found.card.labels
    classes = imagenet_classes()
    if labels is not None:
        classes = [(str(i), x) for i, x in enumerate(checked_labels(labels))]
    if preds.ndim != 2 or preds.shape[1] != len(classes):
        raise ValueError(
            f"`preds` must be of shape (batch, {len(classes)}). Received: shape "
            f"{preds.shape}. Other classes than ImageNet's need `labels`."
        )
    top = as_integer("top", top)
    # Integers would wrap: in int8, -(-128) is -128.
    order = np.argsort(-preds.astype("float64"), axis=1, kind="stable")[:, :top]
    return [
        [(*classes[i], float(scores[i])) for i in best]
        for best, scores in zip(order, preds, strict=True)
    ]


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Returns (WordNet identifier, name) of ImageNet's 1000 classes, in order."""
    file = importlib.resources.files("keras_senet") / "imagenet_class_index.json"
    index = json.loads(file.read_text("utf-8"))
    return tuple(tuple(index[str(i)]) for i in range(len(index)))
