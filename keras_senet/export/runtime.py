"""One way to run a model, whatever it lies in."""

import abc
import os
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from keras_senet.card import Card
from keras_senet.export._header import read_header
from keras_senet.utils.errors import as_integer, check_counts
from keras_senet.utils.graph import graph_of
from keras_senet.weights import Preprocessing

_BATCH_SIZE = 32
# More threads than this rarely make one small image faster.
_MOST_THREADS = 4


class Runner(abc.ABC):
    """Something that turns images into scores: a model, or a file of one.

    Several threads may use one runner at the same time.

    Attributes:
        kind: "keras", "saved_model", "tflite" or "onnx".
        name: The path, or the name of the model in memory.
        size_bytes: Size of the file or folder, or of the weights in memory.
        labels: Class names where the file carries them, else `None`.
        preprocessing: What is done to raw images, where that is known.
        normalises: Whether the model does it itself, `None` where nothing tells.
        input_shape: Shape of the images with the batch, `None` where it is open.
    """

    kind: str
    name: str
    size_bytes: int
    labels: list[str] | None = None
    preprocessing: Preprocessing | None = None
    normalises: bool | None = None
    input_shape: tuple[int | None, ...]

    def predict(
        self, images: np.ndarray, *, batch_size: int = _BATCH_SIZE
    ) -> np.ndarray | dict[str, np.ndarray]:
        """Runs images through the model.

        Args:
            images: Images `(N, height, width, channels)` as the model takes them, of
                any numeric type.
            batch_size: How many go through at a time, where the model leaves it open.

        Returns:
            Its output as a float32 array `(N, ...)`; for a model with several
            outputs, those by name.

        Raises:
            ValueError: If there are no images, their shape is not the model's, or
                `batch_size` is not positive.
        """
        check_counts(batch_size=batch_size)
        images = np.asarray(images, "float32")
        self._check(images)
        batch_size = self.input_shape[0] or batch_size
        parts = [
            self._run(images[start : start + batch_size], batch_size)
            for start in range(0, len(images), batch_size)
        ]
        outputs = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _run(self, batch: np.ndarray, batch_size: int) -> dict[str, np.ndarray]:
        missing = batch_size - len(batch) if self.input_shape[0] else 0
        if missing:
            padding = np.zeros((missing, *batch.shape[1:]), batch.dtype)
            batch = np.concatenate([batch, padding])
        outputs = self._predict_batch(batch)
        kept = len(batch) - missing
        return {
            name: np.asarray(value)[:kept].astype("float32")
            for name, value in outputs.items()
        }

    def _check(self, images: np.ndarray) -> None:
        expected = self.input_shape
        fits = images.ndim == len(expected) and all(
            e in (None, s) for e, s in zip(expected[1:], images.shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"The images must have the shape {(None, *expected[1:])} that "
                f"{self.name} takes. Received: images of shape {images.shape}"
            )
        if len(images) == 0:
            raise ValueError(
                f"There must be images to run. Received: images of shape {images.shape}"
            )

    @abc.abstractmethod
    def _predict_batch(self, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        """Runs one batch, all of it at a time."""


class _KerasRunner(Runner):
    kind = "keras"

    def __init__(self, model: keras.Model, path: Path | None = None):
        from keras_senet.export._frozen import check_exportable, input_specs

        check_exportable(model)
        specs = input_specs(model)
        check_single_input(specs, model.name)
        self.model = model
        self.name = str(path or model.name)
        card = Card.of(model)
        self.labels, self.preprocessing = card.labels, card.preprocessing
        self.normalises = card.normalises
        self.input_shape = tuple(specs[0].shape)
        self.size_bytes = (
            path.stat().st_size if path else sum(w.nbytes for w in model.get_weights())
        )
        self._function = _inference_function(model, specs[0])

    def _predict_batch(self, batch):
        return self._function(batch)


def _inference_function(model, spec):
    import tensorflow as tf

    from keras_senet.export._frozen import named_outputs, plain_names

    structure = graph_of(model).input

    @tf.function(input_signature=[spec], autograph=False)
    def call(images):
        images = keras.tree.pack_sequence_as(structure, [images])
        with plain_names(model):
            outputs = model(images, training=False)
        return named_outputs(model, outputs)

    def run(batch):
        outputs = call(tf.constant(batch.astype(spec.dtype.as_numpy_dtype)))
        return {name: value.numpy() for name, value in outputs.items()}

    return run


class _SavedModelRunner(Runner):
    kind = "saved_model"

    def __init__(self, path: Path):
        import tensorflow as tf

        self.name = str(path)
        try:
            self._loaded = tf.saved_model.load(str(path))
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise unreadable(path, "a SavedModel", error) from error
        if "serving_default" not in self._loaded.signatures:
            raise ValueError(
                "A SavedModel needs the signature 'serving_default'. Received: "
                f"{self.name}, with {sorted(self._loaded.signatures)}"
            )
        self._function = self._loaded.signatures["serving_default"]
        specs = list(self._function.structured_input_signature[1].values())
        check_single_input(specs, self.name)
        self._spec = specs[0]
        self.input_shape = tuple(self._spec.shape)
        self.size_bytes = sum(
            file.stat().st_size for file in path.rglob("*") if file.is_file()
        )

    def signature(self, name: str):
        """Returns a function of the SavedModel, `None` where it has none so named."""
        return self._loaded.signatures.get(name)

    def _predict_batch(self, batch):
        import tensorflow as tf

        tensor = tf.constant(batch.astype(self._spec.dtype.as_numpy_dtype))
        outputs = self._function(**{self._spec.name: tensor})
        return {name: value.numpy() for name, value in outputs.items()}


class _TFLiteRunner(Runner):
    kind = "tflite"

    def __init__(self, path: Path, threads: int | None):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        from keras_senet.export._flatbuffer import read_tflite
        from keras_senet.export._quiet import quiet

        self.name = str(path)
        self.size_bytes = path.stat().st_size
        self.contents = read_tflite(path)
        if self.contents.foreign:
            raise ValueError(
                "A .tflite file may hold builtin operations only. Received: "
                f"{self.name}, which needs {', '.join(self.contents.foreign)}"
            )
        # With values that have no range XNNPACK ends the process.
        resolver = (
            OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            if self.contents.dead
            else OpResolverType.AUTO
        )
        try:
            with quiet():
                self._interpreter = Interpreter(
                    model_path=str(path),
                    num_threads=threads or _threads(),
                    experimental_op_resolver_type=resolver,
                )
                source = self._interpreter.get_input_details()[0]
                # The size that stands for an open one, 1 x 1, is too small for some.
                is_open = any(side < 0 for side in source["shape_signature"][1:])
                if not is_open:
                    self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise unreadable(path, "a .tflite file", error) from error
        inputs = self._interpreter.get_input_details()
        check_single_input(inputs, self.name)
        self._input = inputs[0]
        self._outputs = _tflite_outputs(self._interpreter)
        # An interpreter holds one input and one output at a time.
        self._lock = threading.Lock()
        signature = self._input["shape_signature"]
        self.input_shape = tuple(None if s < 0 else int(s) for s in signature)
        self._shape = None if is_open else tuple(self._input["shape"])

    def _predict_batch(self, batch):
        interpreter, index = self._interpreter, self._input["index"]
        values = quantize(batch, self._input)
        with self._lock:
            if batch.shape != self._shape:
                interpreter.resize_tensor_input(index, batch.shape)
                interpreter.allocate_tensors()
                self._shape = batch.shape
            interpreter.set_tensor(index, values)
            interpreter.invoke()
            outputs = {
                name: interpreter.get_tensor(detail["index"])
                for name, detail in self._outputs.items()
            }
        return {n: dequantize(v, self._outputs[n]) for n, v in outputs.items()}


def _threads() -> int:
    return min(os.cpu_count() or 1, _MOST_THREADS)


def _tflite_outputs(interpreter) -> dict[str, dict]:
    """Returns the details of the outputs by the names their signature gives them."""
    details = interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(details) == 1 or not signatures:
        names = [detail["name"] for detail in details]
        if len(details) == 1 and signatures:
            names = next(iter(signatures.values()))["outputs"]
        return dict(zip(names, details, strict=True))
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    return dict(runner.get_output_details())


def quantize(batch: np.ndarray, detail: dict) -> np.ndarray:
    """Returns values in the number type that a tensor's details ask for."""
    kind = np.dtype(detail["dtype"])
    if kind.kind == "f":
        return batch.astype(kind, copy=False)
    scale, zero = detail["quantization"]
    if scale:
        batch = np.rint(batch / scale + zero)
    limits = np.iinfo(kind)
    return np.clip(batch, limits.min, limits.max).astype(kind)


def dequantize(values: np.ndarray, detail: dict) -> np.ndarray:
    """Returns a tensor's values, of any number type, in float32."""
    scale, zero = detail["quantization"]
    values = values.astype("float32")
    return (values - zero) * np.float32(scale) if scale else values


def check_single_input(inputs, name: str) -> None:
    """Raises a ValueError unless there is one input."""
    if len(inputs) != 1:
        raise ValueError(
            "A runner feeds one batch of images. Received: "
            f"{name}, which has {len(inputs)} inputs. Run it with its own runtime."
        )


def unreadable(path: Path, what: str, error: Exception) -> ValueError:
    """Returns the error for a file that its reader refused."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ValueError(
        f"The path must hold {what}. Received: {str(path)!r}, which is damaged or "
        f"something else: {reason}"
    )


def open_runner(
    model_or_path: keras.Model | str | os.PathLike, *, threads: int | None = None
) -> Runner:
    """Opens a model, or a file of one, for running.

    Args:
        model_or_path: A `keras.Model`, or the path of a .keras file, a SavedModel
            folder, a .tflite or an .onnx file. A runner is returned as it is.
        threads: Threads of the TFLite interpreter. `None` is one for each core, at
            most 4. TensorFlow's are a setting of the process.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If it is none of these, or damaged.

    Example:

    >>> scores = keras_senet.export.open_runner("model.tflite").predict(images)
    """
    if isinstance(model_or_path, Runner):
        return model_or_path
    if isinstance(model_or_path, keras.Model):
        return _KerasRunner(model_or_path)
    if not isinstance(model_or_path, (str, os.PathLike)):
        raise ValueError(
            "Expected a keras.Model or the path of one. Received: "
            f"{model_or_path!r} (of type {type(model_or_path).__name__})"
        )
    path = Path(model_or_path)
    if not path.exists():
        raise FileNotFoundError(
            f"There must be a model at the path. Received: {str(path)!r}, which does "
            "not exist."
        )
    runner = _open_path(path, threads and as_integer("threads", threads))
    if runner.kind not in ("keras", "onnx"):  # which know their card
        runner.labels, runner.preprocessing, said = read_header(path)
        if said is not None:
            runner.normalises = said
    return runner


def _open_path(path: Path, threads: int | None) -> Runner:
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ValueError(
                "A SavedModel folder holds a saved_model.pb. Received: "
                f"{str(path)!r}, which does not."
            )
        return _SavedModelRunner(path)
    if path.suffix == ".tflite":
        return _TFLiteRunner(path, threads)
    if path.suffix == ".onnx":
        from keras_senet.export.onnx import OnnxRunner

        return OnnxRunner(path, threads)
    if path.suffix == ".keras":
        return _KerasRunner(_load_keras(path), path)
    if path.name.endswith(".weights.h5"):
        raise ValueError(
            "A .weights.h5 file holds no network. Received: "
            f"{str(path)!r}. Build it, keras_senet.create_model(name, weights=path), "
            "and pass the model."
        )
    raise ValueError(
        "The path must be a .keras, .tflite or .onnx file or a SavedModel folder. "
        f"Received: {str(path)!r}"
    )


def _load_keras(path: Path) -> keras.Model:
    # Registers the layers that a file of ours names.
    import keras_senet.layers  # noqa: F401

    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"A .keras file is a zip archive. Received: {str(path)!r}, which is not: "
            "it is damaged, cut short or another kind of file."
        )
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise unreadable(path, "a .keras file", error) from error
