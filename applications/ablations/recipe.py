"""The base of the small grid: SE-ResNet-20 on 10,000 images of CIFAR-10, 6 epochs.

    python applications/ablations/main.py --output runs/ablations

As in section 6 of the paper there is label smoothing and the gate's convolutions have
no biases. Hardware: two CPU cores. Measured: docs/ablations.md.
"""

import dataclasses

from keras_senet.training import RECIPES

recipe = dataclasses.replace(
    RECIPES["cifar10"],
    train_split="train",
    validation_split="test",
    model_arguments={"se_bias": False},
    limit=10_000,
    epochs=6,
    global_batch_size=64,
    reference_batch_size=64,
    nesterov=True,
    l2=5e-4,
    schedule="cosine",
    warmup_epochs=1.0,
    label_smoothing=0.1,
)
