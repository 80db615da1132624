"""Evaluation of networks with independent outputs: several labels, or one."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_senet import evaluate
from keras_senet.card import Card
from keras_senet.cli import main
from keras_senet.cli.evaluate import _figures
from keras_senet.evaluation import Evaluation, LabelEvaluation

NAMES = ("beach", "car", "dog")


def network(outputs=3, activation="sigmoid", shape=(8, 8, 3)):
    """Scores in which nothing is alike."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(x))
    x = keras.layers.Dense(outputs, activation, kernel_initializer="orthogonal")(x)
    return keras.Model(inputs, x)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 8, 8, 3)) * rng.random((90, 1, 1, 3))
    labels = rng.random((90, 3)) < (0.2, 0.5, 0.7)
    return images.astype("float32"), labels.astype("float32")


def test_figures_equal_a_plain_count(arrays):
    images, labels = arrays
    model = network()
    scores = model.predict(images, verbose=0)
    result = evaluate(model, arrays, batch_size=40)
    assert isinstance(result, LabelEvaluation)
    assert result.images == 90
    assert result.class_names == ("0", "1", "2")
    cross_entropy = keras.losses.binary_crossentropy(labels, scores)
    assert result.loss == pytest.approx(float(np.mean(cross_entropy)), rel=1e-4)
    for number in range(3):
        there, told = labels[:, number] == 1, scores[:, number] > 0.5
        both = np.sum(there & told)
        assert result.positives[number] == there.sum()
        assert result.accuracy[number] == np.mean(there == told)
        assert result.precision[number] == both / told.sum()
        assert result.recall[number] == both / there.sum()
        f1 = 2 * both / (told.sum() + there.sum())
        assert result.f1[number] == pytest.approx(f1)
    assert len(set(result.accuracy)) == 3
    mean = result.average_precision.mean()
    assert result.mean_average_precision == pytest.approx(mean)
    theirs = keras.metrics.AUC(20_000, curve="PR", multi_label=True)
    theirs.update_state(labels, scores)
    # Keras interpolates between its thresholds.
    assert result.mean_average_precision == pytest.approx(
        float(theirs.result()), abs=0.02
    )
    theirs = keras.metrics.AUC(20_000, multi_label=True)
    theirs.update_state(labels, scores)
    assert result.auc.mean() == pytest.approx(float(theirs.result()), abs=1e-3)


def test_multi_hot_rows_are_not_one_class(arrays):
    """Rows of several classes were counted as if the first of them were the class."""
    with pytest.raises(ValueError, match=r"Labels must be integers.*or one-hot rows"):
        evaluate(network(activation="softmax"), arrays)
    images, labels = arrays
    soft = 0.9 * np.eye(3)[labels.argmax(-1)] + 0.1 / 3
    for activation in ("softmax", "sigmoid"):
        with pytest.raises(ValueError, match=r"[Ll]abels .*must be") as caught:
            evaluate(network(activation=activation), (images, soft))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"rows of 0 and 1.*\(90, 3\).*shape \(90,\)"):
        evaluate(network(), (images, labels.argmax(-1)), batch_size=90)


@pytest.mark.parametrize("form", ["(N,)", "(N, 1)", "float", "bool"])
def test_one_output_is_a_binary_classifier(arrays, form):
    images, labels = arrays
    there = labels[:, 1].astype("int64")
    given = {
        "(N,)": there,
        "(N, 1)": there[:, None],
        "float": there.astype("float32"),
        "bool": there == 1,
    }[form]
    model = network(1)
    result = evaluate(model, (images, given))
    scores = model.predict(images, verbose=0)[:, 0]
    assert result.accuracy.tolist() == [np.mean((scores > 0.5) == there)]
    pairs = np.subtract.outer(scores[there == 1], scores[there == 0])
    assert result.auc[0] == pytest.approx(np.mean(pairs > 0), abs=1e-3)
    assert f"AUC {result.auc[0]:.4f}" in result.summary()


def test_one_output_that_is_no_probability_is_refused(arrays):
    images, labels = arrays
    with pytest.raises(ValueError, match=r"that is a probability \('sigmoid'\)"):
        evaluate(network(1, "linear"), (images, labels[:, 0].astype(int)))
    with pytest.raises(ValueError, match=r"rows of 0 and 1.*values from 0 to 2"):
        evaluate(network(1), (images, labels.sum(-1).astype(int) % 3))


