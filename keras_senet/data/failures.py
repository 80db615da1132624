"""What ends the reading of a source, or a training from outside, in one clear line."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from keras_senet.data.source import Source

# What the other workers' collectives end with when one worker is gone.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


@contextlib.contextmanager
def explained(source: Source, *, several_workers: bool = False) -> Iterator[None]:
    """Lets errors of TensorFlow that come from the data or the network say so.

    Where the data are image files, the one that cannot be read any more is searched
    for, since TensorFlow does not name it.

    Raises:
        OSError: If the data could not be read.
        ConnectionError: If another worker of `several_workers` is gone.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if several_workers and isinstance(error, _LOST):
            raise ConnectionError(
                "Another worker has stopped or cannot be reached: "
                f"{_reason(error)}. Resume the run on all workers. It continues from "
                "the last checkpoint."
            ) from error
        if "IteratorGetNext" not in str(error) or isinstance(error, _LOST):
            raise
        text = source.reader.first_unreadable() or _reason(error)
        raise OSError(
            f"The data {source.name!r} can no longer be read: {text.rstrip('.')}. "
            "Repair them and run the command again. A training can be resumed."
        ) from error


def _reason(error: tf.errors.OpError) -> str:
    """Returns the line that says why: in a graph's error it stands after the stack."""
    before, _, _ = error.message.partition("[[")
    lines = [line.strip() for line in before.splitlines()]
    stack = [i for i, line in enumerate(lines) if line.startswith('File "')]
    rest = lines[stack[-1] + 1 :] if stack else lines
    heads = ("Graph execution error", "Detected at node", "<stack traces")
    reasons = [line for line in rest if line and not line.startswith(heads)]
    # Of Python's errors a line of the source comes first.
    reasons.sort(key=lambda line: not re.match(r"\w+Error: ", line))
    return reasons[0] if reasons else "for no reason given"
