"""Every .tflite file of a trained network, compared on a whole test set."""

import sys

from keras_senet.cli import main

if __name__ == "__main__":
    sys.exit(main(["variants", *sys.argv[1:]]))
