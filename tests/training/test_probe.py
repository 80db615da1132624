"""The linear probe: a classifier fitted to convergence, from which training starts."""

import dataclasses
import json
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy import optimize

import keras_senet
from keras_senet.cli import main
from keras_senet.training import (
    FinetuneRecipe,
    TrainingStopped,
    probe,
    train,
    trainer,
)
from keras_senet.training.datasets import (
    count_images,
    inference_batches,
    resolve_recipe,
    weigh_classes,
)
from keras_senet.training.recipes import epochs_and_passes, updates_for
from keras_senet.weights import save_weights

# Deterministic, and much too high a rate for what follows the probe.
WILD = {"learning_rate": 1.0, "augmentation": "none"}


def finetune(recipe, source, folder, **options):
    return train(recipe, folder, source=source, **options)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    keras.utils.set_random_seed(5)
    model = keras_senet.SEResNet(
        block="basic",
        blocks=(1, 1, 1, 1),
        filters=(8, 8, 8, 8),
        stem_filters=(8,),
        reduction=4,
        weights=None,
        classes=10,
        input_shape=(32, 32, 3),
        include_preprocessing=True,
    )
    folder = tmp_path_factory.mktemp("tiny")
    return FinetuneRecipe(
        weights=str(save_weights(model, folder / "tiny.weights.h5")),
        train_split="train[:80]",
        validation_split="test[:40]",
        global_batch_size=20,
        epochs=2,
        learning_rate=1e-3,
    )


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
    """The probe and nothing else."""
    path = tmp_path_factory.mktemp("alone") / "run"
    said = []
    only = dataclasses.replace(recipe, epochs=0)
    result = finetune(only, "bundled", path, verbose=0, say=said.append)
    assert said == [
        f"Linear probe: {result.probe.accuracy:.1%} of the held-out images right."
    ]
    return result


def test_images_without_a_label_count(recipe):
    """Where an image can have several labels, each image counts the same."""
    labels = np.array([[0, 0], [1, 1], [1, 0], [0, 0]] * 4, "float32")
    images = np.zeros((16, 32, 32, 3), "uint8")
    source = keras_senet.data.open_arrays((images, labels), (images[:4], labels[:4]))
    several = dataclasses.replace(
        recipe, train_split="train", validation_split="test", class_weights=True
    )
    assert weigh_classes(resolve_recipe(several, source), source) is None


def measured(result):
    """Accuracy and loss of a result's model on the held-out images."""
    images, labels = zip(*result.validation.as_numpy_iterator(), strict=True)
    labels = np.concatenate(labels)
    scores = result.model.predict(np.concatenate(images), verbose=0)
    right = (scores.argmax(1) == labels.argmax(1)).mean()
    return right, -np.log((scores * labels).sum(1)).mean()


def same(one, other):
    for a, b in zip(one.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


@pytest.mark.parametrize("independent", [False, True])
def test_the_gradient_is_the_losss(independent):
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype="float32")[rng.integers(0, 3, 20)]
    weights = rng.uniform(0.5, 2, 20)
    seen = probe.Seen(rng.normal(size=(20, 4)), labels, weights, None, 0.0)
    options = {"seen": seen, "strength": 0.1, "independent": independent}
    error = optimize.check_grad(
        lambda v: probe._objective(v, **options)[0],
        lambda v: probe._objective(v, **options)[1],
        rng.normal(size=15),
    )
    assert error < 1e-5


@pytest.mark.parametrize("features", [5, 60], ids=["fewer", "more"])
def test_the_fit_is_the_minimum_in_all_features(features):
    """Fewer or more features than images."""

    def make(count):
        labels = np.eye(3, dtype="float32")[rng.integers(0, 3, count)]
        values = (labels @ centres + rng.normal(size=(count, features))).astype("f")
        thumbnails = np.zeros((count, 4), "float16")
        return probe.Seen(values, labels, np.ones(count), thumbnails, 0.0)

    rng = np.random.default_rng(0)
    centres = rng.normal(0, 0.1, (3, features))
    train, held_out = make(40), make(20)
    raw = train.features.copy()
    found = probe.fit(train, held_out, independent=False)
    # In the features of deviation 1 that the strength belongs to.
    scaled = train._replace(features=(raw - raw.mean(0)) / raw.std(0))
    kernel = found.kernel * raw.std(0)[:, None]
    bias = found.bias + raw.mean(0) @ found.kernel
    values = np.concatenate([kernel.ravel(), bias])
    options = {"strength": found.strength, "independent": False}
    slope = probe._objective(values, seen=scaled, **options)[1]
    assert np.abs(slope).max() < 2e-5
    assert np.abs(kernel).max() > 0.005


