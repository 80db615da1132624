"""A network that runs call by call, so that what happens inside can be changed."""

import functools
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
from keras import ops

from keras_senet.layers import SqueezeExcite
from keras_senet.utils import graph
from keras_senet.utils.labelled import fits_shape

# The call of a layer, behind the calls of the models that it is nested in.
Path = tuple[graph.Call, ...]


class Replay(keras.Model):
    """Runs a model on its own layers; the model stays as it is.

    Attributes:
        paths: All calls, those of nested models behind the model's own call.
    """

    def __init__(self, model: keras.Model, suffix: str):
        super().__init__(name=f"{model.name}_{suffix}", dtype="float32")
        self.replayed = model
        self._graphs = {id(m): graph.Graph(m) for m in graph.models(model)}
        self.paths = list(self._paths(model))
        self.built = True
        self.jit_compile = False  # XLA on a CPU is slower, and compiles for long.

    def _paths(self, model, before=()) -> Iterator[Path]:
        for call in self._graphs[id(model)].calls:
            yield (*before, call)
            if id(call.layer) in self._graphs:
                yield from self._paths(call.layer, (*before, call))

    def replay(self, inputs, changes: Mapping[Path, Callable], training=None):
        """Returns the model's output for its one input.

        `change(*args, **kwargs)` runs in the place of a call's layer. `training`
        overrides the mode that calls of the graph name, as the argument of a model.
        """

        def run_model(model, inputs, before):
            def run(call, args, kwargs):
                path = (*before, call)
                if path in changes:
                    return changes[path](*args, **kwargs)
                if id(call.layer) in self._graphs:
                    return run_model(call.layer, keras.tree.flatten(args), path)
                if training is not None and kwargs.get("training") is not None:
                    kwargs = {**kwargs, "training": training}
                return call.layer(*args, **kwargs)

            return self._graphs[id(model)].replay(run, inputs)[1]

        # As a functional model does.
        kind = graph.graph_of(self.replayed).inputs[0].dtype
        return run_model(self.replayed, [ops.cast(inputs, kind)], ())


class Probe(Replay):
    """Runs a model whose gates can be read and replaced.

    Returns the model's output and the gates of each call of an SE layer, `(batch,
    channels)`; those of `squeeze="none"` are averaged over the positions.

    Attributes:
        blocks: Name -> SE layer, in the order of the calls. The name has those of the
            models that the layer is nested in, and a number where it is called again.
    """

    def __init__(self, model: keras.Model):
        super().__init__(model, "probe")
        self._excited = [
            p for p in self.paths if isinstance(p[-1].layer, SqueezeExcite)
        ]
        self._names, seen = [], {}
        for path in self._excited:
            name = path_name(path)
            seen[name] = seen.get(name, 0) + 1
            self._names.append(name if seen[name] == 1 else f"{name}:{seen[name]}")
        self._replaced = self.add_weight((len(self._names),), "zeros", trainable=False)
        self._constants = [
            self.add_weight((path[-1].layer.expand.filters,), "ones", trainable=False)
            for path in self._excited
        ]

    @property
    def blocks(self) -> dict[str, SqueezeExcite]:
        layers = (path[-1].layer for path in self._excited)
        return dict(zip(self._names, layers, strict=True))

    def replace(self, gates: dict[str, np.ndarray | float]) -> None:
        """Gives only these blocks a constant gate, `(channels,)` or one number."""
        self._replaced.assign([float(name in gates) for name in self._names])
        for name, constant in zip(self._names, self._constants, strict=True):
            value = np.broadcast_to(gates.get(name, 1.0), constant.shape)
            constant.assign(value.astype("float32"))

    def run(self, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Returns the output for a batch of images, and the gates by name."""
        shape = graph.graph_of(self.replayed).inputs[0].shape
        if not fits_shape(images, shape[1:]):
            raise ValueError(
                f"Batches of images must have the model's shape, {tuple(shape)}. "
                f"Received: images of shape {images.shape}"
            )
        output, gates = self.predict_on_batch(images)
        return output, dict(zip(self._names, gates, strict=True))

    def call(self, inputs):
        gates = [None] * len(self._excited)

        def excite(place, layer, inputs):
            x = ops.cast(inputs, layer.compute_dtype)
            gate = layer.excitation(x)
            axis = graph.channel_axis(layer, x.ndim)
            shape = [-1 if i == axis else 1 for i in range(x.ndim)]
            constant = ops.reshape(self._constants[place], shape)
            constant = ops.cast(constant, gate.dtype) + ops.zeros_like(gate)
            gate = ops.where(self._replaced[place] > 0, constant, gate)
            positions = [i for i in range(1, x.ndim) if i != axis]
            gates[place] = ops.mean(ops.cast(gate, "float32"), positions)
            return x * gate

        changes = {
            path: functools.partial(excite, place, path[-1].layer)
            for place, path in enumerate(self._excited)
        }
        return self.replay(inputs, changes, training=False), gates


def path_name(path: Path) -> str:
    """Returns the layer's name, with those of the models that it is nested in."""
    return "/".join(call.layer.name for call in path)


def open_probe(model: keras.Model) -> Probe:
    """Returns a probe of a model.

    Raises:
        ValueError: If the model is subclassed, has several inputs, or has no SE.
    """
    graph.check_one_input(model)
    probe = Probe(model)
    if not probe.blocks:
        raise ValueError(
            "`model` must have SqueezeExcite layers. Received: "
            f"{model.name!r}, which has none. Add some with keras_senet.graft."
        )
    return probe
