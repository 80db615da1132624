import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_senet.data.rand_augment import Draws, rand_augment, random_erasing
from keras_senet.data.rand_augment import _operations as operations

SHAPE = (16, 20)


def picture(channels):
    """Smooth from side to side, with a texture, 40..215."""
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]] / 20
    wave = 127 + 60 * x + 28 * np.sin(9 * y + 5 * x)
    planes = [wave - 40 * n * y for n in range(channels)]
    return tf.constant(np.stack(planes, -1).astype(np.uint8))


def many(function, image, count=100):
    """The results for so many seeds, computed in parallel as in a pipeline."""
    dataset = tf.data.Dataset.range(count).map(
        lambda number: function(image, tf.stack([number, 5])), num_parallel_calls=4
    )
    return np.stack(list(dataset.as_numpy_iterator()))


def test_draws_follow_from_the_key_alone():
    def drawn(key):
        draws = Draws(tf.constant(key, tf.int64))
        return [keras.random.uniform((4,), seed=draws).numpy() for _ in range(2)]

    first, again, other = drawn([1, 2]), drawn([1, 2]), drawn([1, 3])
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_is_repeatable_and_varied(channels):
    image = picture(channels)
    function = rand_augment(0.9, channels)
    results = many(function, image)
    assert results.shape == (100, *SHAPE, channels)
    assert results.dtype == np.float32
    assert results.min() >= 0
    assert results.max() <= 255
    assert np.array_equal(results, many(function, image))
    same = np.mean([np.array_equal(result, image) for result in results])
    # Twice the identity, or an operation that finds nothing to do.
    assert same < 0.1
    assert len({result.tobytes() for result in results}) > 60


def test_every_operation_changes_the_image_and_some_draw():
    image = tf.cast(picture(3), tf.float32)[tf.newaxis]
    changed, drawing = [], 0
    for operation in operations(1.0, 3):
        keys = (tf.constant([n, 1], tf.int64) for n in (1, 1, 2, 3, 4))
        first, again, *others = (operation(image, key).numpy() for key in keys)
        assert np.array_equal(first, again)
        changed.append(any(not np.array_equal(x, image) for x in (first, *others)))
        drawing += any(not np.array_equal(first, other) for other in others)
    assert changed == [False] + 13 * [True]
    # Not the identity, the two that equalise, and the fixed number of bits.
    assert drawing == 10
    assert len(operations(1.0, 1)) == 13


def test_a_strength_near_zero_hardly_moves_a_pixel():
    image = tf.cast(picture(3), tf.float32)[tf.newaxis]
    key = tf.constant([1, 1], tf.int64)
    for operation in operations(0.01, 3)[:10]:
        assert np.abs(operation(image, key) - image).max() < 6


def test_erasing_fills_rectangles_in_the_share_asked_for():
    image = picture(1)
    function = random_erasing(0.25)
    results = many(function, image, 300)
    assert np.array_equal(results, many(function, image, 300))
    erased = np.any(results != image, axis=(1, 2, 3))
    assert 0.17 < erased.mean() < 0.33
    for result in results[erased]:
        y, x = np.nonzero(np.any(result != image, axis=-1))
        area = (np.ptp(y) + 1) * (np.ptp(x) + 1) / np.prod(SHAPE)
        assert area < 0.45
    always = many(random_erasing(1.0), image, 50)
    assert np.any(always != image, axis=(1, 2, 3)).mean() > 0.9
