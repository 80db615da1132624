"""Writes Keras 2's .h5 files, with the layer orders of several Keras versions."""

import h5py
import keras
import numpy as np


def write(model, path, *, order="graph", whole=False):
    """Writes a model's weights in the legacy layout.

    Args:
        model: A built model.
        path: The file.
        order: Of the layers: "graph" (as `model.layers`), "creation", "reversed" or
            "shuffled".
        whole: Whether as a whole-model file, in the group "model_weights".
    """
    layers = list(model.layers)
    if order == "creation":
        layers.sort(key=lambda layer: (type(layer).__name__, _number(layer.name)))
    elif order == "reversed":
        layers.reverse()
    elif order == "shuffled":
        np.random.default_rng(0).shuffle(layers)
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole else file
        # As Keras does where a list of names is too long for one attribute.
        names = np.asarray([layer.name.encode() for layer in layers])
        chunks = -(-names.nbytes // 64000)
        for i, part in enumerate(np.array_split(names, chunks)):
            group.attrs["layer_names" if chunks == 1 else f"layer_names{i}"] = part
        group.attrs["backend"] = b"tensorflow"
        group.attrs["keras_version"] = b"2.2.4"
        for layer in layers:
            child = group.create_group(layer.name)
            weights = [(f"{layer.name}/{v.name}:0", v) for v in layer.weights]
            child.attrs["weight_names"] = np.asarray([n.encode() for n, _ in weights])
            for name, variable in weights:
                child.create_dataset(name, data=keras.ops.convert_to_numpy(variable))


def _number(name):
    last = name.rpartition("_")[2]
    return int(last) if last.isdigit() else 0
