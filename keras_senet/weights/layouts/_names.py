"""Names of other libraries' layers -> ours, by tables; torch's axes in Keras' order."""

import re
from collections.abc import Mapping

import numpy as np

from keras_senet.weights.layouts._resnet import Arrays

# Of a residual unit, as torchvision's and timm's networks call its parts.
UNIT = {
    **{f"conv{i}": f"{i}_conv" for i in (1, 2, 3)},
    **{f"bn{i}": f"{i}_bn" for i in (1, 2, 3)},
    "downsample.0": "0_conv",
    "downsample.1": "0_bn",
}
_TORCH_UNIT = re.compile(r"layer(\d)\.(\d+)\.(.+)")
_VARIABLES = {"weight": "kernel", "bias": "bias"}
_NORM_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# What trainers, compilers and other libraries put before all names.
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "encoder.", "backbone.")


def plain_names(arrays: Arrays) -> dict[str, np.ndarray]:
    """Removes what wrappers put before all names, and torch's batch counters."""
    plain = {n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}
    while prefix := next((p for p in _PREFIXES if _all_start(plain, p)), ""):
        plain = {name.removeprefix(prefix): array for name, array in plain.items()}
    return plain


def _all_start(names, prefix):
    return bool(names) and all(name.startswith(prefix) for name in names)


def translate(
    arrays: Arrays,
    top: Mapping[str, str],
    block: Mapping[str, str],
    unit: re.Pattern = _TORCH_UNIT,
    shift: tuple[int, int] = (1, 1),
) -> dict[str, np.ndarray]:
    """Returns arrays under our names, torch's in Keras' order of axes.

    Args:
        arrays: "LAYER/VARIABLE" of Keras, or "LAYER.VARIABLE" of torch -> array.
        top: A layer outside of the residual units -> ours.
        block: A layer in a unit -> ours, without "convS_blockB_".
        unit: A name in a unit: its stage, its number, and the layer.
        shift: What is added to the stage and to the number; ours begin with 2 and 1.

    Raises:
        ValueError: If a name is not in the tables.
    """
    translated, unknown = {}, []
    for name, array in arrays.items():
        of_torch = "/" not in name
        module, _, variable = name.rpartition("." if of_torch else "/")
        match = unit.fullmatch(module)
        if match:
            stage, number, inner = match.groups()
            prefix = f"conv{int(stage) + shift[0]}_block{int(number) + shift[1]}_"
            layer = block.get(inner)
        else:
            prefix, layer = "", top.get(module)
        if of_torch and layer is not None:
            names = _NORM_VARIABLES if layer.endswith("_bn") else _VARIABLES
            variable, array = names.get(variable), _in_keras_order(layer, array)
        if None in (layer, variable):
            unknown.append(name)
        else:
            translated[f"{prefix}{layer}/{variable}"] = array
    if unknown:
        raise ValueError(
            f"All names must be known in this layout. Received: {len(unknown)} other "
            f"names, {', '.join(unknown[:10])}."
        )
    return translated


def _in_keras_order(layer, array):
    if layer in ("se/reduce", "se/expand") and array.ndim == 2:
        array = array[:, :, None, None]
    if array.ndim == 4:
        # OIHW -> HWIO, of grouped convolutions too.
        return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    return np.ascontiguousarray(array.T) if array.ndim == 2 else array