def test_the_probe_alone(alone, recipe):
    assert alone.keeps_probe
    assert alone.history == {}
    assert alone.probe.accuracy > 0.15
    assert alone.probe.copies == 0
    accuracy, loss = measured(alone)
    assert accuracy == pytest.approx(alone.probe.accuracy)
    assert loss == pytest.approx(alone.probe.loss, rel=1e-3)
    start = keras_senet.SEResNet(weights=recipe.weights, include_preprocessing=True)
    for old, new in zip(start.weights, alone.model.weights, strict=True):
        if not old.path.startswith("predictions"):
            np.testing.assert_array_equal(old, new)


def test_features_in_a_file(alone, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "MEMORY_BYTES", 0)
    monkeypatch.setattr(probe, "_ROWS", 32)
    only = dataclasses.replace(recipe, epochs=0)
    result = finetune(only, "bundled", tmp_path, verbose=0)
    np.testing.assert_allclose(
        result.probe.kernel, alone.probe.kernel, rtol=0.02, atol=0.02
    )
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["probe.npz"]


@pytest.mark.parametrize(("accuracy", "kept"), [(0.5, True), (0.6, True), (0.7, False)])
def test_all_layers_must_be_better(alone, tmp_path, accuracy, kept):
    """Not only as good, whatever the loss, as Keras writes it: in float32."""
    history = tmp_path / "history.csv"
    history.write_text(
        f"phase,val_accuracy,val_loss\n2,{np.float32(accuracy):.17f},0\n"
    )
    training = trainer._Fit(
        recipe=dataclasses.replace(alone.recipe, epochs=1),
        source=alone.source,
        steps=1,
        strategy=keras_senet.training.make_strategy(),
        network=alone.model,
        folder=SimpleNamespace(history=history, best=tmp_path / "best.weights.h5"),
        termination=None,
        checkpoint_every=None,
        callbacks=(),
        verbose=0,
        say=lambda text: None,
    )
    training.probe = dataclasses.replace(alone.probe, accuracy=0.6, loss=1.0)
    training._keep_the_better(alone.model.get_weights())
    assert training.keeps_probe == kept


@pytest.mark.parametrize(
    ("early", "kept", "accuracy"),
    [(False, False, 0.9), (True, False, 0.8), (True, True, 0.6)],
)
def test_the_accuracy_is_of_the_weights_that_are_taken(alone, early, kept, accuracy):
    history = {
        "phase": [1, 2, 2, 2],
        "val_loss": [0.1, 0.5, 0.3, 0.4],
        "val_accuracy": [0.7, 0.75, 0.8, 0.9],
    }
    result = dataclasses.replace(
        alone,
        recipe=dataclasses.replace(alone.recipe, stop_early=early),
        probe=dataclasses.replace(alone.probe, accuracy=0.6),
        keeps_probe=kept,
        history=history,
    )
    assert result.accuracy == accuracy


def test_the_command_ends_with_the_accuracy_of_a_probe(recipe, tmp_path, capsys):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(dataclasses.replace(recipe, epochs=0).to_json()))
    run = ["--recipe", str(file), "--run-folder", str(tmp_path / "run")]
    assert main(["train", *run]) == 0
    probe, end = capsys.readouterr().out.split("Linear probe: ")[1].split("\n", 1)
    assert end.split()[0] == probe.split("%")[0]
    assert "% of the held-out images right after 0 epochs" in end


@pytest.mark.slow
def test_what_does_not_beat_the_probe_is_not_kept(alone, recipe, tmp_path):
    said = []
    wild = dataclasses.replace(recipe, **WILD, epochs=1, layer_decay=1.0)
    result = finetune(wild, "bundled", tmp_path, verbose=0, say=said.append)
    assert result.keeps_probe
    assert "The linear probe is kept." in said[-1]
    same(result, alone)
    assert result.history["val_accuracy"][-1] < result.probe.accuracy


