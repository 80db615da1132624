import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_senet.data import batches, open_source, steps_per_epoch
from keras_senet.data.augmentation import covered_box
from keras_senet.data.bundled import arrays
from keras_senet.data.pipeline import _whole_window


@pytest.fixture(scope="module")
def source():
    return open_source("bundled")


def collected(dataset):
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def identity(images):
    """One number an image, whatever its order."""
    return [image.tobytes() for image in images]


def test_evaluation_gives_every_image_once_in_order_and_bit_exact(source):
    dataset = batches(source, "test", image_size=28, batch_size=128)
    assert dataset.element_spec == (
        tf.TensorSpec((None, 28, 28, 1), tf.float32),
        tf.TensorSpec((None,), tf.int64),
    )
    assert dataset.cardinality() == 8 == steps_per_epoch(source, "test", batch_size=128)
    images, labels = collected(dataset)
    assert np.array_equal(images[..., 0], arrays()["x_test"])
    assert np.array_equal(labels, arrays()["y_test"])


def test_remainder_is_dropped_only_when_asked(source):
    dataset = batches(
        source, "test", image_size=28, batch_size=128, drop_remainder=True
    )
    assert dataset.element_spec[0].shape == (128, 28, 28, 1)
    assert sum(1 for _ in dataset) == 7
    assert steps_per_epoch(source, "test", batch_size=128, drop_remainder=True) == 7


def test_limit_is_balanced_and_always_the_same(source):
    kwargs = {"image_size": 28, "batch_size": 16, "limit": 50}
    images, labels = collected(batches(source, "train", **kwargs))
    assert np.bincount(labels).tolist() == [5] * 10
    shuffled, _ = collected(batches(source, "train", training=True, seed=9, **kwargs))
    assert sorted(identity(images)) == sorted(identity(shuffled))
    assert steps_per_epoch(source, "train", batch_size=16, limit=50) == 4


def test_limit_beyond_the_end_is_the_whole_split(source):
    dataset = batches(source, "test", image_size=28, batch_size=500, limit=10**6)
    assert len(collected(dataset)[1]) == 1000


@pytest.mark.parametrize("augmentation", ["none", "flip", "cifar", "imagenet"])
def test_training_is_repeatable_and_each_epoch_differs(source, augmentation):
    def run(seed):
        dataset = batches(
            source,
            "train",
            image_size=28,
            batch_size=64,
            training=True,
            augmentation=augmentation,
            seed=seed,
            limit=200,
        )
        assert dataset.cardinality() == 4
        return [collected(dataset) for _ in range(2)]

    first, again, other = run(3), run(3), run(4)
    for (images, labels), (images_again, labels_again) in zip(
        first, again, strict=True
    ):
        assert np.array_equal(images, images_again)
        assert np.array_equal(labels, labels_again)
    assert not np.array_equal(first[0][1], first[1][1])
    assert not np.array_equal(first[0][1], other[0][1])
    assert np.bincount(first[0][1]).tolist() == [20] * 10


def test_training_sees_every_image_once_an_epoch(source):
    dataset = batches(source, "test", image_size=28, batch_size=300, training=True)
    images, labels = collected(dataset)
    assert sorted(identity(images[..., 0])) == sorted(
        identity(arrays()["x_test"].astype("float32"))
    )
    assert not np.array_equal(labels, arrays()["y_test"])


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("augmentation", ["cifar", "imagenet"])
def test_a_resumed_run_sees_what_an_undisturbed_one_sees(source, augmentation, cache):
    kwargs = {
        "image_size": 28,
        "batch_size": 32,
        "training": True,
        "limit": 70,
        "augmentation": augmentation,
        "seed": 5,
        "cache": cache,
    }
    steps = steps_per_epoch(source, "train", batch_size=32, limit=70)
    assert steps == 3
    whole = list(batches(source, "train", epoch=0, **kwargs).take(4 * steps))
    resumed = list(batches(source, "train", epoch=2, **kwargs).take(2 * steps))
    for (images, labels), (same_images, same_labels) in zip(
        whole[2 * steps :], resumed, strict=True
    ):
        assert np.array_equal(images, same_images)
        assert np.array_equal(labels, same_labels)
    epochs = [np.concatenate([y for _, y in whole[i * 3 : i * 3 + 3]]) for i in (0, 1)]
    assert len(epochs[0]) == 70
    assert not np.array_equal(*epochs)
    assert sorted(epochs[0]) == sorted(epochs[1])


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_resumed_within_an_epoch_sees_the_rest_of_it(source, step):
    kwargs = {
        "image_size": 28,
        "batch_size": 32,
        "training": True,
        "limit": 100,
        "augmentation": "cifar",
        "drop_remainder": True,
    }
    whole = list(batches(source, "train", epoch=1, **kwargs).take(7))
    resumed = list(batches(source, "train", epoch=1, step=step, **kwargs).take(5))
    assert len(resumed) == 5
    for (images, labels), (same_images, same_labels) in zip(
        whole[step:], resumed, strict=False
    ):
        assert np.array_equal(images, same_images)
        assert np.array_equal(labels, same_labels)


