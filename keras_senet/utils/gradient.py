"""Gradients on each of Keras' backends."""

from collections.abc import Callable

import keras


def gradient(function: Callable, x):
    """Returns the gradient of `function(x)`, a scalar tensor, at a floating-point x."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # Our batch normalization marks what it returns, and SE then passes it by.
        x = tf.identity(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)
    if backend == "jax":
        import jax

        return jax.grad(function)(x)
    if backend == "torch":
        import torch

        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(function(x), x)[0]
    raise ValueError(
        "Gradients need one of Keras' backends 'tensorflow', 'jax' and 'torch'. "
        f"Received: {backend!r}"
    )
