"""What verbs share: labels count only where they are the model's."""

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from keras_senet.card import Card
from keras_senet.cli.reports import first_images
from keras_senet.data import open_arrays, open_source


@pytest.fixture
def source():
    images = np.arange(12, dtype="uint8").repeat(64).reshape(12, 8, 8, 1)
    labels = np.arange(12) % 3
    return open_arrays((images, labels), (images, labels), class_names=list("abc"))


def network(labels, outputs="softmax"):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, outputs)(x))
    labels = None if labels is None else list(labels)
    facts = {"outputs": outputs, "classes": 3, "labels": labels, "normalises": True}
    model.card = Card(input_shape=(8, 8, 1), **facts)
    return model


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        (None, True),
        ("abc", True),
        ("acb", False),
        ("xyz", False),
        ("abz", True),
        ("012", True),
    ],
)
def test_labels_are_known_where_the_classes_are_the_same(source, labels, known):
    _, found = first_images(source, "test", network(labels), 9)
    assert (found is not None) == known


def test_rows_of_labels_are_no_classes(source):
    several = dataclasses.replace(source, multi_label=True)
    assert first_images(several, "test", network("abc", "sigmoid"), 9)[1] is None


def test_an_image_that_breaks_later_is_named(tmp_path):
    rng = np.random.default_rng(0)
    for place in ("a/1", "a/2", "b/1", "b/2"):
        path = tmp_path / f"{place}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), "uint8")).save(path)
    source = open_source(tmp_path)
    for path in tmp_path.glob("b/*.jpg"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(OSError, match=r"can no longer be read: .*b/\d.jpg"):
        first_images(source, "train", network("abc"), 9)
