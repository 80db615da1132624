"""Trains with the recipe in this folder; has all options of `keras-senet train`."""

import sys
from pathlib import Path

from keras_senet.cli import main

RECIPE = Path(__file__).with_name("recipe.py")

if __name__ == "__main__":
    words = sys.argv[1:]
    if "--resume" not in words:  # A run is resumed with its own recipe.
        words = ["--recipe", str(RECIPE), *words]
    sys.exit(main(["train", *words]))
