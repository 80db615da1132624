"""Which architecture arguments a recipe may give to its network."""

import inspect
import typing
from typing import Literal

from keras_senet.models import CONSTRUCTORS


class ModelArguments(typing.TypedDict, total=False):
    """The architecture arguments of the constructors; each takes some of them."""

    se: bool
    reduction: int
    squeeze: str
    gate: str
    se_bias: bool
    identity_start: bool
    placement: str
    se_stages: tuple[int, ...] | Literal["all"]
    stride_on: str
    stem: str
    stem_pool: str
    shortcut: str
    divisor: int
    preactivation: bool
    block: str
    blocks: tuple[int, ...]
    filters: tuple[int, ...]
    stem_filters: tuple[int, ...]
    branch_relu: bool
    cardinality: int
    width: int
    half_reduce: bool
    alpha: float
    batch_norm: bool
    fused: bool


# Arguments of the constructors that follow from other fields of the recipe.
_NOT_ARCHITECTURE = {
    "dropout_rate",
    "drop_path_rate",
    "include_preprocessing",
    "output_stride",
    "data_format",
}


def model_arguments_of(model: str) -> list[str]:
    """Returns the names of the architecture arguments that a constructor takes."""
    parameters = inspect.signature(CONSTRUCTORS[model]).parameters.values()
    return [
        p.name
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and p.name not in _NOT_ARCHITECTURE
    ]
