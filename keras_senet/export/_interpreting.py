"""Every value that a .tflite file computes, for calibration and for layer errors."""

import os
from collections.abc import Iterable, Iterator

import numpy as np

from keras_senet.export._flatbuffer import graph_operations, open_flatbuffer
from keras_senet.export._quiet import quiet
from keras_senet.export.runtime import dequantize, quantize

_INTEGERS = ("int8", "uint8", "int16")


def tensor_values(
    data: bytes, images: Iterable[np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    """Runs batches of images through a .tflite file and yields what it computes.

    It runs without delegates: those do not keep the values between operations.

    Args:
        data: The file's bytes.
        images: Batches `(N, height, width, channels)` as the model takes them.

    Yields:
        For each batch the input and the result of each operation by the tensor's
        name, in float32. Whole numbers that stand for themselves, such as shapes, are
        left out.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = open_flatbuffer(data)
    computed = {int(index) for index in model.subgraphs[0].inputs}
    computed.update(i for step in graph_operations(model) for i in step.outputs)
    with quiet():
        interpreter = Interpreter(
            model_content=data,
            num_threads=os.cpu_count() or 1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=(
                OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        )
        interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    for batch in images:
        if tuple(source["shape"]) != batch.shape:
            interpreter.resize_tensor_input(source["index"], batch.shape)
            interpreter.allocate_tensors()
            source = interpreter.get_input_details()[0]
        interpreter.set_tensor(source["index"], quantize(batch, source))
        interpreter.invoke()
        yield {
            detail["name"]: dequantize(interpreter.get_tensor(detail["index"]), detail)
            for detail in interpreter.get_tensor_details()
            if detail["index"] in computed and _is_real(detail)
        }


def _is_real(detail: dict) -> bool:
    kind = np.dtype(detail["dtype"])
    return kind == "float32" or (kind.name in _INTEGERS and detail["quantization"][0])


def tensor_ranges(
    data: bytes, images: Iterable[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Returns the smallest and the largest value of every tensor over all images."""
    ranges: dict[str, tuple[float, float]] = {}
    for values in tensor_values(data, images):
        for name, value in values.items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return ranges