def test_what_cannot_be_told_is_null(arrays):
    images, labels = arrays
    labels[:, 2] = 0
    result = evaluate(network(), (images, labels))
    assert np.isnan(
        [result.recall[2], result.average_precision[2], result.auc[2]]
    ).all()
    assert result.mean_average_precision == result.average_precision[:2].mean()
    fields = json.loads(result.to_json())
    assert set(fields) == set(result.__dataclass_fields__)
    assert fields["recall"][2] is None
    assert fields["positives"][2] == 0


def test_what_no_image_has_is_said_in_words(arrays):
    """It was printed as nan."""
    images, labels = arrays
    labels[:] = 0
    several = evaluate(network(), (images, labels))
    one = evaluate(network(1), (images, labels[:, 0]))
    unknown = evaluate(network(activation="exponential"), (images, labels.argmax(-1)))
    for result, words in (
        (several, "mean average precision unknown (no image has a label), loss "),
        (one, "AUC unknown (all images have the same label), loss "),
        (unknown, "loss unknown (nothing says what the outputs mean), calibration "),
    ):
        assert words in result.summary()
        printed = [*result.findings(), *(f"{a} {b}" for a, b in _figures(result))]
        assert not any("nan" in text.split() for text in printed), printed
    assert "precision unknown (no image has a label)." in several.findings()[0]


def test_the_order_is_right_even_where_the_meaning_is_not_known(arrays):
    images, labels = arrays
    model = network(activation="exponential")
    result = evaluate(model, (images, labels.argmax(-1)))
    assert isinstance(result, Evaluation)
    right = model.predict(images, verbose=0).argmax(-1) == labels.argmax(-1)
    assert result.top1 == right.mean()
    assert np.isnan(result.loss)
    assert np.isnan(result.calibration_error)
    assert json.loads(result.to_json())["loss"] is None


@pytest.fixture
def photos(tmp_path):
    """Images with several labels: three folders of nine, and the table beside them."""
    rng = np.random.default_rng(0)
    lines = ["file," + ",".join(NAMES)]
    for number in range(27):
        pixels = rng.integers(0, 256, (8, 8, 3)) * rng.random(3)
        path = tmp_path / "photos" / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype("uint8")).save(path)
        row = ",".join(map(str, rng.integers(0, 2, 3)))
        lines.append(f"{path.parent.name}/{path.name},{row}")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(lines))
    return tmp_path / "photos"


def test_a_table_of_labels_from_the_command_line(photos, tmp_path, capsys):
    model = network()
    model.save(tmp_path / "a.keras")
    result = evaluate(model, photos)
    assert (result.images, result.class_names) == (5, NAMES)
    words = ["evaluate", str(tmp_path / "a.keras"), "--data", str(photos)]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for text in ("mean average precision", "dog", "recall", "Written to"):
        assert text in said
    fields = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert fields["mean_average_precision"] == result.mean_average_precision
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert files == ["classes.csv", "evaluation.json", "report.html", "report.md"]


def test_class_folders_for_a_binary_network(photos, capsys, tmp_path):
    """The probability is that of the second class."""
    (photos / "labels.csv").unlink()
    for path in sorted(photos.glob("2/*")):
        path.rename(photos / "1" / path.name)
    (photos / "2").rmdir()
    model = network(1)
    result = evaluate(model, photos)
    assert result.class_names == ("1",)
    assert (result.images, result.positives[0]) == (6, 4)
    model.save(tmp_path / "a.keras")
    words = ["evaluate", str(tmp_path / "a.keras"), "--data", str(photos)]
    assert main(words) == 0
    assert "auc" in capsys.readouterr().out


def test_labels_need_independent_outputs(photos):
    with pytest.raises(ValueError, match=r"have several labels each.*'softmax'"):
        evaluate(network(activation="softmax"), photos)


def test_the_other_class_of_a_binary_network_is_refused(tmp_path):
    """Its output is the probability of the second class of the data."""
    for grey, place in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (8, 8), (grey, 0, 0)).save(tmp_path / place / "1.png")
    model = network(1)
    facts = {"outputs": "sigmoid", "classes": 1, "input_shape": (8, 8, 3)}
    facts["normalises"] = True
    model.card = Card(labels=("cat",), **facts)
    with pytest.raises(ValueError, match="class 0 is 'cat' in the model and 'dog'"):
        evaluate(model, tmp_path)
    model.card = Card(labels=("dog",), **facts)
    assert evaluate(model, tmp_path).images == 2
