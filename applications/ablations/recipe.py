"""The base of the small grid: SE-ResNet-20 on 8,000 images of CIFAR-10, 6 epochs.

    python applications/ablations/main.py --output runs/ablations --jobs 2

As in section 6 of the paper there is label smoothing and the gate's convolutions have
no biases. Unlike there the base has r = 4, which squeezes 16, 32 and 64 channels to 4,
8 and 16 values; r = 16 would leave 1, 2 and 4, which often are dead after their ReLU.
The test images judge each cell once, after its training.

Hardware: two CPU cores, five to six minutes a cell on each: 95 for all, two seeds.
Measured: docs/ablations.md.
"""

import dataclasses

from keras_senet.training import RECIPES

recipe = dataclasses.replace(
    RECIPES["cifar10"],
    train_split="train[:99%]",
    validation_split="train[99%:]",
    model_arguments={"se_bias": False, "reduction": 4},
    limit=8_000,
    epochs=6,
    global_batch_size=64,
    reference_batch_size=64,
    nesterov=True,
    l2=5e-4,
    schedule="cosine",
    warmup_epochs=1.0,
    label_smoothing=0.1,
)
