"""From CIFAR-10 to Fashion-MNIST with few images: SEResNet20, and the same untrained.

    python applications/finetune/main.py --output runs/finetune

Both see the same images for the same number of epochs with the same augmentation. The
number of epochs is fixed, so that no image is held out for choosing one.

Expected: at least 5 points more than without pre-training with 10 images a class.
Measured: not yet. Hardware: two CPU cores. Time: not measured yet.
"""

import dataclasses

from keras_senet.training import FinetuneRecipe

recipe = FinetuneRecipe(
    model="se_resnet20",
    weights="cifar10",
    augmentation="cifar",
    global_batch_size=20,
    head_epochs=20,
    head_learning_rate=1e-2,
    epochs=80,
    learning_rate=1e-3,
    validation_split="train[5900:]",  # for the curves only
    patience=None,
)

# Each of these learning rates is tried, and the best on the test images counts: the
# advantage is with the network that is not pre-trained.
SCRATCH_RATES = (1e-3, 3e-3, 1e-2)

scratch = dataclasses.replace(
    recipe,
    weights=None,
    model_arguments={"reduction": 4},
    head_epochs=0,
    epochs=recipe.head_epochs + recipe.epochs,
    layer_decay=1.0,
    freeze_batch_norm=False,
)
