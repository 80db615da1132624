# Written by scripts/make_stubs.py.

from collections.abc import Callable
from os import PathLike
from typing import Any, Literal

import keras

from keras_senet.card import Preprocessing
from keras_senet.preprocessing import decode_predictions as decode_predictions

def preprocess_input(
    x: Any,
    data_format: str | None = None,
    *,
    preset: str | Preprocessing = ...,
) -> Any: ...
def SENet154(
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "senet154",
    *,
    se: bool | None = None,
    reduction: int | None = None,
    squeeze: Literal["avg", "max", "none"] | None = None,
    gate: str | Callable[..., Any] | dict[str, Any] | None = None,
    se_bias: bool | None = None,
    identity_start: bool | None = None,
    divisor: int | None = None,
    placement: Literal["standard", "pre", "post", "identity", "3x3"] | None = None,
    se_stages: Literal["all"] | tuple[int, ...] | None = None,
    stride_on: Literal["1x1", "3x3"] | None = None,
    stem: Literal["7x7", "deep"] | None = None,
    stem_filters: tuple[int, ...] | None = None,
    stem_pool: Literal["padded", "ceil", "conv"] | None = None,
    shortcut: Literal["1x1", "avg", "3x3"] | None = None,
    anti_alias: bool | None = None,
    dropout_rate: float = 0.2,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    output_stride: Literal[8, 16, 32] | None = None,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SENet154. With `se=False`, builds it without SE."""
