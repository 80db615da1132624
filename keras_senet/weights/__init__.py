"""A checkpoint: what it is, where it lies, how its names map to ours.

This room knows no model: networks are named by strings. Its names stand in
`__init__.pyi`; records of checkpoints are there without Keras.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
