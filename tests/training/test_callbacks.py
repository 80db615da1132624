"""What the callbacks do that a short training does not show."""

import keras
import numpy as np
import pytest

from keras_senet.training.callbacks import Checkpoints, Curves, StopOnNaN
from keras_senet.training.state import load_state, save_state


@pytest.fixture
def model():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)]
    )
    model.compile(keras.optimizers.SGD(0.1, 0.9), "mse", jit_compile=False)
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    return model


@pytest.fixture
def checkpoints(tmp_path, model):
    callback = Checkpoints(tmp_path, {"format": 1})
    callback.set_model(model)
    return callback


def test_the_last_good_state_stays(checkpoints, tmp_path, model):
    checkpoints.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5})
    for bad in ({"loss": np.nan}, {"loss": 1.0, "val_loss": np.inf}):
        checkpoints.on_epoch_end(1, {**bad, "val_accuracy": 0.9})
    progress = load_state(model, tmp_path / "last.weights.h5")
    assert progress == {"epoch": 1, "best": 0.5}


def test_best_is_written_when_it_is_better(checkpoints, tmp_path, model):
    written = []
    for epoch, accuracy in enumerate((0.5, 0.4, 0.6)):
        model.layers[0].bias.assign([epoch, epoch])
        checkpoints.on_epoch_end(epoch, {"loss": 1.0, "val_accuracy": accuracy})
        other = keras.models.clone_model(model)
        other.load_weights(tmp_path / "best.weights.h5")
        written.append(float(other.layers[0].bias[0]))
    assert written == [0, 0, 2]


def test_a_failed_write_leaves_the_old_checkpoint(
    checkpoints, tmp_path, model, monkeypatch
):
    checkpoints.on_epoch_end(0, {"loss": 1.0})

    def fail(path, **_):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(model, "save_weights", fail)
    with pytest.raises(OSError, match="no space left"):
        checkpoints.on_epoch_end(1, {"loss": 1.0})
    monkeypatch.undo()
    assert load_state(model, tmp_path / "last.weights.h5")["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.weights.h5"]


def test_state_has_optimizer_and_random_generators(model, tmp_path):
    save_state(model, tmp_path / "last.weights.h5", {"epoch": 3})
    model.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    expected = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]

    other = keras.models.clone_model(model)
    other.compile(keras.optimizers.SGD(0.1, 0.9), "mse", jit_compile=False)
    assert load_state(other, tmp_path / "last.weights.h5") == {"epoch": 3}
    other.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    actual = [np.array(v) for v in (*other.variables, *other.optimizer.variables)]
    # Weights, the generator's state, iterations, learning rate and momenta.
    assert len(actual) == len(expected) == 3 + 4
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_plateau_goes_on_where_it_was(tmp_path, model):
    def start(progress):
        plateau = keras.callbacks.ReduceLROnPlateau("val_loss", 0.1, patience=3)
        checkpoints = Checkpoints(
            tmp_path, {"format": 1}, progress=progress, plateau=plateau
        )
        for callback in (plateau, checkpoints):
            callback.set_model(model)
            callback.on_train_begin()
        return plateau, checkpoints

    plateau, checkpoints = start({})
    for epoch, loss in enumerate((2.0, 1.0, 1.5)):
        for callback in (plateau, checkpoints):
            callback.on_epoch_end(epoch, {"loss": 1.0, "val_loss": loss})
    progress = load_state(model, tmp_path / "last.weights.h5")
    resumed, _ = start(progress)
    assert (resumed.best, resumed.wait) == (plateau.best, plateau.wait) == (1.0, 1)


def test_nan_names_the_checkpoint(model, tmp_path):
    checkpoint = tmp_path / "last.weights.h5"
    checkpoint.touch()
    callback = StopOnNaN(checkpoint)
    callback.set_model(model)
    callback.on_epoch_begin(4)
    callback.on_batch_end(0, {"loss": 1.0})
    with pytest.raises(FloatingPointError) as error:
        callback.on_batch_end(1, {"loss": float("inf")})
    assert str(error.value).startswith(
        "The loss became inf in step 1 (epoch 5) at the learning rate 0.1. The last "
        f"good checkpoint is {checkpoint}."
    )


def test_curves_are_drawn_while_training(tmp_path):
    history, picture = tmp_path / "history.csv", tmp_path / "curves.png"
    history.write_text("epoch,loss\n0,1.5\n")
    curves = Curves(history, picture, "a run")
    curves.on_epoch_end(0)
    assert not picture.exists()
    curves.drawn -= 61
    curves.on_epoch_end(1)
    assert picture.exists()
