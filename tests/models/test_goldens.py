"""Names and shapes of all weights are frozen; the pages' tables are made from them."""

import json
from pathlib import Path

import make_goldens
import make_model_table
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
    made = json.loads(json.dumps(make_goldens.golden(name)))
    assert list(made["weights"]) == list(stored["weights"])
    assert made == stored


def test_the_packages_table_is_fresh():
    assert make_goldens.TABLE.read_text() == make_goldens.table(), (
        "run `python scripts/make_goldens.py NAME`"
    )


def test_the_pages_tables_are_fresh():
    for name, make in make_model_table.PAGES.items():
        block = f"<!-- model table -->\n\n{make()}\n\n<!-- end of the model table -->"
        assert block in (ROOT / name).read_text(), (
            "run `python scripts/make_model_table.py`"
        )
