"""`keras-senet benchmark`: what it prints, writes and returns."""

import json
import os
import types

import pytest

import keras_senet
from keras_senet.cli import benchmark


def test_a_network_beside_its_host(shell, tmp_path):
    file = tmp_path / "times.json"
    words = ("--forms", "memory", "--batches", 1, 2, "--rounds", 3, "--output", file)
    code, out, err = shell("benchmark", "se_resnet20", *words)
    assert (code, err) == (0, "")
    assert "plain host, ms" in out
    figures = json.loads(file.read_text())
    assert (figures["model"], figures["beside"]) == ("se_resnet20", "plain host")
    assert [(t["form"], t["batch"]) for t in figures["timings"]] == [
        ("memory", 1),
        ("memory", 2),
    ]
    assert {len(t[k]) for t in figures["timings"] for k in ("seconds", "beside")} == {3}


@pytest.mark.slow
def test_a_file_beside_its_host_and_beside_a_model(shell, tmp_path):
    model = keras_senet.SEResNet20(weights=None, input_shape=(8, 8, 3))
    file = keras_senet.export_tflite(model, tmp_path / "model.tflite")
    host = keras_senet.SEResNet20(weights=None, input_shape=(8, 8, 3), se=False)
    host.save(tmp_path / "host.keras")
    words = ("--batches", 1, "--rounds", 1)
    code, out, _ = shell("benchmark", file, *words)
    assert code == 0
    assert "float32 plain host, ms" in out
    plain = ("benchmark", tmp_path / "host.keras", *words)
    code, out, _ = shell(*plain, "--forms", "memory")
    assert code == 0
    assert "plain host" not in out
    code, out, _ = shell(*plain, "--beside", file)
    assert code == 0
    assert "tflite" in out


def test_forms_of_a_file_are_refused(shell, monkeypatch):
    file = types.SimpleNamespace(kind="tflite", input_shape=(None, 8, 8, 3))
    monkeypatch.setattr(keras_senet, "open_model", lambda *a, **k: file)
    code, _, err = shell("benchmark", "model.tflite", "--forms", "memory")
    assert (code, "`forms` is for a Keras model" in err) == (1, True)


def test_threads_are_set_before_a_model_is_opened(shell, monkeypatch):
    for name in benchmark.THREADS:
        monkeypatch.setenv(name, "9")
    seen = []
    monkeypatch.setattr(
        keras_senet,
        "open_model",
        lambda *a, **k: seen.extend(os.environ[name] for name in benchmark.THREADS),
    )
    assert shell("benchmark", "se_resnet20")[0] == 1
    assert shell("benchmark", "se_resnet20", "--threads", 3)[0] == 1
    assert seen == ["9", "9", "3", "3"]


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        ([], "missing from keras-senet benchmark", 2),
        (["kernel"], "Received: 'kernel'", 1),
        (["se_resnet20", "--rounds", "0"], "rounds=0", 1),
        (["se_resnet20", "--beside", "no.tflite"], "no model 'no.tflite'", 1),
        (["data", "--recipe"], "--recipe needs a value", 2),
        (["data", "--seconds", "-1"], "seconds=-1", 1),
        (["data", "--data-dir", "x"], "Received: 'bundled', data_dir='x'", 1),
    ],
)
def test_errors_are_one_line(shell, words, message, code):
    result = shell("benchmark", *words)
    assert result[0] == code
    (line,) = result[2].splitlines()
    assert message in line


def test_input_of_a_recipe(shell, tmp_path):
    file = tmp_path / "speed.json"
    code, out, err = shell(
        *(
            "benchmark",
            "data",
            "--recipe",
            "cifar10",
            "--data",
            "bundled",
            "--image-size",
            16,
        ),
        *("--global-batch-size", 8, "--seconds", 0.01, "--output", file),
    )
    assert (code, err) == (0, "")
    assert out.startswith("The input of bundled (8 images of 16 pixels) gives ")
    assert json.loads(file.read_text())["input_images_per_second"] > 0
    for words in (["data", "--recipe", "cifar10"], ["se_resnet20"]):  # at once
        code, _, err = shell("benchmark", *words, "--output", file)
        assert (code, "must not exist yet" in err) == (1, True)


def test_an_input_beside_a_training_step(shell, monkeypatch):
    speed = {"data": "x", "batch": 8, "image_size": 32, "input_images_per_second": 1e3}
    speed |= {"model": "m", "step_images_per_second": 50, "limit": "compute"}
    monkeypatch.setattr(benchmark, "measure_input", lambda *a, **k: speed)
    _, out, _ = shell("benchmark", "data", "--with-model")
    assert "gives 1,000 images/s, a training step of m takes 50 images/s." in out
    assert "The limit is compute." in out
