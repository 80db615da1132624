"""The calls that a functional model consists of, its inputs and its outputs.

Keras' graph records have no public name; this is the one place that reads them.
"""

import collections
import contextlib
import dataclasses
import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_senet.utils.errors import as_integer, checked_size


@dataclasses.dataclass(frozen=True, eq=False)
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

    @property
    def trains(self) -> bool:
        """Whether it is a call of training whatever the model is called for."""
        return self.kwargs.get("training") is True or any(a is True for a in self.args)


def is_functional(model) -> bool:
    """Whether the calls of a model are known: functional and built sequential ones."""
    if not isinstance(model, keras.Model) or not getattr(graph_of(model), "inputs", 0):
        return False
    # A subclass of a functional model may not use its graph.
    runs = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return runs.__module__.startswith("keras.")


def check_model(model) -> None:
    """Raises unless it is a Keras model."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`model` must be a keras.Model. Received: "
            f"model={model!r} (of type {type(model).__name__})"
        )


def check_known_inputs(model) -> None:
    """Raises unless it is a Keras model with known inputs."""
    check_model(model)
    if not getattr(model, "inputs", None):
        raise ValueError(
            "The model's inputs must be known. Received: the model "
            f"{model.name!r} of type {type(model).__name__}. Use "
            "keras.Model(inputs, model(inputs)) with inputs = keras.Input(shape)."
        )


def is_quantized(model: keras.Model) -> bool:
    """Whether `quantize` of Keras has changed a layer's weights."""
    kind = keras.dtype_policies.QuantizedDTypePolicy
    return any(isinstance(x.dtype_policy, kind) for x in model._flatten_layers())


def check_one_input(model) -> None:
    """Raises if the calls of a model are not known, or it has several inputs."""
    if not is_functional(model) or len(graph_of(model).inputs) != 1:
        raise ValueError(
            "`model` must be a functional or built sequential model with one input. "
            f"Received: {type(model).__name__} {getattr(model, 'name', '')!r}"
        )


def graph_of(model: keras.Model) -> keras.Model:
    """Returns the functional model that has a model's `input` and `output_names`.

    A sequential model holds its graph in one, and may lack them itself.
    """
    return getattr(model, "_functional", None) or model


@dataclasses.dataclass(frozen=True)
class Interface:
    """What a model takes and returns.

    Its inputs as `model.input` has them, (name, shape with the batch, dtype) of each,
    and the names of the outputs, in the model's order, each once.
    """

    structure: Any
    inputs: tuple[tuple[str, tuple, str], ...]
    outputs: tuple[str, ...]


def interface(model: keras.Model, image_size=None, batch_size=None) -> Interface:
    """Returns what a functional or sequential model takes and returns.

    A single input is called "images"; several have their own names, without what
    TensorFlow's names may not have. Images get the `image_size`, (height, width) or
    one number, where the model leaves it open. Raises a ValueError if the inputs are
    not known, or a size is not positive or contradicts them.
    """
    check_known_inputs(model)
    graph = graph_of(model)
    tensors = keras.tree.flatten(graph.input)
    names = _unique([_plain(tensor.name) for tensor in tensors])
    if len(tensors) == 1:
        names = ("images",)
    if image_size is not None and all(len(t.shape) != 4 for t in tensors):
        raise ValueError(
            "`image_size` is for models that take images. Received: "
            f"image_size={image_size!r} and inputs of the shapes "
            f"{[tuple(t.shape) for t in tensors]}"
        )
    axes = (2, 3) if data_format(model) == "channels_first" else (1, 2)
    inputs = tuple(
        (name, _sized(tensor.shape, image_size, batch_size, axes), tensor.dtype)
        for name, tensor in zip(names, tensors, strict=True)
    )
    return Interface(graph.input, inputs, _unique(graph.output_names))


def _sized(shape, image_size, batch_size, axes) -> tuple[int | None, ...]:
    """Returns an input's shape with the sizes that are fixed."""
    sides = list(shape)
    if batch_size is not None:
        sides[0] = as_integer("batch_size", batch_size)
    if image_size is None or len(sides) != 4:
        return tuple(sides)
    for axis, size in zip(axes, checked_size(image_size), strict=True):
        if sides[axis] not in (None, size):
            raise ValueError(
                "`image_size` must agree with the model's input. Received: "
                f"image_size={image_size!r} and an input of shape {tuple(shape)}. "
                "Leave `image_size` out, or build the model for that size."
            )
        sides[axis] = size
    return tuple(sides)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    seen: collections.Counter = collections.Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(result)


