"""Names and shapes of all weights are frozen; the pages' tables are made from them."""

import json
import runpy
from pathlib import Path

import pytest

import keras_senet
from keras_senet.models import CONSTRUCTORS

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens"
FAST = {"se_resnet18", "se_resnet20", "se_resnet50", "se_mobilenet", "se_shufflenet"}


def test_every_network_has_a_golden():
    names = {path.stem for path in GOLDENS.glob("*.json")}
    assert names == set(keras_senet.list_models())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in FAST else pytest.mark.slow)
        for n in CONSTRUCTORS
    ],
)
def test_golden(name):
    stored = json.loads((GOLDENS / f"{name}.json").read_text())
    script = runpy.run_path(str(ROOT / "scripts" / "make_goldens.py"))
    made = json.loads(json.dumps(script["golden"](name)))
    assert list(made["weights"]) == list(stored["weights"])
    assert made == stored


def test_the_packages_table_is_fresh():
    script = runpy.run_path(str(ROOT / "scripts" / "make_goldens.py"))
    assert script["TABLE"].read_text() == script["table"](), (
        "run `python scripts/make_goldens.py NAME`"
    )


def test_the_pages_tables_are_fresh():
    script = runpy.run_path(str(ROOT / "scripts" / "make_model_table.py"))
    for name, make in script["PAGES"].items():
        page = (ROOT / name).read_text()
        assert page == script["insert"](page, make()), (
            "run `python scripts/make_model_table.py`"
        )
