"""TFLite: one file for phones and small devices, builtin operations only."""

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_senet.export._calibration import calibration_images
from keras_senet.export._flatbuffer import read_tflite
from keras_senet.export._frozen import frozen_function
from keras_senet.export._header import append_to_file, describe
from keras_senet.export._quiet import quiet
from keras_senet.export.saved_model import check_labels, write_saved_model
from keras_senet.utils.errors import nearest
from keras_senet.utils.files import atomic_path

QUANTIZATIONS = (None, "float16", "dynamic", "int8")
INT8_TYPES = ("float32", "uint8", "int8")


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    quantization: str | None = None,
    representative_dataset: Iterable | None = None,
    representative_limit: int = 256,
    io_type: str = "float32",
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a model as a .tflite file that holds builtin operations only.

    The file takes `images` as the model takes them and returns the outputs under the
    names of the model's output layers. Its input is sized for one image; the batch
    can be resized (`Interpreter.resize_tensor_input`, which `open_runner` does).

    | quantization | weights | arithmetic | needs images |
    |---|---|---|---|
    | None | float32 | float32 | no |
    | "float16" | float16 | float32, float16 on devices that have it | no |
    | "dynamic" | int8 where they are many | int8 and float32 | no |
    | "int8" | int8 | int8 | yes |

    Args:
        model: A functional or sequential model.
        path: The file to write; its name ends in ".tflite".
        quantization: One of the table.
        representative_dataset: For "int8": batches of real images as the model takes
            them, or of pairs (images, labels). A tf.data dataset, an array or any
            iterable.
        representative_limit: How many images of it are used at most.
        io_type: For "int8": the type of the file's input and output, "float32",
            "uint8" or "int8". With raw images, "uint8" takes them as they are.
        labels: Class names in the order of the classes. They and the preprocessing
            follow the flatbuffer as `keras_senet.json` in a zip archive.
        image_size: Height and width, for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        overwrite: Whether an existing file is replaced.

    Returns:
        The path of the file.

    Raises:
        ValueError: If an argument is out of its range, the images do not fit the
            model, the path exists, or the model needs an operation that TFLite does
            not have.

    Example:

    >>> images = dataset.take(10)  # batches of raw images
    >>> keras_senet.export_tflite(
    ...     model, "model.tflite", quantization="int8", representative_dataset=images
    ... )
    """
    _check_arguments(path, quantization, io_type)
    with atomic_path(path, overwrite=overwrite, what="TFLite file") as temporary:
        images = None
        if quantization == "int8":
            images = calibration_images(
                model, representative_dataset, limit=representative_limit
            )
        function = frozen_function(model, image_size=image_size, batch_size=batch_size)
        labels = check_labels(labels, function)
        data = _convert(function, quantization, images, io_type)
        check_builtin(data)
        _check_alive(data)
        temporary.write_bytes(data)
        append_to_file(describe(model, labels), temporary)
    return Path(path)


def _check_arguments(path, quantization, io_type) -> None:
    if Path(path).suffix != ".tflite":
        raise ValueError(
            f"The path must end in '.tflite'. Received: path={str(path)!r}"
        )
    if quantization not in QUANTIZATIONS:
        names = [name for name in QUANTIZATIONS if name]
        raise ValueError(
            f"`quantization` must be one of {QUANTIZATIONS}. Received: "
            f"quantization={quantization!r}.{nearest(quantization, names)}"
        )
    if io_type not in INT8_TYPES:
        raise ValueError(
            f"`io_type` must be one of {INT8_TYPES}. Received: io_type={io_type!r}"
        )
    if io_type != "float32" and quantization != "int8":
        raise ValueError(
            "An integer `io_type` needs quantization='int8'. Received: "
            f"io_type={io_type!r}, quantization={quantization!r}"
        )


def _convert(function, quantization, images, io_type) -> bytes:
    with tempfile.TemporaryDirectory() as folder, quiet():
        saved_model = Path(folder, "saved_model")
        write_saved_model(function, saved_model)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantization is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: ([image] for image in images)
            converter.inference_input_type = tf.as_dtype(io_type)
            converter.inference_output_type = tf.as_dtype(io_type)
        try:
            return converter.convert()
        except Exception as error:  # the converter's own class is not public
            raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = str(error)
    found = re.findall(r"'tf\.(\w+)' op is neither a custom op", text)
    if not found:
        lines = text.strip().splitlines() or [type(error).__name__]
        return f"TFLite cannot hold this model. The converter says: {lines[0]}"
    return _foreign_message(", ".join(sorted(set(found))))


def _foreign_message(names: str) -> str:
    return (
        "The .tflite file may hold TFLite's builtin operations only. Received: a "
        f"model that needs {names}. Replace the layer that uses them, or export a "
        "SavedModel."
    )


def _check_alive(data: bytes) -> None:
    """Raises for values without a range, at which LiteRT's XNNPACK delegate aborts."""
    dead = read_tflite(data).dead
    if dead:
        raise ValueError(
            "An int8 file needs values that are not always zero. Received a model in "
            f"which {len(dead)} never leave zero on the representative images, first "
            f"{dead[0].split(';')[0]!r}: perhaps an SE whose few squeezed units are "
            "dead. Use quantization='float16' or 'dynamic', other images, or a smaller "
            "`reduction`."
        )


def check_builtin(data: bytes) -> None:
    """Raises a ValueError if a .tflite file holds a Flex or custom operation."""
    foreign = read_tflite(data).foreign
    if foreign:
        raise ValueError(_foreign_message(", ".join(foreign)))
