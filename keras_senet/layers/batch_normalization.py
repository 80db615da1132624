"""Batch normalization in TensorFlow's fused kernel."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_senet")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalization, computed by TensorFlow's fused kernel.

    Keras 3 computes batch normalization with several operations; the kernel does the
    same in fewer passes over memory. The arguments, weights and results are those of
    `keras.layers.BatchNormalization`, except for rounding. In some cases this layer
    uses Keras' own computation: on other backends, with `channels_first`, a mask,
    `synchronized` or float64.

    The class has the same name as Keras', because Keras writes it into .weights.h5
    files. So these files are the same with both classes.

    In a training step, a `SqueezeExcite` after this layer shares its gradient and
    stores no map of its own. This has limits: the gradient with respect to the output
    of this layer is None, and a second derivative and one in forward mode
    (`tf.autodiff.ForwardAccumulator`) are errors. If you need them, use
    `keras.layers.BatchNormalization` (in a constructor, `fused=False`).

    Reference: Ioffe and Szegedy, [Batch Normalization](
    https://arxiv.org/abs/1502.03167).

    Args:
        **kwargs: The arguments of `keras.layers.BatchNormalization`.

    Input shape:
        Any; `(batch, height, width, channels)` runs in the fused kernel.

    Output shape:
        The input's.

    Example:

    >>> x = keras.random.normal((8, 7, 7, 16))
    >>> keras_senet.layers.BatchNormalization()(x, training=True).shape
    (8, 7, 7, 16)
    """

    def call(self, inputs, training=None, mask=None):
        if mask is not None or not self._fits(inputs):
            return super().call(inputs, training=training, mask=mask)
        # Only here is the backend known to be TensorFlow.
        from keras_senet.layers import _tensorflow as kernels

        channels = inputs.shape[-1]
        gamma = self.gamma if self.scale else ops.ones((channels,), "float32")
        beta = self.beta if self.center else ops.zeros((channels,), "float32")
        gamma, beta = ops.convert_to_tensor(gamma), ops.convert_to_tensor(beta)
        if not (training and self.trainable):
            mean = ops.convert_to_tensor(self.moving_mean)
            variance = ops.convert_to_tensor(self.moving_variance)
            return kernels.normalize(inputs, gamma, beta, mean, variance, self.epsilon)
        outputs, mean, variance = kernels.normalize_batch(
            inputs, gamma, beta, self.epsilon
        )
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        if inputs.dtype == "float32":
            outputs._keras_senet_normalized = kernels.Normalized(
                inputs, gamma, beta, mean, ops.sqrt(variance + self.epsilon)
            )
        return outputs

    def _fits(self, inputs):
        return (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and not self.synchronized
            and not getattr(self, "renorm", False)  # older Keras has none
            and keras.backend.standardize_dtype(inputs.dtype)
            == self.compute_dtype
            in ("float32", "float16", "bfloat16")
            and self.variable_dtype == "float32"
        )

    def _move(self, average, value):
        average.assign(average * self.momentum + value * (1.0 - self.momentum))
