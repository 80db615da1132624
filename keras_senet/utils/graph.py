"""The calls that a functional model consists of.

Keras' graph records have no public name; this is the one place that reads them.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of one layer: `outputs = layer(inputs)`.

    `args` and `kwargs` are the call's, tensors and others; `inputs` and `outputs` are
    the tensors among them and among the results. Where `keras.ops` were called on
    symbolic tensors, `layer` is the operation.
    """

    layer: keras.layers.Layer
    inputs: tuple
    outputs: tuple
    args: tuple = ()
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def is_functional(model) -> bool:
    """Whether the calls of a model are known: functional and built sequential ones."""
    if not isinstance(model, keras.Model) or not getattr(graph_of(model), "inputs", 0):
        return False
    # A subclass of a functional model may not use its graph.
    runs = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return runs.__module__.startswith("keras.")


def graph_of(model: keras.Model) -> keras.Model:
    """Returns the functional model that has a model's `input` and `output_names`.

    A sequential model holds its graph in one, and may lack them itself.
    """
    return getattr(model, "_functional", None) or model


def named(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Names the operation of `keras.ops` that made a symbolic tensor; returns that.

    Keras numbers such operations by what else the process has built.
    """
    tensor._keras_history.operation.name = name
    return tensor


def calls(model: keras.Model) -> Iterator[Call]:
    """Yields the calls of a functional or sequential model, inputs first.

    Input layers are left out. The calls inside a nested model are its own.
    """
    nodes = graph_of(model)._nodes_by_depth
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if node.input_tensors:
                yield Call(
                    node.operation,
                    tuple(node.input_tensors),
                    tuple(node.outputs),
                    tuple(node.arguments.args),
                    dict(node.arguments.kwargs),
                )


def shapes(model: keras.Model, inputs: list[tuple]) -> Mapping[int, tuple]:
    """Infers the shape of every tensor of a model for other input shapes.

    Args:
        model: A functional or sequential model; it stays as it is.
        inputs: The shape of each input, with the batch axis.

    Returns:
        The shape of each tensor, by the tensor's `id`.
    """
    graph = graph_of(model)
    tensors = [t for call in calls(model) for t in call.outputs]
    specs = [
        keras.KerasTensor(shape, dtype=tensor.dtype)
        for shape, tensor in zip(inputs, graph.inputs, strict=True)
    ]
    inferred = keras.Model(graph.inputs, tensors).compute_output_spec(specs)
    known = {id(t): tuple(s) for t, s in zip(graph.inputs, inputs, strict=True)}
    known.update((id(t), s.shape) for t, s in zip(tensors, inferred, strict=True))
    return known


def replay(
    model: keras.Model, run: Callable, inputs: Sequence | None = None
) -> tuple[Any, Any]:
    """Makes the calls of a model again, on new inputs.

    Args:
        model: A functional or sequential model; it stays as it is.
        run: `run(call, args, kwargs)` makes one call, with the new tensors in the place
            of the old ones, and returns what the layer would.
        inputs: A tensor for each input; by default new symbolic ones.

    Returns:
        The new inputs and the new outputs, in the model's own structures.
    """
    graph = graph_of(model)
    known = {}

    def new(value):
        return known[id(value)] if isinstance(value, keras.KerasTensor) else value

    if inputs is None:
        configs = (t._keras_history.operation.get_config() for t in graph.inputs)
        inputs = [keras.layers.InputLayer.from_config(c).output for c in configs]
    known.update((id(t), x) for t, x in zip(graph.inputs, inputs, strict=True))
    for call in calls(model):
        args, kwargs = keras.tree.map_structure(new, (call.args, dict(call.kwargs)))
        results = keras.tree.flatten(run(call, args, kwargs))
        known.update((id(t), r) for t, r in zip(call.outputs, results, strict=True))
    return tuple(
        keras.tree.map_structure(new, structure)
        for structure in (graph.input, graph.output)
    )
