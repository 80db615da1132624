"""The page of the worst mistakes."""

import base64
import io
import re
import weakref

import keras
import numpy as np
import pytest
from conformance import cases
from PIL import Image

from keras_senet.mistakes import Mistakes

NAMES = ("top", "<trousers>", "pullover")
IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
SCORES = np.array([[80, 15, 5], [20, 30, 50], [3, 95, 2], [0, 40, 60]]) / 100


def _write(folder, labels, model, limit=24):
    mistakes = Mistakes(limit)
    for part in (slice(2), slice(2, 4)):
        mistakes.add(IMAGES[part], SCORES[part], np.array(labels)[part])
    return mistakes.write(folder, NAMES, model)


def _shapes(page):
    """Width and height of the pictures of a page: image and overlays side by side."""
    found = re.findall('base64,(.*?)"', page)
    opened = [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]
    return [picture.size for picture in opened]


def test_the_worst_come_first(tmp_path):
    model = cases.build("small", classes=3, input_shape=(32, 32, 3))
    worst = _write(tmp_path, [0, 1, 0, 1], model)
    assert [(row["class"], row["predicted"]) for row in worst] == [
        ("top", "<trousers>"),
        ("<trousers>", "pullover"),
        ("<trousers>", "pullover"),
    ]
    assert [row["score_of_class"] for row in worst] == pytest.approx([0.03, 0.3, 0.4])
    assert worst[0]["score"] == pytest.approx(0.95)
    with Image.open(tmp_path / "worst.png") as picture:
        assert len(np.unique(picture)) > 20
    page = (tmp_path / "worst.html").read_text("utf-8")
    assert _shapes(page) == [(3 * 160, 160)] * 3
    assert "&lt;trousers&gt; 95.0%, is top 3.0%" in page
    assert "Grad-CAM" in page
    assert len(_write(tmp_path, [0, 1, 0, 1], model, limit=1)) == 1


def test_what_is_not_kept_of_a_batch_leaves_the_memory():
    mistakes, batch = Mistakes(), np.copy(IMAGES)
    mistakes.add(batch, SCORES, np.array([1, 1, 1, 0]))
    left = weakref.ref(batch)
    del batch
    assert left() is None


def test_one_hot_labels_and_no_mistakes(tmp_path):
    assert _write(tmp_path, np.eye(3)[[0, 2, 1, 2]], None) == []
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_map_has_no_overlays(tmp_path):
    inputs = keras.Input((32, 32, 3))
    flat = keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(inputs))
    _write(tmp_path, [0, 1, 0, 1], keras.Model(inputs, flat))
    page = (tmp_path / "worst.html").read_text("utf-8")
    assert "Without overlays: `model` must have a feature map" in page
    assert _shapes(page) == [(160, 160)] * 3


def test_evaluate_writes_the_page(shell, small_file, tmp_path):
    words = ["evaluate", small_file(), "--limit", 64, "--output", tmp_path / "a"]
    assert shell(*words)[0] == 0
    assert (tmp_path / "a" / "worst.png").stat().st_size > 10_000
    page = (tmp_path / "a" / "worst.html").read_text("utf-8")
    assert page.count("<figure>") == 24
    assert _shapes(page) == [(3 * 140, 140)] * 24


def test_a_file_has_a_page_without_overlays(tmp_path):
    class File:
        """As an exported file's runner."""

        def keras_model(self):
            raise ValueError("Received: 'a.tflite', an exported file.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_senet.mistakes.open_model", lambda model: File())
        _write(tmp_path, [0, 1, 0, 1], "a.tflite")
    page = (tmp_path / "worst.html").read_text("utf-8")
    assert "Without overlays: Received: &#x27;a.tflite&#x27;" in page


def test_predict_explains(shell, small_file, tmp_path):
    photo = tmp_path / "a photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60), "uint8")
    Image.fromarray(pixels).save(photo)
    code, out, _ = shell("predict", photo, "--model", small_file(), "--explain")
    assert code == 0
    assert "a photo.png.explained.png" in out.replace("\n", "")
    with Image.open(tmp_path / "a photo.png.explained.png") as picture:
        assert picture.size == (224, 224)  # 28 pixels, enlarged
        pixels = np.asarray(picture).astype(int)
    assert np.ptp(pixels[..., 0] - pixels[..., 2]) > 40  # in colours, on grey
