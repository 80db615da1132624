"""Squeeze-and-excitation networks for Keras 3.

The public names stand in `__init__.pyi`. Each is imported when it is first used, so
that `import keras_senet` alone loads neither Keras nor TensorFlow.
"""

import importlib.util
import sys

import lazy_loader

from keras_senet.utils.errors import explained_lookup

_lookup, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = explained_lookup(__name__, _lookup)


def _register():
    importlib.import_module("keras_senet.layers")
    importlib.import_module("keras_senet.network")


class _AfterKeras:
    """Lets `keras.saving.load_model` find our classes wherever Keras is imported.

    wrapt has this too, but loads asyncio: a quarter of what the command line takes.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                _register()

            spec.loader.exec_module = exec_module
        return spec


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AfterKeras())
