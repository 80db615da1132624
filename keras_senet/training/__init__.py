"""Training: recipes, strategies, `train`; on each of Keras' backends `fit_arrays`.

Its names stand in `__init__.pyi`. Recipes are there without Keras; `train`, `finetune`
and `make_strategy` need TensorFlow.
"""

import lazy_loader

from keras_senet.utils.errors import explained_lookup

_lookup, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = explained_lookup(__name__, _lookup)
