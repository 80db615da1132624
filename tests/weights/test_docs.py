"""The tables in docs/weights.md are what was measured and counted."""

import importlib.util
import json
from pathlib import Path

import make_accuracy_page
import pytest

from keras_senet.utils.networks import known_networks
from keras_senet.weights import find_preset, list_weights

ROOT = Path(__file__).parents[2]


def test_table_is_generated():
    path = ROOT / "tests" / "parity" / "report.py"
    spec = importlib.util.spec_from_file_location("parity_report", path)
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    text = (ROOT / "docs" / "weights.md").read_text()
    assert report.page(text) == text, "run: python tests/parity/report.py"
    # Too large for the machine, or the same form as one that is measured.
    lines = [line.split("|")[2] for line in text.splitlines() if "not measured" in line]
    large = ("regnety_320", "regnety_640", "regnety_1280", "regnety", "se_resnext")
    measured = ("resnetrs", "_080", "_120", "_160")
    assert {x.strip() for x in lines if not any(m in x for m in measured)} <= {*large}


def test_the_choice_is_generated():
    text = (ROOT / "docs" / "weights.md").read_text()
    assert make_accuracy_page.block() in text, (
        "run: python scripts/make_accuracy_page.py"
    )
    assert make_accuracy_page.PICTURE.is_file()


def test_every_preset_is_counted():
    costs = json.loads(make_accuracy_page.TABLE.read_text())
    again = "run: python scripts/make_accuracy_page.py --count"
    assert list(costs) == list_weights(), again
    networks = known_networks()
    for name, (parameters, multiply_adds) in costs.items():
        card = find_preset(name).card
        known = networks[card.constructor]
        default = not set(card.architecture) - {"stem_pool", "stride_on", "padding"}
        if default and card.classes == known["classes"]:
            assert parameters == known["parameters"], name
        assert multiply_adds > 0, again


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "regnety_002.keras_in1k_no_top",
        "se_resnext26d.bt_in1k",
        "se_resnextaa101d_32x8d.sw_in12k",
        "regnety_2560.seer_ft_in1k",
    ],
)
def test_costs(name):
    preset = find_preset(name)
    counted = make_accuracy_page.count(preset)
    assert counted == (preset.parameters, preset.multiply_adds)
