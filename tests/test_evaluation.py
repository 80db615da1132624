import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_senet
from keras_senet.card import Card, Preprocessing
from keras_senet.cli import main
from keras_senet.data import open_source
from keras_senet.evaluation import Evaluation, evaluate
from keras_senet.export import export_saved_model, export_tflite
from keras_senet.weights import save_model, save_weights


def _model(classes=10, shape=(28, 28, 1), activation="softmax", seed=0):
    """Two bright or dark halves and a random layer: far from right, far from even."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 128, offset=-1)(inputs)
    x = keras.layers.AveragePooling2D(7)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(classes, activation=activation)(x)
    return keras.Model(inputs, x, name="small")


@pytest.fixture(scope="module")
def model():
    return _model()


@pytest.fixture(scope="module")
def arrays():
    """The first 200 bundled held-out images and their labels."""
    pairs = list(open_source("bundled").dataset("test").take(200).as_numpy_iterator())
    images, labels = (np.stack(part) for part in zip(*pairs, strict=True))
    return images.astype("float32"), labels


def _count(scores, labels):
    """Every figure by plain loops."""
    classes = scores.shape[1]
    confusion = np.zeros((classes, classes), int)
    in_top, loss, bins = 0, 0.0, {}
    for row, label in zip(scores.astype("float64"), labels, strict=True):
        predicted = int(row.argmax())
        confusion[label, predicted] += 1
        in_top += label in row.argsort()[::-1][:5]
        loss -= np.log(row[label] / row.sum())
        bins.setdefault(min(int(row.max() * 15), 14), []).append(
            (row.max(), predicted == label)
        )
    gaps = [
        len(b) * abs(np.mean([c for c, _ in b]) - np.mean([r for _, r in b]))
        for b in bins.values()
    ]
    return confusion, in_top / len(labels), loss / len(labels), sum(gaps) / len(labels)


def test_figures_equal_a_plain_count(model, arrays):
    images, labels = arrays
    scores = model.predict(images, verbose=0)
    confusion, top5, loss, calibration_error = _count(scores, labels)
    result = evaluate(model, arrays, batch_size=64)
    np.testing.assert_array_equal(result.confusion, confusion)
    assert result.images == 200
    assert result.top1 == np.mean(scores.argmax(-1) == labels)
    assert (result.top_k, result.top5) == (5, top5)
    assert result.loss == pytest.approx(loss, rel=1e-4)
    assert result.calibration_error == pytest.approx(calibration_error, rel=1e-4)
    np.testing.assert_allclose(
        result.class_accuracy, np.diag(confusion) / confusion.sum(1)
    )
    assert result.images_per_second > 0
    assert result.image_size == (28, 28)
    assert result.class_names == tuple("0123456789")


def test_every_form_of_data_gives_the_same(model, arrays):
    images, labels = arrays
    expected = evaluate(model, arrays)
    one_hot = np.eye(10)[labels]
    forms = (
        (images, one_hot),
        (images, labels[:, None]),  # as keras.datasets.cifar10 has them
        tf.data.Dataset.from_tensor_slices((images, labels)).batch(30),
        [(images[:150], labels[:150]), (images[150:], labels[150:])],
    )
    for data in forms:
        result = evaluate(model, data)
        np.testing.assert_array_equal(result.confusion, expected.confusion)
        assert result.top5 == expected.top5
        assert result.loss == pytest.approx(expected.loss, rel=1e-5)
    for data in ("bundled", open_source("bundled")):
        result = evaluate(model, data, limit=200)
        np.testing.assert_array_equal(result.confusion, expected.confusion)
        assert result.data == "bundled"
        assert result.class_names[9] == "Ankle boot"


def test_a_dataset_of_single_images_is_said(model, arrays):
    with pytest.raises(ValueError, match=r"one label .* shape \(\)\. .*batch\(32\)$"):
        evaluate(model, tf.data.Dataset.from_tensor_slices(arrays))


@pytest.mark.parametrize(
    ("raw", "change", "message"),
    [
        (True, lambda x: x / 255, r"scaled to 0\.\.1.*from 0 to 1\. Multiply"),
        (True, lambda x: x / 127.5 - 1, r"not be normalized.*from -1 to 1\. Pass"),
        (False, lambda x: x, r"as in `model.preprocessing`: black is -1, .* to 255"),
        (False, lambda x: x / 255, r"as in `model.preprocessing`.*from 0 to 1\. Use"),
    ],
)
def test_values_in_another_range_are_said(model, arrays, raw, change, message):
    """Their accuracy was that of chance."""
    images, labels = arrays
    if not raw:
        inputs = keras.Input((28, 28, 1))
        outputs = keras.layers.Dense(10, "softmax")(keras.layers.Flatten()(inputs))
        model = keras.Model(inputs, outputs)
        record = Preprocessing(mean=(0.5,), std=(0.5,), image_size=28)
        model.card = Card(preprocessing=record, normalises=False)
    assert evaluate(model, (images if raw else images / 127.5 - 1, labels)).images
    with pytest.raises(ValueError, match=message):
        evaluate(model, (change(images), labels))


def test_bicubic_interpolation_is_no_other_range(model, arrays):
    images, labels = arrays
    small = tf.image.resize(images, (19, 19))
    edges = np.where(np.asarray(small) > 127, 255.0, 0.0)
    resized = tf.image.resize(edges, (28, 28), "bicubic").numpy()
    assert resized.min() < -50
    assert resized.max() > 305
    assert evaluate(model, (resized, labels)).images


def test_a_batch_of_dark_images_is_no_other_range(model, arrays):
    dark = np.zeros((3, 28, 28, 1)), np.arange(3)
    faint = dark[0] + 1, dark[1]
    for data in (dark, [faint, arrays]):
        assert evaluate(model, data).images


@pytest.mark.parametrize("kind", ["keras", "saved_model", "tflite"])
def test_every_file_of_a_model_gives_the_same(model, arrays, tmp_path, kind):
    names = [f"class {i}" for i in range(10)]
    if kind == "keras":
        path = save_model(model, tmp_path / "a.keras", Card(labels=names))
    elif kind == "saved_model":
        path = export_saved_model(model, tmp_path / "a", labels=names)
    else:
        path = export_tflite(model, tmp_path / "a.tflite", labels=names)
    expected, result = evaluate(model, arrays), evaluate(path, arrays)
    np.testing.assert_array_equal(result.confusion, expected.confusion)
    np.testing.assert_array_equal(result.class_accuracy, expected.class_accuracy)
    for name in ("loss", "calibration_error"):
        found = getattr(result, name)
        assert found == pytest.approx(getattr(expected, name), rel=1e-4)
    assert (result.kind, result.model) == (kind, str(path))
    assert result.class_names == tuple(names)


def test_logits_give_the_loss_and_calibration_of_their_softmax(model, arrays):
    logits = _model(activation=None)
    logits.set_weights(model.get_weights())
    expected, result = evaluate(model, arrays), evaluate(logits, arrays)
    assert result.loss == pytest.approx(expected.loss, rel=1e-4)
    assert result.calibration_error == pytest.approx(
        expected.calibration_error, rel=1e-3
    )


def test_limit_counts_images(model, arrays):
    for limit in (1, 70, 1000):
        result = evaluate(model, arrays, batch_size=32, limit=limit)
        assert result.images == min(limit, 200)
        batches = tf.data.Dataset.from_tensor_slices(arrays).batch(32).repeat()
        assert evaluate(model, batches, limit=limit).images == limit


def test_few_classes(arrays):
    images, labels = arrays
    result = evaluate(_model(classes=3), (images, labels % 3))
    scores = _model(classes=3).predict(images, verbose=0)
    top2 = scores.argsort(-1)[:, 1:]
    expected = np.mean((top2 == (labels % 3)[:, None]).any(-1))
    assert (result.top_k, result.top5) == (2, expected)


def test_class_without_images_has_no_accuracy(model, arrays):
    images, labels = arrays
    kept = labels != 4
    result = evaluate(model, (images[kept], labels[kept]))
    assert np.isnan(result.class_accuracy[4])
    assert np.isnan(result.class_accuracy).sum() == 1
    assert json.loads(result.to_json())["class_accuracy"][4] is None


def test_json_holds_every_field(model, arrays):
    result = evaluate(model, arrays)
    fields = json.loads(result.to_json())
    assert fields["top1"] == result.top1
    assert fields["confusion"] == result.confusion.tolist()
    assert fields["class_accuracy"] == pytest.approx(result.class_accuracy.tolist())
    assert set(fields) == set(result.__dataclass_fields__)
    assert "top-1" in result.summary()


def test_source_is_fitted_to_the_model():
    wide = evaluate(_model(shape=(14, 21, 3)), "bundled", limit=40)
    assert wide.image_size == (14, 21)
    assert wide.crop_fraction == 1
    inputs = keras.Input((None, None, 1))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    free = keras.Model(inputs, keras.layers.Dense(10)(x))
    assert evaluate(free, "bundled", limit=40).image_size == (28, 28)
    small = evaluate(free, "bundled", limit=40, image_size=20, crop_fraction=0.8)
    assert (small.image_size, small.crop_fraction) == ((20, 20), 0.8)
    whole = evaluate(free, "bundled", limit=40, image_size=20)
    assert whole.crop_fraction == 1
    assert abs(whole.loss - small.loss) > 0.01
    with pytest.raises(ValueError, match=r"images of 28 x 28 pixels.*image_size=20"):
        evaluate(_model(), "bundled", image_size=20)
    assert keras_senet.open_model(free, image_size=20).keras_model() is free
    for size in ((48, 48), 0, "large"):
        with pytest.raises(ValueError, match="`image_size` must be a positive integer"):
            keras_senet.open_model("se_resnet20.cifar10", image_size=size)
    with pytest.raises(ValueError, match=r"takes \(None, 3, 28, 28\)"):
        inputs = keras.Input((3, 28, 28))
        x = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
        evaluate(keras.Model(inputs, x), "bundled")


def test_a_source_does_not_reach_a_network_that_does_not_normalise(tmp_path):
    bare = keras_senet.SEResNet20(weights=None, input_shape=(28, 28, 1))
    save_model(bare, tmp_path / "bare.keras")
    export_tflite(bare, tmp_path / "bare.tflite")
    for one in (bare, tmp_path / "bare.keras", tmp_path / "bare.tflite"):
        with pytest.raises(ValueError, match="include_preprocessing"):
            evaluate(one, "bundled", limit=100)


def test_a_network_is_given_the_normalisation_that_it_asks_for(tmp_path):
    options = {"weights": "fashion_mnist", "include_preprocessing": True}
    whole = keras_senet.SEResNet20(**options)
    bare = keras_senet.SEResNet20(weights="fashion_mnist")
    files = [
        export_saved_model(bare, tmp_path / "bare"),
        export_tflite(bare, tmp_path / "bare.tflite"),
        save_model(bare, tmp_path / "bare.keras"),
    ]
    expected = evaluate(whole, "bundled", limit=100)
    for one in (bare, *files):
        found = evaluate(one, "bundled", limit=100)
        assert found.top1 == expected.top1
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("bundled", "3 classes, data with 10"),
        ((np.ones((4, 28, 28, 1)), [0, 1, 2, 3]), "from 0 and below 3.*0 to 3"),
        ((np.ones((4, 28, 28, 1)), [0, 1, 2]), r"one label for each image.*\(3,\)"),
        ((np.ones((2, 28, 28, 1)), [0, -1]), "integers from 0.*-1"),
        ((np.ones((2, 28, 28, 1)), np.eye(4)[:2]), r"one-hot rows of 3.*\(2, 4\)"),
        ([np.ones((2, 28, 28, 1)), [0, 1]], "two arrays a tuple"),
        ((np.ones((0, 28, 28, 1)), []), "must hold images.*none"),
        ([], "must hold images.*none"),
        ((np.ones((2, 14, 28, 1)), [0, 1]), r"\(2, 14, 28, 1\)"),
    ],
)
def test_data_that_contradict_the_model(data, message):
    with pytest.raises(ValueError, match=message):
        evaluate(_model(classes=3), data)


def test_classes_in_another_order_are_noticed(model, tmp_path):
    names = list(open_source("bundled").class_names)
    right = export_tflite(model, tmp_path / "right.tflite", labels=names)
    assert evaluate(right, "bundled", limit=10).images == 10
    names[2:4] = names[3:1:-1]
    wrong = export_tflite(model, tmp_path / "wrong.tflite", labels=names)
    with pytest.raises(
        ValueError, match="class 2 is 'Dress' in the model and 'Pullover'"
    ):
        evaluate(wrong, "bundled", limit=10)


def test_counts_must_be_counts(model, arrays):
    for bad in ({"limit": -1}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="must be a positive integer"):
            evaluate(model, arrays, **bad)


def test_a_path_is_a_folder_even_where_it_is_called_like_data(model):
    with pytest.raises(FileNotFoundError, match="no folder 'bundled'"):
        evaluate(model, Path("bundled"))


def test_an_image_that_cannot_be_read_is_named(model, tmp_path):
    for i in range(4):
        path = tmp_path / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            tf.io.encode_jpeg(np.full((28, 28, 1), 60 * i, np.uint8)).numpy()
        )
    source = open_source(tmp_path, held_out=0.5)
    for path in tmp_path.rglob("*.jpg"):
        contents = path.read_bytes()
        pixels = contents.rfind(b"\xff\xda")
        path.write_bytes(contents[:pixels] + b"\xff\xda\x00\x01 nothing \xff\xd9")
    with pytest.raises(OSError, match=r"[ab]/\d\.jpg' cannot be read"):
        evaluate(_model(classes=2), source)


def test_scores_that_are_not_finite_are_an_error(arrays):
    model = _model()
    model.layers[-1].bias.assign(np.full(10, np.nan))
    with pytest.raises(ValueError, match="must be finite"):
        evaluate(model, arrays)


def test_model_that_is_no_classifier(model, arrays):
    features = keras.Model(model.input, model.layers[1].output)
    with pytest.raises(ValueError, match=r"one output.*\(64, 28, 28, 1\)"):
        evaluate(features, arrays)
    both = keras.Model(model.input, [model.output, model.layers[-2].output])
    with pytest.raises(ValueError, match="one output"):
        evaluate(both, arrays)
    for given in ({"split": "train"}, {"image_size": 32}, {"crop_fraction": 0.5}):
        with pytest.raises(ValueError, match="are for a source, not for arrays"):
            evaluate(model, arrays, **given)
    # As many features as there are classes are no scores of them.
    pooled = _model()
    pooled.card = Card(outputs="features")
    with pytest.raises(ValueError, match=r"must be a classifier.*outputs='features'"):
        evaluate(pooled, arrays)


def test_findings_name_the_most_frequent_mistake():
    def findings(confusion):
        confusion = np.array(confusion)
        counts = confusion.sum(1)
        result = Evaluation(
            **dict.fromkeys(f.name for f in dataclasses.fields(Evaluation))
            | {
                "top1": np.trace(confusion) / confusion.sum(),
                "images": confusion.sum(),
                "class_names": ("cat", "dog", "owl"),
                "confusion": confusion,
                "class_accuracy": np.diag(confusion) / np.maximum(counts, 1),
            }
        )
        return " ".join(result.findings()), result.by_class()

    text, rows = findings([[1, 3, 0], [1, 9, 0], [0, 0, 6]])
    assert text.startswith("80.0 % of 20 images are right. ")
    assert "3 of 4 images of cat are classified as dog" in text
    expected = {"class": "cat", "images": 4, "top-1": 0.25}
    assert rows[0] == expected | {"most often classified as": "dog"}
    assert rows[2]["most often classified as"] == "-"
    assert "There are no mistakes." in findings(np.eye(3, dtype=int))[0]


def test_confusion_picture(model, arrays, tmp_path):
    result = evaluate(model, arrays)
    path = result.save_confusion_picture(tmp_path / "confusion.png")
    picture = tf.io.decode_png(path.read_bytes())
    assert min(picture.shape[:2]) > 500
    assert np.std(picture) > 10
    with pytest.raises(ValueError, match="must not exist"):
        result.save_confusion_picture(path)
    result.save_confusion_picture(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["confusion.png"]


@pytest.mark.slow
def test_a_network_is_built_for_the_size_asked_for(tmp_path, capsys):
    """As section 5.4 has SENet-154, at 224 and at 320 pixels."""
    network = keras_senet.SEResNet20(weights=None, include_preprocessing=True)
    file = save_weights(network, tmp_path / "a.weights.h5")
    options = ["--limit", "20", "--output", str(tmp_path / "its own")]
    assert main(["evaluate", str(file), *options]) == 0
    assert "32 x 32 pixels" in capsys.readouterr().out
    words = ["evaluate", "se_resnet20", "--weights", str(file), "--limit", "20"]
    for size, crop in ((40, 0.875), (32, 1.0)):
        output = tmp_path / f"at {size}"
        options = ["--image-size", str(size), "--crop-fraction", str(crop)]
        assert main([*words, *options, "--output", str(output)]) == 0
        assert f"{size} x {size} pixels" in capsys.readouterr().out
        result = json.loads((output / "evaluation.json").read_text())
        assert result["image_size"] == [size, size]
        assert result["crop_fraction"] == crop


def test_other_classes_of_the_same_number_are_refused(model, tmp_path):
    file = export_tflite(model, tmp_path / "a.tflite", labels=list("abcdefghij"))
    with pytest.raises(ValueError, match="class 0 is 'a' in the model and 'T-shirt"):
        evaluate(file, "bundled", limit=10)
    # Some other words for the same classes are not.
    names = [*open_source("bundled").class_names[:9], "Boot"]
    file = export_tflite(model, tmp_path / "b.tflite", labels=names)
    assert evaluate(file, "bundled", limit=10).images == 10


def test_the_size_of_images_with_channels_first():
    inputs = keras.Input((3, 8, 16))
    x = keras.layers.Conv2D(4, 1, data_format="channels_first")(inputs)
    x = keras.layers.GlobalAveragePooling2D("channels_first")(x)
    network = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    found = evaluate(network, (np.ones((4, 3, 8, 16)), np.arange(4) % 2))
    assert found.image_size == (8, 16)
