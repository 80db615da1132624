"""What is written during a training, and what of it is read again."""

import errno
import os
import signal
import threading

import h5py
import keras
import numpy as np
import pytest

from keras_senet.training.checkpoints import (
    START,
    Checkpoints,
    TrainingStopped,
    termination_noticed,
)
from keras_senet.training.state import (
    State,
    damage,
    find_state,
    load_state,
    previous_path,
    save_state,
)


def make_model(**optimizer):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)]
    )
    sgd = keras.optimizers.SGD(0.1, 0.9, **optimizer)
    model.compile(sgd, "mse", jit_compile=False)
    return model


@pytest.fixture
def model():
    model = make_model()
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    return model


@pytest.fixture
def last(tmp_path):
    return tmp_path / "last.weights.h5"


@pytest.fixture
def checkpoints(tmp_path, model):
    return start(Checkpoints(tmp_path, model.save_weights), model)


def start(callback, model, steps=4):
    callback.set_model(model)
    callback.set_params({"steps": steps})
    callback.on_train_begin()
    return callback


def end_epoch(callback, epoch, *, loss=1.0, val_loss=1.0, accuracy=0.5):
    callback.on_epoch_begin(epoch)
    callback.on_test_begin()
    callback.on_test_end({"loss": val_loss, "accuracy": accuracy})
    callback.on_epoch_end(epoch, {"loss": loss, "val_loss": val_loss})


def set_weights(model, value):
    for variable in model.trainable_variables:
        variable.assign(keras.ops.full(variable.shape, value))


def test_the_last_good_state_stays(checkpoints, last, model):
    end_epoch(checkpoints, 0)
    end_epoch(checkpoints, 1, loss=np.nan, accuracy=0.4)
    end_epoch(checkpoints, 1, val_loss=np.inf, accuracy=0.9)
    assert load_state(model, last).progress == {"epoch": 1, "step": 0, "best": 0.5}
    set_weights(model, np.nan)
    end_epoch(checkpoints, 1)
    checkpoints.on_epoch_begin(1)
    checkpoints.every = 1
    checkpoints.on_train_batch_end(0, {"loss": 1.0})
    assert load_state(model, last).progress["epoch"] == 1


def test_best_is_written_when_it_is_better(checkpoints, tmp_path, model):
    written = []
    for epoch, accuracy in enumerate((0.5, 0.4, 0.6)):
        model.layers[0].bias.assign([epoch, epoch])
        end_epoch(checkpoints, epoch, accuracy=accuracy)
        other = keras.models.clone_model(model)
        other.load_weights(tmp_path / "best.weights.h5")
        written.append(float(other.layers[0].bias[0]))
    assert written == [0, 0, 2]


def test_a_failed_write_leaves_the_old_checkpoints(
    checkpoints, tmp_path, last, model, monkeypatch
):
    end_epoch(checkpoints, 0)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    checkpoints.on_epoch_begin(1)
    with pytest.raises(OSError, match=r"No space left on device\. The state before"):
        checkpoints.on_epoch_end(1, {"loss": 1.0})
    monkeypatch.undo()
    assert load_state(model, last).progress["epoch"] == 1
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best.weights.h5", "last.weights.h5"]


def test_state_has_optimizer_and_random_generators(model, last):
    save_state(model, last, {"epoch": 3})
    model.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    expected = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]

    other = make_model()
    assert load_state(other, last) == State({"epoch": 3}, [], [])
    other.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    actual = [np.array(v) for v in (*other.variables, *other.optimizer.variables)]
    # Weights, the generator's state, iterations, learning rate and momenta.
    assert len(actual) == len(expected) == 3 + 4
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_optimizer_is_refused(model, last):
    save_state(model, last, {"epoch": 3})
    with pytest.raises(ValueError, match="of the same network and optimizer"):
        load_state(make_model(use_ema=True), last)


def test_a_state_without_a_digest_is_read(model, last):
    """As it was written before there was a digest."""
    save_state(model, last, {"epoch": 3})
    with h5py.File(last, "a") as file:
        del file["training"].attrs["digest"]
    assert load_state(model, find_state(last)).progress == {"epoch": 3}


