"""`keras-senet export`: the formats, and a verification that fails."""

import dataclasses

import keras
import pytest

import keras_senet
from keras_senet.card import Card
from keras_senet.cli import main
from keras_senet.export import open_runner, saved_model, verify
from keras_senet.opening import open_model


def _network(batch_size=None):
    inputs = keras.Input(batch_shape=(batch_size, 28, 28, 1))
    x = keras.layers.Conv2D(8, 3, strides=4)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(keras_senet.SqueezeExcite(4)(x))
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.keras"
    keras.utils.set_random_seed(0)
    _network().save(path)
    return path


def _export(network, output, *words):
    words = ("export", network, "--output", output, "--images", 20, *words)
    return main([str(word) for word in words])


def test_a_version_for_tensorflow_serving(network, tmp_path, capsys):
    words = ("--version", 3, "--batch-size", 2)
    assert _export(network, tmp_path / "served", *words) == 0
    assert open_runner(tmp_path / "served" / "3").input_shape == (2, 28, 28, 1)
    assert f"Written: {tmp_path / 'served' / '3'}" in capsys.readouterr().out
    assert (tmp_path / "served" / "3" / "saved_model.pb").is_file()
    assert _export(network, tmp_path / "a.tflite", "--version", 3) == 1
    assert "`version` is only for a SavedModel folder" in capsys.readouterr().err


def test_onnx(network, tmp_path, capsys):
    pytest.importorskip("tf2onnx")
    assert _export(network, tmp_path / "a.onnx") == 0
    assert "pass" in capsys.readouterr().out


def test_a_failed_verification_removes_nothing(network, tmp_path, capsys, monkeypatch):
    def failed(*given, **options):
        report = verify(*given, **options)
        return dataclasses.replace(report, passed=False, measured=1.0)

    monkeypatch.setattr("keras_senet.verify", failed)
    assert _export(network, tmp_path / "served") == 1
    assert "FAIL: " in capsys.readouterr().out
    assert (tmp_path / "served" / "saved_model.pb").is_file()


class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def test_unusual_models_work_or_say_why_not(tmp_path, capsys):
    plain, fixed = _network(), _network(batch_size=8)
    features = plain.layers[-2].output
    extra = keras.Input((3,), name="extra")
    joined = keras.layers.Concatenate()([plain.output, extra])
    for name, model, code, message in [
        ("fixed", fixed, 0, "pass"),
        ("two_outputs", keras.Model(plain.input, [plain.output, features]), 0, "pass"),
        ("two_inputs", keras.Model([plain.input, extra], joined), 1, "--images 0"),
        ("custom", keras.Model(plain.input, Twice()(plain.output)), 1, "class 'Twice'"),
    ]:
        model.save(tmp_path / f"{name}.keras")
        output = tmp_path / f"{name}.tflite"
        assert _export(tmp_path / f"{name}.keras", output) == code
        printed = capsys.readouterr()
        assert message in (printed.err if code else printed.out)
        assert printed.err.count("\n") == code, "one line"
        assert output.exists() == (code == 0)


def test_an_interrupted_export_leaves_nothing(network, tmp_path, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "_readme", interrupted)
    assert _export(network, tmp_path / "served") == 130
    assert list(tmp_path.iterdir()) == []


def test_imagenet_presets_bring_their_class_names():
    inputs = keras.Input((4,))
    network = keras.Model(inputs, keras.layers.Dense(1000, "softmax")(inputs))
    opened = open_model(network)
    assert opened.class_names() is None
    opened.card = Card(classes=1000, preset="se_resnet50.ra2_in1k")
    assert opened.class_names()[0] == "tench"
    opened.card = dataclasses.replace(opened.card, labels=("a",) * 1000)
    assert opened.class_names()[0] == "a"
    opened.card = Card(classes=10, preset="se_resnet50.ra2_in1k")
    assert opened.class_names() is None
