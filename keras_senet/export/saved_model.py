"""SavedModel: one folder that TensorFlow serves without keras_senet or Keras."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_senet.export._frozen import frozen_function
from keras_senet.export._header import describe, write_to_folder
from keras_senet.utils.files import atomic_path


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    fold: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a model as a SavedModel for inference.

    The signature "serving_default" takes `images` as the model takes them, a float32
    batch `(N, height, width, channels)` (raw 0..255 for a model that normalises
    itself), and returns the outputs under the names of the model's output layers. A
    model with several inputs takes them under their own names. The weights are
    constants of the graph; a model of mixed precision is written in float32.

    The folder appears under its name only when it is whole. Labels and preprocessing
    are in its `assets.extra/keras_senet.json`.

    Args:
        model: A functional or sequential model.
        path: The folder to write.
        labels: Class names in the order of the classes.
        image_size: Height and width, for a model that leaves them open and a reader
            that needs them. `None` leaves them as they are.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether batch normalisation and SE are folded first, see
            `keras_senet.fold`. The header describes the model as it was given.
        overwrite: Whether an existing folder is replaced.

    Returns:
        The path of the folder.

    Raises:
        ValueError: If the path exists, the labels are not as many as the classes, or
            the model cannot be written (see the message).

    Example:

    >>> keras_senet.export_saved_model(model, "served", labels=["cat", "dog"])
    >>> served = tf.saved_model.load("served").signatures["serving_default"]
    >>> scores = served(images=tf.zeros((1, 224, 224, 3)))["predictions"]
    """
    with atomic_path(path, overwrite=overwrite, what="SavedModel") as temporary:
        function = frozen_function(
            model, image_size=image_size, batch_size=batch_size, fold=fold
        )
        labels = check_labels(labels, function)
        write_saved_model(function, temporary)
        write_to_folder(describe(model, labels), temporary)
    return Path(path)


def write_saved_model(function, folder: Path) -> None:
    """Writes a frozen function as the signature "serving_default" of a SavedModel."""
    module = tf.Module()
    module.serve = function
    tf.saved_model.save(module, str(folder), {"serving_default": function})


def check_labels(labels: Sequence[str] | None, function) -> list[str] | None:
    """Returns the labels as a list after comparing their number with the outputs."""
    if labels is None:
        return None
    labels = [str(label) for label in labels]
    outputs = tf.nest.flatten(function.structured_outputs)
    widths = [output.shape[-1] for output in outputs if output.shape.rank]
    if len(labels) not in widths:
        raise ValueError(
            "There must be one label for each class. Received: "
            f"{len(labels)} labels for a model with "
            f"{' and '.join(map(str, widths))} classes."
        )
    return labels
