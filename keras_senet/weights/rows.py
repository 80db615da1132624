"""Architecture rows of the ResNet families, and what a row is called."""

from collections.abc import Mapping
from typing import Any

_RESNET = {
    "se": True,
    "reduction": 16,
    "squeeze": "avg",
    "gate": "sigmoid",
    "se_bias": True,
    "identity_start": False,
    "divisor": 1,
    "placement": "standard",
    "se_stages": "all",
    "block": "bottleneck",
    "blocks": [3, 4, 6, 3],
    "filters": [64, 128, 256, 512],
    "cardinality": 1,
    "width": 64,
    "half_reduce": False,
    "branch_relu": False,
    "stride_on": "3x3",
    "stem": "7x7",
    "stem_filters": [64],
    "stem_pool": "padded",
    "shortcut": "1x1",
}

BLOCKS = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
}


def resnet_row(**changes: Any) -> dict[str, Any]:
    """Returns a full row of the ResNet families with some values changed.

    Raises:
        ValueError: If a name is no field of the row.
    """
    unknown = sorted(set(changes) - set(_RESNET))
    if unknown:
        raise ValueError(
            f"Changes must be fields of the row. Received: {', '.join(unknown)}"
        )
    row = {**_RESNET, **changes}
    return {k: list(v) if isinstance(v, list | tuple) else v for k, v in row.items()}


def constructor_of(row: Mapping[str, Any]) -> str:
    """Returns the registry's name of the network that a ResNet row describes."""
    block, blocks = row["block"], row["blocks"]
    if row["filters"] != _RESNET["filters"]:
        return "se_resnet" if row["cardinality"] == 1 else "se_resnext"
    if row["half_reduce"]:
        return "senet154" if blocks == BLOCKS[152] else "se_resnext"
    if row["cardinality"] > 1 or row["width"] != 64:
        if (row["cardinality"], row["width"]) == (32, 4):
            for depth in (50, 101):
                if blocks == BLOCKS[depth]:
                    return f"se_resnext{depth}"
        return "se_resnext"
    depths = (18, 34) if block == "basic" else (50, 101, 152)
    for depth in depths:
        if blocks == BLOCKS[depth]:
            return f"se_resnet{depth}"
    return "se_resnet"
