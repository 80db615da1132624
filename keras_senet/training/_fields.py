"""Whether the values of a typed record are of the record's types and in range."""

import dataclasses
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
    """The values a number may have; by default the highest is not one of them."""

    low: float
    high: float
    includes_low: bool = True
    includes_high: bool = False

    def __contains__(self, value) -> bool:
        above = value >= self.low if self.includes_low else value > self.low
        below = value <= self.high if self.includes_high else value < self.high
        return above and below

    def __str__(self):
        text = f"{'at least' if self.includes_low else 'above'} {self.low}"
        if self.high == float("inf"):
            return text
        return f"{text} and {'at most' if self.includes_high else 'below'} {self.high}"


def check_range(name: str, value: float | None, interval: Interval) -> None:
    """Raises a ValueError if a number, where there is one, is not in its interval."""
    if value is not None and value not in interval:
        raise ValueError(f"`{name}` must be {interval}. Received: {name}={value!r}")


def as_type(name: str, value: Any, annotation: Any) -> Any:
    """Returns the value of a field as the type of the field.

    A whole number is a number, NumPy's are Python's, and a list does for a tuple, as
    in JSON.

    Args:
        name: The field's name, for the message.
        value: What was given.
        annotation: The field's type: int, float, str, bool, None, a Literal, a tuple
            of numbers, a TypedDict, or a union of those.

    Raises:
        ValueError: If the value is not of the type.
    """
    options = [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        options = list(typing.get_args(annotation))
    for option in options:
        if _fits(value, option):
            return _convert(value, option)
    expected = " or ".join(map(_describe, options))
    raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}")


def _fits(value, option):
    origin = typing.get_origin(option)
    if origin is Literal:
        choices = typing.get_args(option)
        return any(type(value) is type(c) and value == c for c in choices)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(map(_is_number, value))
    if typing.is_typeddict(option):
        return isinstance(value, Mapping)
    if option is float:
        return _is_number(value)
    if option is int:
        return _is_number(value, numbers.Integral)
    return type(value) is option


def _is_number(value, kind=numbers.Real):
    return isinstance(value, kind) and not isinstance(value, bool)


def _convert(value, option):
    if option in (int, float):
        return option(value)
    if typing.get_origin(option) is tuple:
        return tuple(map(_as_python, value))
    if typing.is_typeddict(option):
        return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return value


def _as_python(number):
    return number.item() if isinstance(number, np.generic) else number


def _describe(option):
    if typing.get_origin(option) is Literal:
        return " or ".join(map(repr, typing.get_args(option)))
    if typing.get_origin(option) is tuple:
        return "a sequence of numbers"
    names = {
        int: "an integer",
        float: "a number",
        str: "a string",
        bool: "True or False",
        type(None): "None",
    }
    return names.get(option, "a mapping of names to values")
