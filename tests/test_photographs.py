"""One photograph, one set of pixels, whoever prepares it for a network."""

from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_senet
from keras_senet import Preprocessing, cli, evaluate, export_saved_model
from keras_senet.data import read_image
from keras_senet.export.quantize import calibration_images
from keras_senet.preprocessing import resize_and_crop
from keras_senet.tracing import freeze
from keras_senet.weights import save_model

SIZE = 32
RECORD = Preprocessing(image_size=SIZE, crop_fraction=0.875)
# Landscape, portrait, a panorama, and one that has the network's size already.
SHAPES = {"a": (97, 131), "b": (160, 91), "c": (60, 200), "d": (SIZE, SIZE)}


@keras.saving.register_keras_serializable("test_photographs")
class Seen(keras.layers.Layer):
    """Notes the images that pass."""

    images: ClassVar[list] = []

    def call(self, inputs):
        def note(images):
            self.images.extend(images.numpy())
            return images

        outputs = tf.py_function(note, [inputs], inputs.dtype)
        outputs.set_shape(inputs.shape)
        return outputs


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of JPEG files with sharp edges in train/ and the same in test/."""
    root = tmp_path_factory.mktemp("photos")
    for number, (name, (height, width)) in enumerate(SHAPES.items()):
        rng = np.random.default_rng(number)
        y, x = np.mgrid[:height, :width]
        planes = [x * 255 / width, y * 255 / height, 127 + 120 * np.sin(x / 5)]
        image = np.stack(planes, -1) + rng.normal(0, 20, (height, width, 3))
        image[height // 3 : height // 2, width // 4 : width // 2] = 255
        image[height // 2 :: 3, width // 3 :] = 0
        image = Image.fromarray(np.clip(image, 0, 255).astype("uint8"))
        for split in ("train", "test"):
            path = root / split / "xy"[number % 2] / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=92)
    return root


def ordered(images):
    """Which image is whose follows from its values."""
    return np.stack(sorted(images, key=lambda image: image.astype("float32").tobytes()))


@pytest.mark.filterwarnings("ignore:.*also trained on:UserWarning")
@pytest.mark.parametrize("channels", [3, 1])
def test_everybody_sees_the_same_pixels(photos, tmp_path, channels, capsys):
    files = sorted((photos / "test").rglob("*.jpg"))
    inputs = keras.Input((SIZE, SIZE, channels))
    record = (
        RECORD
        if channels == 3
        else Preprocessing(
            mean=(0.5,), std=(0.2,), image_size=SIZE, crop_fraction=0.875
        )
    )
    options = {"weights": None, "include_preprocessing": record, "classes": 2}
    row = {"blocks": (1, 1, 1, 1), "filters": (4, 8, 8, 16), "stem_filters": (4,)}
    network = keras_senet.SEResNet(input_tensor=Seen()(inputs), **row, **options)
    save_model(network, tmp_path / "network.keras")
    expected = ordered(
        resize_and_crop(read_image(file, channels=channels), record).numpy()
        for file in files
    )
    assert expected.std() > 30

    def seen(act):
        Seen.images.clear()
        act()
        return ordered(Seen.images)

    def predict():
        words = ["--model", str(tmp_path / "network.keras")]
        assert cli.main(["predict", *map(str, files), *words]) == 0, capsys.readouterr()

    np.testing.assert_array_equal(seen(lambda: evaluate(network, photos)), expected)
    np.testing.assert_array_equal(seen(predict), expected)
    calibration = calibration_images(freeze(network), photos, limit=len(files))
    np.testing.assert_array_equal(ordered(np.concatenate(calibration)), expected)
    np.testing.assert_array_equal(ordered(served(files, record, tmp_path)), expected)


def served(files, record, folder):
    """Returns the pixels that `classify_bytes` makes of files: its scores are they."""
    inputs = keras.Input((SIZE, SIZE, len(record.mean)))
    scores = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    export_saved_model(
        keras.Model(inputs, scores),
        folder / "served",
        preprocessing=record,
        top=scores.shape[-1],
    )
    signature = tf.saved_model.load(str(folder / "served")).signatures["classify_bytes"]
    contents = tf.constant([file.read_bytes() for file in files])
    found = signature(image_bytes=contents)
    values = np.empty(found["scores"].shape, "float32")
    np.put_along_axis(values, found["indices"].numpy(), found["scores"].numpy(), 1)
    return np.round(255 * values).reshape(len(files), *inputs.shape[1:])
