"""TFLite: one file for phones and small devices, builtin operations only."""

import functools
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_senet.containers import SUFFIXES
from keras_senet.data import Source
from keras_senet.export.metadata import LABELS, add_metadata
from keras_senet.export.quantize import (
    calibration_images,
    check_quantization,
    gate_operations,
    is_int8,
    quantize_mixed,
    revived,
    tensor_ranges,
)
from keras_senet.export.saved_model import write_saved_model
from keras_senet.tracing import Frozen, freeze
from keras_senet.utils.errors import check_ending, first_line, nearest
from keras_senet.utils.files import atomic_path, temporary_folder
from keras_senet.utils.flatbuffer import (
    Operation,
    graph_operations,
    open_flatbuffer,
    read_tflite,
    shorten_names,
    write_flatbuffer,
)
from keras_senet.utils.quiet import quiet

QUANTIZATIONS = (
    None,
    "float16",
    "dynamic",
    "int8",
    "int8_float_gates",
    "int8_int16_gates",
)
INT8_TYPES = ("float32", "uint8", "int8")


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    quantization: str | None = None,
    representative_dataset: Source | str | os.PathLike | Iterable | None = None,
    representative_limit: int = 256,
    io_type: str = "float32",
    float_operations: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    fold: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a model as a .tflite file with builtin operations only.

    The file takes `images` in the form that the model takes. It returns the outputs
    under the names of the model's output layers. Its input has the size of one image;
    change the batch with `Interpreter.resize_tensor_input` (`open_runner` does this).

    | quantization | weights | arithmetic | needs images |
    |---|---|---|---|
    | None | float32 | float32 | no |
    | "float16" | float16 | float32, or float16 if the device supports it | no |
    | "dynamic" | int8 in large kernels | int8 and float32 | no |
    | "int8" | int8 | int8 | yes |
    | "int8_float_gates" | int8; float32 in SE | int8; float32 in SE | yes |
    | "int8_int16_gates" | int8 | int8; 16-bit integers in SE | yes |

    The last two need LiteRT's quantizer (`pip install litert-quantizer`). So do
    `float_operations`, and int8 files of networks in which more than the squeezed
    values of SE are always zero.
    16-bit gates are for accelerators that support them; they are slow on a CPU.

    The file contains standard TFLite metadata for phone libraries: size, colours and
    normalisation of the input, and the labels as `labels.txt`. For libraries that only
    take RGB images, export `keras_senet.surgery.rgb_input(model)` of a grey network.

    Args:
        model: A functional or sequential model.
        path: The file to write; its name ends in ".tflite".
        quantization: A value of the table.
        representative_dataset: For int8: real training images. A data source, or a name
            that `keras_senet.data.open_source` takes; or batches of images in the form
            that the model takes, or of pairs (images, labels): a tf.data dataset, an
            array or any iterable.
        representative_limit: The largest number of these images to use.
        io_type: For int8: the type of the file's input and output, "float32",
            "uint8" or "int8". With raw images, "uint8" takes them as they are.
        float_operations: For int8: regular expressions that select operations by name,
            such as "predictions" or "^conv1_". These are computed in float. The name of
            an operation begins with that of its layer.
        labels: Class names in the order of the classes. They and the preprocessing are
            stored in the file as `keras_senet.json`.
        image_size: Height and width, for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether batch normalization and SE are folded first, see
            `keras_senet.fold`. The header describes the model as it was given.
        overwrite: Whether an existing file is replaced.

    Returns:
        The path of the file.

    Raises:
        ValueError: If an argument is out of its range, the images do not fit the
            model, the path exists, or the model needs an operation that TFLite does
            not have.

    Example:

    >>> keras_senet.export_tflite(
    ...     model, "model.tflite", quantization="int8", representative_dataset=[images]
    ... )
    """
    check_arguments(path, quantization, io_type, float_operations)
    with atomic_path(path, overwrite=overwrite, what="TFLite file") as temporary:
        frozen = freeze(model, labels, image_size, batch_size, fold)
        images = None
        if is_int8(quantization):
            images = calibration_images(
                frozen, representative_dataset, limit=representative_limit
            )
        conversion = Conversion(frozen, images)
        floats = conversion.find(float_operations)
        data = conversion.convert(quantization, io_type, floats)
        conversion.write(data, temporary)
    return Path(path)


def check_arguments(path, quantization, io_type, float_operations=()) -> None:
    """Raises a ValueError for arguments that make no sense together."""
    check_ending(path, SUFFIXES["tflite"])
    check_quantization(quantization, QUANTIZATIONS)
    if io_type not in INT8_TYPES:
        raise ValueError(
            f"`io_type` must be one of {INT8_TYPES}. Received: io_type={io_type!r}"
        )
    if isinstance(float_operations, str):
        raise ValueError(
            "`float_operations` must be a list of expressions. Received: "
            f"float_operations={float_operations!r}"
        )
    if is_int8(quantization):
        return
    if io_type != "float32":
        raise ValueError(
            "An integer `io_type` needs quantization='int8'. Received: "
            f"io_type={io_type!r}, quantization={quantization!r}"
        )
    if float_operations:
        raise ValueError(
            "`float_operations` needs quantization='int8'. Received: "
            f"float_operations={float_operations!r}, quantization={quantization!r}"
        )


class Conversion:
    """Converts one model to several .tflite files, sharing the float32 conversion.

    Args:
        frozen: The model.
        images: For int8 files: batches of representative images.
    """

    def __init__(self, frozen: Frozen, images: list[np.ndarray] | None = None):
        self.frozen = frozen
        self.images = images

    @functools.cached_property
    def float32(self) -> bytes:
        """The file without quantisation."""
        return self._converted(None)

    @functools.cached_property
    def operations(self) -> list[Operation]:
        """The operations of the file without quantisation."""
        return graph_operations(open_flatbuffer(self.float32))

    @functools.cached_property
    def gates(self) -> list[str]:
        """The names of the operations that make and apply the gates."""
        return gate_operations(self.operations)

    @functools.cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each tensor over the images."""
        ranges = tensor_ranges(self.float32, self.images)
        if self.frozen.card.normalises:
            # So that a pixel is a step of the input.
            graph = open_flatbuffer(self.float32).subgraphs[0]
            ranges[graph.tensors[graph.inputs[0]].name.decode()] = (0.0, 255.0)
        return ranges

    def find(self, expressions: Sequence[str]) -> set[str]:
        """Returns the names of the operations in which an expression is found."""
        found: set[str] = set()
        for expression in expressions:
            names = [step.name for step in self.operations]
            fitting = [name for name in names if re.search(expression, name)]
            if not fitting:
                parts = sorted({part for name in names for part in name.split(";")})
                raise ValueError(
                    "`float_operations` must name operations of the model. Received: "
                    f"{expression!r}, which matches none.{nearest(expression, parts)}"
                )
            found.update(fitting)
        return found

    def convert(
        self,
        quantization: str | None,
        io_type: str = "float32",
        floats: Collection[str] = (),
    ) -> bytes:
        """Returns the bytes of a file, without metadata, as `export_tflite` says.

        Args:
            quantization: As there.
            io_type: As there.
            floats: For int8: the names of the operations that are computed in float.
        """
        if quantization is None:
            return self.float32
        gates = self.gates if "gates" in quantization else []
        if "gates" in quantization and not gates:
            raise ValueError(
                "A quantization of gates needs a model with SE. Received: "
                f"{self.frozen.name}, which has no SE. Use quantization='int8'."
            )
        if quantization == "int8_int16_gates":
            int16 = [name for name in gates if name not in floats]
            return self._mixed(floats=floats, int16=int16, io_type=io_type)
        if gates or floats:
            return self._mixed(floats=[*floats, *gates], io_type=io_type)
        data = self._converted(quantization, io_type)
        if read_tflite(data).dead:
            data = revived(data, self.float32)
        dead = read_tflite(data).dead
        if dead:
            # On values without a range LiteRT's XNNPACK delegate ends the process.
            layer = dead[0].split(";")[0]
            why = f"with values that never leave zero, such as {layer!r},"
            return self._mixed(io_type=io_type, why=why)
        return data

    def _converted(self, quantization: str | None, io_type: str = "float32") -> bytes:
        """Converts the model by TensorFlow's converter.

        Raises:
            ValueError: If TFLite does not have an operation that is needed.
        """
        self.frozen.check_not_quantized("A .tflite file")
        ops = tf.lite.OpsSet
        with temporary_folder() as folder, quiet():
            saved_model = folder / "saved_model"
            write_saved_model(self.frozen, saved_model)
            converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
            converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS]
            if quantization is not None:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if quantization == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if quantization == "int8":
                converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8]
                batches = [[batch] for batch in self._whole_range()]
                converter.representative_dataset = lambda: batches
                converter.inference_input_type = tf.as_dtype(io_type)
                converter.inference_output_type = tf.as_dtype(io_type)
            try:
                data = converter.convert()
            except Exception as error:  # the converter's own class is not public
                raise ValueError(_reason(error)) from error
        check_builtin(data)
        return data

    def _whole_range(self) -> list[np.ndarray]:
        """The images, with black and white among them where the model takes pixels.

        A pixel is a step of the input then, as `ranges` has it.
        """
        ends = min(map(np.min, self.images)), max(map(np.max, self.images))
        if not self.frozen.card.normalises or ends == (0, 255):
            return self.images
        last = self.images[-1].copy()
        last[:, 0, 0], last[:, -1, -1] = 0, 255
        return [*self.images, last]

    def _mixed(self, **types: Any) -> bytes:
        return quantize_mixed(self.float32, self.ranges, **types)

    def write(self, data: bytes, path: Path) -> None:
        """Writes a file with its metadata, card and labels."""
        card = self.frozen.card
        flatbuffer = open_flatbuffer(data)
        add_metadata(flatbuffer, self.frozen.name, card)
        shorten_names(flatbuffer)
        path.write_bytes(write_flatbuffer(flatbuffer))
        card.write(path)
        if card.labels is not None:
            # One a line.
            lines = (" ".join(label.splitlines()) for label in card.labels)
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(LABELS, "\n".join(lines) + "\n")


def _reason(error: Exception) -> str:
    found = re.findall(r"'tf\.(\w+)' op is neither a custom op", str(error))
    if not found:
        return f"TFLite cannot hold this model. The converter says: {first_line(error)}"
    return _foreign_message(", ".join(sorted(set(found))))


def check_builtin(data: bytes) -> None:
    """Raises a ValueError if a .tflite file holds a Flex or custom operation."""
    foreign = read_tflite(data).foreign
    if foreign:
        raise ValueError(_foreign_message(", ".join(foreign)))


def _foreign_message(names: str) -> str:
    return (
        "A .tflite file can only have TFLite's builtin operations. Received: a model "
        f"that needs {names}. Replace the layer that uses them, or export a "
        "SavedModel."
    )
