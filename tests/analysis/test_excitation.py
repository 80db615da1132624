"""Gates set by hand give figures known exactly."""

import csv
import dataclasses

import keras
import numpy as np
import pytest
from conformance import cases

import keras_senet
from keras_senet import analysis
from keras_senet.analysis import plots, report
from keras_senet.analysis._probe import open_probe

IMAGES = np.zeros((4, 3, 5, 2), "float32")
IMAGES[..., 0] = np.array([0.05, 0.25, 0.75, 0.95])[:, None, None]
IMAGES[..., 1] = 1.0
LABELS = np.array([0, 0, 1, 1])


def by_hand(**kwargs):
    """The gate of channel 0 is the mean of channel 0; that of channel 1 is 1/2."""
    inputs = keras.Input((3, 5, 2))
    options = {"squeeze_filters": 1, "activation": "linear", "gate": "linear", **kwargs}
    se = keras_senet.SqueezeExcite(**options, name="se")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(se(inputs))
    se.reduce.kernel.assign(np.reshape([1.0, 0.0], se.reduce.kernel.shape))
    se.expand.kernel.assign(np.reshape([1.0, 0.0], se.expand.kernel.shape))
    se.expand.bias.assign([0.0, 0.5])
    return keras.Model(inputs, x, name="by_hand")


def plain():
    inputs = keras.Input((3, 5, 2))
    return keras.Model(inputs, keras.layers.Flatten()(inputs))


def measure(model=None, data=(IMAGES, LABELS), **kwargs):
    return analysis.excitation_statistics(model or by_hand(), data, **kwargs)


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_figure(batch_size):
    found = measure(batch_size=batch_size)
    assert (found.model, found.counts) == ("by_hand", (2, 2))
    assert found.class_names == ("0", "1")
    (layer,) = found.layers
    assert (layer.name, layer.parameters) == ("se", 2 + 1 + 2 + 2)
    close(layer.means, [[0.15, 0.5], [0.85, 0.5]])
    close(layer.deviations, [[0.1, 0], [0.1, 0]])
    close(layer.mean, [0.5, 0.5])
    close(layer.deviation, [0.1325**0.5, 0])
    close([layer.open, layer.closed, layer.constant], [1 / 8, 1 / 8, 1 / 2])
    close(layer.selectivity, 0.1225 / 0.1325)
    close(layer.spread, (0.1325 / 2) ** 0.5)
    squares = 0.95**2 + 0.75**2 + 0.25**2 + 0.05**2 + 4 * 0.5**2
    close(layer.distance, (squares / 8) ** 0.5)


def test_classes_of_different_size_one_hot_labels_and_names():
    images, labels = IMAGES[[0, 1, 2]], np.eye(3)[[2, 2, 0]]
    parts = [(images[:2], labels[:2]), (images[2:], labels[2:])]
    found = measure(data=parts, class_names=["cat", "dog", "hen"])
    assert dict(zip(found.class_names, found.counts, strict=True)) == {
        "cat": 1,
        "hen": 2,
    }
    (layer,) = found.layers
    close(layer.means[:, 0], [0.75, 0.15])
    close(layer.mean[0], (0.05 + 0.25 + 0.75) / 3)
    # 2/3 * 0.2^2 + 1/3 * 0.4^2 of the variance of 0.05, 0.25 and 0.75.
    close(layer.selectivity, 0.08 / np.var([0.05, 0.25, 0.75]))


def test_labels_in_a_column_are_those_in_a_row():
    (layer,) = measure(data=(IMAGES, LABELS[:, None])).layers
    close(layer.means, [[0.15, 0.5], [0.85, 0.5]])
    with pytest.raises(ValueError, match="one label for each image"):
        measure(data=(IMAGES, LABELS[:3, None]))


