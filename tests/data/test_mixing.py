import numpy as np
import pytest
import tensorflow as tf

from keras_senet.data import batches, open_source
from keras_senet.data.mixing import make_mixer

COUNT, SIDE, CLASSES = 16, 24, 16


def mixed(mixup, cutmix, batches=60):
    """Images whose value is their class, and their labels, after mixing."""
    values = np.arange(COUNT, dtype=np.float32) * 10
    images = np.broadcast_to(values[:, None, None, None], (COUNT, SIDE, SIDE, 1))
    labels = tf.one_hot(np.arange(COUNT), CLASSES)
    mix = make_mixer(mixup, cutmix)
    dataset = tf.data.Dataset.range(batches).map(
        lambda number: mix(tf.constant(images), labels, tf.stack([number, 3])),
        num_parallel_calls=4,
    )
    assert dataset.element_spec[0].shape == images.shape
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.stack(images), np.stack(labels)


@pytest.mark.parametrize("alphas", [(0.2, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_labels_say_what_is_in_the_images(alphas):
    images, labels = mixed(*alphas)
    again, labels_again = mixed(*alphas)
    assert np.array_equal(images, again)
    assert np.array_equal(labels, labels_again)
    np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-5)
    assert labels.min() >= 0
    assert (np.count_nonzero(labels, axis=-1) <= 2).all()
    # The mean of an image is the mean of its classes, weighted as its labels are. A
    # rectangle's sides end within a pixel, its weight does not.
    expected = labels @ (10 * np.arange(CLASSES))
    tolerance = 1e-3 if alphas[1] == 0 else 10 * CLASSES * 2 / SIDE
    np.testing.assert_allclose(images.mean((2, 3, 4)), expected, atol=tolerance)
    assert np.abs(images.mean((2, 3, 4)) - expected).mean() < tolerance / 8 + 1e-3


def test_mixup_blends_whole_images():
    images, labels = mixed(0.5, 0.0)
    assert (np.ptp(images, axis=(2, 3, 4)) == 0).all()
    # Var of Beta(a, a) is 1 / (4 (2a + 1)); the weight of the own class follows it,
    # but for the images that are mixed with themselves.
    own = np.einsum("bii->bi", labels)[np.count_nonzero(labels, axis=-1) == 2]
    assert np.mean(own) == pytest.approx(0.5, abs=0.05)
    assert np.var(own) == pytest.approx(1 / 8, rel=0.2)


def test_cutmix_pastes_rectangles():
    images, _ = mixed(0.0, 1.0)
    kinds = [len(np.unique(image)) for batch in images for image in batch]
    assert set(kinds) == {1, 2}
    assert np.mean(np.array(kinds) == 2) > 0.8
    for image in images.reshape(-1, SIDE, SIDE):
        boxes = []
        for value in np.unique(image):
            y, x = np.nonzero(image == value)
            boxes.append((np.ptp(y) + 1) * (np.ptp(x) + 1) == len(y))
        assert any(boxes)


def test_each_batch_gets_one_of_the_two():
    images, _ = mixed(1.0, 1.0, batches=200)
    pasted = np.ptp(images, axis=(2, 3, 4)).max(axis=1) > 0
    assert 0.35 < pasted.mean() < 0.65


def test_nothing_is_mixed_without_alphas():
    images, labels = mixed(0.0, 0.0, batches=1)
    assert np.array_equal(labels[0], np.eye(COUNT))
    assert (np.ptp(images, axis=(2, 3, 4)) == 0).all()


def test_batches_of_everything_can_be_resumed_anywhere():
    source = open_source("bundled")
    kwargs = {
        "image_size": 28,
        "batch_size": 8,
        "limit": 40,
        "training": True,
        "augmentation": "cifar",
        "rand_augment": 0.5,
        "random_erasing": 0.5,
        "mixup": 0.2,
        "cutmix": 1.0,
        "one_hot": True,
        "channels": 3,
    }
    dataset = batches(source, "train", epoch=0, **kwargs)
    whole = list(dataset.take(10).as_numpy_iterator())
    assert whole[0][0].shape == (8, 28, 28, 3)
    assert whole[0][1].shape == (8, 10)
    resumed = batches(source, "train", epoch=1, step=2, **kwargs).take(3)
    for (images, labels), (same_images, same_labels) in zip(
        whole[7:], resumed.as_numpy_iterator(), strict=True
    ):
        assert np.array_equal(images, same_images)
        assert np.array_equal(labels, same_labels)
    soft = np.concatenate([labels for _, labels in whole])
    assert ((soft > 0).sum(-1) == 2).mean() > 0.5
    assert len({np.sort(labels.max(-1)).tobytes() for _, labels in whole}) > 5
    del kwargs["mixup"], kwargs["cutmix"]
    hard = [labels for _, labels in batches(source, "train", epoch=0, **kwargs).take(5)]
    assert np.array_equal(np.sum(hard, axis=(0, 1)), [4] * 10)
