"""ONNX, OpenVINO and TFLite files on JAX and torch: Keras' own exporters write them."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_senet.card import Card
from keras_senet.containers import SUFFIXES
from keras_senet.export.verify import verify
from keras_senet.surgery.fold import inference_form
from keras_senet.utils.errors import check_ending, first_line, not_installed
from keras_senet.utils.files import atomic_openvino, atomic_path
from keras_senet.utils.graph import interface
from keras_senet.utils.quiet import quiet, silence

# What files are called -> Keras' name of the format, and the packages that Keras'
# exporter needs on each backend.
_FORMATS = {
    "ONNX": ("onnx", {"jax": ["onnx", "jax2onnx"], "torch": ["onnx"]}),
    "OpenVINO": ("openvino", {"torch": ["openvino"]}),
    "TFLite": ("litert", {"torch": ["litert-torch"]}),
}


def _export(
    what: str,
    model: keras.Model,
    path: str | os.PathLike,
    *,
    quantization: None = None,
    representative_dataset: None = None,
    io_type: str = "float32",
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    fold: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a model with one input and one output, and verifies the file on noise.

    The arguments are those of the functions for TensorFlow.
    """
    path = Path(path)
    suffix, (kind, _) = SUFFIXES[what.lower()], _FORMATS[what]
    _check_backend(what, path, quantization, io_type)
    check_ending(path, suffix)
    known = interface(model, image_size, batch_size)
    if len(known.inputs) != 1 or len(known.outputs) != 1:
        raise ValueError(
            "On this backend of Keras a model has one input and one output in a file. "
            f"Received: {len(known.inputs)} inputs, {len(known.outputs)} outputs on "
            f"{keras.config.backend()!r}. Call model.export({str(path)!r}, "
            f"format={kind!r})."
        )
    card = Card.of(model).named(labels, [model.output_shape[-1]])
    ((name, shape, dtype),) = known.inputs
    image = keras.InputSpec(dtype, shape, name=name)
    # Where TensorFlow is installed, Keras imports it to write a layer down.
    place = (
        atomic_openvino(path, overwrite=overwrite)
        if what == "OpenVINO"
        else atomic_path(path, overwrite=overwrite, what=f"{what} file")
    )
    with quiet(), place as temporary:
        written = temporary.with_name(f"keras{suffix}")
        _write(what, inference_form(model, folded=fold), written, image)
        if what == "OpenVINO":
            _complete(written, temporary, image.shape, known.outputs[0])
        else:
            os.replace(written, temporary)
        card.write(temporary)
        _check(what, model, temporary, [side or 64 for side in image.shape[1:]])
    return path


def _check_backend(what: str, path: Path, quantization, io_type: str) -> None:
    """Raises a ValueError unless Keras' exporter writes such a file on this backend."""
    backend, packages = keras.config.backend(), _FORMATS[what][1]
    if backend not in packages or quantization or io_type != "float32":
        others = " or ".join(["tensorflow", *packages])
        wanted = "tensorflow" if backend in packages else others
        raise ValueError(
            f"Such {what} files are written on Keras' backend {wanted}. Received: "
            f"{backend!r}, quantization={quantization!r}. Save the model, and run "
            f"KERAS_BACKEND=tensorflow keras-senet export model.keras --output {path}"
        )


def _write(what: str, model: keras.Model, path: Path, image: keras.InputSpec) -> None:
    """Runs Keras' exporter; raises what tells why it cannot write the file."""
    kind, packages = _FORMATS[what]
    needed = packages[keras.config.backend()]
    try:
        with silence():
            model.export(str(path), kind, verbose=False, input_signature=[image])
    except ImportError as error:
        error.name = error.name or needed[-1]
        raise not_installed(f"{what} files", error, *needed) from error
    except Exception as error:  # of many classes
        raise ValueError(
            f"{what} cannot hold this model. Keras' exporter says: {first_line(error)}"
        ) from error


def _check(what: str, model: keras.Model, path: Path, shape: list[int]) -> None:
    """Raises a ValueError unless the file computes on noise what the model computes."""
    images = np.random.default_rng(0).uniform(0, 1, (2, *shape))
    try:
        with silence():
            verify(model, path, images, latency_runs=0, strict=True)
    except Exception as error:  # of many classes, the runtimes' among them
        raise ValueError(
            f"Keras' exporter wrote a wrong {what} file, which was removed: "
            f"{first_line(error)}"
        ) from error


def _complete(written: Path, path: Path, shape: tuple, output: str) -> None:
    """Writes OpenVINO's file again, with the shape and the name that it lacks."""
    import openvino

    model = openvino.Core().read_model(written)
    model.reshape([side or -1 for side in shape])
    model.output().set_names({output})
    openvino.save_model(model, path, compress_to_fp16=False)


export_onnx = functools.partial(_export, "ONNX")
export_openvino = functools.partial(_export, "OpenVINO")
export_tflite = functools.partial(_export, "TFLite")
