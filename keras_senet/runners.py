"""What runs images through a model: Keras, SavedModel, TFLite, ONNX or OpenVINO alike.

opening.py finds out which of them a path is.
"""

import abc
import dataclasses
import functools
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_senet.card import Card, Preprocessing
from keras_senet.containers import KEY
from keras_senet.preprocessing import imagenet_classes
from keras_senet.trust import foreign_operations
from keras_senet.utils.errors import check_counts, first_line, not_installed
from keras_senet.utils.flatbuffer import read_tflite
from keras_senet.utils.graph import interface
from keras_senet.utils.labelled import fits_shape
from keras_senet.utils.quiet import quiet

if TYPE_CHECKING:
    from keras_senet.data import Source
    from keras_senet.views import SourceView

# More threads than this rarely make one small image faster.
_MOST_THREADS = 4


class Runner(abc.ABC):
    """A model or a file of a model, ready to compute scores from images.

    Several threads may use one runner at the same time.

    Attributes:
        kind: "keras", "saved_model", "tflite", "onnx" or "openvino".
        name: The path or name that was opened, or the name of the model in memory.
        card: What is known about the network beside its weights.
        input_shape: Shape of the images with the batch axis; `None` for open axes.
        size_bytes: Size of the file or folder, or of the weights in memory.
        quantization: For a .tflite file, as in `export_tflite`; for an OpenVINO file,
            as in `export_openvino`.
        precision: For an OpenVINO file: the type that it computes in if it is not int8.

    Example:

    >>> runner = keras_senet.open_model(model)
    >>> runner.kind, runner.predict(images).shape
    ('keras', (16, 10))
    """

    kind: str
    name: str
    card: Card
    input_shape: tuple[int | None, ...]
    size_bytes: int
    quantization: str | None = None
    precision: str | None = None

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The card's class names."""
        return self.card.labels

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The card's."""
        return self.card.preprocessing

    def class_names(self) -> tuple[str, ...] | None:
        """The card's class names, or ImageNet's for weights of its 1000 classes."""
        card, classes = self.card, imagenet_classes()
        if card.labels is None and card.preset and card.classes == len(classes):
            return tuple(name for _, name in classes)
        return card.labels

    def signature(self, name: str):
        """Returns a function of a SavedModel by its name, or `None`."""
        return None

    def keras_model(self) -> keras.Model:
        """Returns the Keras model; raises a ValueError for an exported file."""
        raise ValueError(
            "This needs a Keras model: a run folder, a .keras file or a network's "
            f"name with weights. Received: {self.name!r}, which is an exported file."
        )

    def view(self, source: "Source", **options) -> "SourceView":
        """Returns how the model sees a data source, see `view_source`."""
        from keras_senet.views import view_source

        return view_source(source, self.card, self.name, **options)

    def predict(
        self, images: np.ndarray, *, batch_size: int = 32
    ) -> np.ndarray | dict[str, np.ndarray]:
        """Runs images through the model.

        Args:
            images: Images `(N, height, width, channels)` as the model takes them, of
                any numeric type.
            batch_size: Number of images in one step, if the model leaves it open.

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
        size = self.input_shape[0] or batch_size
        parts = [self._run(images[i : i + size]) for i in range(0, len(images), size)]
        outputs = {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        kept, size = len(batch), self.input_shape[0]
        if size:
            padding = np.zeros((size - kept, *batch.shape[1:]), "float32")
            batch = np.concatenate([batch, padding])
        outputs = self._predict_batch(batch).items()
        return {name: np.asarray(x)[:kept].astype("float32") for name, x in outputs}

    def _check(self, images: np.ndarray) -> None:
        expected = self.input_shape[1:]
        if not fits_shape(images, expected):
            raise ValueError(
                f"The images must have the shape {(None, *expected)} that "
                f"{self.name} takes. Received: images of shape {images.shape}"
            )
        if len(images) == 0:
            raise ValueError(
                "There must be at least one image. Received: images of shape "
                f"{images.shape}"
            )

    @abc.abstractmethod
    def _predict_batch(self, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        """Runs one batch, all of it at a time."""

    def _describe(self, card: Card | None, shape, outputs: Mapping[str, tuple]) -> None:
        """Completes a file's card by what the file itself shows.

        Args:
            card: The card, where the file carries one.
            shape: Of its input.
            outputs: Of each output its shape and what it means, where that is known.
        """
        self.input_shape, seen = tuple(shape), Card()
        if len(outputs) == 1:
            ((shape, meaning),) = outputs.values()
            if len(shape) == 2:
                seen = Card(classes=shape[1], outputs=meaning)
        card = (card or Card()).completed(seen)
        self.card = dataclasses.replace(card, input_shape=self.input_shape[1:])


class KerasRunner(Runner):
    """A Keras model, in memory or read from a path."""

    kind = "keras"

    def __init__(self, model: keras.Model, path: str | os.PathLike | None = None):
        self._model = model
        self.name = model.name if path is None else os.fspath(path)
        self.card = Card.of(model)
        if path is not None and Path(path).is_file():
            self.size_bytes = Path(path).stat().st_size
        else:
            self.size_bytes = sum(w.nbytes for w in model.get_weights())

    def keras_model(self):
        return self._model

    @functools.cached_property
    def _interface(self):
        known = interface(self._model)
        _only_input(known.inputs, self.name)
        return known

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return self._interface.inputs[0][1]

    @functools.cached_property
    def _function(self):
        if keras.config.backend() == "tensorflow":
            from keras_senet.tracing import inference

            return inference(self._model)

        def run(batch):
            outputs = self._model.predict_on_batch(batch)
            if isinstance(outputs, dict):
                return outputs
            names = self._interface.outputs
            return dict(zip(names, keras.tree.flatten(outputs), strict=True))

        return run

    def _predict_batch(self, batch):
        return self._function(batch.astype(self._interface.inputs[0][2]))


class SavedModelRunner(Runner):
    """A SavedModel folder; without `trust` only one that can do nothing but compute."""

    kind = "saved_model"

    def __init__(self, path: Path, trust: bool):
        import tensorflow as tf

        self.name = str(path)
        self.size_bytes = _size(*filter(Path.is_file, path.rglob("*")))
        try:
            foreign = [] if trust else foreign_operations(path)
            if not foreign:
                self._loaded = tf.saved_model.load(str(path))
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise unreadable(path, "a SavedModel", error) from error
        if foreign:
            raise ValueError(
                "A SavedModel is a program. It is only opened if it can do nothing but "
                f"compute. Received: {self.name!r}, which has other operations: "
                f"{', '.join(foreign[:5])}{', …' if len(foreign) > 5 else ''}. If you "
                "trust its author, open it with trust=True (--trust)."
            )
        self._function = self.signature("serving_default")
        if self._function is None:
            raise ValueError(
                "A SavedModel needs the signature 'serving_default'. Received: "
                f"{self.name}, with {sorted(self._loaded.signatures)}"
            )
        specs = self._function.structured_input_signature[1].values()
        self._spec = _only_input(specs, self.name)
        graph = self._function.graph.as_graph_def()
        outputs = {
            tensor.name: (tensor.shape, _MEANINGS.get(_last_node(graph, tensor.name)))
            for tensor in self._function.outputs
            if tensor.shape.rank is not None
        }
        self._describe(Card.read(path), self._spec.shape, outputs)

    def signature(self, name):
        return self._loaded.signatures.get(name)

    def _predict_batch(self, batch):
        import tensorflow as tf

        tensor = tf.constant(batch.astype(self._spec.dtype.as_numpy_dtype))
        return self._function(**{self._spec.name: tensor})


# What outputs mean by the operation that makes them: in TensorFlow, TFLite and ONNX.
_MEANINGS = {
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "SOFTMAX": "softmax",
    "LOGISTIC": "sigmoid",
}


def _last_node(graph, tensor: str) -> str:
    """Returns the operation that makes a tensor of a GraphDef, through calls."""
    functions = {part.signature.name: part for part in graph.library.function}
    nodes, calls = {node.name: node for node in graph.node}, 0
    while calls <= len(functions):  # a damaged file may have one that calls itself
        name, _, index = tensor.partition(":")
        node = nodes.get(name)
        if node is None:  # an argument
            return ""
        if node.op == "Identity":
            tensor = node.input[0]
        elif node.op.endswith("PartitionedCall"):
            calls += 1
            part = functions[node.attr["f"].func.name]
            nodes = {inner.name: inner for inner in part.node_def}
            place = int(index.rpartition(":")[2] or 0)
            tensor = part.ret[part.signature.output_arg[place].name]
        else:
            return node.op
    return ""


class TFLiteRunner(Runner):
    """A .tflite file in LiteRT's interpreter."""

    kind = "tflite"

    def __init__(self, path: Path, threads: int | None):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.name = str(path)
        self.size_bytes = path.stat().st_size
        contents = read_tflite(path)
        if contents.foreign:
            raise ValueError(
                "A .tflite file can only have builtin operations. Received: "
                f"{self.name}, which needs {', '.join(contents.foreign)}"
            )
        self.quantization = contents.quantization
        # With values that have no range XNNPACK ends the process.
        resolver = (
            OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            if contents.dead
            else OpResolverType.AUTO
        )
        try:
            with quiet():
                self._interpreter = Interpreter(
                    model_path=str(path),
                    num_threads=threads or min(os.cpu_count() or 1, _MOST_THREADS),
                    experimental_op_resolver_type=resolver,
                )
                inputs = self._interpreter.get_input_details()
                # The size that stands for an open one, 1 x 1, is too small for some.
                is_open = any(side < 0 for side in inputs[0]["shape_signature"][1:])
                if not is_open:
                    self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise unreadable(path, "a .tflite file", error) from error
        self._input = _only_input(inputs, self.name)
        self._outputs = _tflite_outputs(self._interpreter)
        self._shape = None if is_open else tuple(self._input["shape"])
        # An interpreter holds one input and one output at a time.
        self._lock = threading.Lock()
        shape = [None if s < 0 else int(s) for s in self._input["shape_signature"]]
        meaning = _MEANINGS.get(contents.last)
        outputs = {
            name: (tuple(map(int, detail["shape"])), meaning)
            for name, detail in self._outputs.items()
        }
        self._describe(Card.read(path), shape, outputs)

    def _predict_batch(self, batch):
        interpreter, index = self._interpreter, self._input["index"]
        values = quantize(batch, self._input)
        with self._lock:
            if batch.shape != self._shape:
                self._shape = None  # until it is known to fit
                interpreter.resize_tensor_input(index, batch.shape)
                try:
                    interpreter.allocate_tensors()
                except RuntimeError as error:
                    raise ValueError(
                        f"{self.name!r} must be able to take images of shape "
                        f"{batch.shape}. LiteRT's answer: {first_line(error)}"
                    ) from error
                self._shape = batch.shape
            interpreter.set_tensor(index, values)
            interpreter.invoke()
            outputs = {
                name: interpreter.get_tensor(detail["index"])
                for name, detail in self._outputs.items()
            }
        return {n: dequantize(v, self._outputs[n]) for n, v in outputs.items()}


