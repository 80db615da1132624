"""The shuffle between grouped convolutions."""

import keras
from keras import ops

from keras_senet.utils.errors import as_integer, checked_data_format


@keras.saving.register_keras_serializable("keras_senet")
class ChannelShuffle(keras.layers.Layer):
    """Distributes the channels of each group over all groups.

    The channels are written row by row into a table with one row for each group, and
    read column by column.

    Reference: Zhang et al., [ShuffleNet](https://arxiv.org/abs/1707.01083), figure 1.

    Args:
        groups: Number of groups, a divisor of the number of channels.
        data_format: `"channels_last"` or `"channels_first"`; `None` is Keras' setting.
        **kwargs: `name` and `dtype` of `keras.layers.Layer`.

    Call arguments:
        inputs: Feature maps.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `data_format="channels_first"`; height and width may be unknown.

    Output shape:
        The input's.

    Raises:
        ValueError: If the number of channels is not a multiple of `groups`.

    Example:

    >>> x = keras.ops.reshape(keras.ops.arange(6.0), (1, 1, 1, 6))
    >>> print(keras_senet.layers.ChannelShuffle(3)(x)[0, 0, 0])
    [0., 2., 4., 1., 3., 5.]
    """

    def __init__(self, groups: int, data_format: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.groups = as_integer("groups", groups)
        self.data_format = checked_data_format(data_format)

    def build(self, input_shape):
        axis = 1 if self.data_format == "channels_first" else 3
        if len(input_shape) != 4:
            raise ValueError(
                "The input must be maps with a batch axis, 4 axes. Received: "
                f"input_shape={tuple(input_shape)}"
            )
        if input_shape[axis] is None or input_shape[axis] % self.groups:
            raise ValueError(
                "The number of channels must be a multiple of `groups`. Received: "
                f"input_shape={tuple(input_shape)}, groups={self.groups}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={axis: input_shape[axis]})

    def call(self, inputs):
        shape = ops.shape(inputs)
        # With the positions as one axis, four are enough: some delegates take no more.
        if self.data_format == "channels_first":
            table = (shape[0], self.groups, shape[1] // self.groups, -1)
            x = ops.swapaxes(ops.reshape(inputs, table), 1, 2)
        else:
            table = (shape[0], -1, self.groups, shape[3] // self.groups)
            x = ops.swapaxes(ops.reshape(inputs, table), 2, 3)
        return ops.reshape(x, shape)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "groups": self.groups,
            "data_format": self.data_format,
        }
