"""Inception modules as tables of branches, and what two of the families share."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from keras_senet.models._architecture import Architecture
from keras_senet.models._blocks import Blocks
from keras_senet.models._records import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class InceptionArchitecture(Architecture):
    """The row of Inception-v3 and BN-Inception.

    A stage is the modules whose output has one stride (8, 16, 32), so that a module
    that halves the map is the first of its stage.
    """

    placement: Literal["standard"] = option(
        "standard",
        remedy="The whole Inception module is the transformation (section 3.3): it has "
        "no shortcut and no single 3x3 convolution where SE could be placed.",
    )

    stages: ClassVar[tuple[int, ...]] = (3, 4, 5)
    reasons: ClassVar[Mapping[str, str]] = {
        "stride_on": "its modules have strides in several branches.",
        "stem": "its stem is fixed.",
        "stem_pool": "the pooling in its stem is fixed.",
        "shortcut": "it has no shortcuts.",
    }


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolution, batch normalization, ReLU."""

    filters: int
    kernel_size: int | tuple[int, int] = 1
    strides: int = 1
    padding: str | None = None


@dataclasses.dataclass(frozen=True)
class Pool:
    """3x3 pool; `kind` is "avg" or "max"."""

    kind: str
    strides: int = 1


@dataclasses.dataclass(frozen=True)
class Fork:
    """Convolutions of one map, concatenated."""

    convolutions: tuple[Conv, ...]


# The steps of each branch, by the branch's name; the order is the concatenation's.
Branches = Mapping[str, Sequence[Conv | Pool | Fork]]


def convolve(b: Blocks, x, conv: Conv, name: str):
    """Convolution as in keras.applications: no gamma, unpadded where it strides."""
    padding = conv.padding or ("same" if conv.strides == 1 else "valid")
    return b.conv_norm_relu(
        x,
        conv.filters,
        conv.kernel_size,
        conv.strides,
        padding=padding,
        scale=False,
        name=name,
    )


def pool(b: Blocks, x, step: Pool, name: str):
    """Pool as in keras.applications: the average does not count the padding."""
    padding = "same" if step.strides == 1 else "valid"
    pools = {"avg": b.average_pool, "max": b.max_pool}
    return pools[step.kind](x, 3, step.strides, name, padding=padding)


def module(
    b: Blocks,
    x,
    branches: Branches,
    name: str,
    *,
    convolve: Callable = convolve,
    pool: Callable = pool,
):
    """Concatenation of the branches of one map.

    `convolve(b, x, conv, name)` and `pool(b, x, pool, name)` make the layers of a step.
    Convolutions are numbered: the second of branch "3x3" is `{name}_3x3_2`.
    """
    outputs = []
    for branch, steps in branches.items():
        y, index = x, 0
        for step in steps:
            if isinstance(step, Pool):
                y = pool(b, y, step, f"{name}_{branch}")
                continue
            index += 1
            if isinstance(step, Conv):
                y = convolve(b, y, step, f"{name}_{branch}_{index}")
                continue
            prongs = [
                convolve(b, y, conv, f"{name}_{branch}_{index}{letter}")
                for conv, letter in zip(step.convolutions, "ab", strict=True)
            ]
            y = b.concatenate(prongs, f"{name}_{branch}")
        outputs.append(y)
    return b.concatenate(outputs, name)


_STEM = (
    Conv(32, 3, 2),
    Conv(32, 3, padding="valid"),
    Conv(64, 3),
    Pool("max", 2),
    Conv(80),
    Conv(192, 3, padding="valid"),
    Pool("max", 2),
)


def stem(b: Blocks, x):
    """The stem of Inception-v3 and Inception-ResNet-v2; its stride is 8."""
    convolutions = pools = 0
    for step in _STEM:
        if isinstance(step, Conv):
            convolutions += 1
            x = convolve(b, x, step, f"conv{convolutions}")
        else:
            pools += 1
            x = pool(b, x, step, f"pool{pools}")
    return x


def inception_a(one: int, pooled: int) -> Branches:
    """35x35: a 1x1, a 5x5, two 3x3, and a pool; its first and last width."""
    return {
        "1x1": (Conv(one),),
        "5x5": (Conv(48), Conv(64, 5)),
        "3x3": (Conv(64), Conv(96, 3), Conv(96, 3)),
        "pool": (Pool("avg"), Conv(pooled)),
    }
