"""Training: recipes, strategies, `train`."""

from keras_senet.training.recipes import RECIPES, Recipe, load_recipe
from keras_senet.training.strategies import make_strategy
from keras_senet.training.train import TrainingResult, train

__all__ = [
    "RECIPES",
    "Recipe",
    "TrainingResult",
    "load_recipe",
    "make_strategy",
    "train",
]
