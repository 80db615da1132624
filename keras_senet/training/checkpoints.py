"""What is written during a training so that it can go on, and when it stops."""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_senet.training.network import bring_back
from keras_senet.training.state import RESUME, State, save_state
from keras_senet.utils.files import DiskFull

# A training from its first step.
START = State({}, [], [])


class TrainingStopped(Exception):
    """The training was asked to stop, and has saved its state.

    Example:

    >>> try:
    ...     raise keras_senet.training.TrainingStopped("Stopped by SIGTERM.")
    ... except keras_senet.training.TrainingStopped as stop:
    ...     print(stop)
    Stopped by SIGTERM.
    """


class Termination:
    """Whether the process was asked to end."""

    requested = False


@contextlib.contextmanager
def termination_noticed(noticed: bool = True) -> Iterator[Termination]:
    """Lets SIGTERM be noticed instead of ending the process.

    Only the main thread can do that; in others the signal keeps its meaning.
    """
    termination = Termination()
    if not noticed or threading.current_thread() is not threading.main_thread():
        yield termination
        return

    def notice(*_):
        termination.requested = True

    previous = signal.signal(signal.SIGTERM, notice)
    try:
        yield termination
    finally:
        # None: a handler that Python did not set, and cannot set again.
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


class Checkpoints(keras.callbacks.Callback):
    """Writes the last state of the training after each epoch, and the best weights.

    It also ends a resumed epoch where it should end, a phase that no longer gets
    better, and a training that SIGTERM wants to end. A state whose losses or weights
    are not finite is not written: the last good one stays.

    It comes before `keras.callbacks.SwapEMAWeights`, so that the best weights are the
    averaged ones and the last state has both.

    Args:
        folder: Where last.weights.h5, previous.weights.h5 and best.weights.h5 go.
        write_best: Called with the path when the weights are the best so far.
        resumed: What `load_state` returned of a training that goes on.
        plateau: The callback whose state belongs to the checkpoint.
        patience: Epochs without a lower validation loss that end the phase, or
            infinity. `best_weights` are then those of the best epoch, with None none.
        every: Write the state also after so many steps of an epoch.
        termination: Says when to stop.
        prepare: Called with the model before it is evaluated or written.
    """

    def __init__(
        self,
        folder: Path,
        write_best: Callable[[Path], Any],
        *,
        resumed: State = START,
        plateau: keras.callbacks.ReduceLROnPlateau | None = None,
        patience: float | None = None,
        every: int | None = None,
        termination: Termination | None = None,
        prepare=lambda model: None,
    ):
        super().__init__()
        self.last, self.best = folder / "last.weights.h5", folder / "best.weights.h5"
        self.write_best = write_best
        progress, self.metrics, self.best_weights = resumed
        self.progress = {"best": -math.inf, **progress}
        if patience is not None:
            self.progress = {"lowest": math.inf, "wait": 0, **self.progress}
        self.plateau = plateau
        self.patience = patience
        self.every = every
        self.termination = termination or Termination()
        self.prepare = prepare
        self.step = int(self.progress.get("step", 0))
        self.ends_early = False

    @property
    def has_ended(self) -> bool:
        """Whether the phase ended because it no longer got better."""
        return self.patience is not None and self.progress["wait"] >= self.patience

    def on_train_begin(self, logs=None):
        # Keras has just reset the callback: this one comes after it.
        if self.plateau and "plateau_best" in self.progress:
            self.plateau.best = self.progress["plateau_best"]
            self.plateau.wait = self.progress["plateau_wait"]

    def on_epoch_begin(self, epoch, logs=None):
        self.progress["epoch"] = epoch
        self.ends_early = self.step > 0
        if self.ends_early:
            for variable, value in zip(
                self.model.metrics_variables, self.metrics, strict=True
            ):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step == self.params["steps"]:
            # Keras does not know that the rest of a resumed epoch is shorter.
            self.model.stop_training |= self.ends_early
        elif self.termination.requested or (self.every and self.step % self.every == 0):
            if math.isfinite(logs["loss"]):
                self._save(step=self.step)
            self._stop_if_asked()

    def on_test_begin(self, logs=None):
        self.prepare(self.model)

    def on_test_end(self, logs=None):
        accuracy = logs.get("accuracy", -math.inf)
        if math.isfinite(logs["loss"]) and accuracy > self.progress["best"]:
            self.progress["best"] = accuracy
            self._write(self.write_best, self.best)
        if self.patience is None:
            return
        self.progress["wait"] += 1
        if logs["loss"] < self.progress["lowest"]:
            self.progress |= {"lowest": logs["loss"], "wait": 0}
            self.best_weights = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        if self.ends_early:
            self.model.stop_training = False
        self.step = 0
        if all(math.isfinite(logs[k]) for k in ("loss", "val_loss") if k in logs):
            self.progress["epoch"] = epoch + 1
            if self.plateau:
                self.progress["plateau_best"] = self.plateau.best
                self.progress["plateau_wait"] = self.plateau.wait
            self._save(step=0)
        self._stop_if_asked()
        self.model.stop_training |= self.has_ended

    def _save(self, *, step):
        bring_back(self.model)
        variables = self.model.trainable_variables
        values = map(keras.ops.convert_to_numpy, variables)
        if not all(np.isfinite(value).all() for value in values):
            return
        if step:
            self.prepare(self.model)
        self.progress["step"] = step
        self._write(save_state, self.model, self.last, self.progress, self.best_weights)

    def _write(self, write, *arguments):
        try:
            write(*arguments)
        except DiskFull as error:
            kept = ""
            if self.last.exists():
                kept = f" The state before, {self.last}, is whole."
            raise DiskFull(f"{error}{kept} Make room, then {RESUME}.") from error

    def _stop_if_asked(self):
        if self.termination.requested:
            raise TrainingStopped(
                f"Stopped by SIGTERM in epoch {int(self.progress['epoch']) + 1}. "
                f"The state is in {self.last}: {RESUME}."
            )
