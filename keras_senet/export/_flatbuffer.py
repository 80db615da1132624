"""What a .tflite file says about itself."""

import dataclasses
import os
import struct
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class TFLiteContents:
    """The operations and number types of a .tflite file.

    Attributes:
        operations: Names of the builtin operations used, sorted.
        foreign: Names of the Flex and custom operations used, sorted.
        quantization: None (float32), "float16", "dynamic" or "int8", as
            `export_tflite` names them.
        dead: Names of the int8 tensors that were zero on all calibration images.
    """

    operations: tuple[str, ...]
    foreign: tuple[str, ...]
    quantization: str | None
    dead: tuple[str, ...] = ()


# The converter's scale for values that never leave zero is 7.8e-9.
_DEAD_SCALE = 1e-8


def read_tflite(source: bytes | str | os.PathLike) -> TFLiteContents:
    """Reads the contents of a .tflite file, given as bytes or as a path.

    Raises:
        ValueError: If it is no whole .tflite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    name = "the bytes" if isinstance(source, bytes) else repr(str(source))
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data[4:8] != b"TFL3":
        raise ValueError(
            f"A .tflite file carries the mark 'TFL3'. Received: {name}, which does "
            "not: it is damaged or another kind of file."
        )
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    except (struct.error, IndexError, TypeError, ValueError, MemoryError) as error:
        raise ValueError(
            f"The .tflite file is damaged or cut short. Received: {name}"
        ) from error
    return _contents(model, schema)


def _contents(model, schema) -> TFLiteContents:
    names = _names(schema.BuiltinOperator)
    operations, foreign = set(), set()
    for code in model.operatorCodes:
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        if builtin == schema.BuiltinOperator.CUSTOM:
            foreign.add(code.customCode.decode())
        else:
            operations.add(names[builtin])
    return TFLiteContents(
        operations=tuple(sorted(operations)),
        foreign=tuple(sorted(foreign)),
        quantization=_quantization(model, schema.TensorType),
        dead=tuple(_dead(model, schema.TensorType)),
    )


def _dead(model, types):
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            constant = model.buffers[tensor.buffer].data
            if tensor.type != types.INT8 or (
                constant is not None and np.size(constant)
            ):
                continue
            scale = getattr(tensor.quantization, "scale", None)
            if scale is not None and np.size(scale) and np.max(scale) < _DEAD_SCALE:
                yield tensor.name.decode()


def _names(enumeration) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


def _quantization(model, types) -> str | None:
    weights, activations = set(), set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            constant = model.buffers[tensor.buffer].data
            stored = constant is not None and np.size(constant) > 0
            (weights if stored else activations).add(tensor.type)
    if types.INT8 in activations:
        return "int8"
    if types.INT8 in weights:
        return "dynamic"
    return "float16" if types.FLOAT16 in weights else None
