"""The named recipes with their sources, recipes in files, and how long is enough.

What a recipe leaves out is default. A variant only overrides:
`dataclasses.replace(RECIPES["cifar10"], model="se_resnet56")`.
"""

import dataclasses
import os
import runpy
from pathlib import Path

from keras_senet.training.recipe import Recipe
from keras_senet.utils.errors import nearest
from keras_senet.utils.files import read_json


def _rate(rate, *, images):
    """The highest learning rate, for batches of so many images."""
    return {
        "global_batch_size": images,
        "reference_batch_size": images,
        "learning_rate": rate,
    }


# SENet, section 5.1 and Table 2: 100 epochs, rate 0.6 for 1024 images, divided by 10
# every 30 epochs. The paper names no weight decay: this is He et al.'s.
_IMAGENET = Recipe(
    model="se_resnet50",
    data="imagenet2012",
    image_size=224,
    channels=3,
    epochs=100,
    **_rate(0.6, images=1024),
    l2=1e-4,
    schedule="step",
    step_at=(0.3, 0.6, 0.9),
    augmentation="imagenet",
    crop_fraction=0.875,
)

RECIPES: dict[str, Recipe] = {
    # Minutes on two CPU cores, on the images in the package. The first stage has 16
    # channels: squeezed to one, r = 16, an SE block is often dead after its ReLU. In so
    # few epochs SE learns more from the identity on, and half an epoch of warmup is
    # enough.
    "quickstart": Recipe(
        model="se_resnet20",
        model_arguments={"reduction": 4, "identity_start": True},
        data="bundled",
        epochs=4,
        **_rate(0.1, images=64),
        nesterov=True,
        l2=5e-4,
        schedule="cosine",
        warmup_epochs=0.5,
        augmentation="flip",
    ),
    # He et al., arXiv 1512.03385, section 4.2: 45,000 images, the other 5,000 of the
    # training set for choices; 64,000 steps of 128, rate 0.1 divided by 10 at half and
    # at three quarters, decay 1e-4. SENet's section 5.1 augments alike.
    "cifar10": Recipe(
        model="se_resnet20",
        data="cifar10",
        train_split="train[:90%]",
        validation_split="train[90%:]",
        image_size=32,
        channels=3,
        epochs=182,
        **_rate(0.1, images=128),
        l2=1e-4,
        schedule="step",
        step_at=(0.5, 0.75),
        augmentation="cifar",
    ),
    # Ours: no publication trains this network on these images.
    "fashion_mnist": Recipe(
        model="se_resnet20",
        model_arguments={"reduction": 4},
        data="fashion_mnist",
        train_split="train[:90%]",
        validation_split="train[90%:]",
        image_size=28,
        channels=1,
        epochs=40,
        **_rate(0.1, images=128),
        nesterov=True,
        l2=5e-4,
        schedule="cosine",
        warmup_epochs=1.0,
        augmentation="cifar",
        random_erasing=0.25,
    ),
    "imagenet": _IMAGENET,
    # SENet, section 5.1: 256 images, rate 0.1 divided by 10 when the validation loss
    # stalls, about 400 epochs, weaker augmentation. The patience, the crops and the
    # decay are ours; MobileNet's paper (arXiv 1704.04861) wants little decay.
    "mobile": dataclasses.replace(
        _IMAGENET,
        model="se_mobilenet",
        epochs=400,
        **_rate(0.1, images=256),
        l2=4e-5,
        schedule="plateau",
        patience=10,
        augmentation="mobile",
    ),
    # SENet, section 6: as long as the rate 0.1 divided by 10 at stalls takes, about 300
    # epochs; label smoothing, no biases in the gate. The patience is ours.
    "ablation": dataclasses.replace(
        _IMAGENET,
        model_arguments={"se_bias": False, "stride_on": "1x1"},
        epochs=300,
        **_rate(0.1, images=256),
        schedule="plateau",
        patience=10,
        label_smoothing=0.1,
    ),
    # What later work adds, mostly with the values of torchvision's second weights of
    # ResNet-50, in half as many epochs and with RandAugment.
    "modern": dataclasses.replace(
        _IMAGENET,
        epochs=300,
        learning_rate=0.5,
        l2=2e-5,
        schedule="cosine",
        warmup_epochs=5.0,
        ema_momentum=0.9999,
        label_smoothing=0.1,
        rand_augment=0.7,
        random_erasing=0.1,
        mixup=0.2,
        cutmix=1.0,
        crop_fraction=0.95,
    ),
    # SENet, appendix: 2048 images, rate 1.0, label smoothing, and batch normalization
    # frozen in the last epochs; how many it does not say. Dropout 0.2 is the network's.
    "senet154": dataclasses.replace(
        _IMAGENET,
        model="senet154",
        **_rate(1.0, images=2048),
        label_smoothing=0.1,
        freeze_batch_norm_epochs=5,
    ),
    # SENet, section 5.2, which names no values of its own: those of ImageNet.
    "places365": dataclasses.replace(
        _IMAGENET, model="se_resnet152", data="places365_small"
    ),
}


def load_recipe(name_or_file: str | os.PathLike) -> Recipe:
    """Returns a recipe by its name or from a file.

    Args:
        name_or_file: A name of `RECIPES`, a .json file, or a .py file that defines
            `recipe`. A .py file is run as a program: load only those that you trust.

    Raises:
        ValueError: If there is no such recipe or the file does not hold a valid one.
        FileNotFoundError: If there is no such file.

    Example:

    >>> keras_senet.training.load_recipe("cifar10").epochs
    182
    """
    name = str(name_or_file)
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name_or_file)
    if path.suffix not in (".py", ".json"):
        raise ValueError(
            f"A recipe must be one of {', '.join(RECIPES)}, or a .py or .json file. "
            f"Received: {name!r}.{nearest(name, RECIPES)}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no recipe file {name!r}.")
    if path.suffix == ".json":
        values = read_json(path)
        try:
            return Recipe.from_json(values)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    recipe = runpy.run_path(str(path)).get("recipe")
    if not isinstance(recipe, Recipe):
        raise ValueError(
            f"{name} must define `recipe`, a keras_senet.training.Recipe. "
            f"Received: recipe={recipe!r}"
        )
    return recipe


# An epoch of a recipe that counts updates is at least so many of all.
_EPOCHS = 15


def updates_for(images: int) -> int:
    """Returns the number of updates for fine-tuning on so many training images.

    500 for up to 1,000 images, then in proportion to the square root: 1,600 for 10,000
    images, 5,000 for 100,000.
    """
    return round(500 * max(1.0, images / 1000) ** 0.5)


def epochs_and_passes(updates: int, steps: int) -> tuple[int, int]:
    """Returns about so many updates as epochs of so many passes of so many steps."""
    passes = max(1, round(updates / (_EPOCHS * steps)))
    return max(1, round(updates / (passes * steps))), passes
