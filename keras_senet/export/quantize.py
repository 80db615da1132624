"""int8: the images that show every range, the gates, and LiteRT's quantiser."""

import copy
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from keras_senet.data import Source
from keras_senet.runners import dequantize, quantize
from keras_senet.tracing import Frozen
from keras_senet.utils.errors import check_counts, first_line, nearest
from keras_senet.utils.flatbuffer import (
    Operation,
    graph_operations,
    open_flatbuffer,
    read_tflite,
    schema,
    write_flatbuffer,
)
from keras_senet.utils.labelled import read_images
from keras_senet.utils.quiet import quiet, silence
from keras_senet.views import as_source, check_sample, view_source

# Values that differ by less than this over all images have no range to be scaled by.
_SMALLEST_RANGE = 1e-6
# The schema's: above it, an operation's number is in the newer field only.
_LAST_OLD_CODE = 127
# LiteRT's kernels multiply sums of 64 bits by a scale where they have 48.
_LONG_BITS = 48

_INTEGERS = ("int8", "uint8", "int16")
_CONVOLUTIONS = ("CONV_2D", "FULLY_CONNECTED")


def is_int8(quantization: str | None) -> bool:
    """Whether a quantization is one of those that need images."""
    return quantization is not None and quantization.startswith("int8")


def check_quantization(quantization: str | None, known: tuple[str | None, ...]) -> None:
    """Raises a ValueError for a quantization that a kind of file does not have."""
    if quantization in known:
        return
    is_none = str(quantization).lower() in ("float32", "fp32", "none")
    remedy = nearest(quantization, filter(None, known))
    raise ValueError(
        f"`quantization` must be one of {known}. Received: "
        f"quantization={quantization!r}."
        f"{' Use quantization=None.' if is_none else remedy}"
    )


def calibration_images(
    frozen: Frozen,
    dataset: Source | str | os.PathLike | Iterable | np.ndarray | None,
    *,
    limit: int,
) -> list[np.ndarray]:
    """Returns up to `limit` images, checked, in batches of one or as the model's are.

    Args:
        frozen: The model they are for.
        dataset: A data source, of which the training images are used, or what
            `open_source` takes; or images as `utils.labelled` reads them.
        limit: How many images to take at most.

    Raises:
        ValueError: If `limit` is not positive, there are no images, their shape is not
            the model's, a value is not finite, or their range is not the model's, where
            that is known: 0..255 if it normalises such images itself, else what
            its card says.
    """
    check_counts(representative_limit=limit)
    if dataset is None:
        raise ValueError(
            "int8 needs real images to measure the range of each activation. Received: "
            "representative_dataset=None. Pass batches of about 200 training images "
            "in the form that the model takes."
        )
    if len(frozen.inputs) != 1:
        raise ValueError(
            "int8 needs calibration on images, so the model must have one input. "
            "Received: "
            f"{frozen.name}, which has {len(frozen.inputs)}. Use "
            "quantization='float16'."
        )
    dataset = as_source(dataset)
    if isinstance(dataset, Source):
        split = "train" if "train" in dataset.splits else min(dataset.splits)
        view = view_source(dataset, frozen.card, frozen.name)
        dataset = view.batches(split, limit=limit)
    sample = [*read_images(dataset, limit=limit, name="representative_dataset")]
    check_sample(sample, frozen.card)
    images = [image for batch in sample for image in batch.astype("float32")]
    size = frozen.inputs[0].shape[0] or 1
    images += images[-1:] * (-len(images) % size)  # a fixed batch is filled up
    return [np.stack(images[i : i + size]) for i in range(0, len(images), size)]


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


def gate_operations(operations: Sequence[Operation]) -> list[str]:
    """Returns the names of the operations of all gates, each with its multiplication.

    Found by their form, so that folded and grafted networks have them too: a product
    of two maps, one of which came through a chain of operations, convolutions among
    them, from the other or from what that came from.

    Args:
        operations: Those of a .tflite file.
    """
    producers = {index: step for step in operations for index in step.outputs}
    found = {}
    for step in operations:
        if step.kind != "MUL" or len(step.inputs) != 2:
            continue
        left, right = step.inputs
        # Behind a folded squeeze the map has a chain of its own, a shorter one.
        chain = max(
            _chain(left, right, producers), _chain(right, left, producers), key=len
        )
        if any(part.kind in _CONVOLUTIONS for part in chain):
            found.update((part.name, None) for part in [*chain, step])
    return [step.name for step in operations if step.name in found]


def _chain(gate: int, other: int, producers: dict[int, Operation]) -> list[Operation]:
    """Returns the operations from what two tensors have in common to the first one."""
    common = _ancestors(other, producers)
    chain = []
    while gate not in common:
        step = producers.get(gate)
        if step is None or len(step.inputs) != 1:
            return []
        chain.append(step)
        gate = step.inputs[0]
    return chain


