"""Preprocessing: with the graph's, with Pillow's, and with the classes' names."""

import hashlib
import importlib
import importlib.resources
import os
import types
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet import Preprocessing, decode_predictions, preprocess_input
from keras_senet.export import open_runner
from keras_senet.models._input import normalise
from keras_senet.preprocessing import (
    find_preprocessing,
    imagenet_classes,
    resize_and_crop,
)
from keras_senet.weights.catalogue import HOSTS, PRESETS

# No value is like another, so that any mistake in their order shows.
BGR = Preprocessing(mean=(0.1, 0.4, 0.8), std=(0.2, 0.3, 0.5), channel_order="BGR")


def picture(height=150, width=200, channels=3, seed=0):
    """Edges and noise: what resizing has to get right."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = 127 + 120 * np.sin(x / 9.0)[..., None] * np.cos(y / 7.0)[..., None]
    image = smooth + rng.normal(0, 30, (height, width, channels))
    image[height // 3 : height // 2, width // 4 : width // 2] = 255
    return np.clip(image, 0, 255).astype("uint8")


@pytest.mark.parametrize("record", [Preprocessing(), BGR], ids=["RGB", "BGR"])
@pytest.mark.parametrize("kind", ["numpy", "tensor", "tf.data"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_definition(record, kind, dtype, relative_error):
    import tensorflow as tf

    x = np.stack([picture(8, 9), picture(8, 9, seed=1)]).astype(dtype)
    before = x.copy()
    channels = x[..., ::-1] if record is BGR else x
    expected = (channels / 255.0 - record.mean) / record.std
    if kind == "numpy":
        y = preprocess_input(x, preset=record)
        assert isinstance(y, np.ndarray)
    elif kind == "tensor":
        y = preprocess_input(keras.ops.convert_to_tensor(x), preset=record)
    else:
        data = tf.data.Dataset.from_tensor_slices(x)
        data = data.map(lambda image: preprocess_input(image, preset=record))
        y = np.stack(list(data.as_numpy_iterator()))
    assert str(getattr(y.dtype, "name", y.dtype)) == "float32"
    assert relative_error(y, expected) < 1e-6
    np.testing.assert_array_equal(x, before)


def published(record):
    """The definition that checkpoints are published with, e.g. timm's."""

    def function(x, data_format):
        last = np.moveaxis(x, 1, -1) if data_format == "channels_first" else x
        last = last[..., ::-1] if record.channel_order == "BGR" else last
        y = (last / 255.0 - record.mean) / record.std
        return np.moveaxis(y, -1, 1) if data_format == "channels_first" else y

    return function


def of_application(module):
    """keras.applications' own function, which works in place."""
    return lambda x, data_format: module.preprocess_input(x.copy(), data_format)


APPLICATIONS = {
    "se_inception_v3": of_application(keras.applications.inception_v3),
    "se_inception_resnet_v2": of_application(keras.applications.inception_resnet_v2),
    "se_mobilenet": of_application(keras.applications.mobilenet),
    "se_vgg16": of_application(keras.applications.vgg16),
}

CASES = {"a record of a user's": (BGR, published(BGR))}
for _name, _preset in PRESETS.items():
    CASES[_name] = _preset.card.preprocessing, published(_preset.card.preprocessing)
for _name, _host in HOSTS.items():
    CASES[f"{_name}'s host"] = _host.card.preprocessing, APPLICATIONS[_name]


def normaliser(record, shape, data_format="channels_last"):
    """Returns what `include_preprocessing` puts before a network."""
    inputs = keras.Input(shape)
    options = types.SimpleNamespace(
        include_preprocessing=record, data_format=data_format
    )
    outputs, stored = normalise(inputs, None, options, None)
    assert stored is record
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("case", CASES)
def test_graph_function_and_publisher_agree(case, data_format, relative_error):
    record, expected = CASES[case]
    channels = len(record.mean)
    x = np.stack([picture(8, 9, channels), picture(8, 9, channels, seed=1)])
    x = x.astype("float32")
    if data_format == "channels_first":
        x = np.moveaxis(x, -1, 1).copy()
    inside = normaliser(record, x.shape[1:], data_format)
    expected = expected(x, data_format)
    for found in (inside(x), preprocess_input(x, data_format, preset=record)):
        assert relative_error(found, expected) < 1e-6


