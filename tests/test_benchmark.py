"""Timing in turns, models beside their hosts, and inputs."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.benchmark import (
    Ratio,
    describe_machine,
    in_turn,
    measure_input,
    plain_host,
    ratio,
    time_model,
    training_step,
)
from keras_senet.training import RECIPES

RECIPE = dataclasses.replace(RECIPES["quickstart"].smoke(), global_batch_size=32)


class Clock:
    """A clock that only calls move, or else each look."""

    def __init__(self, step=0.0):
        self.now, self.step, self.calls = 0.0, step, []

    def __call__(self):
        self.now += self.step
        return self.now

    def call(self, name, *seconds):
        """A call that takes each of the times in turn, the last one from then on."""
        left = list(seconds)

        def run():
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def small(units=5, activation="softmax", outputs=1):
    """A model of one dense layer, or of several side by side."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs)
    heads = [keras.layers.Dense(units, activation)(x) for _ in range(outputs)]
    return keras.Model(inputs, heads if outputs > 1 else heads[0])


def test_every_subject_gets_its_turn_in_every_round():
    clock = Clock()
    calls = {name: clock.call(name, 1.0) for name in "abc"}
    times = in_turn(calls, rounds=4, clock=clock)
    assert times == dict.fromkeys("abc", (1.0,) * 4)
    warm_up, rounds = clock.calls[:6], clock.calls[6:]
    assert sorted(warm_up) == sorted("abcabc")
    turns = [tuple(rounds[i : i + 3]) for i in range(0, 12, 3)]
    assert all(sorted(turn) == list("abc") for turn in turns)
    assert len(set(turns)) > 1, "the order must change"


def test_first_calls_are_not_counted():
    clock = Clock()
    times = in_turn({"a": clock.call("a", 100, 50, 1)}, rounds=3, clock=clock)
    assert times == {"a": (1.0, 1.0, 1.0)}


def test_a_turn_is_the_median_of_as_many_calls_as_fill_it():
    clock = Clock()
    # Twice before the rounds; then a turn of four calls of 0.25 s.
    calls = {"a": clock.call("a", 9, 0.25, 5.0, 0.2, 0.3, 0.25, 0.25)}
    times = in_turn(calls, rounds=2, turn_seconds=1.0, clock=clock)
    assert times["a"] == pytest.approx((0.275, 0.25))
    assert len(clock.calls) == 2 + 2 * 4


def test_a_ratio_is_taken_round_by_round():
    # All is twice as slow in the last round; the ratio knows nothing of it.
    result = ratio([2, 2, 2, 4.4], [1, 1, 1, 2])
    assert result == Ratio(value=2, low=2, high=pytest.approx(2.05))
    assert str(ratio([5], [8])) == "0.625"
    assert str(ratio([1, 2, 3], [1, 1, 1])) == "2.000 (1.500 to 2.500)"


@pytest.mark.parametrize(("ours", "theirs"), [([1, 2], [1]), ([], [])])
def test_a_ratio_needs_the_same_rounds(ours, theirs):
    with pytest.raises(ValueError, match="the same number of rounds"):
        ratio(ours, theirs)


def test_machine_is_described_without_its_name():
    machine = describe_machine()
    assert set(machine) == {"cores", "instructions", "threads"}
    assert machine["threads"] == machine["cores"] >= 1
    assert type(describe_machine(np.int64(3))["threads"]) is int
    with pytest.raises(ValueError, match="threads=0"):
        describe_machine(0)


def test_training_step_learns_and_stops_at_nan():
    model = small()
    kernel = model.layers[-1].kernel.numpy()
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    call = training_step(model, images)
    first = call()
    assert np.any(model.layers[-1].kernel.numpy() != kernel)
    for _ in range(20):
        last = call()
    assert last < first
    assert not model.jit_compile
    assert model.optimizer.momentum == 0.9
    with pytest.raises(FloatingPointError, match="must stay finite"):
        training_step(model, images * np.nan)()


@pytest.mark.parametrize(
    "model", [{"units": 1, "activation": "sigmoid"}, {"outputs": 2}], ids=str
)
def test_any_outputs_can_be_trained(model):
    images = np.zeros((2, 8, 8, 3), "float32")
    assert np.isfinite(training_step(small(**model), images)()).all()


