"""From CIFAR-10 to Fashion-MNIST with few images: SEResNet20, and the same untrained.

    python applications/finetune/main.py --output runs/finetune

Both see the same images in as many updates, 300 of 20 images, with the same
augmentation: 60 epochs of 10 images a class, 12 of 50. All are trained, and the weights
are those of the epoch with the lowest loss on 50 further images.

Expected: at least 5 points more than without pre-training with 10 images a class; what
is measured stands in README.md. Hardware: one CPU core. Time: about a minute a
training, twenty for all of them.
"""

import dataclasses

from keras_senet.training import FinetuneRecipe

recipe = FinetuneRecipe(
    model="se_resnet20",
    weights="cifar10",
    augmentation="cifar",
    global_batch_size=20,
    linear_probe=False,
    head_epochs=5,
    epochs=15,
    head_learning_rate=1e-2,
    learning_rate=3e-3,
    freeze_batch_norm=False,
    validation_split="train[5950:]",
    patience=None,
)

UPDATES = 300
HEAD_SHARE = 0.2

# Each of these learning rates is tried, and the best on the test images counts. SE
# starts as the identity, which short trainings want. Both are an advantage of the
# network that is not pre-trained.
SCRATCH_RATES = (3e-3, 1e-2)

scratch = dataclasses.replace(
    recipe,
    weights=None,
    model_arguments={"reduction": 4, "identity_start": True},
    image_size=32,
    channels=3,
    head_epochs=0,
    layer_decay=1.0,
)


def with_budget(recipe: FinetuneRecipe, images: int) -> FinetuneRecipe:
    """Returns a recipe with the epochs that its updates are, of so many images."""
    epochs = UPDATES * recipe.global_batch_size // images
    head_epochs = round(HEAD_SHARE * epochs) if recipe.head_epochs else 0
    return dataclasses.replace(
        recipe, head_epochs=head_epochs, epochs=epochs - head_epochs
    )
