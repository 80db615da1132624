"""The networks: a file a family, and what the families share in `_`-named files."""

from keras_senet.models._architecture import Architecture
from keras_senet.models.registry import CONSTRUCTORS, create_model, list_models

__all__ = ["CONSTRUCTORS", "Architecture", "create_model", "list_models"]