def tear(path, how):
    contents = bytearray(path.read_bytes())
    if how == "truncated":
        del contents[len(contents) // 2 :]
    elif how == "empty":
        contents.clear()
    else:  # One value of the kernel is another one.
        with h5py.File(path) as file:
            kernel = file["layers/dense/vars/0"][()].tobytes()
        contents[contents.index(kernel)] ^= 1
    path.write_bytes(contents)


@pytest.mark.parametrize("how", ["truncated", "empty", "changed"])
def test_a_torn_file_falls_back_to_the_one_before(model, last, how):
    for epoch in (1, 2, 3):
        set_weights(model, float(epoch))
        save_state(model, last, {"epoch": epoch})
    tear(last, how)
    with pytest.warns(UserWarning, match=r"continues from the earlier one, .*previous"):
        state = load_state(model, find_state(last))
    assert state.progress == {"epoch": 2}
    assert set(np.ravel(model.layers[0].kernel)) == {2.0}
    # The torn file does not take the place of the good one.
    save_state(model, last, {"epoch": 3})
    assert load_state(model, previous_path(last)).progress == {"epoch": 2}


def test_the_one_before_is_used_where_the_last_is_missing(model, last):
    save_state(model, last, {"epoch": 1})
    last.rename(previous_path(last))
    with pytest.warns(UserWarning, match="it is not there"):
        assert load_state(model, find_state(last)).progress == {"epoch": 1}


def test_without_a_good_file(model, last):
    assert find_state(last) is None
    last.write_bytes(b"nothing")
    with pytest.raises(OSError, match="Start the run again"):
        load_state(model, find_state(last))
    assert damage(last)


def test_plateau_goes_on_where_it_was(tmp_path, last, model):
    def begin(resumed):
        plateau = keras.callbacks.ReduceLROnPlateau("val_loss", 0.1, patience=3)
        checkpoints = Checkpoints(
            tmp_path, {"format": 1}, resumed=resumed, plateau=plateau
        )
        for callback in (plateau, checkpoints):
            start(callback, model)
        return plateau, checkpoints

    plateau, checkpoints = begin(START)
    for epoch, loss in enumerate((2.0, 1.0, 1.5)):
        for callback in (plateau, checkpoints):
            callback.on_epoch_begin(epoch)
            callback.on_epoch_end(epoch, {"loss": 1.0, "val_loss": loss})
    resumed, _ = begin(load_state(model, last))
    assert (resumed.best, resumed.wait) == (plateau.best, plateau.wait) == (1.0, 1)


def test_a_phase_ends_and_its_best_weights_go_on(tmp_path, last, model):
    def begin(resumed):
        checkpoints = Checkpoints(
            tmp_path, lambda path: None, resumed=resumed, patience=2
        )
        return start(checkpoints, model)

    checkpoints = begin(START)
    model.stop_training = False
    for epoch, loss in enumerate((2.0, 1.0, 1.5)):
        set_weights(model, float(epoch))
        end_epoch(checkpoints, epoch, val_loss=loss)
        assert not model.stop_training
    state = load_state(model, last)
    resumed = begin(state)
    assert not resumed.has_ended
    end_epoch(resumed, 3, val_loss=1.0)  # as low, not lower
    assert model.stop_training
    assert resumed.has_ended
    assert begin(load_state(model, last)).has_ended
    for value in resumed.best_weights[:2]:
        assert set(np.ravel(value)) == {1.0}


def test_sigterm_is_noticed_and_no_longer_ends_the_process(checkpoints, last, model):
    before = signal.getsignal(signal.SIGTERM)
    with termination_noticed() as checkpoints.termination:
        checkpoints.on_epoch_begin(7)
        checkpoints.on_train_batch_end(0, {"loss": 1.0})
        assert not last.exists()
        signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
        with pytest.raises(TrainingStopped, match="SIGTERM in epoch 8"):
            checkpoints.on_train_batch_end(1, {"loss": 1.0})
    assert signal.getsignal(signal.SIGTERM) is before
    progress, metrics, _ = load_state(model, last)
    assert (progress["epoch"], progress["step"]) == (7, 2)
    assert len(metrics) == len(model.metrics_variables) > 0


def test_other_threads_leave_the_signal_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def notice():
        with termination_noticed():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=notice)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_resumed_epoch_has_the_steps_that_were_missing(tmp_path, last, model):
    callback = start(Checkpoints(tmp_path, lambda path: None, every=2), model)
    callback.on_epoch_begin(5)
    for batch in range(3):
        callback.on_train_batch_end(batch, {"loss": 1.0})
    state = load_state(model, last)
    model.reset_metrics()
    resumed = start(Checkpoints(tmp_path, lambda path: None, resumed=state), model)
    resumed.on_epoch_begin(5)
    for variable, value in zip(model.metrics_variables, state.metrics, strict=True):
        np.testing.assert_array_equal(variable, value)
        assert value.any()
    stops = []
    model.stop_training = False
    for batch in range(2):
        resumed.on_train_batch_end(batch, {"loss": 1.0})
        stops.append(model.stop_training)
    assert stops == [False, True]
    resumed.on_epoch_end(5, {"loss": 1.0})
    assert not model.stop_training
    assert load_state(model, last).progress["step"] == 0