@pytest.mark.parametrize(
    ("gates", "shares"),  # their largest value is 2
    [([0.15, 1.0], (0.0, 0.5)), ([0.25, 1.9], (0.5, 0.0))],
)
def test_identity_start_is_measured_by_its_own_top(gates, shares):
    model = by_hand(gate="sigmoid", identity_start=True)
    bias = np.log(np.array(gates) / (2 - np.array(gates)))
    model.get_layer("se").expand.kernel.assign(np.zeros((1, 1, 1, 2)))
    model.get_layer("se").expand.bias.assign(bias)
    (layer,) = measure(model).layers
    close(layer.mean, gates)
    assert (layer.open, layer.closed) == shares
    assert layer.selectivity == 0.0
    close(layer.distance, np.sqrt(np.mean(np.square(np.array(gates) - 1))))
    assert layer.constant == 1.0


def test_no_squeeze_is_averaged_over_the_positions():
    images = IMAGES.copy()
    images[0, 0, :, 0] = 0.65  # one row of three
    (layer,) = measure(by_hand(squeeze="none"), (images, LABELS)).layers
    close(layer.means[:, 0], [(0.25 + 0.25) / 2, 0.85])


def test_nested_and_shared_layers():
    inner = by_hand().get_layer("se")
    inputs = keras.Input((3, 5, 2))
    nested = keras.Sequential([keras.Input((3, 5, 2)), inner], name="nested")
    x = nested(nested(inputs))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    first, second = measure(model).layers
    assert (first.name, second.name) == ("nested/se", "nested/se:2")
    close(second.mean[0], np.mean(np.square(IMAGES[:, 0, 0, 0])))


def test_a_shared_layer_is_saved_once_and_only_if_no_call_needs_it():
    inner = by_hand().get_layer("se")
    inputs = keras.Input((3, 5, 2))
    x = keras.layers.GlobalAveragePooling2D()(inner(inputs=inner(inputs)))
    model = keras.Model(inputs, x)
    statistics = measure(model, (IMAGES.astype("uint8"), LABELS))
    removal = analysis.removal_accuracy(
        model, (IMAGES, LABELS), statistics, tolerance=1.0
    )
    count = inner.count_params()
    assert f"save {count} parameters, 100 % of SE's" in report.verdict(
        statistics, removal
    )
    (_, row) = report.group_rows(statistics, removal)
    assert row[1] == str(count)
    first = dataclasses.replace(removal.together, layers=("se",))
    removal = dataclasses.replace(removal, together=first)
    assert "save 0 parameters, 0 %" in report.verdict(statistics, removal)


def test_channels_first():
    inputs = keras.Input((2, 3, 5))
    se = keras_senet.SqueezeExcite(
        squeeze_filters=1, activation="linear", gate="linear", name="se",
        data_format="channels_first",
    )  # fmt: skip
    model = keras.Model(inputs, se(inputs))
    se.set_weights(by_hand().get_layer("se").get_weights())
    (layer,) = measure(model, (np.moveaxis(IMAGES, -1, 1), LABELS)).layers
    close(layer.means, [[0.15, 0.5], [0.85, 0.5]])


def test_the_gates_are_those_of_the_running_network(randomize):
    model = randomize(cases.build("small"))
    images = np.random.default_rng(0).normal(0, 1, (3, 16, 16, 3)).astype("float32")
    name = "conv2_block1_se"
    found = {x.name: x for x in measure(model, (images, np.arange(3))).layers}
    before = len(model.get_layer(name)._inbound_nodes)
    maps = keras.Model(model.input, model.get_layer(name).input)(images)
    gates = np.asarray(model.get_layer(name).excitation(maps))[:, 0, 0]
    np.testing.assert_allclose(found[name].means, gates, atol=1e-5)
    assert gates.std(0).max() > 0.01
    assert len(model.get_layer(name)._inbound_nodes) == before


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (plain(), (IMAGES, LABELS), "has none"),
        (keras.Model(), (IMAGES, LABELS), "functional or built sequential"),
        (None, (IMAGES[:0], LABELS[:0]), "must hold images"),
        (None, iter([]), "not a generator"),
        (None, (IMAGES, LABELS[:3]), "one label for each image"),
        (None, (IMAGES, LABELS / 2), "type float64"),
        (None, (IMAGES[0], LABELS[:3]), r"shape, \(None, 3, 5, 2\)\. .* \(3, 5, 2\)"),
    ],
)
def test_what_cannot_be_measured_is_said(model, data, message):
    with pytest.raises(ValueError, match=message):
        measure(model, data)


