"""The help of a verb, made of its record: fields, types, defaults and docstring."""

import dataclasses
import inspect
import re
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from tyro.conf import Positional

from keras_senet.utils.networks import known_networks

_WIDEST = 100  # longer lines are hard to read
_INDENT = 26  # of what an option is
_TYPES = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}
_POSITIONAL = typing.get_args(Positional[str])[1]
# What options of several verbs are, where a record's "Attributes" say nothing else.
_SHARED = {
    "model": "A run folder, a SavedModel folder, a .keras, .tflite, .onnx or .xml "
    "(OpenVINO) file, or the name of a network.",
    "weights": "For a network: a preset or a file.",
    "trust": "Open a SavedModel that may do more than compute.",
    "data": '"bundled", a tensorflow_datasets name, or a folder of images.',
    "data_dir": "The folder of the tensorflow_datasets data, if not the usual one.",
    "limit": "Use at most this many images.",
    "image_size": "Height and width in pixels, if not the model's own.",
    "crop_fraction": "Share of the resized image that the centre crop keeps.",
    "batch_size": "Number of images in one step.",
    "fold": "Whether batch normalization and SE are folded into the convolutions.",
    "resume": "Resume the run in the folder from its last checkpoint.",
    "checkpoint_every": "Also save the state after this many steps within an epoch.",
}
_ALWAYS = {
    "--debug": "Show tracebacks and the notes of TensorFlow.",
    "-h, --help": "Show this help.",
}


class Option(NamedTuple):
    """An option as the help shows it; `default` is `tyro.MISSING` where it has none."""

    name: str
    type: Any
    default: Any
    doc: str

    @property
    def positional(self) -> bool:
        return _POSITIONAL in typing.get_args(self.type)

    @property
    def required(self) -> bool:
        return self.default in (tyro.MISSING, dataclasses.MISSING)

    def label(self) -> str:
        """Returns "--option TYPE", or the name of an argument without one."""
        kind = _metavar(self.type)
        if self.positional:
            name = self.name.upper()
            return f"{name.removesuffix('S')}…" if kind.endswith("…") else name
        name = self.name.replace("_", "-")
        if kind == "bool":
            return f"--{name}, --no-{name}" if self.default else f"--{name}"
        return f"--{name} {kind}"

    def text(self) -> str:
        """Returns what it is, and its default."""
        value = self.default
        if self.required:
            return self.doc if self.positional else f"{self.doc} (required)"
        if value is None or value is False or value == ():
            return self.doc
        words = value if isinstance(value, tuple) else [value]
        shown = "on" if value is True else " ".join(map(str, words))
        return f"{self.doc} (default: {shown})"


def help_text(
    record: type,
    verb: str,
    default: Any = None,
    network: str | None = None,
) -> str:
    """Returns the help of a verb, as wide as the terminal.

    Args:
        record: The verb's record, a dataclass. Its docstring is the description; it has
            the options after "Attributes:", without those that several verbs have,
            and examples after "Examples:". Its `TITLES` say from which option on they
            stand under which title.
        verb: The verb.
        default: A record with the defaults; None where those of the fields hold.
        network: The network whose options are shown, too.
    """
    text, *sections = _sections(record)
    options = list(_options(record, default))
    titles, title = getattr(record, "TITLES", {}), "Options"
    groups: dict[str, dict[str, str]] = {"Arguments": {}, "Options": {}}
    for option in options:
        if option.positional:
            groups["Arguments"][option.label()] = option.text()
        else:
            title = titles.get(option.name, title)
            groups.setdefault(title, {})[option.label()] = option.text()
    groups["Options"] |= _ALWAYS
    if network in known_networks():
        found = _architecture(network)
        groups[f"Architecture of {network}"] = {o.label(): o.text() for o in found}
    words = [
        option.label() if option.required else f"[{option.label()}]"
        for option in options
        if option.positional or option.required
    ]
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    parts = [f"usage: keras-senet {' '.join([verb, *words])} [OPTIONS]", text]
    parts = [textwrap.fill(p, width) for part in parts for p in part.split("\n\n")]
    parts += [_group(title, rows, width) for title, rows in groups.items() if rows]
    parts.append(f"Examples:\n{textwrap.indent(dict(sections)['Examples'], '  ')}")
    return _encodable("\n\n".join(parts))


def _options(record, default) -> Iterator[Option]:
    docs = dict(_SHARED)
    for ancestor in reversed(record.__mro__):
        listed = dict(_sections(ancestor)[1:]).get("Attributes", "")
        for name, doc in re.findall(r"^(\w+): (.*(?:\n +.*)*)", listed, re.M):
            docs[name] = " ".join(doc.split())
    hints = typing.get_type_hints(record, include_extras=True)
    for field in dataclasses.fields(record):
        value = getattr(default, field.name, field.default)
        if dataclasses.is_dataclass(value):
            yield from (o for o in _options(type(value), value) if o.name not in hints)
        elif field.name in docs and not isinstance(value, dict):
            yield Option(field.name, hints[field.name], value, docs[field.name])


def _architecture(network):
    from keras_senet.models import architecture_options, stages_of

    for name, option in architecture_options(network).items():
        doc = option.doc.format(stages=stages_of(network))
        yield Option(name, option.type, option.default, doc)


def _sections(record) -> list:
    """The text of a docstring, then pairs of a title and what is under it."""
    text = inspect.cleandoc(record.__doc__ or "")
    text, *rest = re.split(r"^(Attributes|Examples?):$", text, flags=re.M)
    bodies = (textwrap.dedent(body).strip() for body in rest[1::2])
    return [text.strip(), *zip(rest[::2], bodies, strict=True)]


def _metavar(kind) -> str:
    """What stands for a value: "INT", "{a,b}"; "bool" for one that has none."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _metavar(arguments[0])
    if origin in (typing.Union, types.UnionType):
        kinds = filter(None, map(_metavar, arguments))
        return "|".join(dict.fromkeys(kinds))
    if origin is Literal:
        return f"{{{','.join(str(a) for a in arguments if a is not None)}}}"
    if origin is tuple:
        return f"{_metavar(arguments[0])}…"
    return "bool" if kind is bool else _TYPES.get(kind, "")


def _group(title, rows, width):
    lines = [f"{title}:"]
    for label, text in rows.items():
        wrapped = textwrap.wrap(text, width - _INDENT) or [""]
        label = f"  {label}"
        if len(label) > _INDENT - 2:
            lines.append(label)
            label = ""
        for line in wrapped:
            lines.append(f"{label:{_INDENT}}{line}".rstrip())
            label = ""
    return "\n".join(lines)


def _encodable(text):
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return text.replace("…", "...")
    return text
