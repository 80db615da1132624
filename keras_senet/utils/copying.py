"""Copies of layers and models, with the names and values of the old ones."""

from collections.abc import Callable, Container

import keras
import numpy as np

from keras_senet.utils import graph


def fresh(layer, kind: type | None = None, **changes):
    """Returns a layer of the same name and arguments, but for the class and changes.

    An operation, what `keras.ops` leave in a graph, has no arguments to change.
    """
    if not isinstance(layer, keras.Layer):
        changes = {}
    return _made_again(layer, {**layer.get_config(), **changes}, kind)


def _made_again(layer, config: dict, kind: type | None = None):
    """Returns a layer of a layer's configuration; the function of a Lambda is shared.

    Keras reads one from files in safe mode only, but this one is in memory.
    """
    kind = kind or type(layer)
    if issubclass(kind, keras.layers.Lambda):
        copy = kind.from_config(config, safe_mode=False)
        copy.function = layer.function
    else:
        copy = kind.from_config(config)
    copy.name = layer.name
    return copy


def fill(copy, layer) -> None:
    """Gives a copied layer, once it is built, the values of the old one."""
    old, new = getattr(layer, "variables", ()), getattr(copy, "variables", ())
    if len(old) != len(new):
        raise ValueError(
            "The `get_config` of each layer of `model` must describe it completely. "
            f"Received: {type(layer).__name__} {layer.name!r} with {len(old)} "
            f"variables, rebuilt with {len(new)}. Correct its `get_config`."
        )
    # What `quantize` made of a layer may have another order than what is built so.
    old_names, new_names = ([v.name for v in values] for values in (old, new))
    if sorted(old_names) == sorted(new_names):
        old = sorted(old, key=lambda variable: variable.name)
        new = sorted(new, key=lambda variable: variable.name)
    for target, source in zip(new, old, strict=True):
        # In memory of its own: JAX's `predict` and `fit` give a variable's away.
        target.assign(np.array(keras.ops.convert_to_numpy(source)))
    if hasattr(copy, "finalize_state"):  # Normalization keeps values beside them.
        copy.finalize_state()


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model itself, or its copy in float32 where it is of mixed precision.

    The copy has the same weights. Inference in 16 bits is a matter of the device that
    runs a file; TFLite has no kernels for Keras' 16-bit activations.
    """

    def make(layer):
        return _made_again(layer, _float32_config(layer.get_config()))

    if all(map(_is_float32, _leaves(model))):
        return model
    return keras.Model(*copied(model, make=make), name=model.name)


def _leaves(layer) -> list:
    parts = getattr(layer, "layers", None)
    return [layer] if parts is None else [x for part in parts for x in _leaves(part)]


def _is_float32(layer) -> bool:
    if isinstance(layer, keras.layers.InputLayer):
        return True
    policy = layer.dtype_policy
    return policy.compute_dtype == "float32" == policy.variable_dtype


def _float32_config(config):
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32"
        return {key: _float32_config(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_float32_config(value) for value in config)
    return config


def copied(
    model: keras.Model,
    revise: Callable = lambda call, results, owner: results,
    *,
    make: Callable = fresh,
    give: Callable = fill,
    without: Container[int] = frozenset(),
) -> tuple:
    """Copies a functional model and those nested in it.

    Args:
        model: It stays as it is.
        revise: Changes what a call of a model returns, given the call, that and the
            model.
        make: Makes a layer of a layer.
        give: Gives a copy, once it is built, the values of the old layer.
        without: `id` of the layers whose calls return their input.

    Returns:
        Inputs and outputs, in the model's own structures.
    """
    copies = {}

    def copy(part):
        def run(call, args, kwargs):
            layer, key = call.layer, id(call.layer)
            if key in without:
                return keras.tree.flatten((args, kwargs))[0]
            if key not in copies and graph.is_functional(layer):
                copies[key] = keras.Model(*copy(layer), name=layer.name)
            elif key not in copies:
                copies[key] = make(layer)
            return revise(call, copies[key](*args, **kwargs), part)

        inputs_and_outputs = graph.Graph(part).replay(run)
        for call in graph.calls(part):
            if id(call.layer) in copies and not graph.is_functional(call.layer):
                give(copies[id(call.layer)], call.layer)
        return inputs_and_outputs

    return copy(model)
