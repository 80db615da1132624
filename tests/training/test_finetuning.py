"""`keras_senet.training.finetune`: from data of any kind to a network and a report."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_senet.data import open_arrays, open_source
from keras_senet.data.bundled import CLASS_NAMES, arrays
from keras_senet.training import FinetuneRecipe, finetune, finetuning, report
from keras_senet.training.datasets import count_images
from keras_senet.training.doubts import find_doubts, is_at_chance, is_no_better
from keras_senet.training.finetuning import class_accuracy_of, counts_of, predicted_of
from keras_senet.training.network import weights_file
from keras_senet.utils.measures import LabelCounts

PRESET = {"model": "se_resnet20", "weights": "fashion_mnist", "verbose": 0}


def bundled(count, classes=10):
    labels = arrays()["y_train"]
    chosen = np.flatnonzero(labels < classes)[:count]
    return arrays()["x_train"][chosen][..., None], labels[chosen]


@pytest.mark.slow
def test_arrays(tmp_path):
    said = []
    images, labels = bundled(200)
    result = finetune(
        (images, labels),
        tmp_path / "run",
        probe=True,
        class_names=CLASS_NAMES,
        say=said.append,
        **PRESET,
    )
    assert result.accuracy == result.probe_accuracy > 0.8
    assert result.evaluation.class_names == CLASS_NAMES
    assert result.report == tmp_path / "run" / "report.md"
    assert result.model.card.labels == CLASS_NAMES
    assert not result.at_chance
    assert result.source.splits == {"train": 160, "test": 40}


@pytest.mark.slow
def test_a_dataset_and_its_validation(tmp_path):
    images, labels = bundled(120, classes=2)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    result = finetune(
        dataset,
        tmp_path / "run",
        validation_data=dataset.take(30).batch(7),
        probe=True,
        **PRESET,
    )
    assert result.source.splits == {"train": 120, "test": 30}
    assert result.accuracy > 0.9
    # What is measured was trained on, and that is said.
    assert any("30 of 30 held-out images look like" in text for text in result.warnings)
    assert result.warnings[-1] in result.report.read_text()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["warnings"] == list(result.warnings)


def test_random_labels_are_said_to_be_chance(tmp_path, monkeypatch):
    images, _ = bundled(120)
    labels = np.random.default_rng(0).integers(0, 4, 120)
    source, read = open_arrays((images, labels)), []

    def evaluate(*args, **kwargs):
        """The evaluation counts the held-out images, which nothing reads after it."""
        evaluation, records = (
            finetuning_evaluate(*args, **kwargs),
            source.reader.records,
        )
        monkeypatch.setattr(
            source.reader, "records", lambda part: read.append(part) or records(part)
        )
        return evaluation

    finetuning_evaluate = finetuning.evaluate
    monkeypatch.setattr(finetuning, "evaluate", evaluate)
    result = finetune(source, tmp_path / "run", probe=True, **PRESET)
    assert "train" in {part.split for part in read}
    assert "test" not in {part.split for part in read}
    assert result.held_out_counts.tolist() == [*count_images(source, "test")]
    assert result.at_chance
    assert "no better than chance" in result.warnings[0]
    assert "the network overfits" in " ".join(result.warnings)


@pytest.mark.parametrize(
    ("phases", "early", "probe", "chosen"),
    [
        ([2], True, True, "The epoch"),
        ([2], False, True, "The linear probe"),
        ([], True, True, "The linear probe"),
        ([2], False, False, None),
    ],
)
def test_what_was_chosen_by_the_held_out_images_is_said(phases, early, probe, chosen):
    recipe = types.SimpleNamespace(held_out=0.2, stop_early=early, patience=5)
    result = types.SimpleNamespace(recipe=recipe, source=open_source("bundled"))
    values = {"split": "", "phases": phases, "probe": probe}
    text = report._about(result, values)
    assert ("was chosen on the same held-out" in text) == (chosen is not None)
    assert chosen is None or f"{chosen} was chosen" in text


def test_several_labels_an_image(tmp_path, monkeypatch):
    said, judged = [], []
    monkeypatch.setattr(finetuning, "is_no_better", lambda *a: judged.append(a))
    images, numbers = bundled(100, classes=3)
    labels = np.eye(3)[numbers]
    labels[:, 2] = 1
    options = {"probe": True, "say": said.append, **PRESET}
    result = finetune((images, labels), tmp_path / "run", **options)
    assert judged[0][-1] == result.evaluation.mean_average_precision
    assert any("of the held-out labels right" in text for text in said)
    assert result.source.multi_label
    assert result.accuracy == pytest.approx(result.probe_accuracy)
    text = result.report.read_text()
    assert "mean average precision" in text
    assert "top-1" not in text


def pairs(*shapes):
    """Batches of black images."""
    return [(np.zeros(s, "uint8"), np.arange(s[0]) % 4) for s in shapes]


def dataset(shape):
    return tf.data.Dataset.from_tensor_slices(*pairs(shape))


def named(shape):
    """As tensorflow_datasets has it without `as_supervised`."""
    return dataset(shape).map(lambda x, y: {"image": x, "label": y, "id": y})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.zeros((4, 8, 8, 2)), np.zeros(4, int)), "Images must be"),
        ((np.full((4, 8, 8, 3), 0.5), np.arange(4)), "Images must be raw, 0..255"),
        ((np.full((4, 8, 8, 3), np.nan), np.arange(4)), "Images must be raw, 0..255"),
        ((np.zeros((4, 8, 8, 3), "uint8"), np.zeros(4, int)), "at least two"),
        ((np.zeros((4, 8, 8, 3), "uint8"), np.arange(4) - 1), "0 or more.*-1"),
        (pairs((2, 8, 8, 3), (2, 9, 8, 3)), r"one shape.*\(9, 8, 3\).*Resize"),
        (dataset((4, 8, 8, 3)).repeat(), "must end"),
    ],
)
def test_arrays_that_are_no_images(data, message):
    with pytest.raises(ValueError, match=message):
        open_arrays(data)


IMAGES = np.zeros((12, 8, 8, 3), "uint8")


def test_the_width_of_rows_is_the_number_of_classes():
    source = open_arrays((IMAGES, np.eye(10, dtype=int)[np.arange(12) % 4]))
    assert len(source.class_names) == 10
    assert not source.multi_label


@pytest.mark.parametrize("rows", [np.ones((12, 3)), np.eye(3)[np.arange(12) % 3]])
def test_rows_have_one_width_and_a_name_for_each_class(rows):
    with pytest.raises(ValueError, match="name each of the 3 classes"):
        open_arrays((IMAGES, rows), class_names=list("abcde"))
    with pytest.raises(ValueError, match=r"the shapes \[\(2,\), \(3,\)\]"):
        open_arrays((IMAGES, rows), (IMAGES, rows[:, :2]))


def test_how_often_a_label_is_predicted_follows_from_the_measures():
    rng = np.random.default_rng(0)
    scores, labels = rng.uniform(size=(50, 4)), rng.integers(0, 2, (50, 4))
    labels[:, 3] = 0
    for columns, classes in ((4, 4), (1, 2)):
        counts = LabelCounts()
        counts.add(*[scores[:, :columns]] * 2, labels[:, :columns])
        figures = types.SimpleNamespace(**counts.figures(), images=50)
        expected = (scores[:, :columns] > 0.5).sum(0).tolist()
        expected = [50 - expected[0], *expected] if columns == 1 else expected
        assert predicted_of(figures, classes).tolist() == expected
        there = labels[:, :columns].sum(0).tolist()
        there = [50 - there[0], *there] if columns == 1 else there
        assert counts_of(figures, classes).tolist() == there


def test_images_of_several_sizes_one_by_one():
    sizes = tf.data.Dataset.range(4).map(lambda n: (tf.zeros((8 + n, 8, 3)), n))
    with pytest.raises(ValueError, match=r"of one shape.*\[9,8,3\]"):
        open_arrays(sizes)


@pytest.mark.parametrize(
    "data",
    [
        (np.zeros((20, 8, 8, 3), "uint8"), np.arange(20)[:, None] % 4),
        named((20, 8, 8, 3)),
        named((20, 8, 8, 3)).batch(7),
    ],
    ids=["keras.datasets", "tfds", "tfds in batches"],
)
def test_images_as_other_packages_have_them(data):
    source = open_arrays(data)
    assert source.splits == {"train": 16, "test": 4}
    assert source.class_names == ("0", "1", "2", "3")
    assert not source.multi_label


def test_class_names_of_a_folder():
    with pytest.raises(ValueError, match="are only for arrays and datasets"):
        finetune("bundled", class_names=("a", "b"), **PRESET)


def test_held_out_parts_of_arrays():
    images = np.arange(40, dtype="uint8").repeat(64).reshape(40, 8, 8, 1)
    source = open_arrays((images, np.repeat([0, 1], [30, 10])))
    assert source.splits == {"train": 32, "test": 8}
    seen = {
        split: [int(x[0, 0, 0]) for x, _ in source.dataset(split)]
        for split in source.splits
    }
    assert sorted(seen["train"] + seen["test"]) == list(range(40))
    first = [int(y) for _, y in source.dataset("train").take(8)]
    assert sum(first) == 2  # each stretch has its share of every class
    named = open_arrays(
        (images, np.repeat([0, 1], 20)), class_names=np.array(["a", "b"])
    )
    assert named.class_names == ("a", "b")
    with pytest.raises(ValueError, match="must name each of the 2 classes differently"):
        open_arrays((images, np.repeat([0, 1], 20)), class_names=("a", "a"))
    for share in (0, 1, 20):
        with pytest.raises(ValueError, match=f"between 0 and 1.*held_out={share}"):
            open_arrays((images, np.repeat([0, 1], [30, 10])), held_out=share)


def doubts(accuracy=0.9, predicted=(10, 10), train=20, **changes):
    """What is said of a result on arrays with two classes."""
    images = np.random.default_rng(0).integers(0, 255, (2 * train + 20, 64, 64, 3))
    labels = np.arange(len(images)) % 2
    source = open_arrays(
        (images[20:], labels[20:]), (images[:20], labels[:20]), class_names=("a", "b")
    )
    recipe = FinetuneRecipe(
        model="se_resnet20", weights="cifar10", validation_split="test"
    )
    probe = types.SimpleNamespace(copies=0, training_accuracy=accuracy)
    values = {
        "source": source,
        "recipe": recipe,
        "probe": probe,
        "keeps_probe": True,
        "history": {},
        "image_counts": (train, train),
    }
    result = types.SimpleNamespace(**(values | changes))
    held_out = np.array(count_images(result.source, "test"))
    chance = is_no_better(result, accuracy, held_out)
    arrays = held_out, np.array(predicted)
    return find_doubts(result, accuracy, *arrays, at_chance=chance)


def test_nothing_is_doubtful():
    assert doubts() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accuracy": 0.6}, "is no better than chance"),
        ({"predicted": (20, 0)}, "Never predicted on the held-out images: b."),
        (
            {
                "history": {"accuracy": [0.5, 1.0]},
                "keeps_probe": False,
                "accuracy": 0.75,
            },
            "the network overfits",
        ),
        ({"train": 9}, "Fewer than 10 training images: a (9), b (9)"),
        (
            {
                "recipe": FinetuneRecipe(
                    model="se_resnet20",
                    weights="fashion_mnist",
                    validation_split="test",
                )
            },
            "were trained on grey images",
        ),
        (
            {"probe": types.SimpleNamespace(copies=3, training_accuracy=0.9)},
            "3 of 20 held-out images look like a training image",
        ),
    ],
)
def test_one_line_with_what_to_do(changes, message):
    found = doubts(**changes)
    assert len(found) == 1
    assert message in found[0]


def test_small_weights_on_large_photos():
    images = np.zeros((24, 300, 300, 3), "uint8")
    source = open_arrays((images, np.arange(24) % 2), (images, np.arange(24) % 2))
    (found,) = doubts(source=source, image_counts=(12, 12))
    assert "trained on images of 32 pixels. Your images have about 300" in found


@pytest.mark.parametrize(
    ("right", "weighted", "chance"),
    [
        ((1.0, 0.0), True, True),  # always the frequent one
        ((0.85, 0.85), True, False),
        ((0.85, 0.85), False, True),  # worse than always the frequent one
        ((0.55, 0.65), True, True),
    ],
)
def test_chance_where_classes_are_uneven(right, weighted, chance):
    labels = np.repeat([0, 1], [90, 10])
    images = np.zeros((100, 8, 8, 3), "uint8")
    source = open_arrays((images, labels), (images, labels))
    recipe = FinetuneRecipe(
        model="se_resnet20",
        weights="cifar10",
        validation_split="test",
        class_weights=weighted,
    )
    result = types.SimpleNamespace(source=source, recipe=recipe)
    accuracy = 0.9 * right[0] + 0.1 * right[1]
    counts = np.array([90, 10])
    assert is_no_better(result, accuracy, counts, np.array(right)) == chance


def test_chance_needs_enough_images():
    assert is_at_chance(0.30, 32, 0.25)
    assert not is_at_chance(0.30, 3200, 0.25)


@pytest.mark.parametrize(("share", "images"), [(0.8333, 12), (0.95, 70), (0.9, 30)])
def test_what_halves_the_errors_is_no_chance(share, images):
    assert not is_at_chance(1.0, images, share)
    assert not is_at_chance(share + 0.51 * (1 - share), images, share)
    assert is_at_chance(share, images, share)


def test_rare_labels_are_judged_by_their_ranking():
    images, labels = np.zeros((12, 8, 8, 3), "uint8"), np.zeros((12, 3), "float32")
    labels[:2, 0] = labels[2:6, 1] = 1  # and no image with the third
    source = open_arrays(
        (images, np.ones((12, 3), "float32")), (images, labels), class_names="abc"
    )
    recipe = FinetuneRecipe(model="se_resnet20", validation_split="test")
    result = types.SimpleNamespace(source=source, recipe=recipe)
    held_out = np.array([2, 4, 0])
    assert is_no_better(result, 0.861, held_out)
    assert is_no_better(result, 0.861, held_out, precision=0.3)
    assert is_no_better(result, 0.861, held_out, precision=float("nan"))
    assert not is_no_better(result, 0.861, held_out, precision=0.908)
    assert source.counted == "labels"


def test_a_binary_network_is_judged_as_one_with_two_outputs():
    """19 of 20 images are of one class: 97 % right is not chance."""
    images = np.zeros((400, 8, 8, 3), "uint8")
    labels = np.repeat([0, 1], [380, 20])
    source = open_arrays((images, labels), (images, labels), class_names=("a", "b"))
    recipe = FinetuneRecipe(
        model="se_resnet20", weights="cifar10", validation_split="test", classes=1
    )
    result = types.SimpleNamespace(source=source, recipe=recipe)
    evaluation = types.SimpleNamespace(
        images=400,
        class_names=("b",),
        positives=np.array([20]),
        recall=np.array([0.8]),
        accuracy=np.array([0.97]),
    )
    found = class_accuracy_of(evaluation)
    assert found == pytest.approx([372 / 380, 0.8])
    held_out = counts_of(evaluation, 2)
    assert held_out.tolist() == [380, 20]
    assert is_no_better(result, 0.97, held_out)
    assert not is_no_better(result, 0.97, held_out, found)


def test_weights_are_a_preset_where_a_folder_has_their_name(tmp_path, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    monkeypatch.chdir(tmp_path)
    assert weights_file("cifar10") == "cifar10"
    assert weights_file("./cifar10/../cifar10").endswith("model.weights.h5")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array(["cat", "dog", "cat", "dog"]), "Labels must be numbers.*<U3"),
        (np.full((4, 3), 0.5), "ones and zeros"),
    ],
)
def test_labels_that_are_none(labels, message):
    with pytest.raises(ValueError, match=message):
        open_arrays((np.zeros((4, 8, 8, 3), "uint8"), labels))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("epoch", "'epochs'"), ("validation", "'validation_")],
)
def test_an_argument_that_nobody_takes_is_said_of_finetune(tmp_path, name, hint):
    with pytest.raises(TypeError, match=rf"finetune does not take `{name}`.*{hint}"):
        finetune((IMAGES, np.arange(12) % 4), tmp_path / "run", **{name: 3})
    assert not list(tmp_path.iterdir())