def test_missing_class_names_are_said():
    with pytest.raises(ValueError, match="1 names, labels from 0 to 1"):
        measure(class_names=["cat"])


def constant_gate(value):
    """A network whose first SE has one gate for all, its second is by hand."""
    inputs = keras.Input((3, 5, 2))
    one = keras_senet.SqueezeExcite(squeeze_filters=1, gate="linear", name="one")
    model = by_hand()
    outputs = keras.layers.GlobalAveragePooling2D()(model.get_layer("se")(one(inputs)))
    one.expand.kernel.assign(np.zeros((1, 1, 1, 2)))
    one.expand.bias.assign([value, value])
    return keras.Model(inputs, outputs)


def test_removal_of_a_gate_of_1_changes_nothing():
    # The scores are a * a and 1/2; without the gate a and 1, by the means a/2 and 1/2.
    model, data = constant_gate(1.0), (IMAGES, np.array([1, 1, 0, 0]))
    found = analysis.removal_accuracy(model, data, measure(model, data), batch_size=3)
    assert (found.images, found.top1) == (4, 1.0)
    probe = open_probe(model)
    whole, _ = probe.run(IMAGES)
    close(whole, model(IMAGES))
    probe.replace({"one": 1.0})
    np.testing.assert_array_equal(probe.run(IMAGES)[0], whole)
    figures = {(t.layers, t.by): (t.top1, t.agreement) for t in found.trials}
    assert figures == {
        (("one",), "identity"): (1.0, 1.0),
        (("one",), "mean"): (1.0, 1.0),
        (("se",), "identity"): (0.5, 0.5),
        (("se",), "mean"): (0.5, 0.5),
    }
    assert [trial.layers for trial in found.dispensable] == [("one",)]
    assert (found.together.layers, found.together.top1) == (("one",), 1.0)
    both = {t.by: (t.layers, t.top1, t.agreement) for t in found.groups}
    assert both == dict.fromkeys(("identity", "mean"), (("one", "se"), 0.5, 0.5))
    assert "Of 2 SE layers, 1 can be removed alone" in report.verdict(
        measure(model, data), found
    )
    loose = analysis.removal_accuracy(model, data, measure(model, data), tolerance=0.5)
    assert loose.together.layers == ("one", "se")
    assert loose.together.top1 == 0.5


def test_neighbours_of_one_width_are_tried_at_once():
    x = inputs = keras.Input((3, 5, 2))
    for i, channels in enumerate((2, 2, 1, 2, 2, 2)):
        x = keras.layers.Conv2D(channels, 1)(x)
        x = keras_senet.SqueezeExcite(squeeze_filters=1, name=f"se{i}")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    data = (IMAGES, LABELS)
    statistics = measure(model, data)
    found = analysis.removal_accuracy(model, data, statistics)
    every = ("se0", "se1", "se2", "se3", "se4", "se5")
    for trials, by in ((found.groups[::2], "identity"), (found.groups[1::2], "mean")):
        assert [t.layers for t in trials] == [every[:2], every[3:], every]
        assert {t.by for t in trials} == {by}
    head, *rows = report.group_rows(statistics, found)
    assert head[:2] == ("layers at once", "parameters")
    assert [row[:2] for row in rows] == [
        ("se0 to se1", "14"),
        ("se3 to se5", "21"),
        ("all", "39"),
    ]


def test_removal_by_the_mean_keeps_a_constant_gate():
    model, data = constant_gate(0.5), (IMAGES, np.array([1, 1, 0, 0]))
    found = analysis.removal_accuracy(model, data, measure(model, data))
    by = {t.by: t for t in found.trials if t.layers == ("one",)}
    assert by["mean"].agreement == 1.0
    # a/2 * a/2 against 1/4: 0.9025 only is more than 1; without the gate also 0.5625.
    assert by["identity"].agreement < 1.0


