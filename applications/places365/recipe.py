"""Places365 (section 5.2 of the paper): SE-ResNet-152.

    python applications/places365/main.py --run-folder runs/places365 --stride-on 1x1

The paper's networks have their strides on the 1x1 convolutions; without the option
they are on the 3x3, which later work found better (4.09 for 3.86 G in SE-ResNet-50).

Expected: 40.37 % top-1 and 11.01 % top-5 error (the paper), 41.15 % and 11.61 % without
SE (--no-se). Measured: not here.
Hardware: GPUs with memory for 1024 images of 224 x 224 pixels together. With less,
--global-batch-size 256 lowers the learning rate in proportion.
Time: not measured here; 100 passes over 1.8 million images.
"""

from keras_senet.training import RECIPES

recipe = RECIPES["places365"]
