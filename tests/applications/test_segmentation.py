"""The segmenter's program: its labels, one step of it, and what it exports."""

import json
from pathlib import Path

import numpy as np
import pytest

import keras_senet

PROGRAM = Path(__file__).parents[2] / "applications" / "segmentation" / "main.py"
SHARED = PROGRAM.parents[1] / "detection"


@pytest.fixture
def shared(modules):
    """The modules of detection, which the program reaches by itself too."""
    pytest.importorskip("keras_hub")
    pytest.importorskip("pycocotools")


@pytest.fixture
def folder(shared, tmp_path):
    import scenes

    folder = tmp_path / "scenes"
    scenes.Scenes(output=folder, train=4, test=2, size=64, most=3, seed=2).run()
    return folder


def test_labels_of_pixels(shared):
    import main
    from annotated import Record
    from pycocotools import mask as coco_mask

    square = {"size": [4, 6], "counts": [4, 2, 2, 2, 14]}  # rows 0-1 of columns 1-2
    triangle = [[3.0, 0.0, 6.0, 0.0, 6.0, 4.0, 3.0, 4.0]]  # columns 3 to 5
    record = Record(Path("x"), (4, 6))
    record.boxes = [np.zeros(4), np.zeros(4), np.array([3.0, 0, 4, 1])]
    record.labels, record.crowd = [0, 4, 1], [False, False, False]
    record.masks = [square, triangle, None]
    expected = np.zeros((4, 6), int)
    expected[:2, 1:3] = 1
    expected[:, 3:] = 5
    expected[3, 0] = 255  # an object without a mask
    np.testing.assert_array_equal(main.label_map(record), expected)
    packed = {"size": [4, 6], "counts": coco_mask.frPyObjects(square, 4, 6)["counts"]}
    record.masks = [packed, [*triangle, [1.0, 1.0, 2.0, 2.0]], [[]]]
    np.testing.assert_array_equal(main.label_map(record), expected)
    record.crowd[1] = True
    assert np.all(main.label_map(record)[:, 3:] == 255)


def test_what_is_padded_is_ignored(folder):
    import main
    from annotated import Record, open_annotated

    program = main.Segmentation(run_folder=folder, data=str(folder), image_size=32)
    data = open_annotated(str(folder), "train")
    for images, labels in program._examples(data).as_numpy_iterator():
        assert images.shape == (32, 32, 3)
        assert labels.max() <= 10
    tall = Record(data.records[0].path, (64, 32))
    tall = type(data)(data.name, data.class_names, 1, {}, data.read, (tall,))
    ((_, labels),) = program._examples(tall).as_numpy_iterator()
    assert np.all(labels[:, :16] == 0)
    assert np.all(labels[:, 16:] == 255)


def test_each_rate_reaches_other_pixels_of_the_map(shared):
    import main

    assert main.dilation_rates(512, 16) == [6, 12, 18]  # DeepLabV3's paper
    assert main.dilation_rates(1024, 8) == [12, 24, 36]
    for size in range(32, 513, 32):
        for stride in (8, 16):
            assert max(main.dilation_rates(size, stride)) < size // stride


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_from_scenes_to_a_tflite_file(folder, run, tmp_path):
    words = [tmp_path / "run", "--data", folder, "--image-size", 64]
    run(*words, "--epochs", 1, "--batch-size", 2)
    figures = json.loads((tmp_path / "run" / "results.json").read_text())
    assert 0 <= figures["mean IoU"] <= 1
    assert (tmp_path / "run" / "masks.png").stat().st_size > 5_000
    opened = keras_senet.open_model(tmp_path / "run" / "segmenter.tflite")
    assert opened.labels[:2] == ("background", "T-shirt/top")
    scores = opened.predict(np.full((1, 64, 64, 3), 90, "float32"))
    assert scores.shape == (1, 64, 64, 11)
    assert np.isfinite(scores).all()
