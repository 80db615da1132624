import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_senet.data import batches, open_source, pipeline
from keras_senet.data.source import Part
from keras_senet.data.tfds import STATISTICS


@pytest.fixture
def tiny(tmp_path):
    """Prepares the set "tiny_images" from {split: [(image, label)]}."""

    def make(splits, *, shape=(12, 12, 3), encoding="png", shards=1, **options):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape, encoding_format=encoding),
                "label": tfds.features.ClassLabel(names=["cat", "dog", "emu"]),
            }
        )
        tfds.dataset_builders.store_as_tfds_dataset(
            name="tiny_images",
            version="1.0.0",
            features=features,
            split_datasets={
                split: [
                    (key, {"image": image, "label": label})
                    for key, (image, label) in enumerate(pairs)
                ]
                for split, pairs in splits.items()
            },
            data_dir=tmp_path / "tfds",
            download_config=tfds.download.DownloadConfig(num_shards=shards),
            **options,
        )
        return tmp_path / "tfds"

    return make


def examples(count, shape=(12, 12, 3), label=None):
    """Images of one value each: their number."""
    return [
        (np.full(shape, n, np.uint8), n % 3 if label is None else label)
        for n in range(count)
    ]


def values(dataset):
    return [int(image.flat[0]) for image, _ in dataset.as_numpy_iterator()]


def test_a_name_is_opened(tiny):
    source = open_source(
        "tiny_images", data_dir=tiny({"train": examples(30), "test": examples(6)})
    )
    assert source.name == "tiny_images"
    assert source.class_names == ("cat", "dog", "emu")
    assert source.splits == {"train": 30, "test": 6}
    assert source.channels == 3
    assert source.image_size == (12, 12)
    for image, label in source.dataset("train").as_numpy_iterator():
        assert image.dtype == np.uint8
        assert label == image[0, 0, 0] % 3
    assert values(source.dataset("train")) == values(source.dataset("train"))
    assert sorted(values(source.dataset("train"))) == list(range(30))


def test_data_dir_comes_from_the_environment(tiny, monkeypatch, tmp_path):
    tiny({"train": examples(6), "test": examples(3)})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_SENET_DATA", "~")
    assert open_source("tiny_images").splits == {"train": 6, "test": 3}


def test_validation_is_the_test_where_test_has_no_labels(tiny):
    data_dir = tiny(
        {
            "train": examples(9),
            "validation": examples(5),
            "test": examples(4, label=-1),
        }
    )
    source = open_source("tiny_images", data_dir=data_dir)
    assert source.splits == {"train": 9, "test": 5}
    assert sorted(values(source.dataset("test"))) == list(range(5))


def test_validation_beside_a_test_split(tiny):
    data_dir = tiny(
        {s: examples(n) for s, n in [("train", 9), ("test", 4)]}
        | {"validation": examples(5)}
    )
    source = open_source("tiny_images", data_dir=data_dir)
    assert source.splits == {"train": 9, "test": 4, "validation": 5}


def test_a_part_of_train_is_held_out_where_nothing_else_is_there(tiny):
    data_dir = tiny({"train": examples(50)})
    source = open_source("tiny_images", data_dir=data_dir)
    assert source.splits == {"train": 40, "test": 10}
    train, test = (values(source.dataset(split)) for split in ("train", "test"))
    assert sorted(train + test) == list(range(50))
    source = open_source("tiny_images", data_dir=data_dir, held_out=0.5)
    assert source.splits == {"train": 25, "test": 25}


@pytest.mark.parametrize("shards", [1, 3])
def test_slices(tiny, shards):
    source = open_source(
        "tiny_images", data_dir=tiny({"train": examples(50)}, shards=shards)
    )
    train, test = (values(source.dataset(split)) for split in ("train", "test"))
    for name, whole in (("train", train), ("test", test)):
        first, second = (
            values(source.dataset(f"{name}[{ends}]")) for ends in (":50%", "50%:")
        )
        assert len(first) == len(second) == len(whole) // 2
        assert sorted(first + second) == sorted(whole)
        shuffled = batches(
            source, f"{name}[50%:]", image_size=12, batch_size=50, training=True
        )
        ((images, _),) = shuffled
        assert sorted(images[:, 0, 0, 0].numpy()) == sorted(second)


def test_a_set_for_testing_only(tiny):
    data_dir = tiny({"test": examples(8)})
    source = open_source("tiny_images", data_dir=data_dir)
    assert source.splits == {"test": 8}
    with pytest.raises(ValueError, match=r"must be one of \['test'\].*'train'"):
        batches(source, "train", image_size=12, batch_size=4)


def test_a_set_without_a_known_split_is_refused(tiny):
    data_dir = tiny({"everything": examples(8)})
    with pytest.raises(ValueError, match=r"labelled split.*\['everything'\]"):
        open_source("tiny_images", data_dir=data_dir)


