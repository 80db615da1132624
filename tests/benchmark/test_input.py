import dataclasses
import json

import keras
import pytest

from keras_senet.benchmark.input import InputSpeed, measure_input
from keras_senet.training import RECIPES

RECIPE = dataclasses.replace(RECIPES["quickstart"].smoke(), global_batch_size=32)


class Clock:
    """Half a second later at each look."""

    now = 0.0

    def __call__(self):
        self.now += 0.5
        return self.now


def test_images_per_second_of_an_input():
    speed = measure_input(RECIPE, seconds=2, clock=Clock())
    assert speed == InputSpeed(
        data="bundled", batch=32, image_size=28, input_images_per_second=64
    )
    assert speed.limit is None
    assert "gives 64 images/s. --with-model" in speed.summary()


def test_images_per_second_of_the_training_step(monkeypatch):
    trained = []

    class Model:
        def train_on_batch(self, images, labels):
            trained.append((images.shape, labels.shape))

    monkeypatch.setattr("keras_senet.training.network.build_model", lambda *a: Model())
    monkeypatch.setattr(
        "keras_senet.training.network.compile_model", lambda *a, **k: None
    )
    speed = measure_input(RECIPE, seconds=2, with_model=True, clock=Clock())
    assert (speed.model, speed.step_images_per_second) == ("se_resnet20", 64)
    assert len(trained) == 2 + 4
    assert {tuple(map(tuple, shapes)) for shapes in trained} == {
        ((32, 28, 28, 1), (32, 10))
    }


def test_the_step_is_a_real_one(monkeypatch):
    small = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    monkeypatch.setattr("keras_senet.training.network.build_model", lambda *a: small)
    kernel = small.layers[-1].kernel
    before = kernel.numpy()
    recipe = dataclasses.replace(RECIPE, warmup_epochs=0.0)
    speed = measure_input(recipe, seconds=0.01, with_model=True)
    assert speed.step_images_per_second > 0
    assert (kernel.numpy() != before).any()


@pytest.mark.parametrize(
    ("given", "took", "limit"), [(50, 100, "input"), (200, 100, "compute")]
)
def test_the_slower_one_is_the_limit(given, took, limit):
    speed = InputSpeed(
        data="x",
        batch=8,
        image_size=32,
        input_images_per_second=given,
        model="m",
        step_images_per_second=took,
    )
    assert speed.limit == limit
    assert f"The limit is {limit}." in speed.summary()
    assert json.loads(speed.to_json())["limit"] == limit


def test_seconds_must_be_positive():
    with pytest.raises(ValueError, match="seconds=0"):
        measure_input(RECIPE, seconds=0)
