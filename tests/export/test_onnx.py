"""ONNX files give what the model gives, in ONNX Runtime."""

import sys

import keras
import numpy as np
import pytest
from conformance import cases

import keras_senet
from keras_senet.export import export_onnx, open_runner, verify

pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")

# tf2onnx 1.17 looks for a name that NumPy has not.
pytestmark = pytest.mark.filterwarnings("ignore:In the future `np.object`")


def test_the_file_is_the_model(model, make_model, images, tmp_path):
    path = export_onnx(model, tmp_path / "a.onnx", labels=list("abcdefg"))
    report = verify(model, path, images, latency_runs=0)
    assert report.passed
    assert (report.kind, report.tolerance) == ("onnx", 1e-4)
    assert not verify(make_model(seed=3), path, images, latency_runs=0).passed
    runner = open_runner(path)
    assert runner.labels == tuple("abcdefg")
    assert runner.input_shape == (None, 16, 16, 3)
    assert runner.size_bytes == path.stat().st_size
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.onnx"]


def test_outputs_keep_their_names_and_sizes_can_be_fixed(model, images, tmp_path):
    pooled = keras.layers.Identity(name="pooled")(model.layers[-2].output)
    both = keras.Model(model.input, [model.output, pooled])
    path = export_onnx(both, tmp_path / "two.onnx", batch_size=5)
    runner = open_runner(path)
    assert runner.input_shape == (5, 16, 16, 3)
    found = runner.predict(images)
    expected = both.predict(images, verbose=0)
    for name, value in zip(("predictions", "pooled"), expected, strict=True):
        np.testing.assert_allclose(found[name], value, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.TINY)
def test_the_zoo(name, tmp_path):
    network = cases.build(name)
    shape = [side or 64 for side in network.input_shape[1:]]
    images = np.random.default_rng(0).uniform(0, 1, (2, *shape)).astype("float32")
    path = export_onnx(network, tmp_path / "a.onnx")
    verify(network, path, images, latency_runs=0, strict=True)


@pytest.mark.xfail(strict=True, reason="Keras leaves a grouped convolution as a call")
def test_keras_own_exporter_holds_grouped_convolutions(model, images, tmp_path):
    """Passes when `model.export` can take the place of `export_onnx`'s own way."""
    model(images)
    model.export(tmp_path / "a.onnx", format="onnx", verbose=False)
    open_runner(tmp_path / "a.onnx")


def test_what_cannot_be_written_is_one_line(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must end in '\.onnx'.*a\.onx"):
        export_onnx(model, tmp_path / "a.onx")
    with pytest.raises(ValueError, match="2 labels for a model with 7 classes"):
        export_onnx(model, tmp_path / "a.onnx", labels=["a", "b"])
    inputs = keras.Input((4, 4, 3))
    hard = keras.Model(inputs, keras.layers.Lambda(_bessel, name="bessel")(inputs))
    with pytest.raises(ValueError, match=r"cannot be converted to ONNX[^\n]*BesselI0"):
        export_onnx(hard, tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match="pip install onnx tf2onnx"):
        export_onnx(model, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def _bessel(x):
    import tensorflow as tf

    return tf.math.bessel_i0(x)


def test_damaged_file(model, tmp_path):
    path = export_onnx(model, tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"an ONNX file\. Received: [^\n]*damaged"):
        open_runner(path)


def test_the_public_name():
    assert keras_senet.export_onnx is export_onnx


@pytest.mark.parametrize("kind", ["FLOAT16", "INT64"])
def test_files_of_others_take_their_own_type(kind, tmp_path):
    import onnx

    element = getattr(onnx.TensorProto, kind)
    ends = [onnx.helper.make_tensor_value_info(n, element, [None, 2]) for n in "xy"]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=9),
        tmp_path / "a.onnx",
    )
    if kind == "INT64":
        with pytest.raises(ValueError, match=r"Received: .*takes tensor\(int64\)"):
            open_runner(tmp_path / "a.onnx")
    else:
        found = open_runner(tmp_path / "a.onnx").predict(np.full((1, 2), 0.5))
        np.testing.assert_array_equal(found, np.full((1, 2), 0.5))
