"""A training from its recipe to what it leaves in its folder."""

import dataclasses
import json
import math
import shutil

import h5py
import keras
import numpy as np
import pytest

from keras_senet.data import open_arrays, open_source
from keras_senet.training import RECIPES, Recipe, train
from keras_senet.training.curves import plot_curves, read_history
from keras_senet.training.datasets import make_datasets, resolve_recipe
from keras_senet.training.network import build_model
from keras_senet.training.run_folder import RunFolder
from keras_senet.training.state import load_state

TINY = Recipe(
    model="se_resnet",
    model_arguments={
        "block": "basic",
        "blocks": (1, 1, 1, 1),
        "filters": (8, 8, 8, 8),
        "stem_filters": (8,),
        "reduction": 4,
    },
    image_size=32,
    epochs=3,
    limit=48,
    global_batch_size=16,
    learning_rate=0.05,
    reference_batch_size=16,
    l2=1e-4,
    warmup_epochs=1.0,
    augmentation="cifar",
    dropout_rate=0.1,
    seed=3,
)


class Interrupt(keras.callbacks.Callback):
    """Stops the process's training as ctrl-C does, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at = epoch
        self.now = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.at and batch == 1:
            raise KeyboardInterrupt


def read_progress(path):
    with h5py.File(path) as file:
        return {name: file["training"].attrs[name] for name in ("epoch", "step")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TINY, tmp_path_factory.mktemp("runs") / "whole", verbose=0)


def test_everything_is_in_the_folder(run):
    written = {str(p.relative_to(run.run_folder)) for p in run.run_folder.rglob("*")}
    assert {
        "recipe.json",
        "versions.json",
        "history.csv",
        "curves.png",
        "tensorboard/train",
        "checkpoints/last.weights.h5",
        "checkpoints/best.weights.h5",
        "model.keras",
        "model.weights.h5",
    } <= written
    assert not [name for name in written if "/." in name or name.startswith(".")]


def test_the_recipe_is_resolved(run):
    values = json.loads((run.run_folder / "recipe.json").read_text())
    assert (values["classes"], values["channels"]) == (10, 1)
    assert Recipe.from_json(values) == run.recipe
    assert run.recipe == dataclasses.replace(
        TINY, validation_split="test", classes=10, channels=1
    )


def test_versions(run):
    versions = json.loads((run.run_folder / "versions.json").read_text())
    assert versions["keras"] == keras.__version__
    assert versions["seed"] == 3
    assert versions["devices"]


def test_history(run):
    history = read_history(run.run_folder / "history.csv")
    assert history == run.history
    assert {"loss", "val_loss", "accuracy", "val_accuracy"} <= set(history)
    assert history["epoch"] == [0, 1, 2]
    half = 0.05 / 2  # the rate of a cosine at half of its way
    np.testing.assert_allclose(history["learning_rate"], [0.05, half, 0], atol=1e-7)
    assert run.images_per_second == pytest.approx(144 / run.seconds)


@pytest.mark.slow
def test_an_early_end_counts_what_was_trained(tmp_path):
    stop = keras.callbacks.LambdaCallback()
    stop.on_epoch_end = lambda *_: setattr(stop.model, "stop_training", True)
    result = train(TINY, tmp_path / "run", callbacks=[stop], verbose=0)
    assert len(result.history["epoch"]) == 1
    assert result.images_per_second == pytest.approx(48 / result.seconds)


def test_the_saved_model_is_the_trained_one(run):
    model = keras.saving.load_model(run.run_folder / "model.keras", compile=False)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1))
    expected = run.model(images, training=False)
    np.testing.assert_allclose(model(images, training=False), expected, atol=1e-6)
    source = open_source("bundled")
    other = build_model(resolve_recipe(TINY, source), source)
    other.load_weights(run.run_folder / "model.weights.h5")
    np.testing.assert_allclose(other(images, training=False), expected, atol=1e-6)


def test_raw_images_are_normalised_in_the_model(run):
    source = open_source("bundled")
    layer = run.model.get_layer("preprocessing")
    image = np.full((1, 1, 1, 1), 255.0)
    expected = (1 - source.mean[0]) / source.std[0]
    np.testing.assert_allclose(np.ravel(layer(image)), [expected], rtol=1e-5)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_training(run, tmp_path):
    again = train(TINY, tmp_path / "again", verbose=0)
    assert again.history == run.history
    for a, b in zip(again.model.weights, run.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_gives_other_batches():
    source = open_source("bundled")
    labels = []
    for seed in (3, 3, 4):
        recipe = resolve_recipe(dataclasses.replace(TINY, seed=seed), source)
        training, _ = make_datasets(recipe, source)
        labels.append(next(iter(training))[1].numpy().argmax(1).tolist())
    assert labels[0] == labels[1] != labels[2]


@pytest.mark.parametrize("every", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_a_resumed_run_ends_as_the_undisturbed_one(run, tmp_path, every):
    folder = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        train(
            TINY,
            folder,
            checkpoint_every=every,
            callbacks=[Interrupt(2)],
            verbose=0,
        )
    done = read_progress(folder / "checkpoints" / "last.weights.h5")
    assert done == {"epoch": 2, "step": 2 if every else 0}
    # As if the process had died between the history and the checkpoint.
    with open(folder / "history.csv", "a") as file:
        file.write("2,0.1,0.1,0.1,0.1,0.1\n")
    resumed = train(TINY, folder, resume=True, verbose=0)
    assert resumed.history == run.history
    for a, b in zip(resumed.model.weights, run.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_resume_keeps_to_the_recipe(run):
    other = dataclasses.replace(TINY, epochs=9)
    with pytest.raises(ValueError, match="epochs is 3 in the run and 9 now"):
        train(other, run.run_folder, resume=True)
    with pytest.raises(FileNotFoundError, match="no run in"):
        train(TINY, run.run_folder / "nowhere", resume=True)


def test_resume_with_other_data_names_the_data(run):
    """Their classes were refused first, which nobody gave."""
    images = np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1))
    source = open_arrays((images, np.arange(16) % 4))
    with pytest.raises(ValueError, match="data is 'bundled' in the run and 'arrays'"):
        train(run.recipe, run.run_folder, source=source, resume=True)


def test_resume_needs_the_states_and_the_same_images(run, tmp_path):
    folder = shutil.copytree(run.run_folder, tmp_path / "run")
    source = open_source("bundled")
    fewer = dataclasses.replace(source, splits={**source.splits, "train": 5999})
    with pytest.raises(ValueError, match=r"own images.*: 5999 training images"):
        train(TINY, folder, source=fewer, resume=True, verbose=0)
    shutil.rmtree(folder / "checkpoints")
    before = (folder / "history.csv").read_bytes()
    with pytest.raises(FileNotFoundError, match="no state of the run in"):
        train(TINY, folder, resume=True, verbose=0)
    assert (folder / "history.csv").read_bytes() == before


def test_what_is_no_number_of_steps_and_no_data(tmp_path):
    with pytest.raises(ValueError, match="`checkpoint_every` must be a positive"):
        train(TINY, tmp_path / "run", checkpoint_every=0)
    with pytest.raises(ValueError, match="Received: '', which is none of them"):
        train(TINY, tmp_path / "run", source="")


def test_a_folder_with_something_in_it_is_refused(run, tmp_path):
    before = sorted(p.stat().st_mtime_ns for p in run.run_folder.rglob("*"))
    with pytest.raises(ValueError, match=r"holds a run.*resume the run"):
        train(TINY, run.run_folder)
    assert sorted(p.stat().st_mtime_ns for p in run.run_folder.rglob("*")) == before
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        train(TINY, tmp_path)
    with pytest.raises(ValueError, match="a file"):
        train(TINY, tmp_path / "note.txt")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": 100}, "must be the 10 of the data 'bundled'. Received: classes=1"),
        ({"validation_split": "dev"}, "Received: split='dev'"),
        ({"model": "se_resnet50", "model_arguments": {}, "image_size": 16}, "at least"),
        ({"model_arguments": {"placement": "last"}}, "Received: placement='last'"),
        ({"limit": 8}, "`global_batch_size` must be at most.*=16, 8 images in 'train'"),
        ({"data": "no_such_folder"}, "no_such_folder"),
    ],
)
def test_contradictions_leave_nothing_behind(tmp_path, values, message):
    folder = tmp_path / "run"
    with pytest.raises((ValueError, OSError), match=message):
        train(dataclasses.replace(TINY, **values), folder)
    assert not folder.exists()


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    recipe = dataclasses.replace(
        TINY, learning_rate=1e9, schedule="constant", warmup_epochs=0.0
    )
    with pytest.raises(FloatingPointError) as error:
        train(recipe, tmp_path / "run", verbose=0)
    message = str(error.value)
    assert "at the learning rate 1e+09" in message
    assert "There is no checkpoint before it." in message
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.slow
def test_mixed_precision(tmp_path):
    recipe = dataclasses.replace(
        TINY, dtype_policy="mixed_bfloat16", epochs=1, warmup_epochs=0.0, limit=16
    )
    model = train(recipe, tmp_path / "run", verbose=0).model
    assert model.get_layer("conv1_conv").compute_dtype == "bfloat16"
    assert model.get_layer("predictions").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_a_checkpoint_of_something_else(run):
    with pytest.raises(ValueError, match="one that a training wrote"):
        load_state(run.model, run.run_folder / "model.weights.h5")


def test_curves(tmp_path):
    from PIL import Image

    history = {"epoch": [0, 1], "loss": [2.0, 1.0], "val_accuracy": [0.1, math.nan]}
    plot_curves(history, tmp_path / "curves.png", title="two epochs")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 1000
        assert len(np.unique(image)) > 50


def test_the_run_folder_speaks_of_its_parts(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (RunFolder(tmp_path), RunFolder("~")):
        assert folder.last == tmp_path / "checkpoints" / "last.weights.h5"


@pytest.mark.faults("two processes at once")
def test_a_history_that_two_processes_wrote_is_mended(tmp_path):
    folder = RunFolder(tmp_path)
    head = "epoch,accuracy,loss\n"
    folder.history.write_bytes(
        head.encode() + b"0,.1,9\n0,.2,8\n" + head.encode() + b"1,.3\n\n\xff\n1,.4,7"
        b"\n2,.5,6\n1,.6,x\n5,.1,1\n"
    )
    folder.cut_history(2)
    assert folder.history.read_text() == f"{head}0,.2,8\n1,.4,7\n"
    folder.cut_history(0)
    assert folder.history.read_text() == head
    folder.history.write_text("0,.1,9\n")
    folder.cut_history(2)
    assert folder.history.read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"senet154", "places365"}))
def test_smoke_of_every_recipe(name, tmp_path):
    result = train(RECIPES[name].smoke(), tmp_path / "run", verbose=0)
    assert math.isfinite(result.history["val_loss"][-1])
