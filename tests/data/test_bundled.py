import os
from pathlib import Path

import make_bundled_data as script
import numpy as np
import pytest

import keras_senet.data
from keras_senet.data import open_source
from keras_senet.data.bundled import CLASS_NAMES, arrays
from keras_senet.utils.files import sha256

ROOM = Path(keras_senet.data.__file__).parent
FILE = ROOM / "fashion_mnist_subset.npz"
SHA256 = "35acccf98f28fbc13ae7954272539b5e3b46952b6e878d0749344ccfe660a584"


def digests(images):
    return {image.tobytes() for image in images}


def test_file_is_the_one_that_was_made():
    assert sha256(FILE) == SHA256
    assert FILE.stat().st_size < 4_000_000


@pytest.mark.parametrize(("split", "per_class"), [("train", 600), ("test", 100)])
def test_split_is_balanced_and_its_first_images_are_too(split, per_class):
    images, labels = arrays()[f"x_{split}"], arrays()[f"y_{split}"]
    assert images.shape == (10 * per_class, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels).tolist() == [per_class] * 10
    assert labels[:30].tolist() == list(range(10)) * 3


def test_no_image_is_in_both_splits_or_twice():
    train, test = digests(arrays()["x_train"]), digests(arrays()["x_test"])
    assert len(train) == 6000
    assert len(test) == 1000
    assert not train & test


def test_source_tells_what_is_in_it():
    source = open_source("bundled")
    assert source.name == "bundled"
    assert source.class_names == CLASS_NAMES
    assert source.splits == {"train": 6000, "test": 1000}
    assert source.channels == 1
    assert source.image_size == (28, 28)


def test_statistics_are_those_of_the_training_images():
    source = open_source("bundled")
    pixels = arrays()["x_train"] / 255
    assert source.mean == pytest.approx([pixels.mean()], abs=1e-6)
    assert source.std == pytest.approx([pixels.std()], abs=1e-6)


def test_dataset_gives_the_images_in_order():
    images, labels = zip(
        *open_source("bundled").dataset("test").take(20).as_numpy_iterator(),
        strict=True,
    )
    assert images[0].dtype == np.uint8
    assert labels[0].dtype == np.int64
    assert np.array_equal(np.stack(images)[..., 0], arrays()["x_test"][:20])
    assert np.array_equal(labels, arrays()["y_test"][:20])


def test_notice_keeps_the_licence():
    notice = (ROOM / "NOTICE.md").read_text()
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in notice
    assert "Permission is hereby granted, free of charge" in notice


@pytest.mark.data
def test_script_makes_the_same_file(tmp_path):
    made = script.draw(*script.official_training_split())
    assert made.keys() == arrays().keys()
    for name, array in made.items():
        assert np.array_equal(array, arrays()[name])
    first = script.write(made, tmp_path / "first.npz")
    assert first == script.write(made, tmp_path / "second.npz") == SHA256


@pytest.mark.data
def test_official_test_split_is_untouched():
    with np.load(Path(os.environ["KERAS_SENET_DATA"], "fashion_mnist.npz")) as official:
        train = dict(
            zip(
                (image.tobytes() for image in official["x_train"]),
                official["y_train"],
                strict=True,
            )
        )
        test = digests(official["x_test"])
    for split in ("train", "test"):
        for image, label in zip(
            arrays()[f"x_{split}"], arrays()[f"y_{split}"], strict=True
        ):
            assert train[image.tobytes()] == label
            assert image.tobytes() not in test
