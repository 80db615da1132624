"""Networks of other packages, which need not be installed."""

import functools
import types

import keras


class MissingPeer(Exception):
    """A network of another package cannot be had; the message says how to get it."""


def image_classifiers(name: str, image_size: int | None = None) -> keras.Model:
    """Builds a network of image-classifiers on Keras 3.

    Args:
        name: Its name of the network, "seresnet50".
        image_size: None for the network, or the pixels of a toy of it.

    Raises:
        MissingPeer: If the package cannot be imported.
    """
    try:
        from classification_models.models import senet
    except ImportError as error:
        raise _missing("image-classifiers", error) from error
    row, arguments = senet.MODELS_PARAMS[name], {"input_shape": (224, 224, 3)}
    if image_size is not None:
        row = row._replace(repetitions=(1, 1, 1, 1))
        arguments = {"classes": 10, "input_shape": (image_size, image_size, 3)}
    # It takes Keras' modules as arguments, and calls these of Keras 2's backend.
    backend = types.SimpleNamespace(
        image_data_format=keras.config.image_data_format,
        int_shape=lambda tensor: tuple(tensor.shape),
        is_keras_tensor=keras.backend.is_keras_tensor,
    )
    return senet.SENet(
        row,
        weights=None,
        backend=backend,
        layers=keras.layers,
        models=keras.models,
        utils=keras.utils,
        **arguments,
    )


def timm(name: str):
    """Builds a torch network of timm for inference.

    Raises:
        MissingPeer: If torch or timm cannot be imported.
    """
    try:
        timm, torch = _import_timm()
    except (ImportError, RuntimeError) as error:
        raise _missing("torch timm", error) from error
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False).eval()


@functools.cache
def _import_timm():
    import torch

    try:
        import timm
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        # timm imports torchvision, which without its binary lacks its operators.
        _declare_torchvision_operators(torch)
        import timm
    return timm, torch


@functools.cache  # An operator lives as long as the object that declared it.
def _declare_torchvision_operators(torch):
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    return library


def _missing(packages, error):
    reason = str(error).splitlines()[0]
    return MissingPeer(f"python -m pip install {packages} ({reason})")
