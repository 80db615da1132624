# Written by scripts/make_stubs.py.

import dataclasses
from collections.abc import Callable
from os import PathLike
from typing import Any, Literal

import keras

from keras_senet.card import Preprocessing
from keras_senet.models._architecture import Architecture
from keras_senet.models._blocks import Blocks, Unit
from keras_senet.models._builder import Family
from keras_senet.preprocessing import decode_predictions as decode_predictions

@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallResNetArchitecture(Architecture):
    block: Literal["basic", "bottleneck"] = ...
    blocks: tuple[int, ...] = ...
    widen: int = ...
    preactivation: bool = ...

def network(b: Blocks, x): ...
def postactivated(b: Blocks, x, unit: Unit): ...
def preactivated(b: Blocks, x, unit: Unit): ...

FAMILY: Family

def preprocess_input(
    x: Any,
    data_format: str | None = None,
    *,
    preset: str | Preprocessing = ...,
) -> Any: ...
def small(name, network, depth, *, block="basic", widen=1, preactivation=False): ...
def SEResNet20(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet20",
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
    preactivation: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet20. With `se=False`, builds it without SE."""

def SEResNet32(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet32",
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
    preactivation: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet32. With `se=False`, builds it without SE."""

def SEResNet44(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet44",
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
    preactivation: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet44. With `se=False`, builds it without SE."""

def SEResNet56(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet56",
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
    preactivation: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet56. With `se=False`, builds it without SE."""

def SEResNet110(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet110",
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
    preactivation: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet110. With `se=False`, builds it without SE."""

def SEResNet164(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet164",
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
    preactivation: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet164. With `se=False`, builds it without SE."""

def SEWideResNet16_8(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_wide_resnet16_8",
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
    preactivation: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEWideResNet16_8. With `se=False`, builds it without SE."""
