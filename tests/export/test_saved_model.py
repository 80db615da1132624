import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import keras_senet
from keras_senet import tracing
from keras_senet.export import (
    export_saved_model,
    export_tflite,
    open_runner,
    verify,
)
from keras_senet.layers import Conv2D
from keras_senet.layers import _tensorflow as kernels


def _graph(folder):
    data = (folder / "saved_model.pb").read_bytes()
    return saved_model_pb2.SavedModel.FromString(data).meta_graphs[0].graph_def


def test_signature_takes_any_number_of_float_images(served, images):
    serve = tf.saved_model.load(str(served)).signatures["serving_default"]
    spec = serve.structured_input_signature[1]["images"]
    assert spec.shape.as_list() == [None, 16, 16, 3]
    assert spec.dtype == tf.float32
    one, all_ = (serve(images=tf.constant(images[:n]))["predictions"] for n in (1, 12))
    np.testing.assert_allclose(one, all_[:1], atol=1e-6)


def test_weights_are_constants_and_nothing_needs_xla(served):
    graph = _graph(served)
    functions = graph.library.function
    operations = {node.op for part in functions for node in part.node_def}
    assert "Conv2D" in operations
    assert "VarHandleOp" not in operations | {node.op for node in graph.node}
    assert not any(
        "_XlaMustCompile" in part.attr and part.attr["_XlaMustCompile"].b
        for part in functions
    )


@pytest.mark.parametrize("fold", [True, False])
def test_a_grouped_convolution_is_one_operation(monkeypatch, fold):
    """Also where this machine computes it as several: the file runs elsewhere."""
    monkeypatch.setattr(kernels, "_grouped_form", lambda *args: kernels._block_diagonal)
    inputs = keras.Input((8, 8, 8))
    outputs = Conv2D(32, 3, groups=8)(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(outputs))
    graph = tracing.freeze(model, fold=fold).function.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    assert sum(node.op == "Conv2D" for node in nodes) == 1
    assert not any("_XlaMustCompile" in part.attr for part in graph.library.function)


def test_labels_are_written_beside_the_graph(served, class_names):
    header = json.loads((served / "assets.extra" / "keras_senet.json").read_text())
    assert header["labels"] == class_names
    assert open_runner(served).labels == tuple(class_names)


def test_number_of_labels_is_compared_with_the_classes(model, class_names, tmp_path):
    with pytest.raises(ValueError, match="3 labels for a model with 7 classes"):
        export_saved_model(model, tmp_path / "served", labels=class_names[:3])
    assert list(tmp_path.iterdir()) == []


def test_fixed_sizes(tmp_path, images):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x))
    sizes = {"image_size": np.int64(16), "batch_size": np.int64(12)}
    path = export_saved_model(model, tmp_path / "a", **sizes)
    runner = open_runner(path)
    assert runner.input_shape == (12, 16, 16, 3)
    np.testing.assert_allclose(
        runner.predict(images), model.predict(images, verbose=0), rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"image_size=20 and .*\(None, 16, 16, 3\)"):
        export_saved_model(_sized(16), tmp_path / "b", image_size=20)


def _sized(size):
    inputs = keras.Input((size, size, 3))
    return keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(inputs))


