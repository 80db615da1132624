"""The networks that are compared: ours, their plain hosts, and other packages'.

Each is built in full size, or as a toy of the same kind with which only the code is
tried. Weights and statistics are random, the same each time.
"""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_senet import create_model
from keras_senet.models import CONSTRUCTORS

TOY_SIZE = 32  # pixels


class MissingPeer(Exception):
    """A network of another package is not available; the message says how to get it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network that is compared.

    Attributes:
        build: `build(smoke)` makes it: a Keras model or a torch module.
        image_size: Height and width of its images in full size, pixels.
        toy_size: The same of its toy.
    """

    build: Callable[[bool], Any]
    image_size: int = 224
    toy_size: int = TOY_SIZE

    def images(self, batch: int, *, smoke: bool) -> np.ndarray:
        """Returns normalised noise, float32 (batch, H, W, 3); two images for a toy."""
        size, count = (self.toy_size, 2) if smoke else (self.image_size, batch)
        shape = min(count, batch), size, size, 3
        return np.random.default_rng(0).standard_normal(shape, "float32")


def randomize(model: keras.Model) -> keras.Model:
    """Gives a model weights and statistics in which nothing is zero or one.

    Values stay of one magnitude through the layers, so that no gate and no int8 range
    is an extreme one.
    """
    rng = np.random.default_rng(0)
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


def _ours(name, **arguments):
    def build(smoke):
        if not smoke:
            return randomize(create_model(name, weights=None, **arguments))
        kind = {"block": "bottleneck"}
        if name != "se_resnet50":
            kind = {"cardinality": 2, "width": 64}
        return _toy(
            "se_resnet" if "block" in kind else "se_resnext", **kind | arguments
        )

    return Network(build=build)


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


def _keras_applications(smoke):
    if smoke:  # theirs has one size only; this is a host of the same make
        return _toy(
            "se_resnet", block="bottleneck", se=False, stride_on="1x1", fused=False
        )
    return randomize(keras.applications.ResNet50(weights=None))


def _image_classifiers(name):
    def build(smoke):
        try:
            from classification_models.models import senet
        except ImportError as error:
            raise _missing("image-classifiers", error) from error
        row, arguments = senet.MODELS_PARAMS[name], {"input_shape": (224, 224, 3)}
        if smoke:
            row = row._replace(repetitions=(1, 1, 1, 1))
            arguments = {"classes": 10, "input_shape": (TOY_SIZE, TOY_SIZE, 3)}
        # It takes Keras' modules as arguments, and calls these of Keras 2's backend.
        backend = types.SimpleNamespace(
            image_data_format=keras.config.image_data_format,
            int_shape=lambda tensor: tuple(tensor.shape),
            is_keras_tensor=keras.backend.is_keras_tensor,
        )
        modules = {"layers": keras.layers, "models": keras.models, "utils": keras.utils}
        arguments |= {"backend": backend, **modules}
        return randomize(senet.SENet(row, weights=None, **arguments))

    return Network(build=build)


def _kimm(name):
    def build(smoke):
        try:
            import kimm
        except ImportError as error:
            raise _missing("kimm", error) from error
        size = TOY_SIZE if smoke else 224
        constructor = getattr(kimm.models, name)
        return randomize(constructor(weights=None, input_shape=(size, size, 3)))

    return Network(build=build)


def _timm(name):
    def build(smoke):
        try:
            timm, torch = _import_timm()
        except (ImportError, RuntimeError) as error:
            raise _missing("torch timm", error) from error
        torch.manual_seed(0)
        return timm.create_model(name, pretrained=False)

    return Network(build=build)


@functools.cache  # An operator lives as long as the library that declared it.
def _torchvision():
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        arguments = "Tensor dets, Tensor scores, float iou_threshold"
        library.define(f"{name}({arguments}) -> Tensor")
    return library


def _import_timm():
    import torch

    try:
        import timm
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        # timm imports torchvision, which without its binary lacks these operators.
        _torchvision()
        import timm
    return timm, torch


def _missing(packages, error):
    reason = str(error).splitlines()[0]
    return MissingPeer(f"python -m pip install {packages} ({reason})")


# Stride on the 1x1, as keras.applications has it; the default form has it on the 3x3.
NETWORKS: dict[str, Network] = {
    "se_resnet50": _ours("se_resnet50", stride_on="1x1"),
    "plain_resnet50": _ours("se_resnet50", stride_on="1x1", se=False),
    "se_resnet50_default": _ours("se_resnet50"),
    "se_resnet50_unfused": _ours("se_resnet50", stride_on="1x1", fused=False),
    "plain_resnet50_unfused": _ours(
        "se_resnet50", stride_on="1x1", se=False, fused=False
    ),
    "se_resnext50": _ours("se_resnext50"),
    "senet154": _ours("senet154"),
    "keras_applications": Network(build=_keras_applications),
    "kimm_regnety032": _kimm("RegNetY032"),
    "timm_resnet50": _timm("seresnet50"),
    "timm_resnext50": _timm("seresnext50_32x4d"),
    "timm_senet154": _timm("senet154"),
    "image_classifiers_resnet50": _image_classifiers("seresnet50"),
    "image_classifiers_resnext50": _image_classifiers("seresnext50"),
    "image_classifiers_senet154": _image_classifiers("senet154"),
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

    def build(smoke):
        side = toy_size if smoke else family.image_size
        model = create_model(name, weights=None, se=se, input_shape=(side, side, 3))
        return randomize(model)

    return Network(build=build, image_size=family.image_size, toy_size=toy_size)


NETWORKS |= {
    f"{name}/{kind}": _family_network(name, kind == "se")
    for name in FAMILIES
    for kind in ("se", "plain")
}
