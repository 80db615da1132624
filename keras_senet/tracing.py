"""A Keras model as a TensorFlow function: to run it, or with constants to write it."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_senet.card import Card
from keras_senet.layers.convolution import keras_own
from keras_senet.surgery.fold import inference_form
from keras_senet.utils.graph import interface, is_quantized, plain_names

# A graph is one protocol buffer, and those end at 2 GiB.
_GRAPH_LIMIT = 2**31 - 2**24

# Constants of more bytes are put into files, see `Frozen.weights`.
_LARGE = 2**16

_XLA_ATTRIBUTES = ("_XlaMustCompile", "_noinline")
_PLAIN = "_plain"


def inference(model: keras.Model, call: Callable | None = None, **sizes):
    """Returns a `tf.function` of a model's inference.

    Args:
        model: A functional or sequential model.
        call: What runs it on inputs in the model's structure; by default the model.
        **sizes: Of the inputs, see `keras_senet.utils.graph.interface`.

    Returns:
        A function that takes the inputs one by one and returns the outputs by name,
        in the model's order, see there.

    Raises:
        ValueError: If the model has no known inputs, or other sizes.
    """
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            "Writing and running files needs Keras' backend tensorflow. Received: "
            f"{keras.config.backend()!r}. Set KERAS_BACKEND=tensorflow."
        )
    known = interface(model, **sizes)

    def run(*inputs):
        with plain_names(model):
            inputs = keras.tree.pack_sequence_as(known.structure, inputs)
            outputs = call(inputs) if call else model(inputs, training=False)
        if isinstance(outputs, dict):
            return dict(outputs)
        return dict(zip(known.outputs, keras.tree.flatten(outputs), strict=True))

    specs = [tf.TensorSpec(shape, kind, name) for name, shape, kind in known.inputs]
    return tf.function(run, input_signature=specs, autograph=False)


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A model's inference with its weights as constants, and what is known of it.

    TensorFlow copies a graph more than ten times while it traces and saves it. So large
    constants are zeros in the function, and `write_saved_model` puts them in at last.

    Attributes:
        name: The model's name.
        card: The card of a file of it.
        function: A `tf.types.experimental.ConcreteFunction` that takes the inputs one
            by one and returns the outputs by name.
        weights: The large constants by the names of the operations that stand for them.
        quantized: Whether `quantize` of Keras changed the model's weights.
    """

    name: str
    card: Card
    function: Callable
    weights: Mapping[str, np.ndarray]
    quantized: bool

    @property
    def inputs(self) -> list[tf.TensorSpec]:
        """The specifications of the inputs, by name."""
        return list(self.function.structured_input_signature[0])

    @property
    def outputs(self) -> list[tf.TensorSpec]:
        """The specifications of the outputs."""
        return tf.nest.flatten(self.function.structured_outputs)

    def check_not_quantized(self, what: str) -> None:
        """Raises for a kind of file that computes no network that Keras quantized."""
        if self.quantized:
            raise ValueError(
                f"{what} cannot hold a network whose weights Keras' `quantize` changed."
                f" Received: {self.name!r}. Export the model as it was before, with "
                "quantization='int8'."
            )

    def named(self, labels: Sequence[str] | None) -> "Frozen":
        """Returns the same with class names; raises a ValueError if they do not fit."""
        widths = [output.shape[-1] for output in self.outputs if output.shape.rank]
        return dataclasses.replace(self, card=self.card.named(labels, widths))


def freeze(
    model: keras.Model,
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    fold: bool = True,
) -> Frozen:
    """Traces a model's inference with the weights as constants in the graph.

    Constants let the CPU kernels keep their reordered copies of the weights, and let
    TensorFlow fold the arithmetic of batch normalization.

    Args:
        model: A functional or sequential model.
        labels: Class names instead of the card's.
        image_size: Height and width for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether the model is folded first. One with a layer that Keras cannot copy
            stays as it is.

    Raises:
        ValueError: If the model has no known inputs, `image_size` contradicts them, a
            size is not positive, the labels are not as many as the classes, the weights
            do not fit into a graph, or the model uses what a graph of constants cannot
            hold.
    """
    written = inference_form(model, folded=fold)
    trainable = [v.numpy() for v in written.trainable_variables]
    others = [v.numpy() for v in written.non_trainable_variables]
    size = sum(array.nbytes for array in trainable + others)
    if size > _GRAPH_LIMIT:
        raise ValueError(
            "The weights must fit into a graph of 2 GiB. Received: a model with "
            f"{size:,} bytes of weights. Export it with model.export() instead."
        )

    weights = {}

    def constant(array):
        if array.nbytes <= _LARGE:
            return tf.constant(array)
        tensor = tf.constant(0, array.dtype, array.shape, name="large_constant")
        weights[tensor.op.name] = array
        return tensor

    def call(inputs):
        constants = [list(map(constant, part)) for part in (trainable, others)]
        return written.stateless_call(*constants, inputs, training=False)[0]

    sizes = {"image_size": image_size, "batch_size": batch_size}
    with keras_own():
        function = inference(written, call, **sizes).get_concrete_function()
    if any(t.dtype == tf.resource for t in function.captured_inputs):
        raise ValueError(
            "All weights must become constants in this export. Received: a model with "
            "a layer that uses a table, or a variable that Keras does not know. Export "
            "it with model.export() instead."
        )
    card, (specs, _) = Card.of(model), function.structured_input_signature
    if len(specs) == 1:
        card = dataclasses.replace(card, input_shape=specs[0].shape[1:])
    function, quantized = _without_xla(function), is_quantized(model)
    return Frozen(model.name, card, function, weights, quantized).named(labels)


