"""Layers may have any name that Keras takes; TensorFlow and ONNX take fewer."""

import keras
import pytest
import tensorflow as tf

from keras_senet.export import (
    export_onnx,
    export_openvino,
    export_saved_model,
    export_tflite,
    open_runner,
    verify,
)

NAMES = ("_conv_stem", "conv 1", "conv:1", "Ärmel", ">", "_", 'a;b"', "-x")


@pytest.fixture(scope="module")
def network():
    """Two of its names are the same once they are plain."""
    inputs = keras.Input((16, 16, 3), name="_images")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    for i, name in enumerate(NAMES):
        x = keras.layers.Conv2D(3, 1, activation="relu", name=name)(x)
        if i == 0:
            inner = [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 1, name="_ c")]
            x = keras.Sequential(inner, name="_inner")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(4, activation="softmax", name="_ scores")(x)
    return keras.Model(inputs, x, name="_host")


@pytest.mark.parametrize("kind", ["served", "a.tflite", "a.onnx", "a.xml"])
@pytest.mark.filterwarnings("ignore:In the future `np.object`")
def test_any_name_is_exported(network, images, tmp_path, kind):
    if kind == "a.onnx":
        pytest.importorskip("tf2onnx")
    if kind == "a.xml":
        pytest.importorskip("openvino")
    exporters = {
        "a.tflite": export_tflite,
        "a.onnx": export_onnx,
        "a.xml": export_openvino,
    }
    exporters.get(kind, export_saved_model)(network, tmp_path / kind)
    verify(network, tmp_path / kind, images, latency_runs=0, strict=True)
    assert [layer.name for layer in network.layers if "Conv" in str(layer)] == [*NAMES]
    assert network.name == "_host"


def test_inputs_and_outputs_of_any_name(tmp_path):
    a, b = (keras.Input((3,), name=name) for name in ("_left", "right side"))
    outputs = [
        keras.layers.Lambda(lambda x, k=k: x[0] + k * x[1], name=n)([a, b])
        for k, n in ((1, "_sum"), (-1, "a difference"))
    ]
    network = keras.Model([a, b], outputs)
    export_saved_model(network, tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["serving_default"]
    values = {"left": tf.fill((2, 3), 5.0), "right_side": tf.fill((2, 3), 2.0)}
    found = served(**values)
    assert (found["_sum"].numpy() == 7).all()
    assert (found["a difference"].numpy() == 3).all()
    export_tflite(network, tmp_path / "a.tflite")
    with pytest.raises(ValueError, match="2 inputs"):
        open_runner(tmp_path / "a.tflite")
