"""Trains by the recipe beside this file; every option of `keras-senet train`."""

import sys
from pathlib import Path

from keras_senet.cli import main

RECIPE = Path(__file__).with_name("recipe.py")

if __name__ == "__main__":
    sys.exit(main(["train", "--recipe", str(RECIPE), *sys.argv[1:]]))
