"""The networks: a file a family, and what the families share in `_`-named files."""

from keras_senet.models._architecture import Architecture
from keras_senet.models._records import Option
from keras_senet.models.registry import (
    CONSTRUCTORS,
    architecture_options,
    constructor_of,
    create_model,
    list_models,
    network_of,
    stages_of,
)

__all__ = [
    "CONSTRUCTORS",
    "Architecture",
    "Option",
    "architecture_options",
    "constructor_of",
    "create_model",
    "list_models",
    "network_of",
    "stages_of",
]
