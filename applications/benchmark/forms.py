"""The forms in which a network runs: a row each.

A form opens a network once; the result takes a batch of images and returns the call
that is timed. What only prepares (export, calibration, compilation) happens before it.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_senet import (
    export_onnx,
    export_openvino,
    export_saved_model,
    export_tflite,
    fold,
)
from keras_senet.benchmark import training_step
from keras_senet.export import open_runner

Call = Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Form:
    """A form in which a network runs.

    Attributes:
        open: `open(network, threads)` prepares it.
        exact: Whether it returns what the network returns, to rounding. Forms of one
            network are compared before they are timed.
        changes: Whether it changes the network that it is given, which then is its own.
    """

    open: Callable[[Any, int], Callable[[np.ndarray], Call]]
    exact: bool = True
    changes: bool = False


def _memory(source, threads):
    """A Keras model as `model.predict` runs it, or a file."""
    runner = open_runner(source, threads=threads)
    return lambda images: partial(runner.predict, images, batch_size=len(images))


def _xla(model, threads):
    import tensorflow as tf

    spec = tf.TensorSpec(model.inputs[0].shape, model.inputs[0].dtype)

    @tf.function(input_signature=[spec], autograph=False, jit_compile=True)
    def function(images):
        return model(images, training=False)

    return lambda images: lambda: function(images).numpy()


def _exported(model, threads, *, export, suffix="", precision=None, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{suffix}")
        export(model, path, **_calibrated(model, options))
        runner = open_runner(path, threads=threads, precision=precision)
        return _memory(runner, threads)


def _calibrated(model, options):
    if options.get("quantization"):
        # Ranges need not be the data's: they decide on values, not on time.
        images = np.random.default_rng(1).normal(size=(8, *model.input_shape[1:]))
        options = options | {"representative_dataset": [images.astype("float32")]}
    return options


def _training(model, threads, **options):
    return lambda images: training_step(model, images, **options)


def _torch(network, threads, *, training=False, channels_last=False):
    import torch

    torch.set_num_threads(threads)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    network = network.train(training).to(memory_format=memory)
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)

    def opened(images):
        x = torch.from_numpy(np.moveaxis(images, -1, 1).copy()).to(memory_format=memory)
        y = torch.arange(len(images))

        def predict():
            with torch.inference_mode():
                return network(x).numpy()

        def step():
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach().numpy()

        return step if training else predict

    return opened


_saved_model = partial(_exported, export=export_saved_model)
_tflite = partial(_exported, export=export_tflite, suffix=".tflite")
_openvino = partial(_exported, export=export_openvino, suffix=".xml")
_torch_training = partial(_torch, training=True)

FORMS: dict[str, Form] = {
    "memory": Form(_memory),
    "folded": Form(lambda model, threads: _memory(fold(model), threads)),
    "xla": Form(_xla),
    "folded_xla": Form(lambda model, threads: _xla(fold(model), threads)),
    "exported": Form(_saved_model),
    "constants": Form(partial(_saved_model, fold=False)),
    "litert": Form(_tflite),
    "litert_int8": Form(partial(_tflite, quantization="int8"), exact=False),
    "onnx": Form(partial(_exported, export=export_onnx, suffix=".onnx")),
    "openvino": Form(_openvino),
    "openvino_bfloat16": Form(partial(_openvino, precision="bfloat16"), exact=False),
    "openvino_int8": Form(partial(_openvino, quantization="int8"), exact=False),
    "torch": Form(_torch),
    "torch_channels_last": Form(partial(_torch, channels_last=True), changes=True),
    "training": Form(_training, exact=False, changes=True),
    "training_xla": Form(
        partial(_training, jit_compile=True), exact=False, changes=True
    ),
    "torch_training": Form(_torch_training, exact=False, changes=True),
    "torch_training_channels_last": Form(
        partial(_torch_training, channels_last=True), exact=False, changes=True
    ),
}