FAMILIES = {
    **{name.removesuffix("16"): theirs for name, theirs in APPLICATIONS.items()},
    **dict.fromkeys(
        ("se_bn_inception", "se_resnet", "se_resnet_cifar", "se_resnext")
        + ("se_shufflenet", "senet"),
        published(Preprocessing()),
    ),
}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_function_is_its_hosts(family, data_format, relative_error):
    """VGG's means stood twice, once in each order of the channels."""
    module = importlib.import_module(f"keras_senet.models.{family}")
    x = 255 * np.random.default_rng(0).random((2, 3, 4, 3), "float32")
    if data_format == "channels_first":
        x = np.moveaxis(x, -1, 1).copy()
    found = module.preprocess_input(x, data_format)
    assert relative_error(found, FAMILIES[family](x, data_format)) < 1e-6


def test_reversed_channels_in_every_container(tmp_path, images, relative_error):
    network = normaliser(BGR, (16, 16, 3))
    names = [operation.name for operation in network.operations]
    assert names[1:] == ["preprocessing_reversed", "preprocessing"]
    x = 255 * images(2, 16, 16, 3)
    expected = network.predict(x, verbose=0)
    network.save(tmp_path / "network.keras")
    keras_senet.export_saved_model(network, tmp_path / "served")
    keras_senet.export_tflite(network, tmp_path / "network.tflite")
    for name in ("network.keras", "served", "network.tflite"):
        found = open_runner(tmp_path / name).predict(x)
        assert relative_error(found, expected) < 1e-5, name


def test_one_mean_for_all_channels():
    grey = Preprocessing(mean=(0.5,), std=(0.25,))
    y = preprocess_input(np.full((2, 2, 1), 255.0), preset=grey)
    np.testing.assert_allclose(y, 2)


def test_presets_by_name():
    record = find_preprocessing("se_resnet152d.ra2_in1k")
    assert (record.image_size, record.crop_fraction) == (256, 0.95)
    assert find_preprocessing("timm/seresnet152d.ra2_in1k") is record
    assert find_preprocessing("se_resnet101").interpolation == "bilinear"
    assert find_preprocessing("se_mobilenet").mean == (0.5,) * 3
    with pytest.raises(ValueError, match="Received: preset='se_resnet20'"):
        find_preprocessing("se_resnet20")


def test_rejected_arguments():
    with pytest.raises(ValueError, match="images of 3 channels"):
        preprocess_input(np.ones((4, 4, 1)), preset=Preprocessing())
    with pytest.raises(ValueError, match="images of 3 channels"):
        preprocess_input(np.ones((4, 3)), preset=Preprocessing())
    with pytest.raises(ValueError, match="`data_format` must be"):
        preprocess_input(np.ones((4, 4, 3)), "channels", preset=Preprocessing())


RECORDS = [
    Preprocessing(),
    Preprocessing(interpolation="bilinear"),
    Preprocessing(image_size=160, crop_fraction=0.95),
    Preprocessing(image_size=64, crop_fraction=1.0),
    Preprocessing(image_size=33, crop_fraction=0.9, interpolation="bilinear"),
]


def pillow(pixels, record):
    """The reference: torchvision's Resize and CenterCrop of a Pillow image."""
    from PIL import Image

    image, size = Image.fromarray(pixels), record.image_size
    short = int(size / record.crop_fraction)
    width, height = image.size
    if width < height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    method = getattr(Image.Resampling, record.interpolation.upper())
    image = image.resize((width, height), method)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)), "float32")


