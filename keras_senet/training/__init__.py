"""Training: recipes, strategies, `train`; on each of Keras' backends `fit_arrays`."""

import keras

from keras_senet.training.arrays import fit_arrays
from keras_senet.training.checkpoints import TrainingStopped
from keras_senet.training.recipes import (
    RECIPES,
    FinetuneRecipe,
    Recipe,
    load_recipe,
)

__all__ = [
    "RECIPES",
    "FinetuneRecipe",
    "Recipe",
    "TrainingStopped",
    "fit_arrays",
    "load_recipe",
]

if keras.backend.backend() == "tensorflow":
    from keras_senet.training.strategies import make_strategy
    from keras_senet.training.train import (
        FinetuneResult,
        TrainingResult,
        finetune,
        train,
    )

    __all__ += [
        "FinetuneResult",
        "TrainingResult",
        "finetune",
        "make_strategy",
        "train",
    ]
