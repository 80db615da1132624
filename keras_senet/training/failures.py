"""What ends a training from outside, in one clear line."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from keras_senet.data import Source

# What the other workers' collectives end with when one worker is gone.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


@contextlib.contextmanager
def explained(source: Source, *, several_workers: bool) -> Iterator[None]:
    """Lets errors of TensorFlow that come from the data or the network say so.

    Args:
        source: The data. Where they are image files, the one that cannot be read any
            more is searched for, since TensorFlow does not name it.
        several_workers: Whether several machines train together.

    Raises:
        OSError: If the data could not be read.
        ConnectionError: If another worker is gone.
    """
    try:
        yield
    except tf.errors.OpError as error:
        text = _reason(error.message)
        if "IteratorGetNext" in str(error) and not isinstance(error, _LOST):
            text = (source.reader.first_unreadable() or text).rstrip(".")
            raise OSError(
                f"The data {source.name!r} cannot be read any more: {text}. Mend them, "
                "then run again; a training can be resumed."
            ) from error
        if several_workers and isinstance(error, _LOST):
            raise ConnectionError(
                f"Another worker has gone, or cannot be reached: {text}. Resume the "
                "run on all workers; it goes on from the last checkpoint."
            ) from error
        raise


def _reason(message):
    """The line that says why: of an error in a graph it stands after the stack."""
    before, _, _ = message.partition("[[")
    lines = [line.strip() for line in before.splitlines()]
    stack = [i for i, line in enumerate(lines) if line.startswith('File "')]
    rest = lines[stack[-1] + 1 :] if stack else lines
    heads = ("Graph execution error", "Detected at node", "<stack traces")
    reasons = [line for line in rest if line and not line.startswith(heads)]
    return reasons[0] if reasons else "for no reason given"
