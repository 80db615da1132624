"""The exported networks in saved_models/ are what their records say."""

import json
from pathlib import Path

import numpy as np
import pytest
import ship_weights as ship

import keras_senet
from keras_senet.export import open_runner

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "saved_models"
RECORDS = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
# int8 kernels round differently from machine to machine: a few steps of 1/256.
TOLERANCES = {"int8.tflite": 0.05, "float16.tflite": 2e-3}


def ids(record):
    return record["name"]


def by_data(name):
    return [r for r in RECORDS if r["name"].partition("/")[0].endswith(f".{name}")]


def test_every_export_has_a_record():
    paths = {
        path.relative_to(FOLDER).as_posix()
        for pattern in ("*/*.tflite", "*/saved_model")
        for path in FOLDER.glob(pattern)
    }
    assert paths == {record["name"] for record in RECORDS}


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_file_is_unchanged(record):
    path = FOLDER / record["name"]
    assert ship.fingerprint(path) == record["sha256"]
    assert sum(p.stat().st_size for p in ship.files_of(path)) == record["bytes"]


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_file_gives_the_stored_scores(record):
    runner = open_runner(FOLDER / record["name"])
    scores = runner.predict(ship.generated_images(runner.input_shape[1:]))
    stored = np.array(record["scores"])
    assert len(stored) == 8
    # Different images have different scores, so that a wrong order shows.
    assert np.abs(stored[1:] - stored[:-1]).max(-1).min() > 1e-3
    file = record["name"].partition("/")[2]
    assert np.abs(scores - stored).max() < TOLERANCES.get(file, 1e-4)


@pytest.mark.parametrize("record", by_data("fashion_mnist"), ids=ids)
def test_fashion_mnist_file_has_its_accuracy(record):
    """On the package's part of the test images."""
    if record["bundled_accuracy"] is None:
        pytest.fail("The record has no accuracy on the bundled images.")
    found = keras_senet.evaluate(FOLDER / record["name"], "bundled")
    expected = round(record["bundled_accuracy"] * found.images)
    # In whole images, of 1000. The records were made before images were resized to
    # whole values. That, and the kernels of another processor, change some answers of
    # the int8 network, whose scores are steps of 1/256.
    assert abs(np.trace(found.confusion) - expected) <= 5


@pytest.mark.data
@pytest.mark.parametrize("record", by_data("cifar10"), ids=ids)
def test_cifar10_file_has_its_accuracy(record):
    found = keras_senet.evaluate(FOLDER / record["name"], "cifar10")
    assert found.images == record["images"] == 10_000
    assert found.top1 == pytest.approx(record["accuracy"], abs=0.001)
