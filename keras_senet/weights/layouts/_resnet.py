"""The architecture row of residual networks, as far as their arrays tell it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_senet.layers.squeeze_excite import squeeze_width

# Arrays by name.
Arrays = Mapping[str, np.ndarray]
# Shapes of kernels: stage -> unit -> kernel -> shape.
Units = dict[int, dict[int, dict[str, tuple]]]

_UNIT = re.compile(r"conv(\d)_block(\d+)_(.+)/kernel")


def describe_resnet(
    arrays: Arrays,
    *,
    divisor: int = 1,
    average_shortcut: bool = False,
    stem_pool: str = "padded",
    **known: Any,
) -> dict[str, Any]:
    """Reads the row off the shapes.

    Args:
        arrays: Under our names.
        divisor: Of the layout's SE widths, most of which are the same without it.
        average_shortcut: Whether the projections pool first, which no shape shows.
        stem_pool: The layout's, where it has no weights.
        **known: Fields that the layout fixes.

    Raises:
        ValueError: If the arrays are not a ResNet's.
    """
    units = units_of(arrays)
    row = {
        **_stem(arrays, stem_pool),
        **_widths([units[stage][1] for stage in (2, 3, 4, 5)]),
        **describe_se(arrays, units, squeeze_width, (divisor, 1, 8, 4, 2)),
        "blocks": [len(units[stage]) for stage in (2, 3, 4, 5)],
        "shortcut": _shortcut(units[3][1], average_shortcut),
    }
    return {**row, **known}


def units_of(arrays: Arrays) -> Units:
    """Returns the shapes of a network's kernels; ValueError if a unit is missing."""
    units: Units = {}
    for name, array in arrays.items():
        if match := _UNIT.fullmatch(name):
            stage, index, part = match.groups()
            unit = units.setdefault(int(stage), {}).setdefault(int(index), {})
            unit[part] = array.shape
    if sorted(units) != [2, 3, 4, 5] or any(
        sorted(stage) != list(range(1, len(stage) + 1)) for stage in units.values()
    ):
        raise ValueError(
            "The arrays must belong to a network with four complete stages. Received: "
            f"stages { ({s: len(u) for s, u in sorted(units.items())}) }."
        )
    return units


def describe_se(
    arrays: Arrays,
    units: Units,
    rule: Callable[[int, int, int], int],
    divisors: Sequence[int],
    share_of: str = "se/reduce",
) -> dict[str, Any]:
    """Reads what SE is off the shapes; ValueError if no reduction makes its widths.

    Args:
        arrays: Under our names.
        units: Those of `units_of`.
        rule: SE's width by channels, reduction and divisor.
        divisors: Those that are tried, in order.
        share_of: The kernel whose input channels are the rule's.
    """
    pairs = {
        stage: [
            (shapes[share_of][2], shapes["se/reduce"][3])
            for shapes in blocks.values()
            if "se/reduce" in shapes
        ]
        for stage, blocks in units.items()
    }
    stages = [stage for stage, widths in pairs.items() if widths]
    if not stages:
        return {"se": False, "divisor": divisors[0]}
    widths = {pair for stage in stages for pair in pairs[stage]}
    for d in divisors:
        for reduction in (16, 8, 4, 2, 1, 32, 64, *range(3, 65)):
            if all(rule(c, reduction, d) == w for c, w in widths):
                return {
                    "divisor": d,
                    "reduction": reduction,
                    "se_stages": "all" if len(stages) == 4 else sorted(stages),
                    "se_bias": any(name.endswith("se/reduce/bias") for name in arrays),
                }
    raise ValueError(
        "The SE widths must be the channels divided by one number. "
        f"Received (channels, width): {sorted(widths)}."
    )


def _stem(arrays, pool):
    names = [f"conv1_{i}_conv/kernel" for i in (1, 2, 3)]
    stem = "deep" if all(name in arrays for name in names) else "7x7"
    if stem == "7x7":
        names = ["conv1_conv/kernel"]
    if names[0] not in arrays:
        raise ValueError("The arrays must have a ResNet's stem. Received none.")
    return {
        "stem": stem,
        "stem_filters": [arrays[name].shape[3] for name in names],
        "stem_pool": "conv" if "pool1_conv/kernel" in arrays else pool,
    }


def _widths(units):
    """Reads the widths off the first unit of each stage."""
    if "3_conv" not in units[0]:
        return {"block": "basic", "filters": [unit["2_conv"][3] for unit in units]}
    filters = [unit["3_conv"][3] // 4 for unit in units]
    first, (_, _, group, inner) = units[0]["1_conv"][3], units[0]["2_conv"]
    cardinality = first // group
    return {
        "block": "bottleneck",
        "filters": filters,
        "cardinality": cardinality,
        # The width is counted for a stage of 64 filters.
        "width": round(inner / cardinality * 64 / filters[0]),
        "half_reduce": 2 * first == inner,
    }


def _shortcut(shapes, average):
    if average:
        return "avg"
    return "3x3" if shapes.get("0_conv", (1,))[0] == 3 else "1x1"
