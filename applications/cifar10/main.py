"""Trains by the recipe beside this file; every option of `keras-senet train`."""

import sys
from pathlib import Path

from keras_senet.cli import main

RECIPE = Path(__file__).with_name("recipe.py")

if __name__ == "__main__":
    words = sys.argv[1:]
    if "--resume" not in words:  # A run goes on with the recipe that it has.
        words = ["--recipe", str(RECIPE), *words]
    sys.exit(main(["train", *words]))