def _ancestors(index: int, producers: dict[int, Operation]) -> set[int]:
    found, waiting = set(), [index]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(producers[index].inputs if index in producers else ())
    return found


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
    try:
        from litert_quantizer import Quantizer
    except ImportError as error:
        raise ValueError(
            f"An int8 file {why} needs LiteRT's quantizer, which is not installed. "
            "Install it: pip install litert-quantizer"
        ) from error
    quantizer, everything = Quantizer(bytearray(data)), ".*"
    quantizer.add_static_config(everything, "*", 8, 8)
    if int16:
        quantizer.add_static_config(_only(int16), "*", 16, 8)
    if floats:
        _leave(quantizer, _only(floats), "*")
    if io_type == "float32":
        _leave(quantizer, everything, "INPUT")
        _leave(quantizer, everything, "OUTPUT")
    try:
        with silence():
            result = quantizer.quantize(
                _calibration(data, ranges),
                enable_progress_bar=False,
                enable_progress_report=False,
            )
    except Exception as error:  # of many classes, for models that it does not know
        reason = first_line(error)
        raise ValueError(f"LiteRT cannot quantize this model: {reason}") from error
    model = open_flatbuffer(bytes(result.quantized_model))
    for code in model.operatorCodes:
        # The quantiser leaves out what older readers, OpenVINO's too, look at.
        code.deprecatedBuiltinCode = min(code.builtinCode, _LAST_OLD_CODE)
    if int16:
        _set_long_biases(model, data)
    if io_type == "uint8":
        _take_bytes(model)
    return write_flatbuffer(model)


def _only(names: Collection[str]) -> str:
    """A regular expression for operations by the names of their results."""
    return f"^(?:{'|'.join(map(re.escape, names))});?$"


def _leave(quantizer, expression: str, kind: str) -> None:
    quantizer.update_quantization_recipe(expression, kind, algorithm_key="no_quantize")


def _calibration(data: bytes, ranges) -> dict[str, dict[str, np.ndarray]]:
    """Returns the ranges in the quantiser's form: an axis for each of the tensor's."""
    result = {}
    for tensor in open_flatbuffer(data).subgraphs[0].tensors:
        name = tensor.name.decode()
        if name in ranges:
            low, high = min(ranges[name][0], 0.0), max(ranges[name][1], 0.0)
            high = high if high - low > _SMALLEST_RANGE else 1.0
            shape = [1] * len(() if tensor.shape is None else tensor.shape)
            ends = {"min": low, "max": high}
            result[name] = {k: np.full(shape, v, "float32") for k, v in ends.items()}
    return result


def revived(data: bytes, float32: bytes) -> bytes:
    """Gives values between convolutions that are zero for all images the range 0 to 1.

    With none, as TensorFlow's converter leaves them, LiteRT's XNNPACK delegate ends the
    process. They are the squeezed values of SE whose ReLU lets nothing through. What
    other operations make or take stays: some need the scale of their inputs.

    Args:
        data: An int8 file.
        float32: The file of the same model without quantisation.
    """
    model, dead = open_flatbuffer(data), read_tflite(data).dead
    biases = dict(_biases(open_flatbuffer(float32)))
    graph = model.subgraphs[0]
    steps = list(zip(graph_operations(model), graph.operators, strict=True))
    for index, tensor in enumerate(graph.tensors):
        makers = [step for step, _ in steps if index in step.outputs]
        takers = [pair for pair in steps if index in pair[0].inputs]
        if (
            tensor.name.decode() in dead
            and all(step.kind in _CONVOLUTIONS for step in makers)
            and all(s.kind in _CONVOLUTIONS and s.name in biases for s, _ in takers)
        ):
            tensor.quantization.scale = [np.float32(1 / 255)]
            tensor.quantization.zeroPoint = [-128]
            for step, operator in takers:
                _set_bias(model, operator, biases[step.name])
    return write_flatbuffer(model)


def _biases(model) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the names of the convolutions of a float32 file with their biases."""
    graph = model.subgraphs[0]
    for step, operator in zip(graph_operations(model), graph.operators, strict=True):
        if step.kind in _CONVOLUTIONS and min(operator.inputs[2:], default=-1) >= 0:
            buffer = model.buffers[graph.tensors[operator.inputs[2]].buffer]
            yield step.name, np.asarray(buffer.data, "uint8").view("float32")


def _set_long_biases(model, float32: bytes) -> None:
    """Gives 16-bit convolutions the biases that the quantiser cuts to 32 bits.

    Where the kernel or the input is small, the bias is many times their scales.
    """
    biases = dict(_biases(open_flatbuffer(float32)))
    graph = model.subgraphs[0]
    for step, operator in zip(graph_operations(model), graph.operators, strict=True):
        if step.kind in _CONVOLUTIONS and step.name in biases:
            bias = graph.tensors[operator.inputs[2]]
            if bias.type == schema().TensorType.INT64:
                _set_bias(model, operator, biases[step.name], bits=_LONG_BITS)


def _set_bias(model, operator, values: np.ndarray, *, bits: int = 32) -> None:
    """Rounds a bias to the product of its convolution's two other scales."""
    source, kernel, bias = (model.subgraphs[0].tensors[i] for i in operator.inputs)
    scales = np.float32(source.quantization.scale[0]) * kernel.quantization.scale
    limit = 2 ** (bits - 1)
    rounded = np.rint(values / scales.astype("float64")).clip(-limit, limit - 1)
    buffer = schema().BufferT()
    kind = "int32" if bits == 32 else "int64"
    buffer.data = rounded.astype(kind).view("uint8")
    model.buffers.append(buffer)
    bias.buffer, bias.quantization.scale = len(model.buffers) - 1, scales


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
