"""What the fields of a recipe may be: their types, and the limits of their numbers."""

import operator
import os
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from keras_senet.utils.errors import short

# What a number must be -> the fields that must be so.
_LIMITS = {
    "above 0": "head_learning_rate learning_rate",
    "above 0 and at most 1": "layer_decay crop_fraction",
    "above 0 and below 1": "held_out step_factor ema_momentum",
    "at least 0": (
        "head_epochs epochs l2 weight_decay warmup_epochs freeze_batch_norm_epochs seed"
    ),
    "at least 0 and at most 1": "rand_augment random_erasing",
    "at least 0 and below 1": "momentum label_smoothing dropout_rate drop_path_rate",
    "0, or at least 0.2 and at most 1": "mixup cutmix",
    "at least 1": (
        "classes limit passes global_batch_size accumulation_steps "
        "reference_batch_size patience"
    ),
    "at least 1 and at most 8192": "image_size",
}
_LIMIT_OF = {name: limit for limit, names in _LIMITS.items() for name in names.split()}

_OR_ZERO = "0, or "

_COMPARISONS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}

_TYPES = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "True or False",
    tuple: "a sequence of numbers",
    dict: "a mapping of names to values",
    type(None): "None",
}


def checked(name: str, value: Any, annotation: Any) -> Any:
    """Returns the value of a recipe's field as the type of the field.

    A whole number is a number, NumPy's are Python's, a path is a string, and a list
    does for a tuple, as in JSON.

    Raises:
        ValueError: If the value is not of the type, or out of its range.
    """
    value = _plain(value)
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    wanted = []
    for option in typing.get_args(annotation) if union else (annotation,):
        if typing.get_origin(option) is Literal:
            wanted += map(repr, typing.get_args(option))
            fits = any(type(value) is type(c) and value == c for c in option.__args__)
        else:
            kind = dict if typing.is_typeddict(option) else option
            kind = typing.get_origin(kind) or kind
            wanted.append(_TYPES[kind])
            if kind is float and type(value) is int and abs(value) < 2**31:
                value = float(value)
            fits = type(value) is kind
            if fits and kind is tuple:
                fits = all(type(item) in (int, float) for item in value)
        if fits:
            break
    else:
        expected = " or ".join(wanted)
        raise ValueError(
            f"`{name}` must be {expected}. Received: {name}={short(value)}"
        )
    limits = _LIMIT_OF.get(name, "") if value is not None else ""
    ends = "" if value == 0 and limits.startswith(_OR_ZERO) else limits
    for limit in filter(None, ends.removeprefix(_OR_ZERO).split(" and ")):
        words, _, number = limit.rpartition(" ")
        if not _COMPARISONS[words](value, float(number)):
            raise ValueError(f"`{name}` must be {limits}. Received: {name}={value!r}")
    # Counters are of 32 bits.
    if isinstance(value, int | float) and not abs(value) < 2**31:
        raise ValueError(
            f"`{name}` must be below 2147483648. Received: {name}={short(value)}"
        )
    return value


def _plain(value):
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return _plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value
