"""ONNX: one file for ONNX Runtime and what else reads that format."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_senet.containers import SUFFIXES
from keras_senet.export.saved_model import write_saved_model
from keras_senet.tracing import freeze
from keras_senet.utils.errors import check_ending, first_line, not_installed
from keras_senet.utils.files import atomic_path, temporary_folder
from keras_senet.utils.quiet import quiet

# The newest that tf2onnx 1.17 knows.
_OPSET = 18


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    fold: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a model as an ONNX file.

    The file takes `images` in the form that the model takes, float32 `(N, height,
    width, channels)`. It returns the outputs under the names of the model's output
    layers. tf2onnx writes the file from the frozen graph, because the exporter of
    Keras 3.15 does not write valid files of grouped convolutions.

    Args:
        model: A functional or sequential model.
        path: The file to write; its name ends in ".onnx".
        labels: Class names in the order of the classes. They and the preprocessing are
            in the file's metadata, under "keras_senet".
        image_size: Height and width, for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether batch normalization and SE are folded first, see
            `keras_senet.fold`.
        overwrite: Whether an existing file is replaced.

    Returns:
        The path of the file.

    Raises:
        ImportError: If tf2onnx or onnx is not installed.
        ValueError: If the path exists, the number of labels differs from the number of
            classes, or the model cannot be converted.

    Example:

    >>> keras_senet.export_onnx(model, "model.onnx")
    >>> keras_senet.verify(model, "model.onnx", images).passed
    True
    """
    path = Path(path)
    check_ending(path, SUFFIXES["onnx"])
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise not_installed("ONNX files", error, "onnx", "tf2onnx") from error
    with atomic_path(path, overwrite=overwrite, what="ONNX file") as temporary:
        frozen = freeze(model, labels, image_size, batch_size, fold)
        try:
            with temporary_folder() as folder, quiet():
                write_saved_model(frozen, folder)
                loaded = tf.saved_model.load(str(folder))
                function = tf.function(
                    lambda *inputs: loaded.serve(*inputs),
                    input_signature=frozen.inputs,
                    autograph=False,
                )
                proto, _ = tf2onnx.convert.from_function(
                    function, frozen.inputs, opset=_OPSET
                )
            onnx.checker.check_model(proto)
        except Exception as error:  # of many classes, the checker's among them
            raise ValueError(
                "This model cannot be converted to ONNX. The error of tf2onnx or of "
                f"ONNX's checker is: {first_line(error)}"
            ) from error
        temporary.write_bytes(proto.SerializeToString())
        frozen.card.write(temporary)
    return path