@pytest.mark.parametrize("shards", [1, 4])
def test_every_epoch_has_every_image_in_another_order(tiny, shards):
    data_dir = tiny({"train": examples(60), "test": examples(4)}, shards=shards)
    source = open_source("tiny_images", data_dir=data_dir)
    dataset = batches(
        source, "train", image_size=12, batch_size=20, training=True, epoch=0
    )
    seen = [images[:, 0, 0, 0] for images, _ in dataset.take(6).as_numpy_iterator()]
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(60))
    assert not np.array_equal(first, second)
    resumed = batches(
        source, "train", image_size=12, batch_size=20, training=True, epoch=1
    )
    again = [images[:, 0, 0, 0] for images, _ in resumed.take(3).as_numpy_iterator()]
    assert np.array_equal(np.concatenate(again), second)


def test_files_are_read_in_the_order_of_the_seed(tiny):
    data_dir = tiny({"train": examples(60), "test": examples(4)}, shards=4)
    reader = open_source("tiny_images", data_dir=data_dir).reader

    def order(seed):
        records = reader.reordered(Part("train", 0, 60), np.int64(seed))
        return [int(label) for _, label in records], [
            bytes(image) for image, _ in records.as_numpy_iterator()
        ]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)[1]) == sorted(order(2)[1])
    assert len(order(1)[1]) == 60


def test_files_change_their_order_where_memory_is_short(tiny, monkeypatch):
    monkeypatch.setattr(pipeline, "SHUFFLE_BYTES", 1)
    data_dir = tiny({"train": examples(60), "test": examples(4)}, shards=4)
    source = open_source("tiny_images", data_dir=data_dir)
    dataset = batches(
        source, "train", image_size=12, batch_size=60, training=True, epoch=0
    )
    orders = {tuple(x[:, 0, 0, 0].numpy()) for x, _ in dataset.take(5)}
    assert len(orders) > 1
    assert all(sorted(order) == list(range(60)) for order in orders)


def test_another_file_format_is_refused(tiny):
    splits = {"train": examples(6), "test": examples(3)}
    data_dir = tiny(splits, file_format="array_record")
    with pytest.raises(ValueError, match=r"as tfrecord.*'tiny_images'.*array_record"):
        open_source("tiny_images", data_dir=data_dir)


def test_jpeg_of_any_size_is_decoded_and_cropped(tiny, picture):
    images = [(picture(40 + n, 50, hue=n), n % 3) for n in range(6)]
    data_dir = tiny(
        {"train": images, "test": images[:2]}, shape=(None, None, 3), encoding="jpeg"
    )
    source = open_source("tiny_images", data_dir=data_dir)
    assert source.image_size is None
    kwargs = {"image_size": 20, "batch_size": 6, "channels": 3}
    ((evaluated, _),) = batches(source, "train", crop_fraction=0.875, **kwargs)
    ((trained, _),) = batches(
        source, "train", training=True, augmentation="imagenet", **kwargs
    )
    assert evaluated.shape == trained.shape == (6, 20, 20, 3)
    assert not np.array_equal(evaluated, trained)


def test_grey_sets_have_one_channel(tiny):
    grey = examples(6, shape=(12, 12, 1))
    data_dir = tiny({"train": grey, "test": grey}, shape=(12, 12, 1))
    source = open_source("tiny_images", data_dir=data_dir)
    assert source.channels == 1
    assert next(iter(source.dataset("test")))[0].shape == (12, 12, 1)


def test_a_download_that_fails_is_one_line(tmp_path, monkeypatch):
    def fail(self, **kwargs):
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    message = "cannot download or prepare 'mnist' in .*no route to host$"
    with pytest.raises(OSError, match=message):
        open_source("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("imagenet2012", 1000),
        ("cifar10", 10),
        ("places365_small", 365),
        ("oxford_flowers102", 102),
    ],
)
def test_the_names_that_the_documentation_names(tmp_path, monkeypatch, name, classes):
    opened = []

    def fail(self, **kwargs):
        opened.append(self.info.features["label"].num_classes)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(OSError, match=f"'{name}' in .*no route to host") as error:
        open_source(name, data_dir=tmp_path)
    assert opened == [classes]
    assert "\n" not in str(error.value)
    assert ("ILSVRC2012_img_train.tar" in str(error.value)) == (name == "imagenet2012")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape"), [("cifar10", (32, 32, 3)), ("fashion_mnist", (28, 28, 1))]
)
def test_real_sets_are_the_official_arrays(name, shape):
    source = open_source(name)
    with np.load(Path(os.environ["KERAS_SENET_DATA"], f"{name}.npz")) as arrays:
        official = {
            split: arrays[f"x_{split}"].reshape(-1, *shape)
            for split in ("train", "test")
        }
    assert source.image_size == shape[:2]
    for split, images in official.items():
        assert source.splits[split] == len(images)
        dataset = batches(source, split, image_size=shape[0], batch_size=1000)
        decoded = np.concatenate([images for images, _ in dataset])
        assert sorted(image.tobytes() for image in decoded.astype(np.uint8)) == sorted(
            image.tobytes() for image in images
        )
    pixels = official["train"].reshape(-1, shape[-1]) / 255
    mean, std = STATISTICS[name]
    assert (source.mean, source.std) == (mean, std)
    np.testing.assert_allclose(mean, pixels.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, pixels.std(0), atol=1e-6)


def test_an_import_that_failed_in_silence_says_what_helps(monkeypatch):
    monkeypatch.delattr(tfds, "builder")
    with pytest.raises(ImportError, match=r"does not work.*tensorflow-metadata<1\.21"):
        open_source("cifar10")