def check_against_pillow(pixels, record):
    before = pixels.copy()
    ours = resize_and_crop(pixels, record).numpy()
    difference = np.abs(ours - pillow(pixels, record))
    assert ours.dtype == "float32" and np.all(ours == np.round(ours))
    assert ours.min() >= 0 and ours.max() <= 255
    assert difference.max() <= 1
    assert difference.mean() <= 0.25  # values halfway between two whole ones
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize(
    "size", [(150, 201), (301, 160), (64, 64), (40, 500), (500, 60)]
)
def test_resize_equals_pillow(record, size):
    check_against_pillow(picture(*size), record)


@pytest.mark.data
@pytest.mark.parametrize("record", RECORDS)
def test_resize_of_photographs_equals_pillow(record):
    from PIL import Image

    photos = sorted(Path(os.environ["KERAS_SENET_DATA"], "photos").glob("*.jpg"))
    assert photos
    for photo in photos:
        check_against_pillow(np.asarray(Image.open(photo).convert("RGB")), record)


def test_resize_inside_tf_data():
    import tensorflow as tf

    images = [picture(50, 70), picture(90, 60)]
    record = Preprocessing(image_size=32)
    data = tf.data.Dataset.from_generator(
        lambda: images, output_signature=tf.TensorSpec((None, None, 3), tf.uint8)
    ).map(lambda image: resize_and_crop(image, record))
    assert data.element_spec.shape == (32, 32, 3)
    for ours, image in zip(data.as_numpy_iterator(), images, strict=True):
        np.testing.assert_array_equal(ours, resize_and_crop(image, record))


def test_decode_predictions():
    scores = np.zeros((2, 1000), "float32")
    scores[0, [1, 207]] = 0.75, 0.25
    scores[1, 999] = 1
    first, second = decode_predictions(keras.ops.convert_to_tensor(scores), top=2)
    assert first == [
        ("n01443537", "goldfish", 0.75),
        ("n02099601", "golden_retriever", 0.25),
    ]
    assert second[0] == ("n15075141", "toilet_tissue", 1.0)
    assert len(decode_predictions(scores)[0]) == 5
    assert decode_predictions(scores, preset="se_resnet50") == decode_predictions(
        scores
    )


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_decode_integer_scores(kind):
    limits = np.iinfo(kind)
    scores = np.array([[limits.min, limits.max, 0, 1]], kind)
    ((first, second, _, last),) = decode_predictions(scores, labels=list("abcd"))
    assert first == ("1", "b", limits.max)
    assert second == ("3", "d", 1)
    assert last[2] == limits.min


def test_decode_own_labels():
    best = decode_predictions(
        np.array([[0.1, 0.7, 0.2]]), top=5, labels=["a", "b", "c"]
    )
    assert best == [[("1", "b", 0.7), ("2", "c", 0.2), ("0", "a", 0.1)]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preds": np.ones((1, 10))}, r"shape \(batch, 1000\).*need `labels`"),
        ({"preds": np.ones(1000)}, r"shape \(batch, 1000\)"),
        ({"preds": np.ones((1, 2)), "labels": ["a", "b"], "top": 0}, "`top` must be"),
        ({"preds": np.ones((1, 2)), "labels": [0, 1], "preset": "x"}, "Only one of"),
        ({"preds": np.ones((1, 1000)), "preset": "x"}, "`preset` must be"),
        ({"preds": np.ones((1, 3)), "labels": "abc"}, "must be a list of names"),
    ],
)
def test_decode_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        decode_predictions(**arguments)


def test_class_index_is_the_published_file():
    file = importlib.resources.files("keras_senet") / "imagenet_class_index.json"
    digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    assert digest == "c2c37ea517e94d9795004a39431a14cb"
    assert len(imagenet_classes()) == 1000


@pytest.mark.parametrize("shape", [(28, 28), (1, 2, 28, 28, 1)])
def test_only_an_image_or_a_batch_is_prepared(shape):
    with pytest.raises(ValueError, match="must be images of 1 channels"):
        preprocess_input(np.zeros(shape), preset="se_resnet20.fashion_mnist")
