"""SavedModel: one folder that TensorFlow serves without keras_senet or Keras."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_senet.export._frozen import frozen_function
from keras_senet.export._header import describe, write_to_folder
from keras_senet.export._serving import DEFAULT, card, serving
from keras_senet.preprocessing import find_preprocessing
from keras_senet.utils.errors import check_counts
from keras_senet.utils.files import atomic_path
from keras_senet.weights import Preprocessing


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | str | None = None,
    top: int = 5,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    version: int | None = None,
    fold: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a model as a SavedModel for inference.

    | signature | takes | returns |
    |---|---|---|
    | "serving_default" | `images` | the outputs by the names of the output layers |
    | "classify" | `images` | `classes`, `scores`, `indices` |
    | "classify_bytes" | `image_bytes` | `classes`, `scores`, `indices` |

    `images` are as the model takes them, a float32 batch `(N, height, width,
    channels)` (raw 0..255 for a model that normalises itself). `image_bytes` are JPEG,
    PNG, GIF, BMP or WebP files `(N,)` of any size up to 50 megapixels; decoding,
    resizing, cropping and normalisation are in the graph. `classes` are the names,
    `scores` and `indices` the values and numbers of the `top` highest scores, each
    `(N, top)`, the best first.

    A model with several inputs takes them under their own names, without what
    TensorFlow's names may not have. A model that is no image classifier, or whose
    normalisation is not known, lacks the signatures that need it; the folder's
    `assets.extra/README.md` says which and why. Labels and preprocessing are in
    `assets.extra/keras_senet.json`.

    The weights are constants of the graph; a model of mixed precision is written in
    float32. The folder appears under its name only when it is whole.

    Args:
        model: A functional or sequential model.
        path: The folder to write.
        labels: Class names in the order of the classes. `None` names them by number.
        preprocessing: How an encoded image becomes the model's input: a record or a
            preset's name. `None` is what the model says of itself. A model that does
            not normalise images itself gets them normalised by this record.
        top: How many classes "classify" and "classify_bytes" return at most.
        image_size: Height and width, for a model that leaves them open and a reader
            that needs them. `None` leaves them as they are.
        batch_size: A fixed batch size. `None` leaves it open.
        version: Writes the folder `path/version`, so that TensorFlow Serving takes
            `path` as the folder of a model.
        fold: Whether batch normalisation and SE are folded first, see
            `keras_senet.fold`. The header describes the model as it was given.
        overwrite: Whether an existing folder is replaced.

    Returns:
        The path of the folder.

    Raises:
        ValueError: If the path exists, a size or number is not positive, the labels
            are not as many as the classes, or the model cannot be written (see the
            message).

    Example:

    >>> keras_senet.export_saved_model(model, "served", labels=["cat", "dog"])
    >>> served = tf.saved_model.load("served").signatures["classify_bytes"]
    >>> served(image_bytes=tf.constant([open("cat.jpg", "rb").read()]))["classes"]
    """
    path = Path(path)
    check_counts(top=top)
    if version is not None:
        check_counts(version=version)
        path = path / str(version)
    if preprocessing is not None:
        preprocessing = find_preprocessing(preprocessing)
    with atomic_path(path, overwrite=overwrite, what="SavedModel") as temporary:
        function = frozen_function(
            model, image_size=image_size, batch_size=batch_size, fold=fold
        )
        labels = check_labels(labels, function)
        served = serving(
            model, function, labels=labels, preprocessing=preprocessing, top=top
        )
        write_saved_model(function, temporary, served.signatures)
        header = describe(model, labels, encoded_images=served.encoded)
        write_to_folder(header, card(model.name, served), temporary)
    return path


def write_saved_model(function, folder: Path, signatures: dict | None = None) -> None:
    """Writes a frozen function as a SavedModel.

    Args:
        function: The frozen function.
        folder: The folder to write.
        signatures: Functions by name. `None` is the function as "serving_default".
    """
    module = tf.Module()
    module.serve = function
    signatures = signatures or {DEFAULT: function}
    tf.saved_model.save(module, str(folder), signatures)


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
