"""What ends a training from outside, in one clear line."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from keras_senet.data import Source
from keras_senet.data import failures as data_failures


@contextlib.contextmanager
def explained(source: Source, *, several_workers: bool) -> Iterator[None]:
    """Lets errors of TensorFlow that come from the data or the network say so.

    Args:
        source: The data, see `explained` of the room of data.
        several_workers: Whether several machines train together.

    Raises:
        OSError: If the data could not be read.
        ConnectionError: If another worker is gone.
    """
    try:
        with data_failures.explained(source):
            yield
    except tf.errors.OpError as error:
        if not several_workers or not isinstance(error, data_failures.LOST):
            raise
        raise ConnectionError(
            "Another worker has stopped or cannot be reached: "
            f"{data_failures.reason(error)}. Resume the run on all workers. It "
            "continues from the last checkpoint."
        ) from error