class Stop(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        self.steps -= 1
        if self.steps == 0:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_resumed_run_ends_as_the_undisturbed_one(recipe, tmp_path):
    """Stopped in the second pass of the first epoch, where a state was written."""
    long = dataclasses.replace(recipe, passes=2, freeze_batch_norm=False)
    whole = finetune(long, "bundled", tmp_path / "whole", verbose=0)
    assert len(whole.history["epoch"]) == 2
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        finetune(
            long,
            "bundled",
            folder,
            callbacks=[Stop(6)],
            checkpoint_every=5,
            verbose=0,
        )
    again = finetune(long, "bundled", folder, resume=True, verbose=0)
    assert again.history == whole.history
    assert again.keeps_probe == whole.keeps_probe
    same(again, whole)


def test_near_copies():
    rng = np.random.default_rng(0)
    photos = rng.normal(size=(6, 256))
    photos -= photos.mean(1, keepdims=True)
    photos /= np.linalg.norm(photos, axis=1, keepdims=True)
    assert probe.near_copies(photos[:3], photos[3:]) == 0
    again = photos[:1] + 1e-4 * rng.normal(size=(1, 256))
    assert probe.near_copies(photos[:3], np.concatenate([photos[3:], again])) == 1


@pytest.mark.parametrize(
    ("images", "batch", "budget"),
    [(16, 16, 500), (128, 32, 500), (1_000, 32, 500), (10_000, 32, 1_581)],
)
def test_the_budget_is_counted_in_updates(images, batch, budget):
    assert updates_for(images) == budget
    epochs, passes = epochs_and_passes(budget, images // batch)
    assert epochs * passes * (images // batch) == pytest.approx(budget, rel=0.2)
    assert epochs <= 30


def test_a_small_folder_gets_as_many_updates(recipe):
    source = keras_senet.data.open_source("bundled")
    small = resolve_recipe(dataclasses.replace(recipe, epochs=None), source)
    assert small.epochs * small.passes * 4 == pytest.approx(500, rel=0.05)
    assert resolve_recipe(small, source) == small


@pytest.mark.parametrize("random", [False, True], ids=["weights", "random"])
def test_batches_are_no_larger_than_the_images(recipe, random):
    changes = {"weights": None, "model": "se_resnet20"} if random else {}
    changes |= {"epochs": None, "train_split": "train[:8]"}
    few = dataclasses.replace(recipe, **changes)
    source = keras_senet.data.open_source("bundled")
    assert resolve_recipe(few, source).global_batch_size == 8


def test_batches_of_inference_know_how_much_an_image_counts(recipe):
    source = keras_senet.data.open_source("bundled")
    resolved = resolve_recipe(recipe, source)
    weights = np.linspace(1, 2, 10)
    batches = inference_batches(resolved, source, "train[:40]", weights)
    _, labels, counts = next(batches.as_numpy_iterator())
    np.testing.assert_allclose(counts, labels @ weights, rtol=1e-6)


def test_batches_are_whole_on_several_devices(recipe):
    few = dataclasses.replace(recipe, epochs=None, train_split="train[:30]")
    few = dataclasses.replace(few, global_batch_size=32)
    source = keras_senet.data.open_source("bundled")
    assert resolve_recipe(few, source, 4).global_batch_size == 28


def test_classes_count_by_the_images_that_are_used(recipe):
    """A limit takes the classes of a folder in turn: a rare one is no longer rare."""
    labels = np.repeat([0, 1], [54, 6])
    images = np.zeros((60, 8, 8, 3), "uint8")
    source = keras_senet.data.open_arrays((images, labels), (images, labels))
    recipe = dataclasses.replace(recipe, train_split="train", limit=10)
    used = count_images(source, "train", 10)
    assert sum(used) == 10
    expected = tuple(10 / 2 / n for n in used)
    assert weigh_classes(recipe, source) == pytest.approx(expected)


def test_a_probe_ends_when_it_is_asked_to(recipe, tmp_path, monkeypatch):
    """SIGTERM was noticed between the steps of `fit`: a probe has none."""
    only = dataclasses.replace(recipe, epochs=0)
    see = probe.see

    def seen(network, splits, file, on_batch):
        signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
        return see(network, splits, file, on_batch)

    monkeypatch.setattr(trainer, "see", seen)
    with pytest.raises(TrainingStopped, match="before the first epoch: resume"):
        finetune(only, "bundled", tmp_path / "run", verbose=0)
    monkeypatch.undo()
    result = finetune(only, "bundled", tmp_path / "run", verbose=0, resume=True)
    assert result.keeps_probe


class SpoilsTheLastEpoch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.params["epochs"] - 1:
            for variable in self.model.trainable_variables:
                variable.assign(-variable)


def test_without_patience_the_best_epoch_is_taken(recipe, tmp_path, monkeypatch):
    """The last one's weights were, with the accuracy of the best one."""
    monkeypatch.setattr(trainer._Fit, "_keep_the_better", lambda *_: None)
    open_end = dataclasses.replace(recipe, patience=None)
    options = {"callbacks": [SpoilsTheLastEpoch()], "verbose": 0}
    result = finetune(open_end, "bundled", tmp_path / "run", **options)
    losses = result.history["val_loss"]
    assert losses[0] < losses[1]
    split = recipe.validation_split
    found = keras_senet.evaluate(result.model, "bundled", split=split)
    assert found.loss == pytest.approx(losses[0], rel=1e-3)
