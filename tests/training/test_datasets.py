"""What of a recipe reaches its batches."""

import dataclasses

import numpy as np
import pytest

from keras_senet.data import open_source
from keras_senet.training import Recipe
from keras_senet.training.datasets import make_datasets, resolve_recipe


def first_batches(**values):
    source = open_source("bundled")
    recipe = Recipe(model="se_resnet20", limit=40, global_batch_size=20, **values)
    training, validation = make_datasets(resolve_recipe(recipe, source), source)
    return next(training.as_numpy_iterator()), list(validation.as_numpy_iterator())


def test_labels_are_rows_and_only_training_ones_are_mixed():
    (_, labels), validation = first_batches(cutmix=1.0)
    assert labels.shape == (20, 10)
    np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
    assert ((labels > 0).sum(-1) == 2).mean() > 0.5
    for _, rows in validation:
        assert set(np.unique(rows)) == {0, 1}
    (_, labels), _ = first_batches()
    assert set(np.unique(labels)) == {0, 1}


def test_images_are_erased_in_training_only():
    (plain, _), expected = first_batches()
    (images, _), validation = first_batches(random_erasing=1.0)
    assert np.any(images != plain, axis=(1, 2, 3)).mean() > 0.8
    for (seen, _), (known, _) in zip(validation, expected, strict=True):
        assert np.array_equal(seen, known)


def test_what_is_held_out_is_not_trained_on():
    source = open_source("bundled")
    with pytest.raises(ValueError, match=r"'train\[90%:\]', which share 600\."):
        source.check_splits("train", "train[90%:]")
    source.check_splits("train[:90%]", "train[90%:]")
    source.check_splits("train", "test")
    with pytest.raises(ValueError, match="must not share images"):
        first_batches(validation_split="train[:50%]")


def test_choices_are_made_on_validation_images_where_there_are_some():
    source = open_source("bundled")
    recipe = Recipe(model="se_resnet20")
    assert resolve_recipe(recipe, source).validation_split == "test"
    both = dataclasses.replace(source, splits={**source.splits, "validation": 9})
    assert resolve_recipe(recipe, both).validation_split == "validation"
    told = dataclasses.replace(recipe, validation_split="test")
    assert resolve_recipe(told, both).validation_split == "test"


def test_one_output_is_for_two_classes_and_not_for_two_labels():
    source = open_source("bundled")
    two = dataclasses.replace(source, class_names=("a", "b"))
    recipe = Recipe(model="se_resnet20", classes=1)
    assert resolve_recipe(recipe, two).classes == 1
    with pytest.raises(ValueError, match="`classes` must be the 2"):
        resolve_recipe(recipe, dataclasses.replace(two, multi_label=True))


def test_slices_of_the_training_set():
    splits = {"train_split": "train[:90%]", "validation_split": "train[90%:]"}
    (images, _), validation = first_batches(**splits)
    held_out = {image.tobytes() for batch, _ in validation for image in batch}
    assert len(held_out) == 40
    assert not held_out & {image.tobytes() for image in images}