def _without_xla(function):
    """Returns the function with Keras' XLA-compiled grouped convolutions made plain.

    Keras 3 compiles every grouped convolution with XLA, because its gradient lacks a
    CPU kernel. The forward pass has one, so without the mark the file needs no XLA
    where it is served.
    """
    graph = function.graph.as_graph_def()
    compiled = [part for part in graph.library.function if _is_xla_conv2d(part)]
    if not compiled:
        return function
    _make_plain(graph, compiled)
    captured = [tensor.numpy() for tensor in function.captured_inputs]
    names = [tensor.name for tensor in function.inputs]
    results = [tensor.name for tensor in function.outputs]
    structure = function.structured_outputs
    (specs, _) = function.structured_input_signature

    def call(*inputs):
        sources = [*inputs, *map(tf.constant, captured)]
        outputs = tf.graph_util.import_graph_def(
            graph,
            input_map=dict(zip(names, sources, strict=True)),
            return_elements=results,
            name="",
        )
        return tf.nest.pack_sequence_as(structure, outputs)

    return tf.function(
        call, input_signature=specs, autograph=False
    ).get_concrete_function()


def _make_plain(graph, functions) -> None:
    """Removes the marks from convolutions in functions of a graph.

    All functions get new names: the process knows the old ones already and takes no
    second definition of them.
    """
    compiled = {part.signature.name for part in functions}
    bodies = [part.node_def for part in graph.library.function]
    for node in itertools.chain(graph.node, *bodies):
        if "f" in node.attr and node.attr["f"].func.name in compiled:
            _unmark(node)
        for value in node.attr.values():
            for called in (value.func, *value.list.func):
                if called.name:
                    called.name += _PLAIN
    for part in functions:
        _unmark(part)
    del graph.library.gradient[:]
    _unfuse(graph.node)
    for part in graph.library.function:
        part.signature.name += _PLAIN
        for name in _unfuse(part.node_def, is_body=True):
            for node in part.node_def:
                node.input[:] = [_sum_of(name, source) for source in node.input]
            for result, source in part.ret.items():
                part.ret[result] = _sum_of(name, source)


def _unmark(part) -> None:
    for attribute in _XLA_ATTRIBUTES:
        part.attr.pop(attribute, None)


def _sum_of(name: str, source: str) -> str:
    return f"{name}:z:0" if source.startswith(f"{name}:") else source


def _unfuse(nodes, *, is_body: bool = False) -> list[str]:
    """Writes bias and batch normalization behind grouped convolutions as sums.

    Where TensorFlow runs without oneDNN it fuses them with the convolution, and its
    fused convolution has no groups. A grouped convolution is in a function of its own;
    so whatever comes from a call, or into one, may be the result of one.

    Args:
        nodes: Those of a graph or of a function's body; they are changed.
        is_body: Whether they are a body's, which name the outputs of operations.

    Returns:
        The names of the nodes that are sums now.
    """
    known = {node.name: node for node in nodes}

    def may_be_grouped(source: str) -> bool:
        node = known.get(source.partition(":")[0])
        if node is not None and node.op in ("Identity", "StopGradient"):
            return may_be_grouped(node.input[0])
        return node is None or node.op.endswith("PartitionedCall")

    sums = []
    for node in known.values():
        if node.op not in ("BiasAdd", "FusedBatchNormV3"):
            continue
        is_last = node.attr["data_format"].s == b"NHWC"
        if not is_last or not may_be_grouped(node.input[0]):
            continue
        if node.op == "FusedBatchNormV3":
            if node.attr["is_training"].b or node.attr["T"].type != node.attr["U"].type:
                continue
            node.input[:] = _scaled_and_shift(nodes, node, is_body)
        kind = node.attr["T"].type
        node.ClearField("attr")
        node.op, node.attr["T"].type = "AddV2", kind
        sums.append(node.name)
    return sums


def _scaled_and_shift(nodes, node, is_body: bool) -> tuple[str, str]:
    """Adds the two terms of a batch normalization to the nodes; returns their names."""

    def add(op: str, name: str, *inputs: str, output: str = "z") -> str:
        made = nodes.add(op=op, name=f"{node.name}/{name}", input=inputs)
        made.attr["dtype" if op == "Const" else "T"].type = node.attr["T"].type
        return f"{made.name}:{output}:0" if is_body else made.name

    x, gamma, beta, mean, variance = node.input
    epsilon = add("Const", "epsilon", output="output")
    value = tf.make_tensor_proto(node.attr["epsilon"].f, node.attr["T"].type)
    nodes[-1].attr["value"].tensor.CopyFrom(value)
    root = add("Rsqrt", "rsqrt", add("AddV2", "sum", variance, epsilon), output="y")
    factor = add("Mul", "factor", root, gamma)
    shift = add("Sub", "shift", beta, add("Mul", "mean", mean, factor))
    return add("Mul", "scaled", x, factor), shift


def _is_xla_conv2d(part) -> bool:
    if "_XlaMustCompile" not in part.attr:
        return False
    convolutions = [node for node in part.node_def if node.op.startswith("Conv")]
    return bool(convolutions) and all(
        node.op == "Conv2D" and node.attr["data_format"].s == b"NHWC"
        for node in convolutions
    )
