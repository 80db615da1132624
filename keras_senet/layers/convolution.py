"""Grouped convolution in TensorFlow's own kernels."""

import contextlib
import contextvars

import keras
from keras import ops

_keras_own = contextvars.ContextVar("keras_own", default=False)


@keras.saving.register_keras_serializable("keras_senet")
class Conv2D(keras.layers.Conv2D):
    """Keras' convolution, with grouped convolutions in TensorFlow's own kernels.

    On TensorFlow, Keras 3 compiles each grouped convolution with XLA. This is slow on a
    CPU, and its gradient is several hundred times slower. This layer tests once what
    the device supports. Its first choice is the native grouped kernel, if that has a
    gradient too (GPUs, and CPUs with oneDNN); the second are convolutions of a few
    groups each, with zeros between the groups; the last is Keras' own computation.

    The arguments, weights and results are those of `keras.layers.Conv2D`, except for
    rounding. Without groups and on other backends, it is the same layer. The class has
    the same name as Keras', because Keras writes it into .weights.h5 files. So these
    files are the same with both classes.

    Args:
        *args: The arguments of `keras.layers.Conv2D`.
        **kwargs: The same, by name.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `data_format="channels_first"`.

    Output shape:
        That of `keras.layers.Conv2D`.

    Example:

    >>> x = keras.random.normal((2, 14, 14, 64))
    >>> Conv2D(64, 3, padding="same", groups=32)(x).shape
    (2, 14, 14, 64)
    """

    def convolution_op(self, inputs, kernel):
        others = self.groups == 1 or keras.backend.backend() != "tensorflow"
        if others or _keras_own.get():
            return super().convolution_op(inputs, kernel)
        # Only here is the backend known to be TensorFlow.
        from keras_senet.layers import _tensorflow as kernels

        first = self.data_format == "channels_first"
        filtered = kernels.grouped_convolution(
            inputs,
            ops.convert_to_tensor(kernel),
            self.groups,
            bias=self.use_bias,
            strides=self.strides,
            padding=self.padding.upper(),
            data_format="NCHW" if first else "NHWC",
            dilations=self.dilation_rate,
        )
        return super().convolution_op(inputs, kernel) if filtered is None else filtered


@contextlib.contextmanager
def keras_own():
    """Within it, grouped convolutions are Keras' own computation.

    For graphs in files: what is fast here need not be what the reading machine can do.
    """
    token = _keras_own.set(True)
    try:
        yield
    finally:
        _keras_own.reset(token)
