"""CIFAR-10 as in section 5.1 of the paper: the pre-activation SE-ResNet-110.

    python applications/cifar10/main.py --run-folder runs/cifar10
    keras-senet evaluate runs/cifar10 --data cifar10 --split test

The first line trains on 45,000 images and validates on the other 5,000 of the training
set; the second, once at the end, touches the test images.

Expected: 5.21 % error (the paper), 6.37 % without SE (--no-se). Measured: not here.
Hardware: a GPU. SEResNet20 (--model se_resnet20) trains on two CPU cores too.
Time: not measured here; 64,000 steps of 128 images.
"""

import dataclasses

from keras_senet.training import RECIPES

recipe = dataclasses.replace(
    RECIPES["cifar10"],
    model="se_resnet110",
    model_arguments={"preactivation": True},
)
