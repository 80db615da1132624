"""What verbs share: labels count only where they are the model's."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_senet.card import Card
from keras_senet.cli.reports import first_images
from keras_senet.data import open_arrays


@pytest.fixture
def source():
    images = np.arange(12, dtype="uint8").repeat(64).reshape(12, 8, 8, 1)
    labels = np.arange(12) % 3
    return open_arrays((images, labels), (images, labels), class_names=list("abc"))


def network(labels, outputs="softmax"):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, outputs)(x))
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
