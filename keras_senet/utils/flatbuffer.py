"""What a .tflite file consists of."""

import collections
import contextlib
import dataclasses
import itertools
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import flatbuffers
import numpy as np

_MARK = b"TFL3"
# What reading a file raises whose parts are missing or contradict each other.
_DAMAGE = (LookupError, TypeError, AttributeError, ValueError, MemoryError)
_DAMAGE += (struct.error,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TFLiteContents:
    """The operations and number types of a .tflite file.

    Attributes:
        operations: Names of the builtin operations used, sorted.
        foreign: Names of the Flex and custom operations used, sorted.
        quantization: None (float32), "float16", "dynamic" or "int8", as
            `export_tflite` names them; int8 files may hold float operations as well.
        last: The operation that makes the first output, changes of the type apart.
        dead: Names of the int8 tensors that were zero on all calibration images.
        results: How many operations have results of a type, such as {"int8": 60}.
            Changes of the type (QUANTIZE, DEQUANTIZE) are not counted.
    """

    operations: tuple[str, ...]
    foreign: tuple[str, ...]
    quantization: str | None
    last: str = ""
    dead: tuple[str, ...] = ()
    results: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a .tflite graph.

    `name` is that of its first output; `inputs` are the indices of the tensors it
    takes that are no constants, `outputs` those of its results.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


# The converter's scale for values that never leave zero is 7.8e-9.
_DEAD_SCALE = 1e-8
_CASTS = ("QUANTIZE", "DEQUANTIZE")


def schema():
    """Returns the module with the classes of the .tflite schema."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def read_tflite(source: bytes | str | os.PathLike) -> TFLiteContents:
    """Reads the contents of a .tflite file, given as bytes or as a path.

    Raises:
        ValueError: If it is no whole .tflite file.
    """
    model = open_flatbuffer(source)
    with _damage_named(source):
        kinds = {_kind(code) for code in model.operatorCodes}
        builtin = {kind for kind in kinds if not isinstance(kind, bytes)}
        return TFLiteContents(
            operations=tuple(sorted(builtin)),
            foreign=tuple(sorted(kind.decode() for kind in kinds - builtin)),
            quantization=_quantization(model, schema().TensorType),
            last=_last(model),
            dead=tuple(_dead(model, schema().TensorType)),
            results=_results(model),
        )


@contextlib.contextmanager
def _damage_named(source):
    """Lets errors of a damaged file say which it is."""
    try:
        yield
    except _DAMAGE as error:
        raise ValueError(
            f"The .tflite file is damaged or truncated. Received: {_named(source)}"
        ) from error


def _named(source) -> str:
    return "the bytes" if isinstance(source, bytes) else repr(str(source))


def open_flatbuffer(source: bytes | str | os.PathLike):
    """Returns the schema's `ModelT` of a .tflite file.

    Raises:
        ValueError: If it is no whole .tflite file.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data[4:8] != _MARK:
        raise ValueError(
            f"A .tflite file carries the mark 'TFL3'. Received: {_named(source)}, "
            "which does not: it is damaged or another kind of file."
        )
    with _damage_named(source):
        root = schema().Model.GetRootAs(data, 0)
        _check_sharing(root, len(data))
        model = schema().ModelT.InitFromObj(root)
        for buffer in model.buffers:
            # Some writers put the constants behind the flatbuffer.
            if buffer.offset > 1:
                end = buffer.offset + buffer.size
                buffer.data = np.frombuffer(data[buffer.offset : end], "uint8")
                buffer.offset = buffer.size = 0
    return model


def _check_sharing(root, size: int) -> None:
    """Raises a ValueError where parts are used so often that each alone had no room.

    A table is an object of its own wherever it is used: a small file could fill memory.
    """
    for graph in map(root.Subgraphs, range(root.SubgraphsLength())):
        size -= 4 * (1 + graph.TensorsLength() + graph.OperatorsLength())
        if size < 0:
            break
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            size -= len(tensor.Name() or b"") + 4 * tensor.VariantTensorsLength()
            if size < 0:
                break
    for signature in map(root.SignatureDefs, range(root.SignatureDefsLength())):
        size -= 4 * (signature.InputsLength() + signature.OutputsLength())
    for entry in map(root.Metadata, range(root.MetadataLength())):
        size -= len(entry.Name() or b"")
    if size < 0:
        raise ValueError("its parts are used too often")


class _AlignedBuilder(flatbuffers.Builder):
    """Puts vectors of bytes at multiples of 16, as the schema wants its buffers.

    The schema's Python classes leave that attribute out.
    """

    def StartVector(self, elemSize, numElems, alignment):
        alignment = max(alignment, 16) if elemSize == 1 else alignment
        return super().StartVector(elemSize, numElems, alignment)


def write_flatbuffer(model) -> bytes:
    """Returns the .tflite file of a schema's `ModelT`."""
    builder = _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), file_identifier=_MARK)
    return bytes(builder.Output())


