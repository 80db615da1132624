"""The detector's program: what it reads, one step of it, and what it exports."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_senet

PROGRAM = Path(__file__).parents[2] / "applications" / "detection" / "main.py"


@pytest.fixture
def annotated(modules):
    import annotated

    return annotated


@pytest.fixture
def detector(modules):
    pytest.importorskip("keras_hub")
    pytest.importorskip("pycocotools")
    import detector

    return detector


def coco_folder(root, annotations, *, images=3, form="annotations/instances_{}.json"):
    """Three images of 40 x 60 pixels, with annotations, for training and for a test."""
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        entries = []
        for number in range(images):
            pixels = np.full((40, 60, 3), 50 * number, "uint8")
            name = f"Foto {number}.png"
            Image.fromarray(pixels).save(root / split / name)
            sides = {"height": 40, "width": 60}
            entries.append({"id": 10 + number, "file_name": name, **sides})
        file = root / form.format(split) if "{}" in form else root / split / form
        file.parent.mkdir(exist_ok=True)
        categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "Katze"}]
        content = {"images": entries, "categories": categories}
        file.write_text(json.dumps({**content, "annotations": annotations}), "utf-8")
    return root


def box(image, left, top, width, height, category=7, **more):
    place = [left, top, width, height]
    return {"image_id": image, "category_id": category, "bbox": place, **more}


GOOD = [box(10, 5, 10, 20, 15), box(10, 0, 0, 60, 40, 3), box(12, 1, 2, 3, 4, 3)]


@pytest.mark.parametrize(
    "form", ["annotations/instances_{}.json", "_annotations.coco.json"]
)
def test_a_folder_in_cocos_form(annotated, tmp_path, form):
    folder = coco_folder(tmp_path / "Fotos", GOOD, form=form)
    data = annotated.open_annotated(str(folder), "train")
    assert data.class_names == ("Katze", "dog")  # in the order of their ids
    assert data.counts == {"images without boxes": 1, "boxes": 3}
    first, second, third = data.read().as_numpy_iterator()
    assert first["image"].shape == (40, 60, 3)
    np.testing.assert_array_equal(first["boxes"], [[10, 5, 25, 25], [0, 0, 40, 60]])
    np.testing.assert_array_equal(first["labels"], [1, 0])
    assert second["boxes"].shape == (0, 4)
    assert third["image"][0, 0, 0] == 100


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (box(10, 5, 5, 0, 9), "boxes of no area or outside the image left out"),
        (box(10, 70, 5, 9, 9), "boxes of no area or outside the image left out"),
        (box(10, 5, 5, -3, 9), "boxes of no area or outside the image left out"),
        (box(10, float("nan"), 5, 3, 9), "boxes of no area or outside the image left"),
        (box(10, 50, 5, 30, 9), "boxes cut at the image's edge"),
        (box(10, 5, 5, 9, 9, 99), "boxes of unknown classes left out"),
        (box(99, 5, 5, 9, 9), "boxes of unknown images left out"),
        ({**GOOD[0], "bbox": [1, 2, 3]}, "boxes that are no four numbers left out"),
        ({"image_id": 10}, "boxes that are no four numbers left out"),
        (box(10, 5, 5, 9, 9, iscrowd=1), "boxes of crowds not learned"),
    ],
)
def test_bad_boxes_are_counted(annotated, tmp_path, bad, what):
    folder = coco_folder(tmp_path, [*GOOD, bad])
    data = annotated.open_annotated(str(folder), "train")
    assert f"1 {what}" in str(data)
    entry = next(data.read().as_numpy_iterator())
    kept = "cut" in what or "crowds" in what
    assert len(entry["boxes"]) == 2 + kept
    assert entry["boxes"].max() <= 60
    assert entry["crowd"].sum() == ("crowds" in what)


def test_missing_images_are_counted(annotated, tmp_path):
    folder = coco_folder(tmp_path, GOOD)
    (folder / "train" / "Foto 1.png").unlink()
    assert "2 images; 1 images missing" in str(
        annotated.open_annotated(str(folder), "train")
    )


def test_images_are_found_whatever_form_their_umlauts_have(annotated, tmp_path):
    folder = coco_folder(tmp_path, GOOD)
    file = folder / "annotations" / "instances_train.json"
    file.write_text(file.read_text("utf-8").replace("Foto 0", "M\u00f6we"), "utf-8")
    picture = folder / "train" / "Foto 0.png"
    picture.rename(picture.with_name("Mo\u0308we.png"))
    assert annotated.open_annotated(str(folder), "train").images == 3


def test_what_is_no_data_is_one_line(annotated, tmp_path):
    def message(data, split="train"):
        with pytest.raises(ValueError) as caught:
            annotated.open_annotated(str(data), split)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    folder = coco_folder(tmp_path / "a", GOOD)
    assert "none for the split 'val'" in message(folder, "val")
    assert "none for the split 'train'" in message(tmp_path)
    file = folder / "annotations" / "instances_train.json"
    for text in ("{", "[]", '{"images": []}', '{"categories": [1]}'):
        file.write_text(text)
        assert "Annotations are COCO's JSON" in message(folder)
    folder = coco_folder(tmp_path / "b", [box(10, 1, 1, 2, 2, 99)])
    assert "1 boxes of unknown classes" in message(folder)
    assert "Did you mean 'voc'" in message("voc7")


@pytest.mark.parametrize("name", ["coco/2017", "voc/2007"])
def test_tensorflow_datasets(annotated, tmp_path, name):
    """With the features of the real sets, which cannot be fetched here."""
    import tensorflow_datasets as tfds

    features = tfds.builder(name, data_dir=tmp_path).info.features
    boxes = [(0.1, 0.2, 0.5, 0.8), (0.3, 0.3, 0.3, 0.6), (0.0, 0.0, 1.0, 1.0)]
    objects = []
    for number, sides in enumerate(boxes):
        values = {"area": 9, "id": number, "pose": 0, "is_truncated": False}
        values |= {"is_crowd": number == 2, "is_difficult": number == 2}
        values |= {"bbox": tfds.features.BBox(*sides), "label": number}
        own = features["objects"].feature
        objects.append({key: values[key] for key in own})
    example = {
        "image": np.full((40, 60, 3), 9, "uint8"),
        "image/filename": "a.jpg",
        "image/id": 1,
        "labels": [0],
        "labels_no_difficult": [0],
        "panoptic_objects": [],
        "objects": objects,
    }
    example = {key: example[key] for key in features}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="fake",
        version="1.0.0",
        features=features,
        split_datasets={"train": [(0, example), (1, {**example, "objects": []})]},
        data_dir=tmp_path,
    )
    data = annotated.open_annotated("fake", "train", tmp_path)
    assert len(data.class_names) in (20, 80)
    assert data.images == 2
    # The second box has no area.
    entries = sorted(data.read().as_numpy_iterator(), key=lambda e: -len(e["labels"]))
    np.testing.assert_allclose(entries[0]["boxes"], [[4, 12, 20, 48], [0, 0, 40, 60]])
    np.testing.assert_array_equal(entries[0]["labels"], [0, 2])
    np.testing.assert_array_equal(entries[0]["crowd"], [False, True])
    assert entries[1]["boxes"].shape == (0, 4)
    with pytest.raises(ValueError, match="Received: 'test'"):
        annotated.open_annotated("fake", "test", tmp_path)


def test_scenes(annotated, tmp_path, modules):
    import scenes

    values = {"train": 6, "test": 2, "size": 96, "seed": 1}
    for name in "ab":
        scenes.Scenes(output=tmp_path / name, **values).run()
    first, second = (tmp_path / n / "train" / "000003.png" for n in "ab")
    assert first.read_bytes() == second.read_bytes()
    data = annotated.open_annotated(str(tmp_path / "a"), "train")
    assert data.images == 6
    assert data.counts["boxes"] > 3
    pixels = np.stack([entry["image"] for entry in data.read().as_numpy_iterator()])
    assert pixels.shape == (6, 96, 96, 3)
    assert pixels.std() > 20
    mask = pytest.importorskip("pycocotools.mask")
    for record in data.records:
        assert record.size == (96, 96)
        for place, run in zip(record.boxes, record.masks, strict=True):
            seen = mask.decode(mask.frPyObjects(run, 96, 96))
            rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
            box = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
            np.testing.assert_array_equal(place, box)


def test_average_precision_is_cocos(detector):
    entry = {
        "boxes": np.array([[0, 0, 20, 20], [30, 30, 50, 50]], "float32"),
        "labels": np.array([0, 1]),
        "crowd": np.array([False, False]),
    }
    right = {**entry, "scores": np.array([0.9, 0.8])}
    figures = detector.mean_average_precision([(entry, right)], "ab")
    assert figures == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1, "AR100": 1})
    # An overlap of 0.6: right for three of the ten limits, and at 0.5 of them.
    short = {**right, "boxes": right["boxes"] * [1, 1, 1, 1]}
    short["boxes"][0, 2] = 12
    figures = detector.mean_average_precision([(entry, short)], "ab")
    assert figures["AP50"] == pytest.approx(1)
    assert figures["AP75"] == pytest.approx(0.5)
    assert figures["AP"] == pytest.approx((0.3 + 1) / 2, abs=0.06)
    nothing = {name: value[:0] for name, value in right.items()}
    assert detector.mean_average_precision([(entry, nothing)], "ab")["AP"] == 0
    crowd = {**entry, "crowd": np.array([False, True])}
    found = {name: value[:1] for name, value in right.items()}
    figures = detector.mean_average_precision([(crowd, found)], "ab")
    assert figures["AP"] == pytest.approx(1)
    empty = {name: value[:0] for name, value in entry.items()}
    with pytest.raises(ValueError, match="must have boxes"):
        detector.mean_average_precision([(empty, found)], "ab")


def test_a_mistake_does_not_take_the_folder(annotated, tmp_path):
    import running

    folder = coco_folder(tmp_path / "data", GOOD)
    options = {"run_folder": tmp_path / "run", "data": str(folder)}
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        running.Program(**options, batch_size=0).open()
    running.Program(**options, model="se_resnet81").open()
    running.Program(**options, model="se_resnet18").open()
    (tmp_path / "run" / "history.csv").touch()
    with pytest.raises(ValueError, match="model, different from"):
        running.Program(**options, model="se_resnet34").open()


def test_boxes_follow_their_image(detector):
    """A bright rectangle stays under its box, through zoom, shift and flip."""
    import main

    program = main.Detection(run_folder=Path("x"), data="x", image_size=128)
    image = np.zeros((60, 90, 3), "uint8")
    image[10:40, 20:70] = 255
    entry = {
        "image": tf.constant(image),
        "boxes": tf.constant([[10, 20, 40, 70], [0, 0, 5, 5]], "float32"),
        "labels": tf.constant([4, 1], "int64"),
        "crowd": tf.constant([False, True]),
    }
    tf.random.set_seed(0)
    entries = tf.data.Dataset.from_tensors(entry).repeat(12).map(program._augment)
    places = set()
    for pixels, target in entries.as_numpy_iterator():
        labels, boxes = target["labels"], target["boxes"]
        assert labels.shape == (100,)
        assert set(labels) <= {4, -1}  # the crowd is not learned
        if labels[0] == 4:
            rows, columns = (
                np.flatnonzero((pixels > 127).any((axis, 2))) for axis in (1, 0)
            )
            found = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
            np.testing.assert_allclose(boxes[0], found, atol=2)
            places.add(tuple(found))
    assert len(places) > 5


@pytest.mark.slow
def test_a_new_detector_finds_hardly_anything(detector):
    """KerasHub's own start says 1/2 for each class and moves each anchor away."""
    shape = (128, 128, 3)
    network = keras_senet.SEResNet18(include_top=False, weights=None, input_shape=shape)
    images = np.random.default_rng(0).normal(size=(2, *shape))
    found = detector.build(network, 3)(images)
    scores = tf.sigmoid(found["cls_logits"])
    assert 0.005 < np.mean(scores) < 0.02
    assert np.abs(found["bbox_regression"]).mean() < 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_file_finds_what_the_detector_finds(detector, annotated, tmp_path):
    shape = (128, 128, 3)
    network = keras_senet.SEResNet18(include_top=False, weights=None, input_shape=shape)
    model = detector.build(network, 2)
    rng = np.random.default_rng(0)
    for head in (model.box_head, model.classification_head):
        kernel = head.prediction_layer.kernel
        kernel.assign(rng.normal(0, 0.03, kernel.shape))
    head.prediction_layer.bias.assign(np.zeros(head.output_filters))
    folder = coco_folder(tmp_path / "data", GOOD)
    for path in (folder / "test").glob("*.png"):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), "uint8")).save(path)
    data = annotated.open_annotated(str(folder), "test")
    detector.export(model, data.class_names, tmp_path / "saved_model")
    served = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"]
    for entry, found in detector.detect(model, data, batch_size=1, threshold=0.05):
        file = served(images=tf.constant(entry["image"][None]))
        assert file["count"] == len(found["scores"]) > 10
        for name, values in found.items():
            np.testing.assert_allclose(
                file[name][0, : len(values)], values, rtol=1e-3, atol=1e-3
            )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_from_a_folder_to_a_saved_model(detector, run, tmp_path, capsys):
    folder = coco_folder(tmp_path / "data", GOOD)
    words = [tmp_path / "run", "--data", folder, "--model", "se_resnet18"]
    words += ["--epochs", 1, "--batch-size", 2, "--convolutions", 1]
    run(*words)
    out = capsys.readouterr().out
    assert "3 images; 1 images without boxes; 3 boxes" in out
    figures = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(figures) == {"AP", "AP50", "AP75", "AR100"}
    with Image.open(tmp_path / "run" / "detections.png") as picture:
        assert picture.size == (1040, 264)  # a row
        assert len(picture.convert("RGB").getcolors(2**20)) > 2
    with pytest.raises(SystemExit, match="epochs, different"):
        run(*words, "--epochs", 2)
    code = """
import sys
for name in ("keras", "keras_hub", "keras_senet"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
image = np.random.default_rng(0).integers(0, 255, (2, 50, 70, 3), "uint8")
found = model.signatures["serving_default"](images=tf.constant(image))
assert found["boxes"].shape == (2, 100, 4), found
assert float(tf.reduce_max(found["boxes"])) <= 70.01, found
print(sorted(found))
"""
    words = [sys.executable, "-c", code, tmp_path / "run" / "saved_model"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "['boxes', 'count', 'labels', 'scores']" in done.stdout
    names = json.loads((tmp_path / "run" / "saved_model" / "labels.json").read_text())
    assert names == ["Katze", "dog"]


@pytest.mark.slow
def test_two_devices_and_a_stop(detector, tmp_path):
    folder = coco_folder(tmp_path / "data", GOOD)
    words = [tmp_path / "run", "--data", folder, "--model", "se_resnet18"]
    words += ["--epochs", 3, "--batch-size", 2, "--convolutions", 1]
    code = """
import contextlib, runpy, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
import keras_senet.training
made = []
def make_strategy():
    made.append(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    return made[-1]
keras_senet.training.make_strategy = make_strategy
program = sys.argv[1]
sys.path.insert(0, program.rpartition("/")[0])
import running
check, steps = running._check_loss, []
def stop_once(step, logs):
    check(step, logs)
    steps.append(step)
    if len(steps) == 2:
        raise KeyboardInterrupt
running._check_loss = stop_once
del sys.argv[1]
with contextlib.suppress(KeyboardInterrupt):
    runpy.run_path(program, run_name="__main__")
runpy.run_path(program, run_name="__main__")
print([strategy.num_replicas_in_sync for strategy in made], len(steps))
"""
    words = [sys.executable, "-c", code, PROGRAM, *words]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # One step an epoch: the second was cut, and is done again.
    assert done.stdout.splitlines()[-1] == "[2, 2] 4"
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in history] == ["epoch", "0", "1", "2"]
    assert (tmp_path / "run" / "saved_model").is_dir()
