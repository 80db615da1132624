"""CIFAR-10 as in section 5.1 of the paper: the pre-activation SE-ResNet-110.

    python applications/cifar10/main.py --run-folder runs/cifar10

Expected: 5.21 % error (the paper), 6.37 % without SE. Measured: not yet.
Hardware: a GPU. SEResNet20 (--model se_resnet20) learns in hours on two CPU cores.
"""

import dataclasses

from keras_senet.training import RECIPES

recipe = dataclasses.replace(
    RECIPES["cifar10"],
    model="se_resnet110",
    model_arguments={"preactivation": True},
)
