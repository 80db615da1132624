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
class ResNetArchitecture(Architecture):
    block: Literal["basic", "bottleneck"] = ...
    blocks: tuple[int, ...] = ...
    filters: tuple[int, ...] = ...
    cardinality: int = ...
    width: int = ...
    half_reduce: bool = ...
    branch_relu: bool = ...
    stride_on: Literal["1x1", "3x3"] = ...
    stem: Literal["7x7", "deep"] = ...
    stem_filters: tuple[int, ...] | None = ...
    stem_pool: Literal["padded", "ceil", "conv"] = ...
    shortcut: Literal["1x1", "avg", "3x3"] = ...
    anti_alias: bool = ...

def network(b: Blocks, x): ...
def basic(b: Blocks, x, unit: Unit): ...
def bottleneck(b: Blocks, x, unit: Unit): ...
def shortcut(b: Blocks, x, unit: Unit, filters: int): ...

FAMILY: Family

def preprocess_input(
    x: Any,
    data_format: str | None = None,
    *,
    preset: str | Preprocessing = ...,
) -> Any: ...

FORM: tuple[str, ...]

def SEResNet18(
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet18",
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
    branch_relu: bool | None = None,
    stem: Literal["7x7", "deep"] | None = None,
    stem_filters: tuple[int, ...] | None = None,
    stem_pool: Literal["padded", "ceil", "conv"] | None = None,
    shortcut: Literal["1x1", "avg", "3x3"] | None = None,
    anti_alias: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    output_stride: Literal[8, 16, 32] | None = None,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet18. With `se=False`, builds it without SE."""

def SEResNet34(
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet34",
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
    branch_relu: bool | None = None,
    stem: Literal["7x7", "deep"] | None = None,
    stem_filters: tuple[int, ...] | None = None,
    stem_pool: Literal["padded", "ceil", "conv"] | None = None,
    shortcut: Literal["1x1", "avg", "3x3"] | None = None,
    anti_alias: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    output_stride: Literal[8, 16, 32] | None = None,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet34. With `se=False`, builds it without SE."""

def SEResNet50(
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet50",
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
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    output_stride: Literal[8, 16, 32] | None = None,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet50. With `se=False`, builds it without SE."""

def SEResNet101(
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet101",
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
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    output_stride: Literal[8, 16, 32] | None = None,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet101. With `se=False`, builds it without SE."""

def SEResNet152(
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet152",
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
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    output_stride: Literal[8, 16, 32] | None = None,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet152. With `se=False`, builds it without SE."""

def SEResNet(
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: tuple[int | None, ...] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = "se_resnet",
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
    block: Literal["basic", "bottleneck"] | None = None,
    blocks: tuple[int, ...] | None = None,
    filters: tuple[int, ...] | None = None,
    width: int | None = None,
    branch_relu: bool | None = None,
    stride_on: Literal["1x1", "3x3"] | None = None,
    stem: Literal["7x7", "deep"] | None = None,
    stem_filters: tuple[int, ...] | None = None,
    stem_pool: Literal["padded", "ceil", "conv"] | None = None,
    shortcut: Literal["1x1", "avg", "3x3"] | None = None,
    anti_alias: bool | None = None,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    include_preprocessing: bool | Preprocessing = False,
    output_stride: Literal[8, 16, 32] | None = None,
    data_format: Literal["channels_last", "channels_first"] | None = None,
    fused: bool = True,
) -> keras.Model:
    """Builds SEResNet. With `se=False`, builds it without SE."""
