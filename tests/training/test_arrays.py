"""Training on arrays, with TensorFlow and without."""

import dataclasses
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_senet.training import Recipe, fit_arrays

TINY = Recipe(
    model="se_resnet",
    model_arguments={
        "block": "basic",
        "blocks": (1, 1, 1, 1),
        "filters": (8, 8, 8, 8),
        "stem_filters": (8,),
        "reduction": 4,
    },
    epochs=3,
    global_batch_size=8,
    learning_rate=0.05,
    reference_batch_size=8,
    ema_momentum=0.5,
    warmup_epochs=1.0,
)

WITHOUT_TENSORFLOW = """
import json, sys
import keras
import numpy as np
from keras_senet.training import Recipe, fit_arrays

rng = np.random.default_rng(0)
labels = np.arange(32) % 2
images = rng.integers(0, 100, (32, 32, 32, 1)) + 150 * labels[:, None, None, None]
recipe = Recipe.from_json(json.loads(sys.argv[1]))
held_out = (images[:8], labels[:8])
model, history = fit_arrays(recipe, images, labels, validation=held_out, verbose=0)
again, _ = fit_arrays(recipe, images, labels, verbose=0)
for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
predicted = np.argmax(model.predict(images, verbose=0), 1)
print(json.dumps([history, "tensorflow" in sys.modules, (predicted == labels).mean()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_without_tensorflow(backend):
    pytest.importorskip(backend)
    recipe = dataclasses.replace(TINY, ema_momentum=None)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, json.dumps(recipe.to_json())],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    history, has_tensorflow, accuracy = json.loads(done.stdout.splitlines()[-1])
    assert not has_tensorflow
    assert history["loss"][-1] < history["loss"][0]
    assert accuracy > 0.9
    assert len(history["val_accuracy"]) == 3
    half = 0.05 / 2
    np.testing.assert_allclose(history["learning_rate"], [0.05, half, 0], atol=1e-7)


@pytest.mark.slow
def test_raw_images_are_normalised_in_the_model():
    recipe = dataclasses.replace(TINY, epochs=1, warmup_epochs=0.0)
    rng = np.random.default_rng(1)
    images = rng.uniform(0, 60, (8, 32, 32, 3))
    model, _ = fit_arrays(recipe, images, np.arange(8), verbose=0)
    normalised = np.array(model.get_layer("preprocessing")(images))
    np.testing.assert_allclose(normalised.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(normalised.std((0, 1, 2)), 1, atol=1e-4)
    assert model.output_shape == (None, 8)


@pytest.mark.parametrize(
    ("values", "shape", "labels", "message"),
    [
        ({}, (8, 32, 31, 1), 8, "must be square"),
        ({}, (8, 32, 32), 8, "must be square"),
        ({}, (8, 32, 32, 1), 7, "one integer for each"),
        ({}, (7, 32, 32, 1), 7, "7 images, global_batch_size=8"),
        (
            {"augmentation": "flip"},
            (8, 32, 32, 1),
            8,
            "`augmentation` must be 'none' for arrays",
        ),
        ({"freeze_batch_norm_epochs": 1}, (8, 32, 32, 1), 8, "`freeze_batch_norm"),
        ({"head_epochs": 1}, (8, 32, 32, 1), 8, "`head_epochs` must be 0"),
        ({"image_size": 64}, (8, 32, 32, 1), 8, "that of the images, 32. Received"),
        ({"channels": 3}, (8, 32, 32, 1), 8, "`channels` must be that of the images"),
        ({"limit": 4}, (8, 32, 32, 1), 8, "`limit` must be None for arrays"),
        (
            {"model": None, "weights": "a.h5", "model_arguments": {}},
            (8, 32, 32, 1),
            8,
            "`weights` must be None for arrays",
        ),
        ({"synchronized_batch_norm": True}, (8, 32, 32, 1), 8, "`synchronized_batch"),
    ],
)
def test_what_arrays_cannot_have(values, shape, labels, message):
    recipe = dataclasses.replace(TINY, **values)
    with pytest.raises(ValueError, match=message):
        fit_arrays(recipe, np.zeros(shape), np.zeros(labels, int))


@pytest.mark.parametrize(
    ("labels", "held_out", "message"),
    [
        ([-1, 1] * 4, [0], "from 0 to 1 for 2 classes. Received: labels from -1 to 1"),
        ([0, 1] * 4, [2], "from 0 to 1 for 2 classes. Received: labels from 2 to 2"),
        ([0, 1] * 4, [0.9], "one integer for each of the images.*float64"),
        ([0, 1] * 4, [0, 1], r"shape \(2,\) and dtype int64 for 1 images"),
    ],
)
def test_labels_are_checked(labels, held_out, message):
    images = np.zeros((8, 32, 32, 1))
    validation = (images[:1], np.array(held_out))
    with pytest.raises(ValueError, match=message):
        fit_arrays(TINY, images, np.array(labels), validation=validation)


def test_labels_may_be_a_column():
    """As keras.datasets.cifar10.load_data() has them; they were refused."""
    recipe = dataclasses.replace(TINY, epochs=1, warmup_epochs=0.0)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (8, 32, 32, 1)), np.arange(8) % 2
    column = labels.astype("uint8")[:, None]
    histories = [
        fit_arrays(recipe, images, y, validation=(images, y), verbose=0)[1]
        for y in (labels, column)
    ]
    assert histories[0] == histories[1]
    with pytest.raises(ValueError, match=r"one integer for each.*shape \(8, 2\)"):
        fit_arrays(recipe, images, np.eye(2, dtype=int)[labels])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((8, 32, 32, 1), 0.5), "must be raw, 0..255. Received: values from"),
        (np.full((8, 32, 32, 1), -1.0), "must be raw"),
        (np.full((8, 32, 32, 1), np.nan), "must be raw"),
        (np.zeros((0, 32, 32, 1)), "Received: no image"),
    ],
)
def test_images_are_raw(images, message):
    labels = np.arange(len(images)) % 2
    given = (np.zeros((8, 32, 32, 1)), np.arange(8) % 2)
    with pytest.raises(ValueError, match=message):
        fit_arrays(TINY, *given, validation=(images, labels))


def test_averages_are_evaluated_and_a_channel_may_be_constant():
    recipe = dataclasses.replace(TINY, ema_momentum=0.5, epochs=2)
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3))
    images[..., 2] = 0
    labels = np.arange(16) % 2
    model, history = fit_arrays(
        recipe, images, labels, validation=(images, labels), verbose=0
    )
    _, accuracy = model.evaluate(
        images, keras.utils.to_categorical(labels, 2), batch_size=8, verbose=0
    )[:2]
    loss = model.evaluate(
        images, keras.utils.to_categorical(labels, 2), batch_size=8, verbose=0
    )[0]
    assert history["val_loss"][-1] == pytest.approx(loss, rel=1e-4)
    assert history["val_accuracy"][-1] == pytest.approx(accuracy)


def test_the_images_left_out_are_not_the_last(monkeypatch):
    """Of sorted arrays the last images are one class."""
    seen = {}

    def fit(self, images, labels, **_):
        seen["images"], seen["labels"] = images, labels.argmax(1)
        history = keras.callbacks.History()
        history.history = {}
        return history

    monkeypatch.setattr(keras.Model, "fit", fit)
    labels = np.arange(20) // 10
    images = np.zeros((20, 32, 32, 1)) + np.arange(20)[:, None, None, None]
    fit_arrays(dataclasses.replace(TINY, seed=1), images, labels)
    kept = seen["images"][:, 0, 0, 0]
    left_out = set(range(20)) - set(kept)
    assert len(left_out) == 4
    assert {number // 10 for number in left_out} == {0, 1}
    np.testing.assert_array_equal(seen["labels"], kept // 10)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(8, int), "at least two classes. Received: 1"),
        (["cat"] * 8, "one integer for each of the images.*<U3"),
    ],
)
def test_labels_of_another_form(labels, message):
    with pytest.raises(ValueError, match=message):
        fit_arrays(TINY, np.zeros((8, 8, 8, 1)), labels, verbose=0)
