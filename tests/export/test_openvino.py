"""OpenVINO's files give what the model gives, in OpenVINO."""

import dataclasses
import shutil
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.card import Card
from keras_senet.cli import main
from keras_senet.cli.reports import first_images
from keras_senet.export import export_openvino, verify
from keras_senet.opening import open_model

openvino = pytest.importorskip("openvino")

HAS_BFLOAT16 = "BF16" in openvino.Core().get_property(
    "CPU", "OPTIMIZATION_CAPABILITIES"
)


@pytest.fixture(scope="module")
def file(model, class_names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("openvino")
    return export_openvino(model, folder / "a.b.xml", labels=class_names)


def _copy(file, folder):
    for path in (file, file.with_suffix(".bin")):
        shutil.copy(path, folder)
    return folder / file.name


def test_the_file_is_the_model(file, model, make_model, images, labels, class_names):
    report = verify(model, file, images, labels, latency_runs=0)
    assert report.passed
    assert report.file_accuracy == report.model_accuracy
    assert (report.kind, report.tolerance) == ("openvino", 1e-4)
    assert (report.quantization, report.precision) == (None, "float32")
    assert not verify(make_model(seed=3), file, images, latency_runs=0).passed
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.b.bin", "a.b.xml"]
    runner = open_model(file, threads=1)
    assert runner.labels == tuple(class_names)
    assert runner.input_shape == (None, 16, 16, 3)
    sizes = [path.stat().st_size for path in file.parent.iterdir()]
    assert runner.size_bytes == sum(sizes)
    card = dataclasses.replace(Card.of(model), labels=tuple(class_names))
    assert Card.read(file) == card
    kinds = [
        node.get_type_name() for node in openvino.Core().read_model(file).get_ops()
    ]
    assert "BatchNormInference" not in kinds
    assert "GroupConvolution" in kinds
    assert openvino.Core().read_model(file).get_rt_info("keras_senet").astype(str)
    evaluated = keras_senet.evaluate(file, (images, labels))
    assert (evaluated.kind, evaluated.top1) == ("openvino", report.file_accuracy)


def test_outputs_keep_their_order_and_sizes_can_be_fixed(model, images, tmp_path):
    pooled = keras.layers.Identity(name="a_pooled")(model.layers[-2].output)
    both = keras.Model(model.input, [model.output, pooled])
    path = export_openvino(both, tmp_path / "two.xml", batch_size=5)
    runner = open_model(path)
    assert runner.input_shape == (5, 16, 16, 3)
    found = runner.predict(images)
    assert list(found) == ["predictions", "a_pooled"]
    expected = both.predict(images, verbose=0)
    for value, other in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(value, other, atol=1e-4)


def test_foreign_files_show_what_they_are(file, tmp_path):
    """A file that others wrote carries no card."""
    path = _copy(file, tmp_path)
    path.write_text(path.read_text("utf-8").replace("keras_senet", "other"), "utf-8")
    assert Card.read(path) is None
    card = open_model(path).card
    assert (card.classes, card.outputs, card.labels) == (7, "softmax", None)
    Card(labels=list("abcdefg")).write(path)
    assert open_model(path).labels == tuple("abcdefg")


@pytest.mark.slow
def test_smaller_weights(file, make_model, model, images, labels, tmp_path):
    pytest.importorskip("nncf")
    sizes = [file.with_suffix(".bin").stat().st_size]
    for quantization in ("float16", "int8"):
        path = export_openvino(
            model,
            tmp_path / f"{quantization}.xml",
            quantization=quantization,
            representative_dataset=images,
        )
        report = verify(model, path, images, labels, latency_runs=0)
        assert report.quantization == quantization
        assert report.mean_difference < {"float16": 1e-2, "int8": 0.1}[quantization]
        sizes.append(path.with_suffix(".bin").stat().st_size)
    assert sizes[0] > 1.6 * sizes[1] > 1.6 * 1.3 * sizes[2]
    with pytest.raises(ValueError, match="real images"):
        export_openvino(model, tmp_path / "a.xml", quantization="int8")
    with pytest.raises(ValueError, match="Did you mean 'float16'"):
        export_openvino(model, tmp_path / "a.xml", quantization="fp16")


@pytest.mark.slow
def test_int8_keeps_the_accuracy(tmp_path):
    pytest.importorskip("nncf")
    source = keras_senet.data.open_source("bundled")
    model = keras_senet.SEResNet20(weights="fashion_mnist")
    images, _ = first_images(source, "train", model, 256)
    path = tmp_path / "int8.xml"
    export_openvino(model, path, quantization="int8", representative_dataset=images)
    top1 = [keras_senet.evaluate(one, source).top1 for one in (model, path)]
    assert top1[0] > 0.9
    assert top1[1] >= top1[0] - 0.005


def test_precisions(file, model, images):
    if HAS_BFLOAT16:
        runner = open_model(file, precision="bfloat16")
        report = verify(model, runner, images, latency_runs=0)
        assert (report.precision, report.tolerance) == ("bfloat16", 5e-2)
        assert 0 < report.max_difference < 0.1
    else:
        with pytest.raises(ValueError, match="bfloat16 needs a processor"):
            open_model(file, precision="bfloat16")
    for source, precision in ((file, "bfloat1"), (model.name, "float32")):
        with pytest.raises(ValueError, match=r"`precision` must be one of .*\.xml"):
            open_model(source, precision=precision)


@pytest.mark.slow
def test_files_appear_whole(file, model, make_model, images, tmp_path, monkeypatch):
    path = _copy(file, tmp_path)
    with pytest.raises(ValueError, match=r"must not exist yet.*a\.b\.xml"):
        export_openvino(model, path)
    path.unlink()
    with pytest.raises(ValueError, match=r"must not exist yet.*a\.b\.bin"):
        export_openvino(model, path)
    path = _copy(file, tmp_path)
    before = {entry: entry.read_bytes() for entry in tmp_path.iterdir()}

    def interrupted(*given, **others):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Card, "write", interrupted)
        export_openvino(make_model(seed=3), path, overwrite=True)
    assert {entry: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    export_openvino(make_model(seed=3), path, overwrite=True)
    assert verify(make_model(seed=3), path, images, latency_runs=0).passed
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_files_are_one_line(file, tmp_path):
    path = _copy(file, tmp_path)
    text, weights = path.read_text("utf-8"), path.with_suffix(".bin")
    for damaged in ("", text[:1000], text[:-20], "<net/>", "<a>b</a>"):
        path.write_text(damaged, "utf-8")
        with pytest.raises(ValueError, match=r"(damaged|truncated)[^\n]*$"):
            open_model(path)
    path.write_text(text, "utf-8")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"an OpenVINO file[^\n]*damaged[^\n]*$"):
        open_model(path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"without a\.b\.bin"):
        open_model(path)


