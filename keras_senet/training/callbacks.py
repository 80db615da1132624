"""What happens during a training beside the steps: logs, checkpoints, curves."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_senet.training.curves import plot_curves, read_history
from keras_senet.training.state import save_state
from keras_senet.weights import save_weights


class LearningRateLog(keras.callbacks.Callback):
    """Adds the learning rate at the end of each epoch to its logs."""

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(_value(self.model.optimizer.learning_rate))


class StopOnNaN(keras.callbacks.TerminateOnNaN):
    """Ends the training with an error when the loss is not a finite number.

    Args:
        checkpoint: The file of the last good checkpoint, for the message.

    Raises:
        FloatingPointError: From the step that gave the loss; it names the step, the
            learning rate and the checkpoint.
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
            raise FloatingPointError(self._message(logs["loss"])) from error

    def _message(self, loss):
        step = int(_value(self.model.optimizer.iterations))
        rate = float(_value(self.model.optimizer.learning_rate))
        saved = (
            f"The last good checkpoint is {self.checkpoint}."
            if self.checkpoint.exists()
            else "There is no checkpoint before it."
        )
        return (
            f"The loss became {loss} in step {step} (epoch {self.epoch + 1}) at the "
            f"learning rate {rate:g}. {saved} Try a lower `learning_rate` or a longer "
            "warm-up."
        )


class Checkpoints(keras.callbacks.Callback):
    """Writes the last state of the training after each epoch, and the best weights.

    A checkpoint with a loss that is not finite is not written: the last good one stays.

    Args:
        folder: Where last.weights.h5 and best.weights.h5 go.
        header: The header of best.weights.h5, of `keras_senet.weights`.
        progress: What `load_state` returned, of a training that goes on.
        plateau: The callback whose state belongs to the checkpoint.
        monitor: The value whose maximum is the best.
    """

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, Any],
        *,
        progress: dict[str, float] | None = None,
        plateau: keras.callbacks.ReduceLROnPlateau | None = None,
        monitor: str = "val_accuracy",
    ):
        super().__init__()
        self.folder = folder
        self.header = header
        self.progress = {"best": -math.inf, **(progress or {})}
        self.plateau = plateau
        self.monitor = monitor

    def on_train_begin(self, logs=None):
        # Keras has just reset the callback: this one comes after it.
        if self.plateau and "plateau_best" in self.progress:
            self.plateau.best = self.progress["plateau_best"]
            self.plateau.wait = self.progress["plateau_wait"]

    def on_epoch_end(self, epoch, logs=None):
        if not all(math.isfinite(logs[k]) for k in ("loss", "val_loss") if k in logs):
            return
        if logs.get(self.monitor, -math.inf) > self.progress["best"]:
            self.progress["best"] = logs[self.monitor]
            best = self.folder / "best.weights.h5"
            save_weights(self.model, best, self.header, overwrite=True)
        self.progress["epoch"] = epoch + 1
        if self.plateau:
            self.progress["plateau_best"] = self.plateau.best
            self.progress["plateau_wait"] = self.plateau.wait
        save_state(self.model, self.folder / "last.weights.h5", self.progress)


class Curves(keras.callbacks.Callback):
    """Draws the curves of history.csv, at most once a minute and at the end.

    Args:
        history: The CSV file of the history.
        picture: The PNG file to write.
        title: Stands above the curves.
    """

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


def _value(variable):
    """A number, also of a variable that has a copy on each device."""
    return keras.ops.convert_to_numpy(variable)
