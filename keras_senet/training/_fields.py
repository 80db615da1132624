"""What the fields of a recipe may be: their types, and the limits of their numbers."""

import operator
import os
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from keras_senet.utils.errors import short

# Field -> what a number must be.
_LIMITS = {
    "held_out": "above 0 and below 1",
    "image_size": "at least 1 and at most 8192",
    "classes": "at least 1",
    "limit": "at least 1",
    "head_epochs": "at least 0",
    "head_learning_rate": "above 0",
    "epochs": "at least 0",
    "passes": "at least 1",
    "global_batch_size": "at least 1",
    "accumulation_steps": "at least 1",
    "learning_rate": "above 0",
    "reference_batch_size": "at least 1",
    "layer_decay": "above 0 and at most 1",
    "se_rate_factor": "above 0",
    "momentum": "at least 0 and below 1",
    "l2": "at least 0",
    "weight_decay": "at least 0",
    "warmup_epochs": "at least 0",
    "step_factor": "above 0 and below 1",
    "patience": "at least 1",
    "ema_momentum": "above 0 and below 1",
    "freeze_batch_norm_epochs": "at least 0",
    "label_smoothing": "at least 0 and below 1",
    "rand_augment": "at least 0 and at most 1",
    "random_erasing": "at least 0 and at most 1",
    "mixup": "0, or at least 0.2 and at most 1",
    "cutmix": "0, or at least 0.2 and at most 1",
    "crop_fraction": "above 0 and at most 1",
    "dropout_rate": "at least 0 and below 1",
    "drop_path_rate": "at least 0 and below 1",
    "seed": "at least 0",
}

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
    limits = _LIMITS.get(name, "") if value is not None else ""
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
