"""How a training shows itself: a bar on a terminal, and one line an epoch."""

import time

import keras


class Progress(keras.callbacks.Callback):
    """Shows a training on a rich console."""

    def __init__(self, console):
        super().__init__()
        self.console = console
        self.bar = self.task = None

    def on_train_begin(self, logs=None):
        if self.console.is_terminal:
            self.bar = _bar(self.console)
            self.bar.start()
            self.task = self.bar.add_task("", total=self.params["steps"], note="")

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        if self.bar:
            text = f"epoch {epoch + 1}/{self.params['epochs']}"
            self.bar.reset(self.task, description=text)

    def on_train_batch_end(self, batch, logs=None):
        if self.bar:
            note = f"loss {logs['loss']:.3f}  accuracy {100 * logs['accuracy']:.1f} %"
            self.bar.update(self.task, completed=batch + 1, note=note)

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.started
        self.console.print(
            f"epoch {epoch + 1:3}/{self.params['epochs']}   "
            f"loss {logs['loss']:.3f}   accuracy {100 * logs['accuracy']:5.1f} %   "
            f"held out {100 * logs['val_accuracy']:5.1f} %   {seconds:.0f} s"
        )

    def on_train_end(self, logs=None):
        self.stop()

    def stop(self) -> None:
        """Takes the bar away."""
        if self.bar:
            self.bar.stop()
            self.bar = None


def _bar(console):
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[note]}"),
        progress.TimeRemainingColumn(),
        console=console,
        transient=True,
    )
