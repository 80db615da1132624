"""The command line: `keras-senet VERB`."""

from keras_senet.cli.command import main

__all__ = ["main"]
