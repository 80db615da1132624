"""Programs of `applications/`, run and imported in the tests' own process."""

import runpy
import sys

import pytest


@pytest.fixture
def modules(request, monkeypatch):
    """Makes what lies beside the test module's `PROGRAM` importable, for one test.

    And what is in its folder `SHARED`, if it has one. Names as `report` belong to
    several programs: each test begins without them, and leaves what others had
    imported.
    """
    own = request.module.PROGRAM.parent
    folders = [getattr(request.module, "SHARED", own), own]
    names = {path.stem for folder in folders for path in folder.glob("*.py")}
    for folder in folders:
        monkeypatch.syspath_prepend(folder)
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def run(request, modules, monkeypatch):
    """Runs the test module's `PROGRAM` with words of a command line."""
    program = request.module.PROGRAM

    def call(*words):
        monkeypatch.setattr(sys, "argv", [program.name, *map(str, words)])
        runpy.run_path(str(program), run_name="__main__")

    return call
