"""A network whose gates can be read and replaced while it runs."""

from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_senet.layers import SqueezeExcite
from keras_senet.utils import graph


class Probe(keras.Model):
    """Runs a model on its own layers; the model stays as it is.

    Returns the model's output and the gates of each call of an SE layer, `(batch,
    channels)`; those of `squeeze="none"` are averaged over the positions.

    Attributes:
        blocks: Name -> SE layer, in the order of the calls. The name has those of the
            models that the layer is nested in, and a number where it is called again.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name=f"{model.name}_probe")
        self.probed = model
        names = list(_names(model))
        self._replaced = self.add_weight((len(names),), "zeros", trainable=False)
        self._constants = [
            self.add_weight(layer.expand.kernel.shape[-1:], "ones", trainable=False)
            for _, layer in names
        ]
        self._names = [name for name, _ in names]
        self._layers_of = [layer for _, layer in names]
        self.built = True
        self.jit_compile = False  # XLA on a CPU is slower, and compiles for long.

    @property
    def blocks(self) -> dict[str, SqueezeExcite]:
        return dict(zip(self._names, self._layers_of, strict=True))

    def replace(self, gates: dict[str, np.ndarray | float]) -> None:
        """From now on these blocks have a constant gate, the others their own.

        Args:
            gates: Name -> the gate, `(channels,)` or one number.
        """
        self._replaced.assign([float(name in gates) for name in self._names])
        for name, constant in zip(self._names, self._constants, strict=True):
            value = np.broadcast_to(gates.get(name, 1.0), constant.shape)
            constant.assign(value.astype("float32"))

    def run(self, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Returns the output for a batch of images, and the gates by name."""
        output, gates = self.predict_on_batch(images)
        return output, dict(zip(self._names, gates, strict=True))

    def call(self, inputs):
        gates = []
        output = self._run(self.probed, [inputs], gates)
        return output, gates

    def _run(self, model, inputs, gates):
        def run(call, args, kwargs):
            if graph.is_functional(call.layer):
                return self._run(call.layer, keras.tree.flatten(args), gates)
            if not isinstance(call.layer, SqueezeExcite):
                return call.layer(*args, **kwargs)
            return self._excite(call.layer, args[0], gates)

        return graph.Graph(model).replay(run, inputs)[1]

    def _excite(self, layer, x, gates):
        x = ops.cast(x, layer.compute_dtype)
        gate, place = layer.excitation(x), len(gates)
        axis = 1 if layer.data_format == "channels_first" else x.ndim - 1
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        constant = ops.reshape(self._constants[place], shape)
        constant = ops.cast(constant, gate.dtype) + ops.zeros_like(gate)
        gate = ops.where(self._replaced[place] > 0, constant, gate)
        positions = [i for i in range(1, x.ndim) if i != axis]
        gates.append(ops.mean(ops.cast(gate, "float32"), positions))
        return x * gate


def _names(model, prefix="", seen=None) -> Iterator[tuple[str, SqueezeExcite]]:
    seen = {} if seen is None else seen
    for call in graph.calls(model):
        layer, name = call.layer, f"{prefix}{call.layer.name}"
        if graph.is_functional(layer):
            yield from _names(layer, f"{name}/", seen)
        elif isinstance(layer, SqueezeExcite):
            seen[name] = seen.get(name, 0) + 1
            yield (name if seen[name] == 1 else f"{name}:{seen[name]}"), layer


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
            f"{model.name!r}, which has none. keras_senet.graft puts some in."
        )
    return probe
