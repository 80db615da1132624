"""What happens during a training beside the steps: logs, curves, freezing."""

import time
from pathlib import Path

import keras

from keras_senet.training.curves import plot_curves, read_history
from keras_senet.training.network import batch_normalizations, bring_back
from keras_senet.training.optimization import classifier_rate
from keras_senet.training.recipe import Recipe


class LearningRateLog(keras.callbacks.Callback):
    """Adds the classifier's learning rate, and a phase's number, to an epoch's logs."""

    def __init__(self, phase: int | None = None):
        super().__init__()
        self.phase = phase

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = classifier_rate(self.model.optimizer)
        if self.phase is not None:
            logs["phase"] = self.phase


def make_plateau(
    recipe: Recipe, watched: str = "val_loss"
) -> keras.callbacks.ReduceLROnPlateau | None:
    """Returns what lowers the learning rate by a recipe's schedule, or None."""
    if recipe.schedule != "plateau":
        return None
    return keras.callbacks.ReduceLROnPlateau(
        watched, recipe.step_factor, recipe.patience
    )


class StopOnNaN(keras.callbacks.TerminateOnNaN):
    """Ends the training with an error when the loss is not a finite number.

    Raises:
        FloatingPointError: From the step that gave the loss; it names the step, the
            learning rate and the last good checkpoint.
    """

    def __init__(self, checkpoint: Path):
        super().__init__(raise_error=True)
        self.checkpoint = checkpoint
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_batch_end(self, batch, logs=None):
        try:
            super().on_batch_end(batch, logs)
        except RuntimeError as error:
            bring_back(self.model)
            # Of a variable there may be a copy on each device.
            step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
            rate = classifier_rate(self.model.optimizer)
            saved = "There is no checkpoint before it."
            if self.checkpoint.exists():
                saved = f"The last good checkpoint is {self.checkpoint}."
            raise FloatingPointError(
                f"The loss became {logs['loss']} in step {step} (epoch "
                f"{self.epoch + 1}) at the learning rate {rate:g}. {saved} Try a lower "
                "`learning_rate` or a longer warm-up."
            ) from error


class FreezeBatchNormalization(keras.callbacks.Callback):
    """Keeps statistics, scales and shifts of batch normalization from an epoch on.

    In evaluations and between epochs they are trainable, as the optimizer's averages
    and files expect. So it comes before the callbacks that use these.
    """

    def __init__(self, first_epoch: int):
        super().__init__()
        self.first_epoch = first_epoch
        self.traced = False

    def on_epoch_begin(self, epoch, logs=None):
        if epoch < self.first_epoch:
            return
        self._set_trainable(False)
        if not self.traced:
            self.model.make_train_function(force=True)
            self.traced = True

    def on_test_begin(self, logs=None):
        self._set_trainable(True)

    def on_epoch_end(self, epoch, logs=None):
        self._set_trainable(True)

    def _set_trainable(self, trainable):
        for layer in batch_normalizations(self.model):
            layer.trainable = trainable


class Curves(keras.callbacks.Callback):
    """Draws the curves of a history.csv, at most once a minute and at the end."""

    def __init__(self, history: Path, picture: Path, title: str):
        super().__init__()
        self.history = history
        self.picture = picture
        self.title = title
        self.drawn = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if time.monotonic() - self.drawn > 60:
            self._draw()

    def on_train_end(self, logs=None):
        self._draw()

    def _draw(self):
        history = read_history(self.history)
        if history:
            plot_curves(history, self.picture, title=self.title)
        self.drawn = time.monotonic()