def test_plain_host_is_the_same_network_without_se():
    model = keras_senet.SEResNet20(
        weights=None, classes=3, input_shape=(16, 16, 3), include_preprocessing=True
    )
    host = plain_host(model.card)
    expected = dataclasses.replace(
        model.card, architecture={**model.card.architecture, "se": False}
    )
    assert host.card == expected
    assert plain_host(host.card) is None
    assert plain_host(keras_senet.Card()) is None
    assert plain_host(None) is None
    assert plain_host(keras_senet.Card(constructor="se_resnet20")) is None


def test_model_and_host_in_turn(monkeypatch):
    trained = []
    step = training_step
    monkeypatch.setattr(
        "keras_senet.benchmark.training_step",
        lambda model, images: trained.append(model) or step(model, images),
    )
    model, host = small(), small(units=7)
    lines = []
    forms = ("training", "memory", "saved_model")
    options = {"forms": forms, "batches": (1, 2), "rounds": 2}
    timings = list(time_model(model, host, **options, progress=lines.append))
    # Training changes the weights, so it comes last.
    assert [(t.form, t.batch) for t in timings] == [
        (form, batch)
        for form in ("memory", "saved_model", "training")
        for batch in (1, 2)
    ]
    assert all(len(t.seconds) == len(t.beside) == 2 for t in timings)
    assert trained == [model, host] * 2
    assert lines[:3] == [
        "preparing memory: model",
        "preparing memory: beside",
        "memory, batch 1: 2 rounds",
    ]


@pytest.mark.slow
def test_a_file_is_timed_as_it_is_and_a_model_beside_it_exported(tmp_path):
    path = keras_senet.export_tflite(small(), tmp_path / "model.tflite")
    (alone,) = time_model(path, batches=(1,), rounds=1)
    assert (alone.form, alone.beside) == ("tflite", None)
    (timing,) = time_model(path, small(), batches=(1,), rounds=1)
    assert timing.form == "tflite"
    assert len(timing.beside) == 1


def test_open_sizes_and_wrong_counts_are_refused():
    model = keras_senet.SEResNet20(weights=None, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match=r"a fixed image size.*--image-size"):
        list(time_model(model, forms=("memory",)))
    with pytest.raises(ValueError, match="batches=0"):
        list(time_model(small(), batches=(0,)))
    with pytest.raises(ValueError, match=r"`forms` must be some of .*'tflit'"):
        list(time_model(small(), forms=("tflit",)))


def test_images_per_second_of_an_input():
    # Half a second a look: two seconds are over after four batches.
    assert measure_input(RECIPE, seconds=2, clock=Clock(0.5)) == {
        "data": "bundled",
        "batch": 32,
        "image_size": 28,
        "input_images_per_second": 64,
    }


@pytest.mark.parametrize(
    ("delay", "rate", "limit"), [(-0.25, 128, "input"), (0.5, 32, "compute")]
)
def test_images_per_second_of_the_training_step(monkeypatch, delay, rate, limit):
    trained, clock = [], Clock(0.5)

    class Model:
        def train_on_batch(self, images, labels):
            trained.append((tuple(images.shape), tuple(labels.shape)))
            clock.now += delay

    monkeypatch.setattr("keras_senet.training.network.build_model", lambda *a: Model())
    monkeypatch.setattr(
        "keras_senet.training.network.compile_model", lambda *a, **k: None
    )
    speed = measure_input(RECIPE, seconds=2, with_model=True, clock=clock)
    assert (speed["model"], speed["step_images_per_second"]) == ("se_resnet20", rate)
    assert (speed["input_images_per_second"], speed["limit"]) == (64, limit)
    assert set(trained) == {((32, 28, 28, 1), (32, 10))}


def test_the_step_is_a_real_one(monkeypatch):
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    monkeypatch.setattr("keras_senet.training.network.build_model", lambda *a: model)
    before = model.layers[-1].kernel.numpy()
    recipe = dataclasses.replace(RECIPE, warmup_epochs=0.0)
    speed = measure_input(recipe, seconds=0.01, with_model=True)
    assert speed["step_images_per_second"] > 0
    assert (model.layers[-1].kernel.numpy() != before).any()


def test_an_input_is_opened_as_for_a_training(monkeypatch):
    given = {"on_error": "skip", "held_out": 0.3}

    def opened(name, data_dir, **options):
        raise ValueError(f"Received: {options}")

    monkeypatch.setattr(keras_senet.data, "open_source", opened)
    with pytest.raises(ValueError, match=f"Received: {given}"):
        measure_input(dataclasses.replace(RECIPE, **given))


def test_seconds_must_be_positive():
    with pytest.raises(ValueError, match="seconds=0"):
        measure_input(RECIPE, seconds=0)
