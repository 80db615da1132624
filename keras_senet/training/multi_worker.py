"""Training on several machines: what stands in the way of Keras 3.15.1.

Keras' `fit` stops under `tf.distribute.MultiWorkerMirroredStrategy` in two places
(Keras issue 20585). Before the first step it reduces a whole batch, a tuple of
per-replica values, at once, and `reduce` takes one value; after each step it reduces
the losses and metrics, which are scalars, over their axis 0. `Workers.reduce` accepts
both. tests/training/test_multi_worker.py says when Keras no longer needs it.
"""

import keras
import tensorflow as tf


class Workers(tf.distribute.MultiWorkerMirroredStrategy):
    """A MultiWorkerMirroredStrategy with which Keras' `fit` works."""

    def reduce(self, reduce_op, value, axis=None):
        """Reduces a structure of per-replica values; no axis of a scalar."""

        def one(value):
            local = self.experimental_local_results(value)[0]
            scalar = tf.convert_to_tensor(local).shape.rank == 0
            reduce = super(Workers, self).reduce
            return reduce(reduce_op, value, axis=None if scalar else axis)

        return keras.tree.map_structure(one, value)
