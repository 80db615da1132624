"""The networks that are compared: a row each.

Every row builds its network in full size, or as a toy of the same kind with which only
the code is tried. Weights and statistics are random, the same each time.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_senet.benchmark import peers
from keras_senet.models import CONSTRUCTORS, create_model

# The side of a toy's images, pixels.
TOY_SIZE = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network that is compared.

    Attributes:
        build: `build(toy)` makes it: a Keras model or a torch module.
        image_size: Height and width of its images in full size, pixels.
        toy_size: The same of its toy.
    """

    build: Callable[[bool], Any]
    image_size: int = 224
    toy_size: int = TOY_SIZE

    def image_shape(self, *, toy: bool) -> tuple[int, int, int]:
        """Returns the shape of an image, channels last."""
        size = self.toy_size if toy else self.image_size
        return size, size, 3


def _resnet50(**arguments) -> Network:
    def build(toy):
        if toy:
            return _toy("se_resnet", block="bottleneck", **arguments)
        return randomize(create_model("se_resnet50", weights=None, **arguments))

    return Network(build=build)


def _resnext50() -> Network:
    def build(toy):
        if toy:
            return _toy("se_resnext", cardinality=2, width=64)
        return randomize(create_model("se_resnext50", weights=None))

    return Network(build=build)


def _keras_applications(toy):
    if toy:
        # Theirs has one size only; this is a host of the same make.
        return _toy(
            "se_resnet", block="bottleneck", se=False, stride_on="1x1", fused=False
        )
    return randomize(keras.applications.ResNet50(weights=None))


def _image_classifiers(toy):
    return randomize(peers.image_classifiers("seresnet50", TOY_SIZE if toy else None))


def _toy(name, **arguments):
    model = create_model(
        name,
        weights=None,
        input_shape=(TOY_SIZE, TOY_SIZE, 3),
        classes=10,
        blocks=(1, 1, 1, 1),
        filters=(16, 16, 32, 32),
        reduction=4,
        **arguments,
    )
    return randomize(model)


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives a model weights and statistics in which nothing is zero or one.

    Values stay of one magnitude through the layers, so that no gate and no int8 range
    is an extreme one.
    """
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape, name = tuple(variable.shape), variable.path.rpartition("/")[2]
        if name.endswith("kernel"):
            # The last axis of a depthwise kernel is not what it sums over either.
            inputs = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
            value = rng.standard_normal(shape, "float32") * inputs**-0.5
        elif name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name in ("beta", "bias", "moving_mean"):
            value = rng.uniform(-0.3, 0.3, shape)
        else:
            continue
        variable.assign(value)
    return model


NETWORKS: dict[str, Network] = {
    "se_resnet50": _resnet50(stride_on="1x1"),
    "plain_resnet50": _resnet50(stride_on="1x1", se=False),
    "se_resnet50_default": _resnet50(),
    "se_resnet50_unfused": _resnet50(stride_on="1x1", fused=False),
    "plain_resnet50_unfused": _resnet50(stride_on="1x1", se=False, fused=False),
    "se_resnext50": _resnext50(),
    "keras_applications": Network(build=_keras_applications),
    "image_classifiers": Network(build=_image_classifiers),
    "timm": Network(build=lambda toy: peers.timm("seresnet50")),
}

# One network of each family; the paper's tables 1 to 5.
FAMILIES = (
    "se_resnet50",
    "se_resnext50",
    "senet154",
    "se_inception_v3",
    "se_inception_resnet_v2",
    "se_bn_inception",
    "se_vgg16",
    "se_mobilenet",
    "se_shufflenet",
    "se_resnet110",
    "se_resnet164",
    "se_wide_resnet16_8",
)


def _family_network(name, se):
    family = CONSTRUCTORS[name].family
    toy_size = max(TOY_SIZE, family.min_size)
    size = family.image_size

    def build(toy):
        side = toy_size if toy else size
        model = create_model(name, weights=None, se=se, input_shape=(side, side, 3))
        return randomize(model)

    return Network(build=build, image_size=size, toy_size=toy_size)


NETWORKS |= {
    f"{name}/{kind}": _family_network(name, kind == "se")
    for name in FAMILIES
    for kind in ("se", "plain")
}
