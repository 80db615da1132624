"""keras.applications' networks: the plain hosts of ours with `se=False`.

Layer names equal ours in ResNet, MobileNet and VGG. The Inceptions' layers are
auto-named; both networks' weights are in graph order, which is the same.
"""

import re
from typing import Any

import keras

from keras_senet.card import Preprocessing
from keras_senet.weights.assign import is_weight
from keras_senet.weights.catalogue import CAFFE_MODE, UNIT
from keras_senet.weights.checkpoint import Checkpoint
from keras_senet.weights.layouts._resnet import Arrays, describe_resnet
from keras_senet.weights.presets import Host

# A layer that only this network has.
_MARKS = {
    "resnet": "conv2_block1_1_conv/kernel",
    "mobilenet": "conv_dw_1/kernel",
    "vgg16": "block5_conv3/kernel",
}
_FIRST_KERAS = re.compile(r".*_([Wb])(_1)?")
# keras.applications' ResNet has 1.001e-5, ours 1e-5: the difference goes into the
# variance.
_EPSILON = 1.001e-5 - 1e-5


def matches(arrays: Arrays) -> bool:
    names = _plain_names(arrays)
    if "block5_conv4/kernel" in names or any("_se/" in name for name in names):
        # VGG-19, and networks of ours without their header.
        return False
    return any(mark in names for mark in _MARKS.values()) and (
        "conv2_block1_1_conv/kernel" not in names or "conv2_block1_1_conv/bias" in names
    )


def read(arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
    arrays = _plain_names(arrays)
    if _MARKS["resnet"] in arrays:
        arrays = _without_biases(arrays)
        return arrays, describe_resnet(arrays, stride_on="1x1")
    if _MARKS["vgg16"] in arrays:
        return arrays, {"se": False, "batch_norm": False}
    return arrays, {"se": False, "alpha": arrays["conv1/kernel"].shape[3] / 32}


def preprocessing(arrays: Arrays) -> Preprocessing:
    is_mobilenet = _MARKS["mobilenet"] in _plain_names(arrays)
    return UNIT if is_mobilenet else CAFFE_MODE


def read_host(host: Host) -> Checkpoint:
    """Fetches a host's ImageNet weights, as Keras does; OSError if it cannot."""
    build = getattr(keras.applications, host.application)
    try:
        model = build(weights="imagenet")
    except Exception as error:
        # keras.utils.get_file raises a bare Exception when the network is down.
        if not isinstance(error, OSError) and type(error) is not Exception:
            raise
        raise OSError(
            f"The weights of keras.applications.{host.application} cannot be "
            f"downloaded: {error}"
        ) from None
    weights = filter(is_weight, model.variables)
    arrays = {v.path: keras.ops.convert_to_numpy(v) for v in weights}
    return Checkpoint(
        arrays=arrays,
        card=host.card,
        layout="keras_applications",
        fresh=("_se/",),
        by_order=True,
    )


def _plain_names(arrays):
    """Names as Keras 3 has them: earlier ones said W, b and depthwise_kernel."""
    plain = {}
    for path, array in arrays.items():
        layer, _, variable = path.rpartition("/")
        match = _FIRST_KERAS.fullmatch(variable)
        if match:
            variable = {"W": "kernel", "b": "bias"}[match.group(1)]
        variable = {"depthwise_kernel": "kernel"}.get(variable, variable)
        plain[f"{layer}/{variable}"] = array
    return plain


def _without_biases(arrays):
    """Moves the convolutions' biases into the normalisations that follow them."""
    plain = {}
    for path, array in arrays.items():
        layer, _, variable = path.rpartition("/")
        if layer.endswith("_conv") and variable == "bias":
            continue
        if variable == "moving_mean":
            bias = arrays.get(f"{layer.removesuffix('_bn')}_conv/bias")
            array = array if bias is None else array - bias
        elif variable == "moving_variance":
            array = array + array.dtype.type(_EPSILON)
        plain[path] = array
    return plain
