import json

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.export import (
    Runner,
    VerificationError,
    export_tflite,
    verify,
)

FORMATS = ["served", "float32", "float16", "dynamic", "int8"]


@pytest.fixture(scope="module", params=FORMATS)
def file(request, model, images, served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    if request.param == "served":
        return served
    quantization = None if request.param == "float32" else request.param
    data = images if quantization == "int8" else None
    return export_tflite(
        model,
        folder / f"{request.param}.tflite",
        quantization=quantization,
        representative_dataset=data,
    )


def test_the_right_file_passes(file, model, images, labels):
    report = verify(model, file, images, labels, latency_runs=3)
    assert report.passed
    assert report.images == 12
    assert report.outputs == "probabilities"
    assert report.agreement == 1
    assert report.model_accuracy == report.file_accuracy == 10 / 12
    assert 0 <= report.mean_difference <= report.max_difference < 0.1
    assert 0 < report.file_latency < 1
    assert 0 < report.model_latency < 1
    report.raise_if_failed()
    column = verify(model, file, images, labels[:, None], latency_runs=0)
    assert column.file_accuracy == 10 / 12
    fields = json.loads(report.to_json())
    assert fields["file"] == str(file)
    assert fields["passed"] is True
    assert "agrees with its model on 12 images" in report.summary()


@pytest.mark.parametrize("with_labels", [False, True])
def test_a_file_of_other_weights_fails(file, make_model, images, labels, with_labels):
    other = make_model(seed=3)
    given = labels if with_labels else None
    report = verify(other, file, images, given, latency_runs=0)
    assert not report.passed
    assert report.file_latency is None
    message = r"differs from its model on 12 images: [^\n]*$"
    with pytest.raises(VerificationError, match=message):
        report.raise_if_failed()
    with pytest.raises(VerificationError, match=message):
        verify(other, file, images, given, latency_runs=0, strict=True)
    assert file.exists(), "a failure removes nothing"


def test_figures_are_those_of_the_arrays(model, make_model, images, labels, tmp_path):
    other = make_model(seed=4)
    path = export_tflite(other, tmp_path / "other.tflite")
    report = verify(model, path, images, labels, latency_runs=0)
    a, b = (m.predict(images, verbose=0) for m in (model, other))
    difference = np.abs(a - b)
    assert report.max_difference == pytest.approx(difference.max(), abs=1e-5)
    assert report.mean_difference == pytest.approx(difference.mean(), abs=1e-5)
    assert report.relative_error == pytest.approx(difference.max() / a.max(), abs=1e-5)
    assert report.agreement == np.mean(a.argmax(-1) == b.argmax(-1))
    assert report.file_accuracy == np.mean(b.argmax(-1) == labels)
    assert report.size_bytes == path.stat().st_size
    assert (report.criterion, report.tolerance) == ("max_difference", 1e-4)


def test_logits_are_judged_by_relative_error(images, tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(5)(x))
    path = export_tflite(model, tmp_path / "a.tflite")
    report = verify(model, path, images, latency_runs=0)
    assert report.passed
    assert report.outputs == "values"
    assert report.criterion == "relative_error"
    assert report.measured == report.relative_error < 1e-5


def test_int8_is_judged_by_accuracy(model, images, labels, tmp_path):
    path = export_tflite(
        model,
        tmp_path / "a.tflite",
        quantization="int8",
        representative_dataset=images,
    )
    report = verify(model, path, images, labels, latency_runs=0)
    assert (report.criterion, report.tolerance) == ("accuracy_loss", 0.01)
    report = verify(model, path, images, latency_runs=0)
    assert (report.criterion, report.tolerance) == ("disagreement", 0.05)
    report = verify(model, path, images, tolerance=1e-6, latency_runs=0)
    assert (report.criterion, report.passed) == ("max_difference", False)


def test_int8_that_loses_accuracy_fails(make_model, images, tmp_path):
    """One image of 12 lost is 8 points, more than the one point allowed."""
    model, other = make_model(), make_model()
    bias = other.layers[-1].bias
    scores = model.predict(images, verbose=0)
    ranked = np.sort(scores, -1)
    weakest = (ranked[:, -1] - ranked[:, -2]).argmin()
    top, second = scores[weakest].argsort()[::-1][:2]
    change = np.zeros(7, "float32")
    change[second] = np.log(scores[weakest, top] / scores[weakest, second]) + 1
    bias.assign_add(change)
    path = export_tflite(
        other,
        tmp_path / "a.tflite",
        quantization="int8",
        representative_dataset=images,
    )
    labels = scores.argmax(-1)
    report = verify(model, path, images, labels, latency_runs=0)
    assert report.file_accuracy < report.model_accuracy == 1
    assert not report.passed
    assert report.criterion == "accuracy_loss"


class _Int8(Runner):
    """An int8 file that returns given scores."""

    kind, name, size_bytes, quantization = "tflite", "some file", 1, "int8"

    def __init__(self, scores):
        self.input_shape = (len(scores), 16, 16, 3)
        self.scores = scores

    def _predict_batch(self, batch):
        return {"scores": self.scores}


@pytest.mark.parametrize(("others", "passed"), [(1, True), (2, False)])
def test_one_in_twenty_is_one_in_twenty(model, images, others, passed):
    """1 - 0.95 is 0.05 and a little more in floating point."""
    images = np.resize(images, (20, 16, 16, 3))
    scores = model.predict(images, verbose=0)
    scores[:others] = np.roll(scores[:others], 1, axis=1)
    report = verify(model, _Int8(scores), images, latency_runs=0)
    assert (report.criterion, report.measured) == ("disagreement", others / 20)
    assert report.passed is passed


def test_one_in_a_hundred_may_be_lost(model, images):
    """0.57 - 0.56 is 0.01 and a little more in floating point."""
    images = np.resize(images, (100, 16, 16, 3))
    scores = model.predict(images, verbose=0)
    labels = scores.argmax(-1)
    labels[:43] = (labels[:43] + 1) % 7
    scores[-1] = np.roll(scores[-1], 1)
    report = verify(model, _Int8(scores), images, labels, latency_runs=0)
    assert (report.model_accuracy, report.file_accuracy) == (0.57, 0.56)
    assert report.passed


def _int8(model, images, path):
    return export_tflite(
        model, path, quantization="int8", representative_dataset=images
    )


def _one_unit(kernel):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    start = keras.initializers.Constant(kernel)
    x = keras.layers.Dense(1, activation="sigmoid", kernel_initializer=start)(x)
    return keras.Model(inputs, x)


def _two_outputs(offset):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    colour = keras.layers.Softmax(name="colour")(keras.layers.Rescaling(1 / 20)(x))
    level = keras.layers.Rescaling(1.0, offset=offset, name="level")(x)
    return keras.Model(inputs, [colour, level])


def test_int8_without_classes_is_judged_by_relative_error(images, tmp_path):
    """One column says two classes, but a score near one half is neither."""
    path = _int8(_one_unit(1.0), images, tmp_path / "a.tflite")
    labels = np.zeros(12, "int64")
    for given in (None, labels):
        report = verify(_one_unit(1.0), path, images, given, latency_runs=0)
        assert (report.criterion, report.tolerance) == ("relative_error", 0.1)
        assert report.passed
        report = verify(_one_unit(-1.0), path, images, given, latency_runs=0)
        assert report.agreement == 0
        assert report.measured == report.relative_error > 0.1
        assert not report.passed


@pytest.mark.parametrize("with_labels", [False, True])
def test_int8_outputs_beside_the_classes_are_judged_too(images, tmp_path, with_labels):
    path = _int8(_two_outputs(0.0), images, tmp_path / "a.tflite")
    labels = images.mean((1, 2)).argmax(-1) if with_labels else None
    report = verify(_two_outputs(0.0), path, images, labels, latency_runs=0)
    assert report.passed
    assert report.criterion == ("accuracy_loss" if with_labels else "disagreement")
    report = verify(_two_outputs(100.0), path, images, labels, latency_runs=0)
    assert report.agreement == 1
    assert (report.criterion, report.tolerance) == ("relative_error", 0.1)
    assert report.measured > 0.3
    assert not report.passed


def _with_nan(model):
    model.layers[-1].bias.assign(np.full(7, np.nan))
    return model


@pytest.mark.parametrize("where", ["model", "file", "both"])
def test_nan_never_passes(make_model, model, images, tmp_path, where):
    bad = _with_nan(make_model())
    path = export_tflite(model if where == "model" else bad, tmp_path / "a.tflite")
    reference = model if where == "file" else bad
    for tolerance in (None, np.inf):
        report = verify(reference, path, images, tolerance=tolerance, latency_runs=0)
        assert not report.passed
    assert json.loads(report.to_json())["max_difference"] is None
    with pytest.raises(VerificationError, match="not finite"):
        report.raise_if_failed()


def test_nan_never_passes_by_accuracy(make_model, model, images, labels, tmp_path):
    path = export_tflite(
        model,
        tmp_path / "a.tflite",
        quantization="int8",
        representative_dataset=images,
    )
    report = verify(_with_nan(make_model()), path, images, labels, latency_runs=0)
    assert report.file_accuracy > report.model_accuracy
    assert not report.passed


def test_a_file_of_another_shape_fails(make_model, model, images, tmp_path):
    path = export_tflite(make_model(classes=4), tmp_path / "a.tflite")
    with pytest.raises(VerificationError, match=r"\(12, 7\).*\(12, 4\)"):
        verify(model, path, images)


def test_bad_arguments(model, images, served, tmp_path):
    path = served
    with pytest.raises(ValueError, match="at least one image"):
        verify(model, path, images[:0])
    with pytest.raises(ValueError, match=r"shape \(3,\) for 12 images"):
        verify(model, path, images, [1, 2, 3])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        verify(model, tmp_path / "nowhere", images)
    with pytest.raises(ValueError, match=r"must be a keras\.Model"):
        verify(str(path), path, images)


@pytest.mark.parametrize("runs", [True, -1])
def test_latency_runs_are_a_number(model, images, runs):
    with pytest.raises(ValueError, match=f"`latency_runs` must .* from 0.*={runs}"):
        verify(model, model, images, latency_runs=runs)


def test_maps_have_no_accuracy(images, tmp_path):
    inputs = keras.Input(images.shape[1:])
    model = keras.Model(inputs, keras.layers.Conv2D(len(images), 3)(inputs))
    path = keras_senet.export_tflite(model, tmp_path / "maps.tflite")
    labels = np.arange(len(images))
    report = verify(model, path, images, labels, latency_runs=0)
    assert report.passed
    assert report.file_accuracy is None


def test_a_sequential_model(sequential, images, tmp_path):
    path = export_tflite(sequential, tmp_path / "a.tflite")
    assert verify(sequential, path, images, latency_runs=0).passed


def test_mixed_precision_is_compared_in_float32(make_model, images, tmp_path):
    mixed = make_model(policy="mixed_bfloat16")
    path = export_tflite(mixed, tmp_path / "a.tflite")
    assert verify(mixed, path, images, latency_runs=0, strict=True).passed


def test_one_output_is_above_one_half_or_not(images, tmp_path):
    """The first of one column is always the highest: its class was always 0."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    x = keras.layers.Dense(1, name="x")(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Activation("sigmoid")(x))
    values = keras.Model(inputs, x).predict(images, verbose=0)
    model.get_layer("x").bias.assign([-np.median(values)])
    labels = (model.predict(images, verbose=0)[:, 0] > 0.5).astype(int)
    assert 0 < labels.mean() < 1
    path = export_tflite(model, tmp_path / "a.tflite")
    report = verify(model, path, images, labels, latency_runs=0)
    assert report.model_accuracy == report.file_accuracy == report.agreement == 1
    assert verify(model, path, images, 1 - labels, latency_runs=0).file_accuracy == 0
    linear = keras.Model(inputs, x)
    path = export_tflite(linear, tmp_path / "b.tflite")
    assert verify(linear, path, images, labels, latency_runs=0).file_accuracy is None
