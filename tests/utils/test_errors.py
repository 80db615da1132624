"""One check for whole numbers, and those that are taken anywhere."""

import json

import numpy as np
import pytest

import keras_senet
from keras_senet.utils.errors import (
    as_integer,
    check_counts,
    checked_size,
    first_line,
    nearest,
)


@pytest.mark.parametrize("value", [5, np.int64(5), np.uint8(5), np.array(5)])
def test_whole_numbers_of_any_kind(value):
    assert as_integer("count", value) == 5
    assert type(as_integer("count", value)) is int
    check_counts(batch_size=value, limit=None)
    assert [type(side) for side in checked_size(value)] == [int, int]
    for pair in ([value, 7], (value, 7), np.array([value, 7])):
        assert checked_size(pair) == (5, 7)


def test_sizes_that_are_none():
    for value in (np.array([5.0, 5.0]), np.array([5, 5, 5]), [5], "55", np.array(0.5)):
        with pytest.raises(ValueError, match="`image_size` must be"):
            checked_size(value)


@pytest.mark.parametrize(
    "value", [0, -1, True, np.True_, 5.0, np.float32(5), "5", None]
)
def test_what_is_none(value):
    with pytest.raises(ValueError, match=r"`count` must be a positive integer\. Rec"):
        as_integer("count", value, "Count again.")
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        check_counts(batch_size=value)


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("FP16", ["none", "float16"], "float16"),
        ("float32", ["none", "float16"], "none"),
        ("fp32", ["float32", "float16"], "float32"),
        ("INT8", ["int8_float_gates", "int8"], "int8"),
        ("SE_resnet5", ["se_resnet50", "se_resnet20"], "se_resnet50"),
    ],
)
def test_the_nearest_name(name, options, found):
    assert nearest(name, options) == f" Did you mean {found!r}?"


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n a\n b")) == "a"
    assert first_line(ValueError()) == "ValueError"


def test_records_are_json_whatever_integers_they_get():
    record = keras_senet.Preprocessing(image_size=np.int64(224))
    shape = np.array([224, 224, 3])
    card = keras_senet.Card(
        classes=np.int64(3), input_shape=shape, preprocessing=record
    )
    text = json.dumps(card.to_json())
    assert keras_senet.Card.parse(text, "text") == card
    free = keras_senet.Card(input_shape=(None, None, np.int64(3)))
    assert json.loads(json.dumps(free.to_json()))["input_shape"] == [None, None, 3]


def test_classes_to_name():
    scores = np.eye(1000, dtype="float32")[:2]
    named = keras_senet.decode_predictions(scores, top=np.int64(3))
    assert [len(row) for row in named] == [3, 3]
    with pytest.raises(ValueError, match="`top` must be a positive integer"):
        keras_senet.decode_predictions(scores, top=2.5)
