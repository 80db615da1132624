"""No line on the terminal that is not the command's own.

TensorFlow, XLA, oneDNN and LiteRT write notes to file descriptor 2, in part before
any log level is looked at. Errors still come through.
"""

import atexit
import contextlib
import logging
import os
import re
import signal
import sys
import time
import warnings

from keras_senet.utils.names import visible

# INFO and WARNING: of absl and TensorFlow, of LiteRT, and what follows one on lines of
# its own; and errors that are none: no GPU, and what goes with one, another way of
# oneDNN.
_NOTE = re.compile(
    rb"([IW]\d{4} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "
    rb"|(INFO|WARNING): |To enable the following instructions:"
    rb"|(E\d{4}|\d{4}-\d\d-\d\d \S+: E) .*(cuInit.*\(303\)"
    rb"|Unable to register cu\w+ factory|oneDNN supports .*Falling back)"
    # Of libtiff, about a broken image, which the command names in a line of its own.
    rb"|(tempfile\.tif|_?TIFF\w+|\w+Decode\w*|JPEG\w+|Fax\w+|Fail to read \w+): )"
)


def be_quiet() -> None:
    """Drops the notes of native code from here on, in this process and its children.

    An explicit TF_CPP_MIN_LOG_LEVEL keeps them.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    logging.disable(logging.WARNING)
    warnings.showwarning = _show_warning
    if not hasattr(os, "fork"):  # Windows
        return
    try:
        terminal = os.dup(2)
    except OSError:  # a process without standard error
        return
    notes, write_end = os.pipe()
    # Blocked in the other process from its first moment: they are meant for this one.
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    own = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    # A process, because a thread would end with this one, and with it the last error.
    relay = os.fork()
    if relay == 0:
        os.close(write_end)
        _relay(notes, terminal)
    signal.pthread_sigmask(signal.SIG_SETMASK, own)
    os.close(notes)
    os.dup2(write_end, 2)
    os.close(write_end)
    # What Python itself writes does not take the way round the pipe.
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, errors="replace")
    atexit.register(_finish, relay, terminal)


def _relay(notes, terminal):
    """Passes on until every process that writes has ended, then ends its own."""
    try:
        os.closerange(0, 3)
        dropped = False
        with os.fdopen(notes, "rb") as lines:
            for line in lines:
                more = dropped and line[:1] in b"\t "
                dropped = more or bool(_NOTE.match(line))
                with contextlib.suppress(OSError):  # the terminal is gone
                    if not dropped:
                        os.write(terminal, line)
    finally:
        os._exit(0)


def _finish(relay, terminal):
    os.dup2(terminal, 2)  # the last end of the pipe, if no child has one
    with contextlib.suppress(ChildProcessError):
        for _ in range(100):
            if os.waitpid(relay, os.WNOHANG)[0]:
                break
            time.sleep(0.01)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    if issubclass(category, UserWarning):
        text = " ".join(str(message).split())
        print(visible(f"keras-senet: warning: {text}"), file=sys.stderr)
