"""What goes wrong when a source is read, in one clear line."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from keras_senet.data.source import Source

# What the other workers' collectives end with when one worker is gone.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


@contextlib.contextmanager
def explained(source: Source) -> Iterator[None]:
    """Lets errors of TensorFlow that come from the data say so.

    Where the data are image files, the one that cannot be read any more is searched
    for, since TensorFlow does not name it.

    Raises:
        OSError: If the data could not be read.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if "IteratorGetNext" not in str(error) or isinstance(error, LOST):
            raise
        text = source.reader.first_unreadable() or reason(error)
        raise OSError(
            f"The data {source.name!r} can no longer be read: {text.rstrip('.')}. "
            "Repair them and run the command again. A training can be resumed."
        ) from error


def reason(error: tf.errors.OpError) -> str:
    """Returns the line that says why: in a graph's error it stands after the stack."""
    before, _, _ = error.message.partition("[[")
    lines = [line.strip() for line in before.splitlines()]
    stack = [i for i, line in enumerate(lines) if line.startswith('File "')]
    rest = lines[stack[-1] + 1 :] if stack else lines
    heads = ("Graph execution error", "Detected at node", "<stack traces")
    reasons = [line for line in rest if line and not line.startswith(heads)]
    return reasons[0] if reasons else "for no reason given"
