"""Skips without the environment of install.sh; collects what was measured."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

MISSING = [
    package
    for package in ("torch", "timm", "classification_models")
    if importlib.util.find_spec(package) is None
]


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.parity)
            if MISSING:
                reason = (
                    f"needs {', '.join(MISSING)}: sh tests/parity/install.sh FOLDER"
                )
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _torchvision():
    if not MISSING:
        import _references

        library = _references.declare_torchvision_operators()
        yield
        del library
    else:
        yield


@pytest.fixture
def images():
    """Random images, channels last, of odd and even sizes."""

    def make(height=65, width=96, batch=2, seed=3):
        rng = np.random.default_rng(seed)
        return rng.normal(0, 1, (batch, height, width, 3)).astype("float32")

    return make


@pytest.fixture(scope="session")
def report():
    """Adds a measured error to the file that KERAS_SENET_PARITY_REPORT names."""
    path = os.environ.get("KERAS_SENET_PARITY_REPORT")

    def add(layout, network, error):
        if not path:
            return
        file = Path(path)
        errors = json.loads(file.read_text()) if file.exists() else {}
        errors.setdefault(layout, {})[network] = error
        file.write_text(json.dumps(errors, indent=1, sort_keys=True) + "\n")

    return add
