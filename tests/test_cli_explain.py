"""`keras-senet explain` from the words to the page."""

import dataclasses
import json

import keras
import pytest

from keras_senet.card import Card


@pytest.fixture
def explain(shell, small_file, tmp_path):
    """Explains a network in a file, by default a new one, into a folder."""

    def call(*words, file=None):
        file = file or small_file()
        return shell("explain", file, "--output", tmp_path / "gates", *words)

    return call


def test_explain(explain, tmp_path):
    folder = tmp_path / "gates"
    words = ["--limit", "64", "--classes", "Bag", "Ankle boot"]
    words += ["--layers", "conv2_block1_se"]
    code, out, _ = explain(*words)
    assert code == 0
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
    code, _, err = explain(*words, file=tmp_path / "model.keras")
    assert (code, "which exists" in err) == (1, True)


def test_a_wrong_class_is_said_before_anything_is_written(explain, tmp_path):
    code, _, err = explain("--limit", "20", "--classes", "Bags")
    assert (code, "Did you mean 'Bag'?" in err) == (1, True)
    assert not (tmp_path / "gates").exists()


def test_a_tolerance_without_a_measurement_is_refused(explain, tmp_path):
    code, _, err = explain("--no-removal", "--tolerance", "0.01")
    assert (code, "tolerance=0.01, removal=False" in err) == (1, True)
    assert not (tmp_path / "gates").exists()


def test_data_with_the_model_s_number_of_classes_but_other_names(
    explain, small_file, tmp_path
):
    model = small_file()
    network = keras.saving.load_model(model)
    network.card = dataclasses.replace(Card.of(network), labels=tuple("abcdefghij"))
    network.save(model)
    code, _, err = explain("--limit", "20", file=model)
    assert (code, "must have the same classes" in err) == (1, True)
    assert not (tmp_path / "gates").exists()


def test_data_with_fewer_classes_has_no_right_images(explain, small_file, tmp_path):
    code, out, _ = explain("--limit", "20", file=small_file(12))
    assert code == 0
    assert "bundled has other classes than" in out
    assert "The whole network" not in out
    assert "% changed" in (tmp_path / "gates" / "index.html").read_text()
