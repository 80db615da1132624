"""ONNX: one file for ONNX Runtime and what else reads that format."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_senet.export._frozen import frozen_function, input_specs
from keras_senet.export._header import describe, parse_header
from keras_senet.export._quiet import quiet
from keras_senet.export.runtime import Runner, check_single_input, unreadable
from keras_senet.export.saved_model import check_labels
from keras_senet.utils.files import atomic_path

# The newest that tf2onnx 1.17 knows.
_OPSET = 18
_KEY = "keras_senet"


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

    The file takes `images` as the model takes them, float32 `(N, height, width,
    channels)`, and returns the outputs under the names of the model's output layers.
    It is made by tf2onnx, as Keras' own exporter makes it, but from the frozen graph:
    Keras 3.15's leaves grouped convolutions as calls that ONNX does not know.

    Args:
        model: A functional or sequential model.
        path: The file to write; its name ends in ".onnx".
        labels: Class names in the order of the classes. They and the preprocessing are
            in the file's metadata, under "keras_senet".
        image_size: Height and width, for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether batch normalisation and SE are folded first, see
            `keras_senet.fold`.
        overwrite: Whether an existing file is replaced.

    Returns:
        The path of the file.

    Raises:
        ImportError: If tf2onnx or onnx is not installed.
        ValueError: If the path exists, the labels are not as many as the classes, or
            ONNX cannot hold the model.

    Example:

    >>> keras_senet.export_onnx(model, "model.onnx")
    >>> keras_senet.verify(model, "model.onnx", images).passed
    True
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"The path must end in '.onnx'. Received: path={str(path)!r}")
    onnx, tf2onnx = (_optional(name) for name in ("onnx", "tf2onnx"))
    sizes = {"image_size": image_size, "batch_size": batch_size}
    with atomic_path(path, overwrite=overwrite, what="ONNX file") as temporary:
        function = frozen_function(model, fold=fold, **sizes)
        labels = check_labels(labels, function)
        specs = input_specs(model, **sizes)
        try:
            with quiet():
                proto, _ = tf2onnx.convert.from_function(
                    tf.function(function, input_signature=specs, autograph=False),
                    specs,
                    opset=_OPSET,
                )
            onnx.checker.check_model(proto)
        except Exception as error:  # of many classes, the checker's among them
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"ONNX cannot hold this model. tf2onnx or ONNX's checker says: {reason}"
            ) from error
        onnx.helper.set_model_props(proto, {_KEY: describe(model, labels)})
        temporary.write_bytes(proto.SerializeToString())
    return path


def _optional(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"ONNX files need the package {name}, which is not installed. Install it: "
            "pip install 'keras-senet[onnx]'"
        ) from error


class OnnxRunner(Runner):
    """Runs an ONNX file with ONNX Runtime on the CPU."""

    kind = "onnx"

    def __init__(self, path: Path, threads: int | None = None):
        runtime = _optional("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self.name = str(path)
        self.size_bytes = path.stat().st_size
        try:
            self._session = runtime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes have no public name
            raise unreadable(path, "an ONNX file", error) from error
        check_single_input(self._session.get_inputs(), self.name)
        (self._input,) = self._session.get_inputs()
        self._outputs = [output.name for output in self._session.get_outputs()]
        sides = self._input.shape
        self.input_shape = tuple(s if isinstance(s, int) else None for s in sides)
        text = self._session.get_modelmeta().custom_metadata_map.get(_KEY)
        self.labels, self.preprocessing, self.normalises = parse_header(text, path)

    def _predict_batch(self, batch):
        kinds = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
        batch = np.ascontiguousarray(batch, kinds.get(self._input.type, "float32"))
        results = self._session.run(self._outputs, {self._input.name: batch})
        return dict(zip(self._outputs, results, strict=True))