_NAMES = threading.RLock()


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
    """Returns the shape of every tensor, by its `id`, for other shapes of the inputs.

    The model is functional or sequential, and stays as it is; shapes have the batch.
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


def models(model: keras.Model) -> list[keras.Model]:
    """Returns a model and the functional models nested in it, each once."""
    found = {id(model): model}
    for call in calls(model):
        if is_functional(call.layer):
            found |= {id(inner): inner for inner in models(call.layer)}
    return list(found.values())


def data_format(model: keras.Model) -> str:
    """Returns "channels_first" where a layer with weights or a pool has it.

    Other layers may treat channels as rows: VGG's reversal of colours. Without such a
    layer, it is "channels_last".
    """
    every = [call.layer for part in models(model) for call in calls(part)]
    formats = {
        getattr(layer, "data_format", None)
        for layer in every
        if getattr(layer, "weights", None) or "Pool" in type(layer).__name__
    }
    return "channels_first" if "channels_first" in formats else "channels_last"


def channel_axis(layer, rank: int) -> int:
    """Returns the axis of a layer's channels in maps with this number of axes."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return 1 if first else rank - 1


class Graph:
    """The calls of one model, and which of them make and use each tensor.

    Attributes:
        name: The model's.
        calls: Its calls, inputs first.
    """

    def __init__(self, model: keras.Model):
        self.name, self._model = model.name, graph_of(model)
        self.calls = tuple(calls(model))
        self._outputs = {id(t) for t in self._model.outputs}
        self._maker = {id(t): call for call in self.calls for t in call.outputs}
        self._users: dict[int, list[Call]] = {}
        for call in self.calls:
            for tensor in call.inputs:
                self._users.setdefault(id(tensor), []).append(call)
        self._source = {}

    def maker(self, tensor) -> Call | None:
        """The call that makes a tensor; None for an input of the model."""
        return self._maker.get(id(tensor))

    def users(self, tensor) -> Sequence[Call]:
        """The calls that use a tensor, one that uses it twice two times."""
        return self._users.get(id(tensor), ())

    def is_output(self, tensor) -> bool:
        """Whether a tensor is an output of the model."""
        return id(tensor) in self._outputs

    def only_user(self, tensor) -> Call | None:
        """The one call that uses a tensor, if nothing else does."""
        users = self.users(tensor)
        return users[0] if len(users) == 1 and not self.is_output(tensor) else None

    def history(self, tensor) -> set[Call]:
        """The calls that a tensor depends on."""
        maker = self.maker(tensor)
        return set() if maker is None else self._above[maker]

    @functools.cached_property
    def _above(self) -> dict[Call, set[Call]]:
        above = {}
        for call in self.calls:
            makers = filter(None, map(self.maker, call.inputs))
            above[call] = {call}.union(*(above[maker] for maker in makers))
        return above

    def bypass(self, call: Call) -> None:
        """Lets the users of a call's output use its input from now on."""
        source, target = self.source(call.inputs[0]), call.outputs[0]
        self._source[id(target)] = source
        users = [user for user in self.users(source) if user is not call]
        self._users[id(source)] = users + self._users.pop(id(target), [])

    def source(self, tensor):
        """The tensor that stands for one whose maker is bypassed, else itself."""
        while id(tensor) in self._source:
            tensor = self._source[id(tensor)]
        return tensor

    def cuts(self) -> Iterator[Call]:
        """Yields the calls whose output every path from the one input goes through.

        Where the model has several outputs, to that which the most calls lead to.
        """
        output = max(self._model.outputs, key=lambda t: len(self.history(t)))
        calls = [call for call in self.calls if call in self.history(output)]
        last_use = {id(output): len(calls)}
        for position, call in enumerate(calls):
            for tensor in call.inputs:
                last_use[id(tensor)] = max(last_use.get(id(tensor), 0), position)
        alive = {id(self._model.inputs[0])}
        for position, call in enumerate(calls):
            alive.update(id(t) for t in call.outputs if id(t) in last_use)
            alive = {t for t in alive if last_use[t] > position}
            if len(call.outputs) == 1 and alive == {id(call.outputs[0])}:
                yield call

    def replay(
        self, run: Callable[..., Any], inputs: Sequence | None = None
    ) -> tuple[Any, Any]:
        """Makes the calls again, on new inputs; the model stays as it is.

        Args:
            run: `run(call, args, kwargs)` makes one call, with the new tensors in the
                place of the old ones, and returns what the layer would.
            inputs: A tensor for each input; by default new symbolic ones.

        Returns:
            The new inputs and the new outputs, in the model's own structures.
        """
        model, known = self._model, {}

        def new(value):
            return known[id(value)] if isinstance(value, keras.KerasTensor) else value

        if inputs is None:
            configs = (t._keras_history.operation.get_config() for t in model.inputs)
            inputs = [keras.layers.InputLayer.from_config(c).output for c in configs]
        known.update((id(t), x) for t, x in zip(model.inputs, inputs, strict=True))
        for call in self.calls:
            args, kwargs = keras.tree.map_structure(new, (call.args, dict(call.kwargs)))
            results = keras.tree.flatten(run(call, args, kwargs))
            known.update((id(t), r) for t, r in zip(call.outputs, results, strict=True))
        return tuple(
            keras.tree.map_structure(new, structure)
            for structure in (model.input, model.output)
        )


def unique_name(name: str, taken: set[str]) -> str:
    """Returns `name`, numbered where it is taken, and takes it."""
    unique, count = name, 1
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    taken.add(unique)
    return unique
