"""What ends a training from outside, and how it says so."""

import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_senet.data import batches, open_source
from keras_senet.data.failures import explained

SOURCE = open_source("bundled")


@pytest.fixture
def photos(tmp_path):
    """A folder of images in the format that is asked for."""

    def make(suffix):
        rng = np.random.default_rng(0)
        for i in range(8):
            path = tmp_path / "photos" / "ab"[i % 2] / f"{i}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (32, 32, 3), "uint8")
            Image.fromarray(pixels).save(path)
        return tmp_path / "photos"

    return make


def spoil(path):
    """Something that its header does not show: where the pixels begin, noise does."""
    contents = path.read_bytes()
    middle = contents.rfind(b"\xff\xda") if path.suffix == ".jpg" else 60
    path.write_bytes(contents[:middle] + b"\xff\xda\x00\x01 no picture \xff\xd9")


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        (".jpg", spoil, "cannot be read: "),
        (".png", spoil, "cannot be read: "),
        (".jpg", lambda path: path.unlink(), "There is no image file"),
        (".jpg", lambda path: shutil.rmtree(path.parents[1]), "There is no image file"),
    ],
    ids=["broken JPEG", "broken PNG", "vanished file", "vanished folder"],
)
def test_data_that_go_bad_while_training(photos, suffix, damage, message):
    source = open_source(photos(suffix))
    data = batches(source, "train", image_size=8, batch_size=2, one_hot=True)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    model.compile("sgd", "mse", jit_compile=False)
    with explained(source, several_workers=False):
        model.fit(data, shuffle=False, verbose=0)
    *_, ((bad, _), _) = source.reader.records(source.part("train"))
    damage(Path(bad.numpy().decode()))
    with (
        pytest.raises(OSError, match=message) as error,
        explained(source, several_workers=False),
    ):
        model.fit(data, shuffle=False, verbose=0)
    text = str(error.value)
    assert text.startswith(f"The data '{source.name}' can no longer be read: ")
    assert re.search(r"photos/[ab]/\d\.(jpg|png)'", text)
    assert "\n" not in text


def test_a_lost_worker():
    text = 'Graph execution error:\n\n  File "a.py", line 1\n\nfailed to connect\nmore'
    lost = tf.errors.UnavailableError(None, None, text)
    with (
        pytest.raises(
            ConnectionError, match=r"has stopped.*: failed to connect\. Resume"
        ),
        explained(SOURCE, several_workers=True),
    ):
        raise lost
    with (
        pytest.raises(tf.errors.UnavailableError),
        explained(SOURCE, several_workers=False),
    ):
        raise lost


def test_the_reason_of_a_python_error_is_no_line_of_its_source():
    lines = ("ValueError: in it", "Traceback (most recent", '  File "a.py", line 1')
    text = "\n".join([*lines, "    raise ValueError(", "", "ValueError: too small", ""])
    error = tf.errors.InvalidArgumentError(None, None, f"{text}[[IteratorGetNext]]")
    with pytest.raises(OSError, match="read: ValueError: too small"), explained(SOURCE):
        raise error


def test_other_errors_stay_as_they_are():
    shapes = tf.errors.InvalidArgumentError(None, None, "Incompatible shapes")
    for several in (False, True):
        with (
            pytest.raises(tf.errors.InvalidArgumentError),
            explained(SOURCE, several_workers=several),
        ):
            raise shapes