def test_what_cannot_be_written_is_one_line(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must end in '\.xml'.*a\.bin"):
        export_openvino(model, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="Did you mean 'int8'"):
        export_openvino(model, tmp_path / "a.xml", quantization="int4")
    inputs = keras.Input((4, 4, 3))
    hard = keras.Model(inputs, keras.layers.Lambda(_bessel, name="bessel")(inputs))
    with pytest.raises(ValueError, match=r"cannot be converted to OpenVINO[^\n]*$"):
        export_openvino(hard, tmp_path / "a.xml")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"openvino, which .* pip install openvino$"):
        export_openvino(model, tmp_path / "a.xml")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ImportError, match=r"pip install openvino nncf$"):
        export_openvino(model, tmp_path / "a.xml", quantization="int8")


def _bessel(x):
    import tensorflow as tf

    return tf.math.bessel_i0(x)


def test_integers_of_keras_are_refused(make_model, tmp_path):
    model = make_model()
    with warnings.catch_warnings(action="ignore"):  # Keras' of an InputLayer
        model.quantize("int8")
    with pytest.raises(ValueError, match="quantization='int8'"):
        export_openvino(model, tmp_path / "model.xml")
    assert not list(tmp_path.iterdir())


def test_command_line(tmp_path, capsys):
    model = tmp_path / "model.keras"
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(4, 3, strides=4)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Flatten()(x)
    keras.Model(inputs, keras.layers.Dense(10, "softmax")(x)).save(model)
    output = tmp_path / "a.xml"
    words = ["export", str(model), "--output", str(output), "--format", "openvino"]
    assert main([*words, "--images", "20"]) == 0
    assert main(["info", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "pass" in printed
    assert "openvino" in printed
    words[3] = str(Path(tmp_path, "served"))
    assert main(words) == 1
    assert "must end in .xml" in capsys.readouterr().err


def test_outputs_without_names(tmp_path):
    from openvino import opset13 as ops

    images = ops.parameter([-1, 2, 2, 1], np.float32)
    model = openvino.Model([ops.relu(images)], [images])
    openvino.save_model(model, tmp_path / "a.xml")
    found = open_model(tmp_path / "a.xml").predict(-np.ones((3, 2, 2, 1)))
    np.testing.assert_array_equal(found, np.zeros((3, 2, 2, 1)))
