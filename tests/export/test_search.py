import json

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.cli import main
from keras_senet.export import open_runner, search, search_int8
from keras_senet.utils.flatbuffer import read_tflite


@pytest.fixture(scope="module")
def fragile():
    """A classifier whose one layer has a range that 8 bits cannot hold.

    One unit is 200 times larger than the one that tells the classes, and is ignored.
    """
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dense(2, name="wide")(x)
    x = keras.layers.Dense(2, name="narrow")(x)
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    model.get_layer("wide").set_weights([np.array([[1.0, 200.0]]), np.zeros(2)])
    kernel = np.array([[-40.0, 40.0], [0.0, 0.0]])
    model.get_layer("narrow").set_weights([kernel, np.array([20.0, -20.0])])
    return model


@pytest.fixture(scope="module")
def grey():
    """Images brighter and darker than the middle, many of them close to it."""
    values = np.concatenate([np.linspace(0, 255, 20), np.linspace(120, 135, 60)])
    images = np.broadcast_to(values[:, None, None, None], (80, 4, 4, 1))
    return images.astype("float32"), (values > 127.5).astype("int64")


def _search(model, grey, path, **arguments):
    arguments = {"representative_dataset": grey[0], **arguments}
    return search_int8(model, path, *grey, **arguments)


def test_finds_the_layers_that_need_float(fragile, grey, tmp_path):
    path = tmp_path / "a.tflite"
    found = _search(fragile, grey, path, labels=["dark", "bright"])
    assert found.float_accuracy == 1
    assert found.steps[0].float_operations == 0
    assert found.steps[0].accuracy < 0.9
    assert found.accuracy >= 0.995
    assert 0 < len(found.float_operations) < found.operations
    assert any("wide" in name for name in found.float_operations)
    # One fewer was tried, and was not good enough.
    tried = {step.float_operations: step.accuracy for step in found.steps}
    assert tried[len(found.float_operations) - 1] < 0.995
    assert len(found.steps) <= 10
    runner = open_runner(path)
    assert np.mean(runner.predict(grey[0]).argmax(-1) == grey[1]) == found.accuracy
    assert runner.labels == ("dark", "bright")
    assert read_tflite(path).results["float32"] == len(found.float_operations)
    assert "points below" in found.summary()
    assert json.loads(found.to_json())["steps"][0]["float_operations"] == 0


def test_plain_int8_where_it_is_good_enough(fragile, grey, tmp_path):
    path = tmp_path / "a.tflite"
    found = _search(fragile, grey, path, max_accuracy_loss=60)
    assert found.float_operations == ()
    assert len(found.steps) == 1
    assert set(read_tflite(path).results) == {"int8"}
    images, labels = grey
    column = _search(
        fragile, (images, labels[:, None]), tmp_path / "b.tflite", max_accuracy_loss=60
    )
    assert column.accuracy == found.accuracy


class _Convert:
    float32 = b""

    def convert(self, quantization, io_type, floats):
        return b""


@pytest.mark.parametrize("whole", range(1, 21))
def test_a_loss_is_counted_in_images(monkeypatch, whole):
    """In floating point 0.85 - 0.05 is more than 0.8."""
    right = iter([whole, whole - 1])
    monkeypatch.setattr(search._Tried, "_right", lambda *_: next(right))
    tried = search._Tried(_Convert(), "float32", np.zeros(20), None)
    assert search._bisect(tried, 5.0, most=1) == 0


def test_no_file_is_written_where_none_is_good(fragile, grey, tmp_path):
    with pytest.raises(ValueError, match=r"None of 1 files lost at most 0\.5.*best"):
        _search(fragile, grey, tmp_path / "a.tflite", max_conversions=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_accuracy_loss": -1}, "max_accuracy_loss=-1"),
        ({"max_conversions": 0}, "max_conversions=0"),
        ({"path": "a.onnx"}, r"end in '\.tflite'"),
        ({"representative_dataset": None}, "int8 needs real images"),
        ({"targets": np.zeros(3)}, r"one class for each image.*\(3,\)"),
    ],
)
def test_bad_arguments(fragile, grey, tmp_path, arguments, message):
    path = tmp_path / arguments.pop("path", "a.tflite")
    grey = (grey[0], arguments.pop("targets", grey[1]))
    with pytest.raises(ValueError, match=message):
        _search(fragile, grey, path, **arguments)
    assert not list(tmp_path.iterdir())


def test_command(tmp_path, capsys):
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras_senet.SqueezeExcite(1)(keras.layers.Reshape((1, 1, 1))(x))
    # One class far ahead, so that int8 keeps it.
    bias = keras.initializers.RandomNormal(stddev=3, seed=0)
    x = keras.layers.Dense(10, activation="softmax", bias_initializer=bias)(
        keras.layers.Flatten()(x)
    )
    keras.Model(inputs, x).save(tmp_path / "model.keras")
    words = ["export", str(tmp_path / "model.keras"), "--images", "60"]
    words += ["--output", str(tmp_path / "a.tflite"), "--max-accuracy-loss", "100"]
    assert main(words) == 1
    assert "needs quantization int8" in capsys.readouterr().err
    assert main([*words, "--quantization", "int8", "--io-type", "uint8"]) == 0
    assert "operations in float" in capsys.readouterr().out
    assert open_runner(tmp_path / "a.tflite")._input["dtype"] == np.uint8
