"""JAX and torch without TensorFlow: networks, surgery, training, exports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conformance import cases

import keras_senet

BACKENDS = ["jax", "torch"]

START = """
import json, sys
sys.modules["tensorflow"] = None  # as where it is not installed
import keras, numpy as np
import keras_senet
from conformance import cases
folder = sys.argv[1]
images = np.random.default_rng(0).uniform(0, 1, (3, 32, 32, 3)).astype("float32")
"""


def _run(code, backend, *arguments):
    """What a fresh interpreter without TensorFlow prints last, as JSON."""
    pytest.importorskip(backend)
    done = subprocess.run(
        [sys.executable, "-c", START + code, *map(str, arguments)],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
            ),
        },
        capture_output=True,
        text=True,
    )
    if "pip install" in done.stderr.rpartition("ImportError: ")[2]:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


EVALUATE = """
del sys.modules["tensorflow"]
model = keras_senet.SEResNet20(weights="fashion_mnist")
print(json.dumps(keras_senet.evaluate(model, "bundled", limit=50).top1))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluate_is_the_same_where_tensorflow_has_the_data(backend, tmp_path):
    model = keras_senet.SEResNet20(weights="fashion_mnist")
    expected = keras_senet.evaluate(model, "bundled", limit=50).top1
    assert _run(EVALUATE, backend, tmp_path) == pytest.approx(expected)


NETWORKS = """
for name in cases.TINY:
    shape = cases.build(name).input_shape[1:]
    given = images[:, : shape[0], : shape[1]]
    file = f"{folder}/{name}.weights.h5"
    model = cases.build(name, weights=file)
    for network in (model, keras_senet.fold(model)):
        found = keras.ops.convert_to_numpy(network(given))
        expected = np.load(f"{folder}/{name}.npy")
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)
    keras_senet.features(model)(given)
print(json.dumps(len(cases.TINY)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_networks_compute_the_same(backend, tmp_path, randomize):
    """With weights that TensorFlow wrote, as they are and folded."""
    images = np.random.default_rng(0).uniform(0, 1, (3, 32, 32, 3)).astype("float32")
    for name in cases.TINY:
        model = randomize(cases.build(name))
        size = model.input_shape[1]
        np.save(tmp_path / f"{name}.npy", model(images[:, :size, :size]))
        keras_senet.weights.save_weights(model, tmp_path / f"{name}.weights.h5")
    assert _run(NETWORKS, backend, tmp_path) == len(cases.TINY)


FIT = """
plain = cases.build("resnet_basic", se=False)
model = keras_senet.graft(plain, reduction=4)
np.testing.assert_allclose(
    keras.ops.convert_to_numpy(model(images)),
    keras.ops.convert_to_numpy(plain(images)),
    atol=1e-5,
)
model.compile("sgd", "sparse_categorical_crossentropy")
history = model.fit(images, np.arange(3), batch_size=3, epochs=3, verbose=0).history
model.save(f"{folder}/model.keras")
again = keras.saving.load_model(f"{folder}/model.keras")
difference = np.abs(again.predict(images, verbose=0) - model.predict(images, verbose=0))
print(json.dumps([history["loss"], float(difference.max())]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_keras_fit(backend, tmp_path):
    """Of a network that SE was grafted into."""
    losses, difference = _run(FIT, backend, tmp_path)
    # Three images need not be learnt at once.
    assert len(set(losses)) == 3 and np.isfinite(losses).all()
    assert difference < 1e-6


EXPORT = """
images = images[:, :16, :16]
kind = sys.argv[2]
if kind == "openvino":  # which looks whether that is loaded
    del sys.modules["tensorflow"]
suffix = {"onnx": ".onnx", "openvino": ".xml", "tflite": ".tflite"}[kind]
write = getattr(keras_senet, f"export_{kind}")
model = cases.build("small")
path = write(model, f"{folder}/a{suffix}", labels=list("abcde"))
runner = keras_senet.open_model(path)
report = keras_senet.verify(model, path, images, latency_runs=0, strict=True)
other = cases.build("small")
assert not keras_senet.verify(other, path, images, latency_runs=0).passed
said = ""
try:
    write(model, path)
except ValueError as error:
    said = str(error)
print(json.dumps([report.kind, runner.labels, runner.input_shape, said]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        ("jax", "onnx"),
        ("torch", "onnx"),
        ("torch", "openvino"),
        ("torch", "tflite"),
    ],
)
def test_exports_through_keras(backend, kind, tmp_path):
    found, labels, shape, said = _run(EXPORT, backend, tmp_path, kind)
    assert (found, labels) == (kind, list("abcde"))
    assert shape[1:] == [16, 16, 3]
    assert "must not exist yet" in said


def test_what_tensorflow_says_of_itself_is_dropped(monkeypatch, capfd, tmp_path):
    """Where it is installed, Keras imports it to write a layer down."""
    from keras_senet.export import through_keras

    model = cases.build("small")

    def ready(model, folded):
        os.write(2, b"I0000 00:00:1795919031.124 1 cudart_stub.cc:31] a note\n")
        return model

    def export(model, path, *_, **__):
        Path(path).touch()

    monkeypatch.setattr(through_keras, "inference_form", ready)
    monkeypatch.setattr(through_keras, "_check", lambda *_: None)
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    monkeypatch.setattr(keras.Model, "export", export)
    capfd.readouterr()  # what TensorFlow said of the model
    path = through_keras.export_tflite(model, tmp_path / "a.tflite")
    assert keras_senet.Card.read(path).classes == 5
    assert capfd.readouterr().err == ""