def _vector():
    return keras.Sequential([keras.Input((16,)), keras.layers.Dense(2)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be a positive integer.*=0"),
        ({"batch_size": True}, "`batch_size` must be a positive integer.*=True"),
        ({"image_size": (16, 16, 3)}, r"two, \(height, width\).*\(16, 16, 3\)"),
        ({"image_size": 16, "model": _vector}, "is for models that take images"),
        ({"image_size": -16}, r"two, \(height, width\).*image_size=-16"),
        ({"top": 0}, "`top` must be a positive integer.*=0"),
        ({"version": 0}, "`version` must be a positive integer.*=0"),
    ],
)
def test_sizes_are_positive_integers(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make = arguments.pop("model", lambda: _sized(16))
        export_saved_model(make(), tmp_path / "a", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_one_open_side_is_that_of_the_preprocessing(tmp_path):
    inputs = keras.Input((None, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.card = keras_senet.Card(
        preprocessing=keras_senet.Preprocessing(image_size=32), outputs="logits"
    )
    path = export_saved_model(model, tmp_path / "open")
    facts = json.loads((path / "assets.extra" / "keras_senet.json").read_text())
    assert facts["encoded_images"]["shape"] == [32, 16, 3]
    view = keras_senet.open_model(path).view(keras_senet.data.open_source("bundled"))
    assert view.image_size == (32, 16)


def test_outputs_keep_their_names(model, images, tmp_path):
    features = model.layers[-3].output
    both = keras.Model(model.input, [model.output, features])
    outputs = open_runner(export_saved_model(both, tmp_path / "two")).predict(images)
    expected = both.predict(images, verbose=0)
    assert outputs.keys() == set(both.output_names)
    for name, value in zip(both.output_names, expected, strict=True):
        np.testing.assert_allclose(outputs[name], value, atol=1e-4)


def test_inputs_keep_their_names(model, tmp_path):
    extra = keras.Input((4,), name="extra")
    image = keras.Input((16, 16, 3), name="image")
    joined = keras.Model(
        {"image": image, "extra": extra},
        keras.layers.Concatenate(name="joined")([model(image), extra]),
    )
    path = export_saved_model(joined, tmp_path / "inputs")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    rows = {
        "image": tf.ones((2, 16, 16, 3)),
        "extra": tf.constant([[1.0, 2, 3, 4]] * 2),
    }
    np.testing.assert_allclose(serve(**rows)["joined"], joined(rows), atol=1e-6)
    with pytest.raises(ValueError, match="2 inputs"):
        open_runner(path)


def test_low_precision_is_written_in_float32(make_model, images, tmp_path):
    mixed = make_model(policy="bfloat16")
    plain = make_model()
    plain.set_weights(mixed.get_weights())
    runner = open_runner(export_saved_model(mixed, tmp_path / "mixed"))
    expected = plain.predict(images, verbose=0)
    np.testing.assert_allclose(runner.predict(images), expected, atol=1e-5)


def test_subclassed_model_is_told_what_to_do(tmp_path):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match=r"Use keras\.Model\(inputs"):
        export_saved_model(Subclassed(), tmp_path / "a")
    with pytest.raises(ValueError, match=r"must be a keras\.Model.*'text'"):
        export_saved_model("text", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_a_graph_are_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(tracing, "_GRAPH_LIMIT", 1000)
    with pytest.raises(ValueError, match=r"graph of 2 GiB.*model\.export"):
        export_saved_model(model, tmp_path / "a")


def test_existing_target_is_kept_unless_told(images, tmp_path):
    path = tmp_path / "served"
    path.mkdir()
    (path / "precious").write_text("mine")
    model = _sized(16)
    with pytest.raises(ValueError, match="must not exist"):
        export_saved_model(model, path)
    assert (path / "precious").read_text() == "mine"
    export_saved_model(model, path, overwrite=True)
    assert not (path / "precious").exists()
    expected = images.max((1, 2))
    np.testing.assert_allclose(open_runner(path).predict(images), expected, atol=1e-5)


def test_crash_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    save = tf.saved_model.save

    def crash(*arguments):
        save(*arguments)
        raise OSError("No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", crash)
    with pytest.raises(OSError, match="No space"):
        export_saved_model(_sized(16), tmp_path / "served")
    assert list(tmp_path.iterdir()) == []


WITHOUT_ONEDNN = """
import sys, keras, numpy as np, tensorflow as tf, keras_senet
from keras_senet.export import export_saved_model, open_runner
rng = np.random.default_rng(0)
bias = tf.constant(rng.normal(size=8).astype("float32"))
kernel = rng.normal(size=(3, 3, 2, 8)).astype("float32")

@tf.function(autograph=False)
def convolved(x):
    return keras.ops.conv(x, kernel, padding="same")

@tf.function(autograph=False)
def biased(x):
    return tf.nn.bias_add(convolved(tf.nn.bias_add(convolved(x), bias)), bias)

inputs = keras.Input((8, 8, 8))
x = inputs
for fused, use_bias in ((True, False), (True, True), (False, True)):
    x = keras_senet.layers.Conv2D(
        8, 3, groups=4, padding="same", use_bias=use_bias)(x)
    kind = (keras_senet if fused else keras).layers.BatchNormalization
    x = keras.layers.ReLU()(kind()(x))
x = keras.layers.ReLU()(keras.layers.Lambda(biased)(x))
x = keras.layers.Lambda(convolved)(x)
x = keras.layers.Lambda(lambda x: tf.nn.relu(tf.nn.bias_add(x, bias)))(x)
x = keras.layers.Conv2D(8, 3, groups=2, activation="relu")(x)
model = keras.Model(inputs, x)
for weight in model.weights:
    weight.assign(rng.uniform(0.2, 1, weight.shape) * rng.choice(
        [1, 1 if "variance" in weight.path else -1], weight.shape))
images = rng.normal(size=(2, 8, 8, 8)).astype("float32")
expected = None
for fold in (True, False):
    path = export_saved_model(model, f"{sys.argv[1]}/{fold}", fold=fold)
    found = open_runner(path).predict(images)
    expected = model.predict(images, verbose=0) if expected is None else expected
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
assert expected.max() > 0.1
"""


@pytest.mark.slow
def test_grouped_convolutions_run_without_onednn(tmp_path):
    """Where TensorFlow's fused convolution has no groups."""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    command = [sys.executable, "-c", WITHOUT_ONEDNN, str(tmp_path)]
    subprocess.run(command, check=True, timeout=180, env=environment)


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", ["served", "a.tflite"])
def test_large_constants_are_put_in_at_last(
    name, fold, model, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(tracing, "_LARGE", 0)
    assert not tracing.freeze(model).weights.keys().isdisjoint({"large_constant"})
    export = export_tflite if name.endswith("tflite") else export_saved_model
    path = export(model, tmp_path / name, fold=fold)
    verify(model, path, images, latency_runs=0, strict=True)


PEAK = """
import re, sys, keras, numpy as np
from keras_senet.export import export_saved_model, open_runner

def megabytes(field):
    text = open("/proc/self/status").read()
    return int(re.search(field + r":\\s+(\\d+)", text)[1]) / 1024

def build(units):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(16, 3, padding="same")(inputs)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(units, activation="relu", bias_initializer="ones")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))

export_saved_model(build(2), sys.argv[1] + "/small")
model = build(4000)
before = megabytes("VmRSS")
path = export_saved_model(model, sys.argv[1] + "/large")
ratio = 1 + (megabytes("VmHWM") - before) / (model.count_params() * 4 / 2**20)
images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
expected = model.predict(images, verbose=0)
found = open_runner(path).predict(images)
np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
assert ratio < 5, ratio
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux")
def test_an_export_takes_at_most_five_times_the_weights(tmp_path):
    """The model itself among them, and the copy that is folded."""
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    subprocess.run(command, check=True, timeout=300)