def shorten_names(model) -> None:
    """Cuts the names of tensors, in which the converter lists all that it fused.

    An operation is called as the layer that does the work: the last one listed, the
    convolution before its normalisation and ReLU. Where one layer takes several
    operations, the last one has its name. The others keep their own, or a number if
    there is one only. Constants, which people do not look up, are numbered. Every name
    is unique and none is empty: to some readers, OpenVINO's among them, names are what
    ties the operations together.
    """
    for graph in model.subgraphs:
        # TensorFlow 2.18 ends some lists with a ";".
        lists = [tensor.name.rstrip(b";") or b"tensor" for tensor in graph.tensors]
        names = [list_.split(b";")[-1] for list_ in lists]
        layers = collections.defaultdict(list)
        for operator in graph.operators:
            for index in operator.outputs:
                layer, _, operation = names[index].rpartition(b"/")
                layers[layer or operation].append(index)
        for layer, (*inner, result) in layers.items():
            names[result] = layer
            if len(inner) == 1:
                names[inner[0]] = layer + b"/1"
        taken: set[bytes] = set()
        constants = []
        for tensor, name in zip(graph.tensors, names, strict=True):
            if is_constant(model, tensor):
                constants.append(tensor)
                continue
            numbered = (name + b"/%d" % number for number in itertools.count(2))
            free = (n for n in itertools.chain([name], numbered) if n not in taken)
            tensor.name = next(free)
            taken.add(tensor.name)
        free = (n for n in map(b"%d".__mod__, itertools.count()) if n not in taken)
        for tensor in constants:
            tensor.name = next(free)


def graph_operations(model) -> list[Operation]:
    """Returns the operations of a model's main graph in the order they run."""
    graph = model.subgraphs[0]
    kinds = [_kind(code) for code in model.operatorCodes]
    return [
        Operation(
            kind=str(kinds[operator.opcodeIndex]),
            name=graph.tensors[operator.outputs[0]].name.decode(),
            inputs=tuple(
                int(i)
                for i in operator.inputs
                if i >= 0 and not is_constant(model, graph.tensors[i])
            ),
            outputs=tuple(map(int, operator.outputs)),
        )
        for operator in graph.operators
    ]


def is_constant(model, tensor) -> bool:
    """Whether a tensor's values are in the file."""
    stored = model.buffers[tensor.buffer].data
    return stored is not None and np.size(stored) > 0


def _kind(code) -> str | bytes:
    """Returns the name of a builtin operation as text, of others as bytes."""
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    if builtin == schema().BuiltinOperator.CUSTOM:
        return code.customCode
    return _names(schema().BuiltinOperator)[builtin]


def _names(enumeration) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


def _dead(model, types):
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.type != types.INT8 or is_constant(model, tensor):
                continue
            scale = getattr(tensor.quantization, "scale", None)
            if scale is not None and np.size(scale) and np.max(scale) < _DEAD_SCALE:
                yield tensor.name.decode()


def _last(model) -> str:
    index = int(model.subgraphs[0].outputs[0])
    for operation in reversed(graph_operations(model)):
        if index in operation.outputs:
            if operation.kind not in _CASTS:
                return operation.kind
            (index,) = operation.inputs
    return ""


def _quantization(model, types) -> str | None:
    weights, activations = set(), set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            stored = is_constant(model, tensor)
            (weights if stored else activations).add(tensor.type)
    if types.INT8 in activations:
        return "int8"
    if types.INT8 in weights:
        return "dynamic"
    return "float16" if types.FLOAT16 in weights else None


def _results(model) -> dict[str, int]:
    names, tensors = _names(schema().TensorType), model.subgraphs[0].tensors
    steps = (step for step in graph_operations(model) if step.kind not in _CASTS)
    kinds = (names[tensors[step.outputs[0]].type].lower() for step in steps)
    return dict(collections.Counter(kinds))
