"""OpenVINO: an .xml file and a .bin file, for servers without a GPU."""

import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_senet.containers import SUFFIXES
from keras_senet.data import Source
from keras_senet.export.quantize import calibration_images, check_quantization
from keras_senet.export.saved_model import write_saved_model
from keras_senet.tracing import Frozen, freeze
from keras_senet.utils.errors import check_ending, not_installed
from keras_senet.utils.files import atomic_openvino, temporary_folder
from keras_senet.utils.quiet import silence

QUANTIZATIONS = (None, "float16", "int8")


def export_openvino(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    quantization: str | None = None,
    representative_dataset: Source | str | os.PathLike | Iterable | None = None,
    representative_limit: int = 256,
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    fold: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a model as OpenVINO's two files, `name.xml` and `name.bin`.

    The files take `images` in the form that the model takes, float32 `(N, height,
    width, channels)`. They return the outputs under the names of the model's output
    layers.

    | quantization | weights | arithmetic | needs images |
    |---|---|---|---|
    | None | float32 | float32, or bfloat16 (see `open_model`) | no |
    | "float16" | float16 | the same | no |
    | "int8" | int8 | int8 and float | yes |

    NNCF makes the int8 files. Their weights use 7 of the 8 bits, because products of 8
    bits overflow on processors without VNNI.

    Args:
        model: A functional or sequential model.
        path: The file to write; its name ends in ".xml". The file of weights has the
            same name with ".bin".
        quantization: A value of the table.
        representative_dataset: For int8: real training images, as for `export_tflite`.
        representative_limit: The largest number of these images to use.
        labels: Class names in the order of the classes. They and the preprocessing are
            in the .xml file's `rt_info`, under "keras_senet".
        image_size: Height and width, for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether batch normalization and SE are folded first, see
            `keras_senet.fold`.
        overwrite: Whether existing files are replaced.

    Returns:
        The path of the .xml file.

    Raises:
        ImportError: If openvino, or for int8 nncf, is not installed.
        ValueError: If an argument is out of its range, the images do not fit the
            model, a path exists, or the model cannot be converted.

    Example:

    >>> keras_senet.export_openvino(model, "model.xml")
    >>> keras_senet.verify(model, "model.xml", images).passed
    True
    """
    path = Path(path)
    check_ending(path, SUFFIXES["openvino"])
    check_quantization(quantization, QUANTIZATIONS)
    check_openvino(quantization)
    with atomic_openvino(path, overwrite=overwrite) as temporary:
        frozen = freeze(model, labels, image_size, batch_size, fold)
        images = None
        if quantization == "int8":
            images = calibration_images(
                frozen, representative_dataset, limit=representative_limit
            )
        write_openvino(frozen, temporary, quantization, images)
    return path


def check_openvino(quantization: str | None) -> None:
    """Raises an ImportError if a package is missing that writes such a file."""
    try:
        import openvino  # noqa: F401

        if quantization == "int8":
            import nncf  # noqa: F401
    except ImportError as error:
        packages = ["openvino", "nncf"] if quantization == "int8" else ["openvino"]
        raise not_installed("OpenVINO files", error, *packages) from error


def write_openvino(
    frozen: Frozen,
    path: Path,
    quantization: str | None,
    images: list[np.ndarray] | None = None,
) -> None:
    """Writes a frozen model as an .xml file, with the .bin file beside it.

    Args:
        frozen: The model.
        path: The .xml file.
        quantization: As of `export_openvino`.
        images: For int8: batches of representative images.

    Raises:
        ValueError: If OpenVINO cannot hold the model.
    """
    import openvino

    frozen.check_not_quantized("An OpenVINO file")
    # From a concrete function OpenVINO 2026.4 reads no shapes behind a call.
    with temporary_folder() as folder, silence():
        write_saved_model(frozen, folder / "saved_model")
        try:
            model = openvino.convert_model(folder / "saved_model")
            if quantization == "int8":
                model = _quantized(model, images)
        except Exception as error:  # of many classes, NNCF's among them
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise ValueError(
                "This model cannot be converted to OpenVINO. The error of OpenVINO "
                f"is: {reason}"
            ) from error
        results = {output.get_any_name(): output.get_node() for output in model.outputs}
        # In the model's order; OpenVINO sorts them.
        ordered = [results[name] for name in frozen.function.structured_outputs]
        model = openvino.Model(ordered, model.get_parameters(), frozen.name)
        try:
            openvino.save_model(model, path, compress_to_fp16=quantization == "float16")
        except RuntimeError as error:  # which does not say that the disk is full
            if shutil.disk_usage(path.parent).free > 2**20:
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
    frozen.card.write(path)


def _quantized(model, images: list[np.ndarray]):
    import nncf

    return nncf.quantize(
        model,
        nncf.Dataset(images),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        # Slower, and half the loss of SE-ResNet-20 on CIFAR-10.
        fast_bias_correction=False,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE
        ),
    )
