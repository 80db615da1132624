"""The base of the paper's own grid: SE-ResNet-50 on ImageNet (section 6).

    python applications/ablations/main.py --output runs/ablations-imagenet \
        --recipe applications/ablations/imagenet.py --seeds 0

Learning rate 0.1, divided by 10 when the validation loss stalls, about 300 epochs,
label smoothing, no biases in the gate. Hardware: many GPUs. Measured: not yet.
"""

import dataclasses

from keras_senet.training import RECIPES

recipe = dataclasses.replace(
    RECIPES["imagenet"],
    model_arguments={"se_bias": False, "stride_on": "1x1"},
    epochs=300,
    global_batch_size=256,
    learning_rate=0.1,
    reference_batch_size=256,
    schedule="plateau",
    label_smoothing=0.1,
)