def _tflite_outputs(interpreter) -> dict[str, dict]:
    """Returns the details of the outputs by the names their signature gives them."""
    details = interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if not signatures:
        return {detail["name"]: detail for detail in details}
    name = next(iter(signatures))
    if len(details) == 1:
        return dict(zip(signatures[name]["outputs"], details, strict=True))
    return dict(interpreter.get_signature_runner(name).get_output_details())


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


_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(uint8)": "uint8",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
}


class OnnxRunner(Runner):
    """An .onnx file in ONNX Runtime."""

    kind = "onnx"

    def __init__(self, path: Path, threads: int | None):
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise not_installed("ONNX files", error, "onnx", "onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self.name = str(path)
        self.size_bytes = path.stat().st_size
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes have no public name
            raise unreadable(path, "an ONNX file", error) from error
        self._input = _only_input(self._session.get_inputs(), self.name)
        if self._input.type not in _ONNX_TYPES:
            raise ValueError(
                f"The input must be one of {', '.join(_ONNX_TYPES)}. Received: "
                f"{self.name!r}, which takes {self._input.type}"
            )
        graph = onnx.load(path, load_external_data=False).graph
        makers = {name: node.op_type for node in graph.node for name in node.output}
        outputs = {
            output.name: (_sides(output), _MEANINGS.get(makers.get(output.name)))
            for output in self._session.get_outputs()
        }
        self._outputs = list(outputs)
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        card = None if text is None else Card.parse(text, path)
        self._describe(card, _sides(self._input), outputs)

    def _predict_batch(self, batch):
        batch = np.ascontiguousarray(batch, _ONNX_TYPES[self._input.type])
        results = self._session.run(self._outputs, {self._input.name: batch})
        return dict(zip(self._outputs, results, strict=True))


def _sides(tensor) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in tensor.shape)


