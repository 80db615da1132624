"""int8 with chosen operations in float or 16 bits, by LiteRT's quantiser."""

import contextlib
import copy
import io
import re
import warnings
from collections.abc import Collection, Mapping

import numpy as np

from keras_senet.export._flatbuffer import open_flatbuffer, schema, write_flatbuffer
from keras_senet.export._quiet import quiet

# Values that differ by less than this over all images have no range to be scaled by.
_SMALLEST_RANGE = 1e-6
# The schema's: above it, an operation's number is in the newer field only.
_LAST_OLD_CODE = 127


def quantize_mixed(
    data: bytes,
    ranges: Mapping[str, tuple[float, float]],
    *,
    floats: Collection[str] = (),
    int16: Collection[str] = (),
    io_type: str = "float32",
    why: str = "with other operations",
) -> bytes:
    """Quantises a float32 .tflite file to int8, some of its operations otherwise.

    Args:
        data: The float32 file.
        ranges: Smallest and largest value of each tensor. One that never changes gets
            a range nevertheless: with none the next scale underflows.
        floats: Names of the operations that stay in float32.
        int16: Names of the operations that take and return 16-bit integers.
        io_type: The type of the input and the output: "float32", "uint8" or "int8".
        why: What the quantiser is needed for, said where it is not installed.

    Raises:
        ValueError: If the quantiser is not installed or cannot quantise the file.
    """
    quantizer = _quantizer(data, why)
    everything = ".*"
    quantizer.add_static_config(everything, "*", 8, 8)
    if int16:
        quantizer.add_static_config(_only(int16), "*", 16, 8)
    if floats:
        _leave(quantizer, _only(floats), "*")
    if io_type == "float32":
        _leave(quantizer, everything, "INPUT")
        _leave(quantizer, everything, "OUTPUT")
    try:
        with _silence():
            result = quantizer.quantize(
                _calibration(data, ranges),
                enable_progress_bar=False,
                enable_progress_report=False,
            )
    except Exception as error:  # of many classes, for models that it does not know
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"LiteRT's quantiser cannot take this model: {reason}") from (
            error
        )
    model = open_flatbuffer(bytes(result.quantized_model))
    for code in model.operatorCodes:
        # The quantiser leaves out what older readers, OpenVINO's too, look at.
        code.deprecatedBuiltinCode = min(code.builtinCode, _LAST_OLD_CODE)
    if io_type == "uint8":
        _take_bytes(model)
    return write_flatbuffer(model)


@contextlib.contextmanager
def _silence():
    """Drops the quantiser's progress bars and its warnings on memory."""
    box = io.StringIO()
    with (
        quiet(),
        contextlib.redirect_stderr(box),
        contextlib.redirect_stdout(box),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _quantizer(data: bytes, why: str):
    try:
        from litert_quantizer import Quantizer
    except ImportError as error:
        raise ValueError(
            f"An int8 file {why} needs LiteRT's quantiser, which is not installed. "
            "Run: pip install litert-quantizer"
        ) from error
    return Quantizer(bytearray(data))


def _only(names: Collection[str]) -> str:
    """A regular expression for operations by the names of their results."""
    return f"^(?:{'|'.join(map(re.escape, names))});?$"


def _leave(quantizer, expression: str, kind: str) -> None:
    quantizer.update_quantization_recipe(expression, kind, algorithm_key="no_quantize")


def _calibration(data: bytes, ranges) -> dict[str, dict[str, np.ndarray]]:
    """Returns the ranges in the quantiser's form: an axis for each of the tensor's."""
    tensors = open_flatbuffer(data).subgraphs[0].tensors
    result = {}
    for tensor in tensors:
        name = tensor.name.decode()
        if name in ranges:
            low, high = _usable(*ranges[name])
            shape = [1] * len(() if tensor.shape is None else tensor.shape)
            result[name] = {
                "min": np.full(shape, low, "float32"),
                "max": np.full(shape, high, "float32"),
            }
    return result


def _usable(low: float, high: float) -> tuple[float, float]:
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > _SMALLEST_RANGE else (low, 1.0)


def _take_bytes(model) -> None:
    """Makes the int8 input and outputs of a model uint8."""
    graph, signatures = model.subgraphs[0], model.signatureDefs or []
    code = _quantize_code(model)
    bytes_of = {
        int(index): _byte_tensor(graph, index)
        for index in (*graph.inputs, *graph.outputs)
        if graph.tensors[index].type == schema().TensorType.INT8
    }
    first = [_cast(code, bytes_of[i], i) for i in graph.inputs if i in bytes_of]
    last = [_cast(code, i, bytes_of[i]) for i in graph.outputs if i in bytes_of]
    graph.operators = [*first, *graph.operators, *last]
    graph.inputs = [bytes_of.get(int(i), i) for i in graph.inputs]
    graph.outputs = [bytes_of.get(int(i), i) for i in graph.outputs]
    for signature in signatures:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = bytes_of.get(entry.tensorIndex, entry.tensorIndex)


def _cast(code: int, source: int, target: int):
    operator = schema().OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = [source], [target]
    return operator


def _quantize_code(model) -> int:
    code = schema().OperatorCodeT()
    code.builtinCode = schema().BuiltinOperator.QUANTIZE
    code.deprecatedBuiltinCode = min(code.builtinCode, _LAST_OLD_CODE)
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _byte_tensor(graph, index: int) -> int:
    """Adds the uint8 form of an int8 tensor; returns its index."""
    tensor = copy.deepcopy(graph.tensors[index])
    tensor.type = schema().TensorType.UINT8
    tensor.name += b"_uint8"
    tensor.quantization.zeroPoint = [int(tensor.quantization.zeroPoint[0]) + 128]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