def test_removal_without_the_models_classes():
    data = (IMAGES, LABELS + 5)
    found = analysis.removal_accuracy(by_hand(), data, measure(data=data))
    assert (found.top1, found.trials[0].top1) == (None, None)
    assert found.loss(found.trials[0]) == 0.5


def test_statistics_of_another_model_are_said():
    with pytest.raises(ValueError, match="must belong to the model"):
        analysis.removal_accuracy(constant_gate(1.0), (IMAGES, LABELS), measure())


def _ending_in(*widths):
    model = by_hand()
    outputs = [keras.layers.Dense(width)(model.output) for width in widths]
    return keras.Model(model.input, outputs if len(outputs) > 1 else outputs[0])


@pytest.mark.parametrize(
    ("widths", "received"), [((1,), r"shape \(4, 1\)"), ((2, 3), "2 outputs")]
)
def test_removal_without_one_output_of_classes_is_said(widths, received):
    model = _ending_in(*widths)
    message = f"one output .* more classes. Received: {received}"
    with pytest.raises(ValueError, match=message):
        analysis.removal_accuracy(model, (IMAGES, LABELS), measure(model))


def test_report(tmp_path):
    model, data = constant_gate(1.0), (IMAGES, np.array([1, 1, 0, 0]))
    found = measure(model, data, class_names=["<cat>", "dog"])
    removal = analysis.removal_accuracy(model, data, found)
    folder = tmp_path / "report"
    page = analysis.write_report(folder, found, removal, data="four images")
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 4
    assert "http" not in text
    assert "four images" in text
    places = [text.index(part) for part in ("The network is right", "<img", "<table")]
    assert places == sorted(places)  # the answer, pictures, tables
    assert "width=device-width" in text and "prefers-color-scheme: dark" in text
    names = {path.name for path in folder.iterdir()}
    pictures = {"classes.png", "deviations.png", "maps.png", "course.png"}
    tables = {"gates.csv", "layers.csv", "removal.csv", "layers.md", "report.json"}
    assert names == pictures | tables | {"index.html"}
    row = "| se | 2 | 7 | 0.500 | 0.257 | 0.562 | 12 % | 12 % | 50 % | 0.92 |"
    tables = (folder / "layers.md").read_text()
    assert f"{row} 50.00 | 50.00 |" in tables
    assert "\n| all | 14 | 50.00 | 50.00 |" in tables
    assert '<a href="gates.csv">' in text
    with open(folder / "gates.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3  # layers, channels, classes and all
    row = next(
        r for r in rows if (r["layer"], r["channel"], r["class"]) == ("se", "0", "dog")
    )
    close([float(row["mean"]), float(row["deviation"])], [0.15, 0.1])
    with open(folder / "removal.csv", newline="") as file:
        assert [r["by"] for r in csv.DictReader(file)][-1] == "identity"
    with pytest.raises(ValueError, match="which exists"):
        analysis.write_report(folder, found)


def test_choices():
    found = measure(class_names=["cat", "dog"])
    assert plots.choose_classes(found, None, 1) == ("cat",)
    assert plots.choose_classes(found, ["dog"], 4) == ("dog",)
    with pytest.raises(ValueError, match="Did you mean 'dog'"):
        plots.choose_classes(found, ["dogs"], 4)
    with pytest.raises(ValueError, match="Did you mean 'se'"):
        plots.choose_layers(found, ["sse"])
    (layer,) = plots.choose_layers(found, None)
    assert plots.sample_channels(layer).tolist() == [0, 1]


def test_a_dropout_of_training_is_off_as_in_predict():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3)(inputs)
    x = keras.layers.Dropout(0.5)(x, training=True)
    x = keras_senet.SqueezeExcite(2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    images = np.random.default_rng(0).uniform(0, 1, (4, 8, 8, 3)).astype("float32")
    output, _ = open_probe(network).run(images)
    np.testing.assert_allclose(output, network.predict(images, verbose=0), atol=1e-6)
