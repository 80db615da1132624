"""A model as one TensorFlow function with its weights as constants."""

import collections
import contextlib
import itertools
import re
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_senet import surgery
from keras_senet.layers.convolution import keras_own
from keras_senet.utils.errors import check_counts, checked_size
from keras_senet.utils.graph import graph_of

# A graph is one protocol buffer, and those end at 2 GiB.
_GRAPH_LIMIT = 2**31 - 2**24

_XLA_ATTRIBUTES = ("_XlaMustCompile", "_noinline")

_NAMES = threading.RLock()


def frozen_function(
    model: keras.Model,
    *,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    fold: bool = True,
):
    """Traces a model's inference with the weights as constants in the graph.

    Constants let the CPU kernels keep their reordered copies of the weights, and let
    TensorFlow fold the arithmetic of batch normalisation.

    Args:
        model: A functional or sequential model.
        image_size: Height and width for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether the model is folded first. One with a layer that Keras cannot copy
            stays as it is.

    Returns:
        A `tf.types.experimental.ConcreteFunction` that takes the inputs one by one
        and returns the outputs by name.

    Raises:
        ValueError: If the model has no known inputs, `image_size` contradicts them, a
            size is not positive, the weights do not fit into a graph, or the model
            uses what a graph of constants cannot hold.
    """
    check_exportable(model)
    model = full_precision(model)
    if fold:
        model = _folded(model)
    specs = input_specs(model, image_size=image_size, batch_size=batch_size)
    trainable = [v.numpy() for v in model.trainable_variables]
    others = [v.numpy() for v in model.non_trainable_variables]
    size = sum(array.nbytes for array in trainable + others)
    if size > _GRAPH_LIMIT:
        raise ValueError(
            "The weights must fit into a graph of 2 GiB. Received: a model with "
            f"{size:,} bytes of weights. Export it with model.export() instead."
        )

    structure = graph_of(model).input

    def call(*inputs):
        with plain_names(model):
            outputs, _ = model.stateless_call(
                [tf.constant(array) for array in trainable],
                [tf.constant(array) for array in others],
                keras.tree.pack_sequence_as(structure, inputs),
                training=False,
            )
        return named_outputs(model, outputs)

    traced = tf.function(call, input_signature=specs, autograph=False)
    with keras_own():
        function = traced.get_concrete_function()
    if any(t.dtype == tf.resource for t in function.captured_inputs):
        raise ValueError(
            "A frozen export holds constants only. Received: a model with a layer "
            "that uses a table or a variable that Keras does not know. Export it "
            "with model.export() instead."
        )
    return _without_xla(function, specs)


def _folded(model: keras.Model) -> keras.Model:
    try:
        return surgery.fold(model)
    # Keras' words for a layer without get_config, and for one with another function.
    except (NotImplementedError, TypeError):
        return model


def check_exportable(model: keras.Model) -> None:
    """Raises a ValueError unless `model` is a Keras model with known inputs."""
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            "Export needs Keras' tensorflow backend. Received: "
            f"{keras.config.backend()!r}. Set KERAS_BACKEND=tensorflow."
        )
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`model` must be a keras.Model. Received: "
            f"model={model!r} (of type {type(model).__name__})"
        )
    if not getattr(model, "inputs", None):
        raise ValueError(
            "The model's inputs must be known. Received: the model "
            f"{model.name!r} of type {type(model).__name__}. Wrap it: "
            "keras.Model(inputs, model(inputs)) with inputs = keras.Input(shape)."
        )


