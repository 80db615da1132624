"""What the callbacks do that a short training does not show."""

import keras
import numpy as np
import pytest

from keras_senet.training import Recipe, train
from keras_senet.training.callbacks import Curves, StopOnNaN


@pytest.fixture
def model():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)]
    )
    model.compile(keras.optimizers.SGD(0.1, 0.9), "mse", jit_compile=False)
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    return model


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


class _Evaluations(keras.callbacks.Callback):
    """Notes what is trainable in evaluations, and the moving statistics after steps."""

    def __init__(self):
        super().__init__()
        self.trainable, self.means = [], []

    def on_train_batch_end(self, batch, logs=None):
        layer = self.model.get_layer("conv0_bn")
        self.means.append(np.array(layer.moving_mean))

    def on_test_begin(self, logs=None):
        self.trainable.append(len(self.model.trainable_variables))


def test_frozen_normalization_is_trainable_in_evaluations(tmp_path):
    """Keras 3.13 swaps the averages with the variables that are trainable then."""
    recipe = Recipe(
        model="se_resnet20",
        data="bundled",
        limit=32,
        epochs=2,
        global_batch_size=16,
        reference_batch_size=16,
        ema_momentum=0.9,
        freeze_batch_norm_epochs=1,
        schedule="constant",
    )
    seen = _Evaluations()
    train(recipe, tmp_path / "run", verbose=0, callbacks=[seen])
    assert len(set(seen.trainable)) == 1
    first, second, third, fourth = seen.means
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(third, second, atol=1e-6)
    np.testing.assert_array_equal(fourth, third)
