"""Programs of `applications/`, run and imported in the tests' own process."""

import runpy
import sys

import pytest


@pytest.fixture
def modules(request, monkeypatch):
    """Makes what lies beside the test module's `PROGRAM` importable, for one test.

    Names as `report` belong to several programs: each test begins without them, and
    leaves what others had imported.
    """
    folder = request.module.PROGRAM.parent
    names = [path.stem for path in folder.glob("*.py")]
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