def input_specs(
    model: keras.Model,
    *,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> list[tf.TensorSpec]:
    """Returns one named specification for each input of a model.

    A single input is called "images". Several have their own names, as plain as
    `plain_names` makes them.
    """
    if batch_size is not None:
        check_counts(batch_size=batch_size)
    inputs = keras.tree.flatten(graph_of(model).input)
    names = (
        ["images"] if len(inputs) == 1 else _unique([_plain(i.name) for i in inputs])
    )
    specs = []
    for name, tensor in zip(names, inputs, strict=True):
        shape = list(tensor.shape)
        if batch_size is not None:
            shape[0] = batch_size
        if image_size is not None and len(shape) == 4:
            _set_image_size(shape, image_size)
        specs.append(tf.TensorSpec(shape, tensor.dtype, name=name))
    return specs


def _set_image_size(shape: list, image_size: int | tuple[int, int]) -> None:
    for axis, size in zip((1, 2), checked_size(image_size), strict=True):
        if shape[axis] not in (None, size):
            raise ValueError(
                "`image_size` must agree with the model's input. Received: "
                f"image_size={image_size!r} and an input of shape {tuple(shape)}. "
                "Leave it out, or build the model for that size."
            )
        shape[axis] = size


@contextlib.contextmanager
def plain_names(model: keras.Model) -> Iterator[None]:
    """Gives layers names that TensorFlow takes for operations, while a graph is traced.

    Keras takes any name without a slash; TensorFlow's are of ASCII letters, digits,
    ".", "_", "-" and ">" and begin with a letter, a digit or a point. Two layers whose
    plain names are the same are told apart by TensorFlow.
    """
    with _NAMES:
        own = {layer: layer.name for layer in model._flatten_layers()}
        try:
            for layer, name in own.items():
                layer.name = _plain(name)
            yield
        finally:
            for layer, name in own.items():
                layer.name = name


def _plain(name: str) -> str:
    return re.sub(r"[^\w.>-]", "_", name, flags=re.ASCII).lstrip("_>-") or "layer"


def named_outputs(model: keras.Model, outputs) -> dict[str, tf.Tensor]:
    """Returns a model's outputs by name, in the model's order."""
    if isinstance(outputs, dict):
        return dict(outputs)
    flat = keras.tree.flatten(outputs)
    names = _unique(graph_of(model).output_names)
    return dict(zip(names, flat, strict=True))


def _unique(names: list[str]) -> list[str]:
    seen = collections.Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def full_precision(model: keras.Model) -> keras.Model:
    """Returns the model itself, or its copy in float32 where it is of mixed precision.

    The copy has the same weights. Inference in 16 bits is a matter of the device the
    file runs on; TFLite has no kernels for Keras' 16-bit activations.
    """
    if all(_is_full_precision(layer) for layer in _leaves(model)):
        return model
    copy = keras.models.clone_model(
        model, clone_function=_full_precision_layer, recursive=True
    )
    copy.set_weights(model.get_weights())
    return copy


def _leaves(layer):
    inner = getattr(layer, "layers", None)
    if inner is None:
        yield layer
        return
    for part in inner:
        yield from _leaves(part)


def _is_full_precision(layer) -> bool:
    if isinstance(layer, keras.layers.InputLayer):
        return True
    policy = layer.dtype_policy
    return policy.compute_dtype == "float32" == policy.variable_dtype


def _full_precision_layer(layer):
    return type(layer).from_config(_full_precision_config(layer.get_config()))


def _full_precision_config(config):
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32"
        return {key: _full_precision_config(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_full_precision_config(value) for value in config)
    return config


def _without_xla(function, specs):
    """Returns the function with Keras' XLA-compiled grouped convolutions made plain.

    Keras 3 compiles every grouped convolution with XLA, because its gradient lacks a
    CPU kernel. The forward pass has one, so without the mark the file needs no XLA
    where it is served.
    """
    graph = function.graph.as_graph_def()
    compiled = [part for part in graph.library.function if _is_xla_conv2d(part)]
    if not compiled or function.captured_inputs:
        return function
    _make_plain(graph, compiled)
    names = [tensor.name for tensor in function.inputs]
    results = [tensor.name for tensor in function.outputs]
    structure = function.structured_outputs

    def call(*inputs):
        outputs = tf.graph_util.import_graph_def(
            graph,
            input_map=dict(zip(names, inputs, strict=True)),
            return_elements=results,
            name="",
        )
        return tf.nest.pack_sequence_as(structure, outputs)

    return tf.function(
        call, input_signature=specs, autograph=False
    ).get_concrete_function()


def _make_plain(graph, functions) -> None:
    """Removes the marks from convolutions in functions of a graph, under new names.

    The process knows the old names already and takes no second definition of them.
    """
    renamed, grouped = {}, set()
    for part in functions:
        for attribute in _XLA_ATTRIBUTES:
            part.attr.pop(attribute, None)
        renamed[part.signature.name] = f"{part.signature.name}_plain"
        part.signature.name = renamed[part.signature.name]
    bodies = [part.node_def for part in graph.library.function]
    for node in itertools.chain(graph.node, *bodies):
        called = node.attr["f"].func if "f" in node.attr else None
        if called is not None and called.name in renamed:
            called.name = renamed[called.name]
            for attribute in _XLA_ATTRIBUTES:
                node.attr.pop(attribute, None)
            grouped.add(node.name)
    for node in itertools.chain(graph.node, *bodies):
        if node.op == "BiasAdd" and node.input[0].partition(":")[0] in grouped:
            # Where TensorFlow runs without oneDNN it would fuse the two, and its
            # fused convolution has no groups.
            node.op = "AddV2"
            node.attr.pop("data_format", None)


def _is_xla_conv2d(part) -> bool:
    if "_XlaMustCompile" not in part.attr:
        return False
    convolutions = [node for node in part.node_def if node.op.startswith("Conv")]
    return bool(convolutions) and all(
        node.op == "Conv2D" and node.attr["data_format"].s == b"NHWC"
        for node in convolutions
    )
