"""A Keras model's inference as a TensorFlow function, whatever its names are."""

import collections
import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from keras_senet.utils.errors import check_counts, checked_size
from keras_senet.utils.graph import graph_of

_NAMES = threading.RLock()


def inference(
    model: keras.Model,
    *,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    call: Callable | None = None,
):
    """Returns a `tf.function` of a model's inference.

    Args:
        model: A functional or sequential model.
        image_size: Height and width for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        call: What runs it on inputs in the model's structure; by default the model.

    Returns:
        A function that takes the inputs one by one and returns the outputs by name,
        in the model's order. A single input is called "images"; several have their
        own names, without what TensorFlow's names may not have.

    Raises:
        ValueError: If the model has no known inputs, `image_size` contradicts them, or
            a size is not positive.
    """
    check_traceable(model)
    if batch_size is not None:
        check_counts(batch_size=batch_size)
    graph = graph_of(model)
    structure, names = graph.input, _unique(graph.output_names)
    tensors = keras.tree.flatten(structure)
    specs = [
        tf.TensorSpec(_shape(tensor, image_size, batch_size), tensor.dtype, name=name)
        for tensor, name in zip(tensors, _input_names(tensors), strict=True)
    ]
    call = call or functools.partial(model, training=False)

    def run(*inputs):
        with _plain_names(model):
            outputs = call(keras.tree.pack_sequence_as(structure, inputs))
        if isinstance(outputs, dict):
            return dict(outputs)
        return dict(zip(names, keras.tree.flatten(outputs), strict=True))

    return tf.function(run, input_signature=specs, autograph=False)


def check_traceable(model: keras.Model) -> None:
    """Raises a ValueError unless `model` is a Keras model with known inputs."""
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            "Files are written and run on Keras' tensorflow backend. Received: "
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


def _input_names(tensors) -> list[str]:
    if len(tensors) == 1:
        return ["images"]
    return _unique([_plain(tensor.name) for tensor in tensors])


def _shape(tensor, image_size, batch_size) -> list[int | None]:
    shape = list(tensor.shape)
    if batch_size is not None:
        shape[0] = batch_size
    if image_size is None or len(shape) != 4:
        return shape
    for axis, size in zip((1, 2), checked_size(image_size), strict=True):
        if shape[axis] not in (None, size):
            raise ValueError(
                "`image_size` must agree with the model's input. Received: "
                f"image_size={image_size!r} and an input of shape {tuple(shape)}. "
                "Leave it out, or build the model for that size."
            )
        shape[axis] = size
    return shape


def _unique(names: list[str]) -> list[str]:
    seen = collections.Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


@contextlib.contextmanager
def _plain_names(model: keras.Model) -> Iterator[None]:
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
