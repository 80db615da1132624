"""Squeeze-and-excitation networks for Keras 3.

The public names stand in `__init__.pyi`. Each is imported when it is first used, so
that `import keras_senet` alone loads neither Keras nor TensorFlow.
"""

import importlib

import lazy_loader
import wrapt

from keras_senet.utils.errors import explained_lookup

_lookup, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = explained_lookup(__name__, _lookup)


@wrapt.when_imported("keras")
def _register(_):
    """Lets `keras.saving.load_model` find our classes wherever Keras is imported."""
    importlib.import_module("keras_senet.layers")
    importlib.import_module("keras_senet.network")
