"""What the torch layouts share: names from a table, axes in Keras' order."""

import dataclasses
import re
from collections.abc import Iterator, Mapping

import numpy as np

_UNIT = re.compile(r"layer(\d)\.(\d+)\.(.+)")
_VARIABLES = {"weight": "kernel", "bias": "bias"}
_NORM_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchNames:
    """A torch layout of a residual network: module name -> layer name.

    Attributes:
        stem: With the 7x7 stem.
        deep_stem: With the stem of three 3x3 convolutions.
        block: In a residual unit, without "layerS.B." and "convS_blockB_".
        average_shortcut: What differs in `block` with an average-pool shortcut.
        head: The classifier.
        unit: A name in a residual unit: its stage, its number, and the rest.
        first: The number of a stage's first unit.
    """

    stem: Mapping[str, str]
    deep_stem: Mapping[str, str] = dataclasses.field(default_factory=dict)
    block: Mapping[str, str]
    average_shortcut: Mapping[str, str] = dataclasses.field(default_factory=dict)
    head: Mapping[str, str]
    unit: re.Pattern = _UNIT
    first: int = 0


# Of a residual unit, as torchvision's and timm's networks call its parts.
UNIT = {
    **{f"conv{i}": f"{i}_conv" for i in (1, 2, 3)},
    **{f"bn{i}": f"{i}_bn" for i in (1, 2, 3)},
    "downsample.0": "0_conv",
    "downsample.1": "0_bn",
}

# What trainers, compilers and other libraries put before all names.
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "encoder.", "backbone.")


def plain_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes what wrappers put before all names, and torch's batch counters."""
    plain = {n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}
    while prefix := next((p for p in _PREFIXES if _all_start(plain, p)), ""):
        plain = {name.removeprefix(prefix): array for name, array in plain.items()}
    return plain


def _all_start(names, prefix):
    return bool(names) and all(name.startswith(prefix) for name in names)


def translate(
    arrays: Mapping[str, np.ndarray],
    names: TorchNames,
    *,
    deep: bool = False,
    average: bool = False,
) -> dict[str, np.ndarray]:
    """Returns the arrays under our names, in Keras' order of axes.

    Raises:
        ValueError: If a name is not in the layout.
    """
    top = {**(names.deep_stem if deep else names.stem), **names.head}
    block = {**names.block, **(names.average_shortcut if average else {})}
    pairs = list(_translate(arrays, names, top, block))
    unknown = [name for name, path, _ in pairs if path is None]
    if unknown:
        raise ValueError(
            f"All names must be known in this layout. Received: {len(unknown)} other "
            f"names, {', '.join(unknown[:10])}."
        )
    return {path: array for _, path, array in pairs}


def _translate(
    arrays, names, top, block
) -> Iterator[tuple[str, str | None, np.ndarray]]:
    for name, array in arrays.items():
        module, _, variable = name.rpartition(".")
        match = names.unit.fullmatch(module)
        if match:
            stage, index, inner = match.groups()
            layer = block.get(inner)
            if layer is not None:
                number = int(index) + 1 - names.first
                layer = f"conv{int(stage) + 1}_block{number}_{layer}"
        else:
            layer = top.get(module)
        variables = _NORM_VARIABLES if str(layer).endswith("_bn") else _VARIABLES
        if layer is None or variable not in variables:
            yield name, None, array
        else:
            yield name, f"{layer}/{variables[variable]}", _axes(layer, array)


def _axes(layer: str, array: np.ndarray) -> np.ndarray:
    if layer.endswith(("/reduce", "/expand")) and array.ndim == 2:
        array = array[:, :, None, None]
    if array.ndim == 4:
        # OIHW -> HWIO, of grouped convolutions too.
        return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    return np.ascontiguousarray(array.T) if array.ndim == 2 else array
