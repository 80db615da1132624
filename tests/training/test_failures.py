"""What ends a training from outside, and how it says so."""

import resource
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_senet.training.checkpoints import Checkpoints
from keras_senet.training.failures import explained
from keras_senet.training.state import load_last_state


def make_model(units):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile("sgd", "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def end_epoch(checkpoints, epoch):
    checkpoints.on_epoch_begin(epoch)
    checkpoints.on_epoch_end(epoch, {"loss": 1.0})


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    """The operating system refuses to let the second file grow."""
    model = make_model(10_000)
    checkpoints = Checkpoints(tmp_path, {"format": 1})
    checkpoints.set_model(model)
    end_epoch(checkpoints, 0)
    last = tmp_path / "last.weights.h5"
    assert last.stat().st_size > 100_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(
            OSError, match=r"be written: File too large\. The .*is whole\. Make"
        ):
            end_epoch(checkpoints, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["last.weights.h5"]
    assert load_last_state(make_model(10_000), last).progress["epoch"] == 1
    end_epoch(checkpoints, 1)
    assert load_last_state(make_model(10_000), last).progress["epoch"] == 2


def jpeg_data(paths):
    def read(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=1)
        return tf.reshape(tf.cast(image, tf.float32), [-1])[:3] / 255, tf.zeros(2)

    return tf.data.Dataset.from_tensor_slices([str(p) for p in paths]).map(read)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"\xff\xd8\xff no picture"), "JPEG|decod"),
        (lambda path: path.unlink(), "No such file"),
    ],
    ids=["broken", "vanished"],
)
def test_data_that_go_bad_while_training(tmp_path, damage, message):
    paths = [tmp_path / f"{i}.jpg" for i in range(4)]
    for path in paths:
        path.write_bytes(tf.io.encode_jpeg(np.zeros((2, 2, 1), np.uint8)).numpy())
    data = jpeg_data(paths).batch(2)
    model = make_model(2)
    with explained("photos", several_workers=False):
        model.fit(data, shuffle=False, verbose=0)
    damage(paths[-1])
    with (
        pytest.raises(OSError, match=message) as error,
        explained("photos", several_workers=False),
    ):
        model.fit(data, shuffle=False, verbose=0)
    assert str(error.value).startswith("The data 'photos' cannot be read any more: ")
    assert "\n" not in str(error.value)


def test_a_lost_worker():
    text = 'Graph execution error:\n\n  File "a.py", line 1\n\nfailed to connect\nmore'
    lost = tf.errors.UnavailableError(None, None, text)
    with (
        pytest.raises(ConnectionError, match=r"has gone.*: failed to connect\. Resume"),
        explained("photos", several_workers=True),
    ):
        raise lost
    with (
        pytest.raises(tf.errors.UnavailableError),
        explained("photos", several_workers=False),
    ):
        raise lost


def test_other_errors_stay_as_they_are():
    shapes = tf.errors.InvalidArgumentError(None, None, "Incompatible shapes")
    for several in (False, True):
        with (
            pytest.raises(tf.errors.InvalidArgumentError),
            explained("photos", several_workers=several),
        ):
            raise shapes
