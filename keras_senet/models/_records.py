"""Records whose fields are options: each with its type, default and documentation.

What a record's options may be, how they are documented, and what a signature, a recipe
or a file says of them is read from its fields, which are the only list of them.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import os
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from keras_senet.utils.errors import integer_or_none


@dataclasses.dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: Its name.
        type: What it may be. An `int` is positive, a `Literal` is a choice.
        default: Its value if nothing else sets it.
        doc: What it is, in a sentence.
        marks: Other facts about it from its record.

    Example:

    >>> keras_senet.models.architecture_options("se_resnet50")["squeeze"].choices
    ('avg', 'max', 'none')
    """

    name: str
    type: Any
    default: Any
    doc: str
    marks: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def choices(self) -> tuple:
        """All values, including None, of an option that is a choice; else empty."""
        values = []
        for kind in _kinds(self.type):
            if typing.get_origin(kind) is not Literal and kind is not type(None):
                return ()
            values += typing.get_args(kind) or [None]
        return tuple(values)

    def parameter(self, kind: Any, default: Any = ...) -> inspect.Parameter:
        """Returns the option as a parameter of a function, with its own default if
        none is given."""
        default = self.default if default is ... else default
        annotation = self.type
        if default is None and not {Any, type(None)}.intersection(_kinds(annotation)):
            annotation = annotation | None
        return inspect.Parameter(
            self.name, kind, default=default, annotation=annotation
        )

    def describe(self, default: Any = None, **facts: Any) -> str:
        """Returns its lines in a docstring.

        Args:
            default: The default, if the signature does not show it.
            **facts: Values for the names in braces in the sentence.
        """
        told = [f"One of {_or(list(map(repr, self.choices)))}."] if self.choices else []
        if default is not None:
            told.append(f"Default: {default!r}.")
        told = [text.replace("'", '"') for text in told]
        return textwrap.fill(
            " ".join([f"{self.name}: {self.doc.format(**facts)}", *told]),
            88,
            initial_indent=" " * 4,
            subsequent_indent=" " * 8,
        )

    def check(self, value: Any) -> Any:
        """Returns a value as the option's type; a list is accepted as a tuple.

        Raises:
            ValueError: If the value is not of the type.
        """
        fitting = _fit(value, self.type)
        if fitting is not _UNFIT:
            return fitting
        expected = _or([text for kind in _kinds(self.type) for text in _name(kind)])
        raise ValueError(
            f"`{self.name}` must be {expected}. Received: {self.name}={value!r}."
            f" {self.marks.get('remedy', '')}".rstrip()
        )


def option(default: Any, doc: str = "", **marks: Any) -> Any:
    """Makes the field of an option; `doc` defaults to the one that it overrides."""
    return dataclasses.field(default=default, metadata={"doc": doc, **marks})


@functools.cache
def options_of(record: type) -> dict[str, Option]:
    """Returns the options of a record by name, in their order."""
    options = {}
    for field in dataclasses.fields(record):
        marks = dict(field.metadata)
        doc = marks.pop("doc") or _inherited_doc(record, field.name)
        options[field.name] = Option(field.name, field.type, field.default, doc, marks)
    return options


def _inherited_doc(record, name):
    for base in record.__mro__[1:]:
        if name in vars(base).get("__dataclass_fields__", ()):
            return options_of(base)[name].doc
    return ""


def check_options(record: Any) -> None:
    """Gives each field of a frozen record the value that its type makes of it."""
    for name, entry in options_of(type(record)).items():
        object.__setattr__(record, name, entry.check(getattr(record, name)))


_UNFIT = object()


def _kinds(annotation):
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _fit(value, annotation, least=1):
    """The value as the first kind of the annotation that it can be, or _UNFIT."""
    fitting = (_as(value, kind, least) for kind in _kinds(annotation))
    return next((found for found in fitting if found is not _UNFIT), _UNFIT)


def _as(value, kind, least):
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        known = isinstance(value, (str, numbers.Integral))
        return next((c for c in typing.get_args(kind) if known and c == value), _UNFIT)
    if origin is tuple:
        if not isinstance(value, (list, tuple, np.ndarray)):
            return _UNFIT
        # Stages count from 0.
        values = tuple(_fit(item, typing.get_args(kind)[0], least=0) for item in value)
        return _UNFIT if _UNFIT in values else values
    if kind is int:
        number = integer_or_none(value)
        return _UNFIT if number is None or number < least else number
    if kind is float:
        known = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return float(value) if known and math.isfinite(value) else _UNFIT
    if kind is bool:
        return bool(value) if isinstance(value, (bool, np.bool_)) else _UNFIT
    return value if kind is Any or isinstance(value, origin) else _UNFIT


def _name(kind):
    """What a kind of value is called in a message."""
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        return list(map(repr, typing.get_args(kind)))
    names = {
        bool: ["True", "False"],
        int: ["a positive integer"],
        float: ["a number"],
        str: ["a string"],
        tuple: ["a tuple of integers"],
        os.PathLike: ["a path"],
        Callable: ["a function"],
        type(None): ["None"],
    }
    return names.get(origin, [f"a {origin.__name__}"])


def _or(words):
    """ "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
