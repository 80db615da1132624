"""Writes the .pyi files of the families: what editors and type checkers see of them.

    python scripts/make_stubs.py

A constructor's signature is made when its module is imported, from the fields of the
family's row. The stubs say the same without an import; a test holds them to it.
"""

import ast
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import keras

from keras_senet.models.registry import CONSTRUCTORS
from keras_senet.utils.files import atomic_path


class Stub:
    """The text of one module's stub, and the imports that it turns out to need."""

    def __init__(self, module: types.ModuleType):
        self.imports: dict[str, set[str]] = {}
        self.module = module

    def text(self) -> str:
        """Returns the whole file."""
        tree = ast.parse(Path(self.module.__file__).read_text(encoding="utf-8"))
        parts = [part for name in _defined(tree) if (part := self._definition(name))]
        head = "# Written by scripts/make_stubs.py.\n\n"
        text = head + self._import_lines()
        for before, part in zip(["", *parts], parts, strict=False):
            # As ruff formats stubs: no line between functions without a body.
            close = before.endswith(" ...\n") and before.startswith("def")
            text += part if close and part.startswith("def") else f"\n{part}"
        return text

    def _definition(self, name):
        value = getattr(self.module, name)
        if dataclasses.is_dataclass(value) and isinstance(value, type):
            return self._record(value)
        if not inspect.isfunction(value):
            kind = tuple[str, ...] if isinstance(value, tuple) else type(value)
            return f"{name}: {self._type(kind)}\n"
        if value.__name__ in vars(sys.modules[value.__module__]) and (
            value.__module__ != self.module.__name__
        ):
            self.imports.setdefault(value.__module__, set()).add(f"{name} as {name}")
            return ""
        signature = inspect.signature(value)
        lines = [self._parameter(p) for p in signature.parameters.values()]
        kinds = [p.kind for p in signature.parameters.values()]
        keyword = inspect.Parameter.KEYWORD_ONLY
        if keyword in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
            lines.insert(kinds.index(keyword), "*")
        arrow, body = "", " ..."
        if signature.return_annotation is not signature.empty:
            arrow = f" -> {self._type(signature.return_annotation)}"
        if hasattr(value, "network"):
            body = f'\n    """{value.__doc__.splitlines()[0]}"""'
        line = f"def {name}({', '.join(lines)}){arrow}:{body}"
        if len(line.partition("\n")[0]) > 88:
            lines = "".join(f"    {line},\n" for line in lines)
            line = f"def {name}(\n{lines}){arrow}:{body}"
        return line + "\n"

    def _record(self, record):
        self.imports.setdefault("dataclasses", set())
        own = [f for f in dataclasses.fields(record) if f.name in vars(record)]
        own = [f for f in own if f.name in record.__annotations__]
        fields = "".join(f"    {f.name}: {self._type(f.type)} = ...\n" for f in own)
        body = f"\n{fields}" if fields else " ...\n"
        return (
            "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
            f"class {record.__name__}({self._type(record.__base__)}):{body}"
        )

    def _parameter(self, parameter):
        stars = {
            inspect.Parameter.VAR_POSITIONAL: "*",
            inspect.Parameter.VAR_KEYWORD: "**",
        }
        text = stars.get(parameter.kind, "") + parameter.name
        typed = parameter.annotation is not inspect.Parameter.empty
        if typed:
            text += f": {self._type(parameter.annotation)}"
        if parameter.default is not inspect.Parameter.empty:
            text += (" = " if typed else "=") + _value(parameter.default)
        return text

    def _type(self, kind: Any) -> str:
        """A type annotation as text."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind in (None, type(None)):
            return "None"
        if kind is Ellipsis:
            return "..."
        if origin is Literal:
            self.imports.setdefault("typing", set()).add("Literal")
            return f"Literal[{', '.join(map(_value, arguments))}]"
        if origin in (typing.Union, types.UnionType):
            return " | ".join(map(self._type, arguments))
        if origin is not None:
            return f"{self._type(origin)}[{', '.join(map(self._type, arguments))}]"
        if kind is keras.Model:
            self.imports.setdefault("keras", set())
            return "keras.Model"
        if kind.__module__ not in ("builtins", self.module.__name__):
            self.imports.setdefault(kind.__module__, set()).add(kind.__name__)
        return kind.__name__

    def _import_lines(self):
        blocks: list[list[str]] = [[], [], []]
        for module in sorted(self.imports, key=lambda m: (bool(self.imports[m]), m)):
            names = self.imports[module]
            line = f"from {module} import {', '.join(sorted(names))}"
            root = module.split(".")[0]
            block = {"keras": 1, "keras_senet": 2}.get(root, 0)
            blocks[block].append(line if names else f"import {module}")
        return "\n".join("".join(f"{x}\n" for x in block) for block in blocks if block)


def _defined(tree: ast.Module) -> Iterator[str]:
    """The public names that a module defines itself, in order."""
    for node in tree.body:
        names = [getattr(node, "name", None)]
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for t in targets for n in ast.walk(t) if hasattr(n, "id")]
        yield from (name for name in names if name and not name.startswith("_"))


def _value(value):
    """A default as text; `...` stands for what has no literal."""
    if isinstance(value, str):
        return f'"{value}"'
    plain = value is None or isinstance(value, (bool, int, float))
    return repr(value) if plain else "..."


def stubs() -> dict[Path, str]:
    """Returns the text of every stub by its path."""
    modules = {inspect.getmodule(c) for c in CONSTRUCTORS.values()}
    return {Path(m.__file__).with_suffix(".pyi"): Stub(m).text() for m in modules}


if __name__ == "__main__":
    for path, text in sorted(stubs().items()):
        with atomic_path(path, overwrite=True) as file:
            file.write_text(text, encoding="utf-8")
        print(path.name)
