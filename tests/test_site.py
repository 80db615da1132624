"""The site: its pages are fresh, complete, and build without a warning."""

import inspect
import subprocess
import sys
from pathlib import Path

import make_family_pages
import pytest

import keras_senet

ROOT = Path(__file__).parents[1]


def test_family_pages_are_fresh():
    pages = make_family_pages.pages()
    for path, text in pages.items():
        assert path.read_text("utf-8") == text, (
            "run `python scripts/make_family_pages.py`"
        )


def test_every_public_name_is_documented():
    for name in keras_senet.__all__:
        value = getattr(keras_senet, name)
        if name != "__version__":
            assert inspect.getdoc(value), f"keras_senet.{name} has no docstring"


def test_builds_strictly(tmp_path):
    """A broken link, an orphan, or a name of the reference that is not there fails."""
    pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Hu et al." in (tmp_path / "index.html").read_text("utf-8")
    assert "reduction" in (tmp_path / "reference" / "layers.html").read_text("utf-8")
