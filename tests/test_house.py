"""The house is in order: floors, and who imports what."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import keras_senet

PACKAGE = Path(keras_senet.__file__).parent

FLOORS = {
    "utils": 0,
    "version": 0,
    "trust": 0,
    "containers": 1,
    "card": 2,
    "network": 3,
    "layers": 2,
    "data": 2,
    "weights": 3,
    "preprocessing": 4,
    "views": 5,
    "models": 5,
    "analysis": 6,
    "surgery": 7,
    "tracing": 8,
    "runners": 9,
    "opening": 10,
    "export": 11,
    "evaluation": 11,
    "mistakes": 11,
    "training": 12,
    "hub": 12,
    "benchmark": 13,
    "cli": 14,
}

# A private module has two importers, or a subject of its own: which.
SUBJECTS = {
    "surgery._expansion": "the layers of this package in Keras' own layers",
}

# Rooms that run on each of Keras' backends: they import only Keras and NumPy.
ANY_BACKEND = {
    "utils",
    "version",
    "containers",
    "card",
    "network",
    "layers",
    "weights",
    "models",
    "analysis",
    "surgery",
}

FILES = [p.relative_to(PACKAGE) for p in sorted(PACKAGE.rglob("*.py"))]
ROOM_FILES = [path for path in FILES if path.name != "__init__.py" or path.parent.name]


def _room(path):
    return path.parts[0].removesuffix(".py")


def _imports(path, *, top_level_only=False):
    tree = ast.parse((PACKAGE / path).read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_has_a_floor():
    assert {_room(path) for path in ROOM_FILES} <= set(FLOORS)


@pytest.mark.parametrize("path", ROOM_FILES, ids=str)
def test_imports_go_down(path):
    own = _room(path)
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] != "keras_senet" or len(parts) < 2:
            continue
        room = parts[1]
        # `from keras_senet import data`: the names of rooms and of public things.
        if room in FLOORS and room != own:
            assert FLOORS[room] < FLOORS[own], f"{path} imports {name}"


def _name(path):
    return ".".join(["keras_senet", *path.with_suffix("").parts]).removesuffix(
        ".__init__"
    )


def _arrows():
    """Module -> the modules of the package that it imports; a face draws none."""
    modules = {_name(path): path for path in FILES}
    arrows = {}
    for name, path in modules.items():
        imported = set(_imports(path)) & set(modules)
        # `from keras_senet.room import module` is an import of the module.
        within = {m for m in imported if any(o.startswith(f"{m}.") for o in imported)}
        arrows[name] = imported - within - {name}
    return {n: () if p.name == "__init__.py" else arrows[n] for n, p in modules.items()}


def test_no_circles():
    sorter = graphlib.TopologicalSorter(_arrows())
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


def test_private_modules_have_two_importers_or_a_subject():
    arrows = _arrows()
    lonely = set()
    for name in arrows:
        own = name.rpartition(".")[2]
        users = [n for n, imported in arrows.items() if name in imported]
        if own.startswith("_") and not own.startswith("__") and len(users) < 2:
            lonely.add(name.removeprefix("keras_senet."))
    assert lonely == set(SUBJECTS)


@pytest.mark.parametrize("path", ROOM_FILES, ids=str)
def test_no_private_imports(path):
    for name in _imports(path):
        assert not name.startswith(("keras.src", "tensorflow.python")), path
        own, *parts = name.split(".")
        if own == "keras_senet" and parts and parts[0] != _room(path):
            private = [part for part in parts if re.match("_[a-z]", part)]
            assert not private, f"{path} imports {name} of another room"


@pytest.mark.parametrize(
    "path", [p for p in ROOM_FILES if _room(p) in ANY_BACKEND], ids=str
)
def test_rooms_for_any_backend_import_no_tensorflow(path):
    # Only imported, or only run, on that backend.
    if path in (Path("layers/_tensorflow.py"), Path("utils/gradient.py")):
        return
    assert not [n for n in _imports(path) if n.split(".")[0] == "tensorflow"]


def test_preprocessing_imports_tensorflow_in_functions_only():
    names = list(_imports(Path("preprocessing.py"), top_level_only=True))
    assert not [name for name in names if name.split(".")[0] == "tensorflow"]


def test_no_application_is_imported():
    for path in FILES:
        assert not [n for n in _imports(path) if n.split(".")[0] == "applications"]
