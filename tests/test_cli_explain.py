"""`keras-senet explain` from the words to the page."""

import json

import pytest
from conformance import cases

from keras_senet.cli import main


@pytest.fixture
def model(tmp_path, randomize):
    options = {"input_shape": (28, 28, 3), "include_preprocessing": True}
    network = randomize(cases.build("small", classes=10, **options))
    network.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_explain(model, tmp_path, capsys):
    folder = tmp_path / "gates"
    words = ["explain", model, "--limit", "64", "--output", folder]
    words += ["--classes", "Bag", "Ankle boot", "--layers", "conv2_block1_se"]
    assert main([*map(str, words)]) == 0
    out = capsys.readouterr().out
    assert "conv3_block1_se" in out
    assert "Of 3 SE layers" in out
    assert "The whole network: " in out
    assert "Several at once" in out
    facts = json.loads((folder / "report.json").read_text())
    assert facts["images"] == 64
    assert "Ankle boot" in facts["classes"]
    page = (folder / "index.html").read_text()
    assert "3 SE layers" in page
    assert "Bright parts of an image support its class" in page
    assert (folder / "activations.png").stat().st_size > 10_000
    assert main([*map(str, words)]) == 1
    assert "which exists" in capsys.readouterr().err


def test_a_wrong_class_is_said_before_anything_is_written(model, tmp_path, capsys):
    words = ["explain", model, "--limit", "20", "--output", tmp_path / "gates"]
    assert main([*map(str, words), "--classes", "Bags"]) == 1
    assert "Did you mean 'Bag'?" in capsys.readouterr().err
    assert not (tmp_path / "gates").exists()