def test_workers_see_disjoint_parts_of_the_same_batches(source):
    kwargs = {
        "image_size": 28,
        "batch_size": 32,
        "training": True,
        "limit": 100,
        "augmentation": "cifar",
        "drop_remainder": True,
        "epoch": 0,
    }
    alone = list(batches(source, "train", **kwargs).take(7))
    parts = [
        list(batches(source, "train", worker=(i, 4), **kwargs).take(7))
        for i in range(4)
    ]
    for number, (images, labels) in enumerate(alone):
        for i, part in enumerate(parts):
            assert np.array_equal(images[i::4], part[number][0])
            assert np.array_equal(labels[i::4], part[number][1])
    resumed = batches(source, "train", worker=(2, 4), step=2, **kwargs).take(2)
    for (images, _), (expected, _) in zip(resumed, parts[2][2:4], strict=True):
        assert np.array_equal(images, expected)


def test_workers_have_equal_numbers_of_batches(source):
    kwargs = {"image_size": 28, "batch_size": 30, "limit": 100, "drop_remainder": True}
    parts = [
        collected(batches(source, "test", worker=(i, 3), **kwargs))[0] for i in range(3)
    ]
    assert [len(part) for part in parts] == [30] * 3
    whole, _ = collected(batches(source, "test", **kwargs))
    assert sorted(identity(np.concatenate(parts))) == sorted(identity(whole))


@pytest.mark.parametrize("global_seed", [0, 7])
def test_a_resumable_run_does_not_depend_on_the_global_seed(source, global_seed):
    import keras

    kwargs = {"image_size": 28, "batch_size": 64, "training": True, "epoch": 0}
    _, expected = next(iter(batches(source, "train", **kwargs)))
    keras.utils.set_random_seed(global_seed)
    _, labels = next(iter(batches(source, "train", **kwargs)))
    assert np.array_equal(expected, labels)


