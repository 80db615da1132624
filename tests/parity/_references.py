"""The other implementations, with random weights and random BN statistics."""

import types

import keras
import numpy as np


def declare_torchvision_operators():
    """timm imports torchvision, which without its binary lacks these two."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for signature in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        try:
            library.define(signature)
        except RuntimeError as error:
            if "multiple times" not in str(error) and "already" not in str(error):
                raise
    return library


def timm_network(name, seed=0, **kwargs):
    """Builds a timm network in inference mode."""
    import timm
    import torch

    torch.manual_seed(seed)
    return randomize_torch(timm.create_model(name, **kwargs), seed)


def randomize_torch(network, seed=0):
    import torch

    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        tensor.copy_(torch.empty_like(tensor).uniform_(low, high, generator=generator))

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                uniform(module.weight, 0.5, 1.5)
                uniform(module.bias, -0.3, 0.3)
                uniform(module.running_mean, -0.3, 0.3)
                uniform(module.running_var, 0.5, 1.5)
            elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                # Statistics that are not the data's do not normalise: at He's deviation
                # maps grow a thousandfold and the gates amplify rounding errors.
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, fan_in**-0.5, generator=generator)
                if module.bias is not None:
                    uniform(module.bias, -0.5, 0.5)
    return network.eval()


def torch_logits(network, images):
    """Logits of a torch network for channels-last images."""
    import torch

    with torch.no_grad():
        tensor = torch.from_numpy(np.moveaxis(images, -1, 1).copy())
        return network(tensor).numpy()


def torch_features(network, images):
    """The last map of a timm network, channels last."""
    import torch

    with torch.no_grad():
        tensor = torch.from_numpy(np.moveaxis(images, -1, 1).copy())
        return np.moveaxis(network.forward_features(tensor).numpy(), 1, -1)


class _Layers:
    """keras.layers with the released stem pool instead of the package's.

    The package pads the stem pool by one pixel on all sides; the weights were trained
    with a pool in ceil mode. Undoing its padding is the only change.
    """

    def __getattr__(self, name):
        return getattr(keras.layers, name)

    @staticmethod
    def MaxPooling2D(*args, **kwargs):
        def pool(x):
            x = keras.layers.Cropping2D(1)(x)
            x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
            return keras.layers.MaxPooling2D(*args, **kwargs)(x)

        return pool


# image-classifiers takes Keras' modules as arguments; these are the three functions of
# the Keras 2 backend that it calls.
_BACKEND = types.SimpleNamespace(
    image_data_format=keras.config.image_data_format,
    int_shape=lambda tensor: tuple(tensor.shape),
    is_keras_tensor=keras.backend.is_keras_tensor,
)


def image_classifiers_network(name, seed=0, params=None, **kwargs):
    """Builds a network of image-classifiers, on Keras 3, with the released pool."""
    from classification_models.models import senet

    network = senet.SENet(
        params or senet.MODELS_PARAMS[name],
        weights=None,
        backend=_BACKEND,
        layers=_Layers(),
        models=keras.models,
        utils=keras.utils,
        **kwargs,
    )
    return randomize_keras(network, seed)


def randomize_keras(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape = tuple(variable.shape)
        path = getattr(variable, "path", variable.name).partition(":")[0]  # Keras 2's
        name = path.rpartition("/")[2]
        if name == "kernel":
            deviation = np.prod(shape[:-1]) ** -0.5
            value = rng.standard_normal(shape, "float32") * deviation
        elif name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.uniform(-0.3, 0.3, shape)
        variable.assign(value)
    return model


def keras_logits(model, images):
    """What a Keras network's softmax is taken of."""
    dense = next(x for x in model.layers if isinstance(x, keras.layers.Dense))
    if dense.activation is not keras.activations.linear:
        raise ValueError(f"{dense.name} has an activation of its own")
    return keras.ops.convert_to_numpy(
        keras.Model(model.inputs[0], dense.output)(images)
    )


def relative_error(a, b):
    """max|a - b| / max|b|."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise AssertionError(f"{a.shape} is not {b.shape}")
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
