"""Places365 (section 5.2 of the paper): SE-ResNet-152.

    python applications/places365/main.py --run-folder runs/places365

Expected: 40.37 % top-1 and 11.01 % top-5 error (the paper), 41.15 % and 11.61 % without
SE (--no-se). Measured: not here.
Hardware: GPUs with memory for 1024 images of 224 x 224 pixels together. With less,
--global-batch-size 256 lowers the learning rate in proportion.
Time: not measured here; 100 passes over 1.8 million images.
"""

from keras_senet.training import RECIPES

recipe = RECIPES["places365"]
