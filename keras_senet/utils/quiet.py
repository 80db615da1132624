"""Silence for TensorFlow's C++ code, which writes notes to file descriptor 2."""

import contextlib
import io
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

_LOCK = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what native code writes to standard error.

    The file descriptor belongs to the process, so other threads are silent as well
    while the block runs. Exceptions are not touched.
    """
    with _LOCK, tempfile.TemporaryFile() as sink:
        _flush()
        try:
            saved = os.dup(2)
        except OSError:  # a process without standard error
            yield
            return
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(saved, 2)
            os.close(saved)


def _flush() -> None:
    if sys.stderr is not None:  # as in a program without a terminal
        sys.stderr.flush()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drops also what Python writes, and warnings: other packages' notes and bars."""
    box = io.StringIO()
    with (
        quiet(),
        contextlib.redirect_stderr(box),
        contextlib.redirect_stdout(box),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
