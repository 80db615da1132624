"""The beginning of the command `keras-senet`: an answer to ctrl-C before any import.

It lies beside the package, because importing that takes a while.
"""

import os
import signal


def main() -> int:
    """Runs the command; see `keras_senet.cli.main`, which has its own answer."""
    signal.signal(signal.SIGINT, _end)
    from keras_senet.cli import main

    return main()


def _end(*_):
    # Nothing has begun; and some imports would take an exception for a failure.
    os.write(2, b"keras-senet: error: interrupted\n")
    os._exit(130)