@pytest.mark.parametrize(
    ("split", "start", "stop"),
    [
        ("test[90%:]", 900, 1000),
        ("test[:90%]", 0, 900),
        ("test[100:250]", 100, 250),
        ("test[33%:50%]", 330, 500),
        ("test[:5000]", 0, 1000),
        ("test[:]", 0, 1000),
    ],
)
def test_slices_of_a_split(source, split, start, stop):
    part = source.part(split)
    assert (part.split, part.start, part.stop) == ("test", start, stop)
    assert part.images == stop - start
    images, labels = collected(batches(source, split, image_size=28, batch_size=400))
    assert np.array_equal(images[..., 0], arrays()["x_test"][start:stop])
    assert np.array_equal(labels, arrays()["y_test"][start:stop])
    assert sum(1 for _ in source.dataset(split)) == stop - start
    assert steps_per_epoch(source, split, batch_size=100) == -(-(stop - start) // 100)


@pytest.mark.parametrize("split", ["test[50%:50%]", "test[1000:]", "test[9:3]"])
def test_a_slice_without_images_is_refused(source, split):
    with pytest.raises(ValueError, match="`split` must have images; 'test' of 'bund"):
        batches(source, split, image_size=28, batch_size=4)


def test_one_hot_labels(source):
    kwargs = {"image_size": 28, "batch_size": 30, "limit": 30}
    _, numbers = collected(batches(source, "test", **kwargs))
    dataset = batches(source, "test", one_hot=True, **kwargs)
    assert dataset.element_spec[1] == tf.TensorSpec((None, 10), tf.float32)
    _, rows = collected(dataset)
    assert np.array_equal(rows, np.eye(10)[numbers])


def test_the_seed_counts_in_the_resumable_form_too(source):
    kwargs = {"image_size": 28, "batch_size": 64, "training": True, "epoch": 0}
    first, same, other = (
        next(iter(batches(source, "train", seed=seed, **kwargs)))[1].numpy()
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_random_windows_fill_the_image_whatever_the_crop_fraction(source):
    kwargs = {"image_size": 28, "batch_size": 64, "training": True, "epoch": 0}
    whole, cropped = (
        next(
            iter(
                batches(
                    source,
                    "train",
                    augmentation="imagenet",
                    crop_fraction=fraction,
                    **kwargs,
                )
            )
        )[0]
        for fraction in (1.0, 0.5)
    )
    assert np.array_equal(whole, cropped)


def test_caching_changes_nothing(source):
    kwargs = {
        "image_size": 28,
        "batch_size": 32,
        "training": True,
        "limit": 64,
        "augmentation": "cifar",
        "epoch": 1,
    }
    plain = collected(batches(source, "train", **kwargs).take(4))
    cached = collected(batches(source, "train", cache=True, **kwargs).take(4))
    assert np.array_equal(plain[0], cached[0])


def test_cached_images_are_fitted_once(source):
    kwargs = {"image_size": 28, "batch_size": 32, "limit": 32, "crop_fraction": 0.7}
    plain = collected(batches(source, "test", **kwargs))
    cached = collected(batches(source, "test", cache=True, **kwargs))
    assert np.array_equal(plain[0], cached[0])


def test_augmentation_none_leaves_the_pixels(source):
    dataset = batches(source, "test", image_size=28, batch_size=100, training=True)
    originals = set(identity(arrays()["x_test"].astype("float32")))
    assert originals == set(identity(collected(dataset)[0][..., 0]))


def test_augmented_images_are_the_same_ones_moved_or_mirrored(source):
    kwargs = {"image_size": 28, "batch_size": 500, "training": True, "limit": 500}
    flipped, _ = collected(batches(source, "train", augmentation="flip", **kwargs))
    as_is, _ = collected(batches(source, "train", **kwargs))
    same = np.all(flipped == as_is, axis=(1, 2, 3))
    mirrored = np.all(flipped == as_is[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(same | mirrored)
    assert 0.4 < np.mean(same) < 0.6


def test_grey_images_are_repeated_for_three_channels(source):
    images, _ = collected(
        batches(source, "test", image_size=28, batch_size=100, limit=100, channels=3)
    )
    assert images.shape == (100, 28, 28, 3)
    assert np.array_equal(images, np.repeat(images[..., :1], 3, axis=-1))
    assert np.array_equal(images[..., 0], arrays()["x_test"][:100])


def test_other_sizes_are_resized(source):
    dataset = batches(
        source,
        "test",
        image_size=(32, 40),
        batch_size=10,
        limit=10,
        interpolation="bicubic",
    )
    ((images, _),) = dataset
    assert images.shape == (10, 32, 40, 1)
    for ours, image in zip(images.numpy(), arrays()["x_test"], strict=False):
        whole = Image.fromarray(image).resize((40, 40), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(ours[..., 0], np.asarray(whole)[4:36], atol=1)


def test_fit_goes_through_new_epochs_of_the_resumable_form(source):
    import keras

    seen = []

    class Recorder(keras.layers.Layer):
        def call(self, x):
            tf.numpy_function(
                lambda x: seen.append(float(x.sum())), [x], [], stateful=True
            )
            return keras.ops.mean(x, axis=(1, 2)) / 255

    model = keras.Sequential([Recorder(), keras.layers.Dense(10, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    kwargs = {"image_size": 28, "batch_size": 32, "training": True, "limit": 64}
    dataset = batches(source, "train", epoch=3, **kwargs)
    model.build((None, 28, 28, 1))
    seen.clear()
    model.fit(
        dataset,
        steps_per_epoch=2,
        initial_epoch=3,
        epochs=6,
        shuffle=False,
        verbose=0,
    )
    expected = [float(x.numpy().sum()) for x, _ in dataset.take(6)]
    assert seen == pytest.approx(expected)
    assert len(set(seen)) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 0}, "`image_size` must be.*image_size=0"),
        ({"image_size": (28,)}, "`image_size` must be.*image_size=.28,"),
        ({"image_size": 28.0}, "image_size=28.0"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer.*batch_size=0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"limit": -1}, "`limit` must be a positive integer.*limit=-1"),
        ({"channels": 4}, "`channels` must be 1 .* 3 .*channels=4"),
        ({"crop_fraction": 0}, "`crop_fraction` must lie above 0.*crop_fraction=0"),
        ({"crop_fraction": 1.5}, "crop_fraction=1.5"),
        ({"interpolation": "linear"}, "'linear'. Did you mean 'bilinear'?"),
        ({"augmentation": "cifar"}, "`augmentation` is for training"),
        (
            {"augmentation": "imagnet", "training": True},
            "'imagnet'. Did you mean 'imagenet'?",
        ),
        ({"epoch": 1}, "`epoch` is for training"),
        ({"epoch": -1, "training": True}, "`epoch` must be an integer from 0"),
        ({"epoch": True, "training": True}, "`epoch` must be an integer from 0"),
        ({"step": -1, "epoch": 0, "training": True}, "`step` must be.*step=-1"),
        ({"step": False, "epoch": 0, "training": True}, "`step` must be.*step=False"),
        ({"step": 1.0, "epoch": 0, "training": True}, "`step` must be.*step=1.0"),
        ({"step": 126, "epoch": 0, "training": True}, "to the 125 of an epoch.*=126"),
        ({"step": 1, "training": True}, "`step` must be.*epoch=None"),
        ({"worker": (0, 2)}, "`worker` must be .i, n.*worker=.0, 2."),
        ({"worker": (False, True)}, "worker=.False, True."),
        ({"worker": (0, 2.0), "drop_remainder": True}, "worker=.0, 2.0."),
        ({"channels": True}, "`channels` must be 1"),
        ({"worker": (2, 2), "drop_remainder": True}, "worker=.2, 2."),
        ({"worker": (0, 3), "drop_remainder": True}, "worker=.0, 3., batch_size=8"),
        (
            {"batch_size": 5000, "drop_remainder": True},
            "`batch_size` must not exceed the number of images.*has 1000",
        ),
        ({"rand_augment": 0.5}, "`rand_augment` is for training"),
        ({"random_erasing": 1.1, "training": True}, "random_erasing=1.1"),
        ({"mixup": 0.2, "training": True}, "needs one_hot=True.*mixup=0.2"),
        (
            {"cutmix": 0.1, "training": True, "one_hot": True},
            "`cutmix` must be 0 or lie between 0.2 and 1.*cutmix=0.1",
        ),
        ({"split": "test[a:]"}, "a slice of one.*split='test.a:.'"),
        ({"seed": -1}, "`seed` must be an integer from 0.*seed=-1"),
        ({"split": "dev"}, r"`split` must be one of \['test', 'train'\].*'dev'"),
    ],
)
def test_bad_arguments_are_named(source, changes, message):
    kwargs = {"split": "test", "image_size": 28, "batch_size": 8} | changes
    with pytest.raises(ValueError, match=message):
        batches(source, **kwargs)


def test_unknown_split_of_a_dataset_is_named(source):
    with pytest.raises(ValueError, match="split='dev'"):
        source.dataset("dev")


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 8, "limit": 0}])
def test_steps_of_no_batch_are_an_error(wrong):
    with pytest.raises(ValueError, match="must be a positive integer"):
        steps_per_epoch(open_source("bundled"), "test", **wrong)


def test_a_photograph_is_decoded_for_the_size_that_it_is_resized_to():
    photos = types.SimpleNamespace(image_size=None)
    size = (33, 33)  # 33 / 0.55 is a little less than 60
    assert _whole_window(photos, size, 0.55).size == covered_box(size, 0.55) == (60, 60)
