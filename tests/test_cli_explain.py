"""`keras-senet explain` from the words to the page."""

import dataclasses
import json

import keras
import pytest
from conformance import cases

from keras_senet.card import Card
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


def test_data_with_the_model_s_number_of_classes_but_other_names(
    model, tmp_path, capsys
):
    network = keras.saving.load_model(model)
    network.card = dataclasses.replace(Card.of(network), labels=tuple("abcdefghij"))
    network.save(model)
    words = ["explain", model, "--limit", "20", "--output", tmp_path / "gates"]
    assert main([*map(str, words)]) == 1
    assert "must have the same classes" in capsys.readouterr().err
    assert not (tmp_path / "gates").exists()


def test_data_with_fewer_classes_has_no_right_images(tmp_path, capsys, randomize):
    options = {"input_shape": (28, 28, 3), "include_preprocessing": True}
    network = randomize(cases.build("small", classes=12, **options))
    network.save(tmp_path / "model.keras")
    folder = tmp_path / "gates"
    words = ["explain", tmp_path / "model.keras", "--limit", "20", "--output", folder]
    assert main([*map(str, words)]) == 0
    out = capsys.readouterr().out
    assert "bundled has other classes than" in out
    assert "The whole network" not in out
    assert "% changed" in (folder / "index.html").read_text()
