"""TensorFlow's converter: a frozen function -> the bytes of a .tflite file."""

import re
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_senet.export._flatbuffer import read_tflite
from keras_senet.export._quiet import quiet
from keras_senet.export.saved_model import write_saved_model


def convert(
    function,
    quantization: str | None,
    images: list[np.ndarray] | None = None,
    io_type: str = "float32",
) -> bytes:
    """Converts a frozen function.

    Args:
        function: What `frozen_function` returned.
        quantization: None, "float16", "dynamic" or "int8".
        images: For "int8": representative batches of the input.
        io_type: For "int8": the type of the input and the output.

    Raises:
        ValueError: If TFLite does not have an operation that is needed.
    """
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
            converter.representative_dataset = lambda: ([batch] for batch in images)
            converter.inference_input_type = tf.as_dtype(io_type)
            converter.inference_output_type = tf.as_dtype(io_type)
        try:
            data = converter.convert()
        except Exception as error:  # the converter's own class is not public
            raise ValueError(_reason(error)) from error
    check_builtin(data)
    return data


def _reason(error: Exception) -> str:
    text = str(error)
    found = re.findall(r"'tf\.(\w+)' op is neither a custom op", text)
    if not found:
        lines = text.strip().splitlines() or [type(error).__name__]
        return f"TFLite cannot hold this model. The converter says: {lines[0]}"
    return _foreign_message(", ".join(sorted(set(found))))


def check_builtin(data: bytes) -> None:
    """Raises a ValueError if a .tflite file holds a Flex or custom operation."""
    foreign = read_tflite(data).foreign
    if foreign:
        raise ValueError(_foreign_message(", ".join(foreign)))


def _foreign_message(names: str) -> str:
    return (
        "The .tflite file may hold TFLite's builtin operations only. Received: a "
        f"model that needs {names}. Replace the layer that uses them, or export a "
        "SavedModel."
    )
