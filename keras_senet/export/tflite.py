"""TFLite: one file for phones and small devices, builtin operations only."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras

from keras_senet.data import Source
from keras_senet.export._calibration import calibration_images
from keras_senet.export._conversion import Conversion
from keras_senet.export._frozen import check_exportable
from keras_senet.utils.errors import nearest
from keras_senet.utils.files import atomic_path

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
    | "int8_float_gates" | int8, of the gates float32 | int8, of SE float32 | yes |
    | "int8_int16_gates" | int8 | int8, of SE 16-bit integers | yes |

    The last two, and operations kept in float, are made by LiteRT's quantiser, which
    `pip install litert-quantizer` brings. So is an int8 file of a network with dead
    units, whose values never leave zero. 16-bit gates are for accelerators that have
    them: LiteRT's own CPU kernels for them are slow.

    A phone library finds what it needs in the file: standard TFLite metadata with the
    input's size, colours and normalisation, and the labels as `labels.txt`.

    Args:
        model: A functional or sequential model.
        path: The file to write; its name ends in ".tflite".
        quantization: One of the table.
        representative_dataset: For int8: real training images. A data source, or what
            `keras_senet.data.open_source` takes; or batches of images as the model
            takes them, or of pairs (images, labels): a tf.data dataset, an array or
            any iterable.
        representative_limit: How many images of it are used at most.
        io_type: For int8: the type of the file's input and output, "float32",
            "uint8" or "int8". With raw images, "uint8" takes them as they are.
        float_operations: For int8: regular expressions for the operations that are
            computed in float, such as "predictions" or "^conv1_"; they are searched
            in the operations' names, which begin with those of their layers.
        labels: Class names in the order of the classes. They and the preprocessing
            follow the flatbuffer as `keras_senet.json` in a zip archive.
        image_size: Height and width, for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether batch normalisation and SE are folded first, see
            `keras_senet.fold`. The header describes the model as it was given.
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
    check_arguments(path, quantization, io_type, float_operations)
    with atomic_path(path, overwrite=overwrite, what="TFLite file") as temporary:
        images = None
        if is_int8(quantization):
            images = calibration_images(
                model,
                representative_dataset,
                limit=representative_limit,
                image_size=image_size,
            )
        conversion = Conversion(
            model,
            images=images,
            labels=labels,
            image_size=image_size,
            batch_size=batch_size,
            fold=fold,
        )
        if float_operations:
            data = _with_floats(conversion, quantization, float_operations, io_type)
        else:
            data = conversion.convert(quantization, io_type)
        conversion.write(data, temporary)
    return Path(path)


def is_int8(quantization: str | None) -> bool:
    """Whether a quantization is one of those that need images."""
    return quantization is not None and quantization.startswith("int8")


def _with_floats(conversion, quantization, expressions, io_type) -> bytes:
    names = [step.name for step in conversion.operations]
    floats = set()
    for expression in expressions:
        found = [name for name in names if re.search(expression, name)]
        if not found:
            parts = sorted({part for name in names for part in name.split(";")})
            raise ValueError(
                "`float_operations` must name operations of the model. Received: "
                f"{expression!r}, which fits none.{nearest(expression, parts)}"
            )
        floats.update(found)
    gates = conversion.gates if quantization != "int8" else []
    if quantization == "int8_int16_gates":
        int16 = [name for name in gates if name not in floats]
        return conversion.mixed(floats=floats, int16=int16, io_type=io_type)
    return conversion.mixed(floats={*floats, *gates}, io_type=io_type)


def check_arguments(path, quantization, io_type, float_operations=()) -> None:
    """Raises a ValueError for arguments that make no sense together."""
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


def check_classifier(model: keras.Model) -> None:
    """Raises a ValueError unless a model has one output of shape (N, classes)."""
    check_exportable(model)
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            "Accuracy is measured on classifiers, which have one output of shape (N, "
            f"classes). Received: a model with the outputs {shapes}"
        )
