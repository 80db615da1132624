import importlib.util
import json
import sys

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.cli import main
from keras_senet.export import compare_variants, open_runner
from keras_senet.export.search import added_errors, layer_errors
from keras_senet.export.tflite import Conversion
from keras_senet.export.variants import VARIANTS, Variant, _with_front
from keras_senet.tracing import freeze
from keras_senet.utils.flatbuffer import graph_operations, open_flatbuffer

HAS_OPENVINO = None not in map(importlib.util.find_spec, ("openvino", "nncf"))
KINDS = [name for name in VARIANTS if HAS_OPENVINO or "openvino" not in name]


@pytest.fixture(scope="module")
def folder(model, images, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants") / "files"
    report = compare_variants(
        model,
        folder,
        (images, labels),
        representative_dataset=images,
        variants=KINDS,
        threads=np.array([1, 2]),  # in the file they are Python's
        latency_runs=np.int64(2),
        labels=[f"class {i}" for i in range(7)],
    )
    return folder, report


def test_report_is_what_the_files_do(folder, model, images, labels):
    folder, report = folder
    assert [variant.name for variant in report.variants] == KINDS
    expected = model.predict(images, verbose=0)
    assert report.images == 12
    assert report.model_accuracy == np.mean(expected.argmax(-1) == labels) == 10 / 12
    for variant in report.variants:
        runner = open_runner(folder / variant.file)
        scores = runner.predict(images)
        assert runner.labels[3] == "class 3"
        assert variant.size_bytes == runner.size_bytes
        assert variant.accuracy == np.mean(scores.argmax(-1) == labels)
        same = scores.argmax(-1) == expected.argmax(-1)
        assert variant.agreement == np.mean(same)
        difference = np.abs(scores - expected).max()
        assert variant.max_difference == pytest.approx(difference, abs=1e-6)
        assert set(variant.latency) == {1, 2}
        assert min(variant.latency.values()) > 0
    by_name = {variant.name: variant for variant in report.variants}
    assert by_name["float32"].worst_error == 0
    assert 0 < by_name["float16"].worst_error < 0.01
    assert by_name["float16"].worst_error < by_name["int8"].worst_error < 0.5
    assert by_name["int8_int16_gates"].results["int16"] == 5


def test_report_in_three_forms(folder):
    folder, report = folder
    written = json.loads((folder / "report.json").read_text())
    assert written["variants"][3]["name"] == "int8"
    assert written["variants"][3]["latency"]["2"] == report.variants[3].latency[2]
    lines = (folder / "report.md").read_text().splitlines()
    assert len(lines) == 4 + len(KINDS)
    assert lines[7].startswith("| int8 | ")
    assert f"{report.variants[3].accuracy:.2%}" in lines[7]
    assert (folder / "report.png").stat().st_size > 10_000


def _variant(name, accuracy, latency):
    return Variant(
        name=name,
        file="",
        size_bytes=1,
        results={},
        latency={1: latency, 2: 1 / latency},
        accuracy=accuracy,
        agreement=1,
        max_difference=0,
        worst_layer="",
        worst_error=0,
    )


def test_pareto_front():
    rows = [
        _variant("best", 0.9, 5),
        _variant("slower", 0.9, 6),
        _variant("fast", 0.8, 1),
        _variant("worse", 0.79, 1),
        _variant("between", 0.85, 3),
        _variant("twin", 0.8, 1),
    ]
    front = [row.name for row in _with_front(rows, 1) if row.on_front]
    assert front == ["best", "fast", "between", "twin"]
    front = [row.name for row in _with_front(rows, 2) if row.on_front]
    assert front == ["slower"]


def test_layer_errors_are_those_of_the_layers(images):
    """Of a network whose values are known: the weights' and the results' steps."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.ReLU(name="first")(inputs)
    x = keras.layers.Conv2D(2, 1, name="conv", kernel_initializer="ones")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="mean")(x))
    conversion = Conversion(freeze(model), list(images[:, None]))
    candidate = conversion.convert("int8")
    errors = layer_errors(conversion.float32, candidate, conversion.images)
    file = open_flatbuffer(conversion.float32)
    steps = graph_operations(file)
    conv = next(step.name for step in steps if "conv" in step.name)
    sums = images.sum(-1)
    step = sums.max() / 255
    # A value is rounded to a step: a uniform error of variance step**2 / 12. The
    # three pixels are rounded before, to steps of one.
    expected = np.sqrt((step**2 + 3) / 12 / np.mean(np.square(sums)))
    assert errors[conv] == pytest.approx(expected, rel=0.1)
    added = added_errors(steps, errors)
    assert set(added) == {step.name for step in steps} & set(errors)
    taken = next(step for step in steps if step.name == conv).inputs[0]
    before = file.subgraphs[0].tensors[taken].name.decode()
    assert added[conv] == errors[conv] - (errors[before] if before in added else 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variants": []}, r"`variants` must be some of.*variants=\[\]"),
        ({"representative_limit": 0}, "`representative_limit` must be.*=0"),
        ({"variants": ["int9"]}, r"must be some of.*'int9'.*Did you mean 'int8'"),
        ({"variants": ["fp16"]}, "Did you mean 'float16'"),
        ({"threads": ()}, r"`threads` must be a positive integer\. .*threads=\(\)"),
        ({"threads": (1, 0)}, "`threads` must be a positive integer.*=0"),
        ({"latency_runs": 0}, "latency_runs=0"),
        ({"data": (np.zeros((2, 16, 16, 3)), np.zeros(3))}, r"one label.*\(3,\)"),
        (
            {
                "data": (np.full((2, 16, 16, 3), 0.5), np.zeros(2, int)),
                "variants": ["float32"],
            },
            r"images seem to be scaled to 0\.\.1",
        ),
        ({"data": "bundled", "variants": ["float32"]}, r"with 7 classes.*with 10"),
    ],
)
def test_bad_arguments(model, images, labels, tmp_path, arguments, message):
    data = arguments.pop("data", (images, labels))
    arguments = {"representative_dataset": images, **arguments}
    with pytest.raises(ValueError, match=message):
        compare_variants(model, tmp_path / "a", data, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_said_before_anything_is_written(
    model, images, labels, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "openvino", None)
    variants = ("float32", "openvino")
    with pytest.raises(ImportError, match="pip install openvino"):
        compare_variants(model, tmp_path / "a", (images, labels), variants=variants)
    assert not list(tmp_path.iterdir())


def test_a_source_is_seen_at_the_size_that_is_exported(tmp_path):
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(4, 3, strides=4)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    report = compare_variants(
        keras.Model(inputs, x),
        tmp_path / "files",
        "bundled",
        limit=8,
        representative_limit=8,
        variants=["float32", "int8"],
        threads=[1],
        latency_runs=1,
        image_size=32,
    )
    assert report.images == 8
    for variant in report.variants:
        runner = open_runner(tmp_path / "files" / variant.file)
        assert runner.input_shape == (None, 32, 32, 1)


def test_one_probability_on_data_of_two_classes(images, tmp_path):
    for number, image in enumerate(images):
        part = tmp_path / "data" / ("test" if number < 4 else "train")
        folder = part / ("ant", "bee")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(folder / f"{number}.png", image, scale=False)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    data, options = str(tmp_path / "data"), {"threads": [1], "latency_runs": 1}
    report = compare_variants(
        model, tmp_path / "out", data, variants=["float32"], **options
    )
    assert (report.images, report.variants[0].agreement) == (4, 1)
    assert open_runner(tmp_path / "out" / "float32.tflite").labels == ("bee",)


def test_only_classifiers_have_accuracy(model, images, labels, tmp_path):
    x = keras.layers.Lambda(lambda x: x + 1)(model.output)
    both = keras.Model(model.input, [model.output, x])
    with pytest.raises(ValueError, match="one output of shape"):
        compare_variants(both, tmp_path / "a", (images, labels))


def test_command(tmp_path, capsys):
    """On a data source, a model without gates: it has two variants less."""
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(4, 3, strides=4)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))
    model.save(tmp_path / "model.keras")
    words = ["variants", str(tmp_path / "model.keras"), "--output"]
    words += [str(tmp_path / "out"), "--limit", "80", "--latency-runs", "1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "80 images" in out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"float32.tflite", "int8.tflite", "report.json"} <= names
    assert "int8_float_gates.tflite" not in names
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["data"] == "bundled"
    assert written["split"] == "test"
    source = keras_senet.data.open_source("bundled")
    runner = open_runner(tmp_path / "out" / "int8.tflite")
    assert runner.labels == source.class_names
    assert main(words) == 1
