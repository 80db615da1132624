"""MediaPipe's ImageClassifier on exported files.

The interpreter that KERAS_SENET_MEDIAPIPE names (by default this one) needs the package
`mediapipe`; it needs no TensorFlow.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import keras_senet
from keras_senet.data import bundled
from keras_senet.surgery import rgb_input

pytestmark = pytest.mark.slow
PYTHON = os.environ.get("KERAS_SENET_MEDIAPIPE", sys.executable)
CHILD = """
import json, sys
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
images, *files = sys.argv[1:]
found = {}
for file in files:
    options = vision.ImageClassifierOptions(BaseOptions(file), max_results=1)
    try:
        with vision.ImageClassifier.create_from_options(options) as classifier:
            found[file] = [
                classifier.classify(mp.Image(mp.ImageFormat.SRGB, image))
                .classifications[0].categories[0].category_name
                for image in np.load(images)
            ]
    except (RuntimeError, ValueError) as error:
        found[file] = str(error)
print(json.dumps(found))
"""


def _classify(folder, images, *files):
    """Returns what MediaPipe says of each file: a label an image, or its error."""
    if subprocess.run(
        [PYTHON, "-c", "import mediapipe"], capture_output=True
    ).returncode:
        pytest.skip("KERAS_SENET_MEDIAPIPE must name a Python that has mediapipe")
    np.save(folder / "images.npy", images)
    words = [PYTHON, "-c", CHILD, folder / "images.npy", *files]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads(done.stdout.splitlines()[-1]).values())


def _images(size):
    """Clothes, each in a colour of its own."""
    rng = np.random.default_rng(0)
    grey = bundled.arrays()["x_test"][:20, ..., None]
    images = np.round(grey * rng.uniform(0.5, 1, (20, 1, 1, 3))).astype("uint8")
    return np.pad(images, [(0, 0), *[((size - 28) // 2,) * 2] * 2, (0, 0)])


def _export(model, path, **options):
    return keras_senet.export_tflite(model, path, labels=model.card.labels, **options)


def _labels(model, images):
    scores = model.predict(images.astype("float32"), verbose=0)
    return [model.card.labels[i] for i in scores.argmax(-1)]


def _agreement(found, expected):
    assert isinstance(found, list), found
    return np.mean([a == b for a, b in zip(found, expected, strict=True)])


@pytest.mark.parametrize("preset", ["cifar10", "fashion_mnist"])
def test_rgb_files_have_the_models_labels(preset, tmp_path):
    model = keras_senet.SEResNet20(weights=preset, include_preprocessing=True)
    if preset == "fashion_mnist":
        model = rgb_input(model)
    images = _images(model.input_shape[1])
    int8 = {
        "quantization": "int8",
        "representative_dataset": [images.astype("float32")],
    }
    files = [
        _export(model, tmp_path / "a.tflite"),
        _export(model, tmp_path / "b.tflite", **int8, io_type="uint8"),
        _export(model, tmp_path / "c.tflite", **int8, io_type="int8"),
    ]
    plain, quantised, signed = _classify(tmp_path, images, *files)
    expected = _labels(model, images)
    assert len(set(expected)) > 3
    assert _agreement(plain, expected) == 1
    assert _agreement(quantised, expected) >= 0.9
    assert isinstance(signed, str)  # an error: int8 is refused


def test_a_grey_file_is_refused(tmp_path):
    model = keras_senet.SEResNet20(weights="fashion_mnist", include_preprocessing=True)
    file = _export(model, tmp_path / "grey.tflite")
    (error,) = _classify(tmp_path, _images(28), file)
    assert isinstance(error, str)
    assert "color" in error or "channel" in error
