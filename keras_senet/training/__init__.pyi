# The names of this room. `__init__.py` reads this file.

from .arrays import fit_arrays as fit_arrays
from .checkpoints import TrainingStopped as TrainingStopped
from .finetuning import FinetuneResult as FinetuneResult
from .finetuning import finetune as finetune
from .recipe import FinetuneRecipe as FinetuneRecipe
from .recipe import Recipe as Recipe
from .recipes import RECIPES as RECIPES
from .recipes import load_recipe as load_recipe
from .strategies import make_strategy as make_strategy
from .trainer import TrainingResult as TrainingResult
from .trainer import train as train
