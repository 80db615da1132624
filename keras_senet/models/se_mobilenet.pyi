# Written by scripts/make_stubs.py.

import dataclasses
from collections.abc import Callable
from os import PathLike
from typing import Any, Literal

import keras

from keras_senet.card import Preprocessing
from keras_senet.models._architecture import Architecture
from keras_senet.models._blocks import Blocks
from keras_senet.models._builder import Family
from keras_senet.models._input import Options
from keras_senet.preprocessing import decode_predictions as decode_predictions

@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileNetArchitecture(Architecture):
    placement: Literal["standard"] = ...
    alpha: float = ...

def network(b: Blocks, x): ...
def separable(b: Blocks, x, filters: int, strides: int, stage: int, index: int): ...
def head(b: Blocks, x, classes: int, options: Options): ...

FAMILY: Family

def preprocess_input(
    x: Any,
    data_format: str | None = None,
    *,
    preset: str | Preprocessing = ...,
) -> Any: ...
def SEMobileNet(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_mobilenet",
    *,
    se: bool | None = None,
    reduction: int | None = None,
    squeeze: Literal["avg", "max", "none"] | None = None,
    gate: str | Callable[..., Any] | dict[str, Any] | None = None,
    se_bias: bool | None = None,
    identity_start: bool | None = None,
    divisor: int | None = None,
    se_stages: Literal["all"] | tuple[int, ...] | None = None,
    alpha: float | None = None,
    dropout_rate: float = 0.001,
    include_preprocessing: bool | Preprocessing = False,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEMobileNet. With `se=False`, builds it without SE."""
