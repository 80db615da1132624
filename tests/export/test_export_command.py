"""`keras-senet export`: the formats, and a verification that fails."""

import dataclasses

import keras
import pytest

import keras_senet
from keras_senet.cli import main
from keras_senet.cli.export import _labels
from keras_senet.cli.opening import OpenedModel
from keras_senet.export import saved_model, verify


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.keras"
    keras.utils.set_random_seed(0)
    keras_senet.SEResNet20(
        weights=None, input_shape=(28, 28, 1), include_preprocessing=_GREY
    ).save(path)
    return path


_GREY = keras_senet.Preprocessing(mean=(0.3,), std=(0.3,), image_size=28)


def _export(network, output, *words):
    words = ("export", network, "--output", output, "--images", 20, *words)
    return main([str(word) for word in words])


def test_a_version_for_tensorflow_serving(network, tmp_path, capsys):
    assert _export(network, tmp_path / "served", "--version", 3) == 0
    assert f"Written: {tmp_path / 'served' / '3'}" in capsys.readouterr().out
    assert (tmp_path / "served" / "3" / "saved_model.pb").is_file()
    assert _export(network, tmp_path / "a.tflite", "--version", 3) == 1
    assert "Only a SavedModel folder has a version" in capsys.readouterr().err


def test_onnx(network, tmp_path, capsys):
    pytest.importorskip("tf2onnx")
    assert _export(network, tmp_path / "a.onnx") == 0
    assert "pass" in capsys.readouterr().out


def test_a_failed_verification_removes_nothing(network, tmp_path, capsys, monkeypatch):
    def failed(*given, **options):
        report = verify(*given, **options)
        return dataclasses.replace(report, passed=False, measured=1.0)

    monkeypatch.setattr("keras_senet.export.verify", failed)
    assert _export(network, tmp_path / "served") == 1
    assert "FAIL: " in capsys.readouterr().out
    assert (tmp_path / "served" / "saved_model.pb").is_file()


def test_an_interrupted_export_leaves_nothing(network, tmp_path, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "write_to_folder", interrupted)
    assert _export(network, tmp_path / "served") == 130
    assert list(tmp_path.iterdir()) == []


def test_imagenet_presets_bring_their_class_names():
    opened = OpenedModel(name="se_resnet50", model=None)
    assert _labels(opened, "ra2_in1k")[0] == "tench"
    assert _labels(opened, "file.weights.h5") is None
    assert _labels(dataclasses.replace(opened, labels=("a",)), "ra2_in1k") == ("a",)
