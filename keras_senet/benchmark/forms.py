"""The forms in which a network runs: a row each.

A form opens a network once; the result takes a batch of images and returns the call
that is timed. What only prepares (export, calibration, compilation, copying the images)
happens before that call.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np

Call = Callable[[], np.ndarray]
Opened = Callable[[np.ndarray], Call]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """A form in which a network runs.

    Attributes:
        open: `open(network, threads)` prepares it.
        exact: Whether it returns what the network returns, to rounding. Forms of one
            network are compared before they are timed.
        changes: Whether it changes the network that it is given, which then is its own.
    """

    open: Callable[[Any, int], Opened]
    exact: bool = True
    changes: bool = False


def _variables(model, threads):
    return _traced(model, jit_compile=False)


def _xla(model, threads):
    return _traced(model, jit_compile=True)


def _folded(model, threads):
    from keras_senet.surgery import fold

    return _traced(fold(model), jit_compile=False)


def _folded_xla(model, threads):
    from keras_senet.surgery import fold

    return _traced(fold(model), jit_compile=True)


def _traced(model, *, jit_compile):
    """The model in memory, as `model.predict` runs it."""
    import tensorflow as tf

    spec = tf.TensorSpec(model.inputs[0].shape, model.inputs[0].dtype)

    @tf.function(input_signature=[spec], autograph=False, jit_compile=jit_compile)
    def function(images):
        return model(images, training=False)

    def opened(images):
        tensor = tf.constant(images)
        return lambda: function(tensor).numpy()

    return opened


def _exported(model, threads):
    return _saved_model(model, fold=True)


def _constants(model, threads):
    return _saved_model(model, fold=False)


def _saved_model(model, *, fold):
    import tensorflow as tf

    from keras_senet.export import export_saved_model

    with tempfile.TemporaryDirectory() as folder:
        path = export_saved_model(model, Path(folder, "saved_model"), fold=fold)
        loaded = tf.saved_model.load(str(path))

    def opened(images):
        tensor = tf.constant(images)

        def call():
            (scores,) = loaded.signatures["serving_default"](images=tensor).values()
            return scores.numpy()

        return call

    return opened


def _litert(model, threads):
    return _tflite(model, threads)


def _litert_int8(model, threads, quantization="int8"):
    # Ranges need not be the data's: they decide on values, not on time.
    images = np.random.default_rng(1).normal(size=(8, *model.input_shape[1:]))
    return _tflite(
        model,
        threads,
        quantization=quantization,
        representative_dataset=[images.astype("float32")],
    )


def _litert_unfolded(model, threads):
    # The converter folds batch normalisation by itself: the squeeze stays behind the
    # expansion.
    return _tflite(model, threads, fold=False)


def _litert_pool(model, threads):
    return _tflite(_rewritten(model, _as_pool), threads)


def _litert_dense(model, threads):
    return _tflite(_rewritten(model, _as_dense), threads)


def _rewritten(model, rule):
    """The folded model with other layers for some: `rule(layer)` gives one or None."""
    from keras_senet.surgery import fold

    folded = fold(model)

    def clone(layer):
        return rule(layer) or type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(folded, clone_function=clone)
    for new, old in zip(copy.weights, folded.weights, strict=True):
        new.assign(keras.ops.reshape(old, new.shape))
    return copy


def _as_pool(layer):
    is_squeeze = isinstance(layer, keras.layers.GlobalAveragePooling2D)
    if is_squeeze and layer.keepdims:
        size = layer.input.shape[1:3]
        return keras.layers.AveragePooling2D(size, name=layer.name)
    return None


def _as_dense(layer):
    if not isinstance(layer, keras.layers.Conv2D):
        return None
    # Not the 3x3 ones, where a toy's last map is one position.
    if layer.kernel_size == layer.input.shape[1:3] == (1, 1):
        return keras.layers.Dense(
            layer.filters,
            activation=layer.activation,
            use_bias=layer.use_bias,
            name=layer.name,
        )
    return None


def _litert_float_gates(model, threads):
    return _litert_int8(model, threads, quantization="int8_float_gates")


def _tflite(model, threads, **options):
    from ai_edge_litert.interpreter import Interpreter

    from keras_senet.export import export_tflite
    from keras_senet.export._quiet import quiet

    with tempfile.TemporaryDirectory() as folder:
        path = export_tflite(model, Path(folder, "model.tflite"), **options)
        content = path.read_bytes()

    def opened(images):
        with quiet():
            interpreter = Interpreter(model_content=content, num_threads=threads)
            (image,) = interpreter.get_input_details()
            (scores,) = interpreter.get_output_details()
            interpreter.resize_tensor_input(image["index"], images.shape)
            interpreter.allocate_tensors()

        def call():
            interpreter.set_tensor(image["index"], images)
            interpreter.invoke()
            return interpreter.get_tensor(scores["index"])

        return call

    return opened


def _torch(network, threads):
    import torch

    torch.set_num_threads(threads)

    def opened(images):
        tensor = torch.from_numpy(np.moveaxis(images, -1, 1).copy())

        def call():
            with torch.inference_mode():
                return network(tensor).numpy()

        return call

    return opened


def _training(model, threads):
    return training_step(model)


def _training_apart(model, threads):
    from keras_senet.layers import _tensorflow as kernels

    opened = training_step(model)

    def traced(images):
        call = opened(images)
        with mock.patch.object(kernels, "_on_one_cpu", lambda: False):
            call()  # The step is traced here, and so for good.
        return call

    return traced


def _training_xla(model, threads):
    return training_step(model, jit_compile=True)


def training_step(model: keras.Model, *, jit_compile: bool = False) -> Opened:
    """Prepares `model.train_on_batch` with random labels: SGD with momentum.

    The call returns the loss. Labels are integers, the rate is too small to do harm.
    """
    import tensorflow as tf

    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        "sparse_categorical_crossentropy",
        jit_compile=jit_compile,
    )
    classes = model.output_shape[-1]

    def opened(images):
        labels = np.random.default_rng(2).integers(0, classes, len(images))
        x, y = tf.constant(images), tf.constant(labels)

        def call():
            loss = np.asarray(model.train_on_batch(x, y))
            if not np.isfinite(loss).all():
                raise FloatingPointError(
                    f"The loss of {model.name} must stay finite. Received: {loss}"
                )
            return loss

        return call

    return opened


FORMS: dict[str, Form] = {
    "variables": Form(open=_variables),
    "xla": Form(open=_xla),
    "folded": Form(open=_folded),
    "folded_xla": Form(open=_folded_xla),
    "exported": Form(open=_exported),
    "constants": Form(open=_constants),
    "litert": Form(open=_litert),
    "litert_unfolded": Form(open=_litert_unfolded),
    "litert_pool": Form(open=_litert_pool),
    "litert_dense": Form(open=_litert_dense),
    "litert_int8": Form(open=_litert_int8, exact=False),
    "litert_float_gates": Form(open=_litert_float_gates, exact=False),
    "torch": Form(open=_torch),
    "training": Form(open=_training, exact=False, changes=True),
    "training_apart": Form(open=_training_apart, exact=False, changes=True),
    "training_xla": Form(open=_training_xla, exact=False, changes=True),
}