# OpenVINO's names.
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoRunner(Runner):
    """An .xml file of OpenVINO, on the CPU."""

    kind = "openvino"

    def __init__(self, path: Path, threads: int | None, precision: str):
        try:
            import openvino
        except ImportError as error:
            raise not_installed("OpenVINO files", error, "openvino") from error
        card, weights = Card.read(path), path.with_suffix(".bin")
        if not weights.is_file():
            raise FileNotFoundError(
                "An .xml file of OpenVINO needs its weights in the same folder. "
                f"Received: {str(path)!r} without {weights.name}. Copy both files."
            )
        self.name, self.precision = str(path), precision
        self.size_bytes = _size(path, weights)
        core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise ValueError(
                "bfloat16 needs a processor with AVX512_BF16 or AMX. Received: "
                f"precision={precision!r} on another processor. Use 'float32'."
            )
        options = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision]}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(path)
            self._request = core.compile_model(
                model, "CPU", options
            ).create_infer_request()
        except RuntimeError as error:
            raise unreadable(path, "an OpenVINO file", error) from error
        taken = _only_input(model.inputs, self.name)
        self._dtype = taken.get_element_type().to_dtype()
        # Keras' exporter gives none on torch.
        self._outputs = [
            output.get_any_name() if output.names else f"output_{place}"
            for place, output in enumerate(model.outputs)
        ]
        self.quantization = _openvino_quantization(model)
        # A request holds one input and one output at a time.
        self._lock = threading.Lock()
        outputs = {}
        for name, output in zip(self._outputs, model.outputs, strict=True):
            maker = output.get_node().input_value(0).get_node().get_type_name()
            outputs[name] = (_openvino_shape(output), _MEANINGS.get(maker))
        self._describe(card, _openvino_shape(taken), outputs)

    def _predict_batch(self, batch):
        batch = np.ascontiguousarray(batch, self._dtype)
        with self._lock:
            results = self._request.infer({0: batch})
        return dict(zip(self._outputs, results.values(), strict=True))


def _openvino_shape(port) -> tuple[int | None, ...]:
    sides = port.get_partial_shape()
    return tuple(None if side.is_dynamic else side.get_length() for side in sides)


def _openvino_quantization(model) -> str | None:
    kinds = {node.get_type_name() for node in model.get_ops()}
    if "FakeQuantize" in kinds:
        return "int8"
    constants = (n for n in model.get_ops() if n.get_type_name() == "Constant")
    halves = any(n.get_element_type().get_type_name() == "f16" for n in constants)
    return "float16" if halves else None


def _size(*files: Path) -> int:
    return sum(file.stat().st_size for file in files)


def _only_input(inputs, name: str):
    """Returns the one input that a model has; raises a ValueError if it has others."""
    if len(inputs) != 1:
        raise ValueError(
            "The model must have one input, a batch of images. Received: "
            f"{name}, which has {len(inputs)} inputs. Run it with its own runtime."
        )
    return next(iter(inputs))


def unreadable(path: Path, what: str, error: Exception) -> ValueError:
    """Returns the error for a file that its reader refused."""
    return ValueError(
        f"The path must be {what}. Received: {str(path)!r}, which cannot be read. It "
        f"is damaged, truncated or another kind of file. {first_line(error)[:200]}"
    )
