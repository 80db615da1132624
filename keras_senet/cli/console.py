"""What the verbs print: tables, progress, and no chatter of native code."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence

import keras


def make_console():
    """Returns a rich console on the standard output.

    Where the output is no terminal, lines are long enough for a table.
    """
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def print_table(
    console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence],
) -> None:
    """Prints a table.

    Args:
        console: A rich console.
        title: Stands above the table.
        columns: Names of the columns; ">" before a name aligns the column right. The
            first column is never broken. Without a name, there is no head.
        rows: The cells of each row, as plain text or as rich texts.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=any(columns))
    for i, column in enumerate(columns):
        right = column.startswith(">")
        table.add_column(
            column.lstrip(">"), justify="right" if right else "left", no_wrap=i == 0
        )
    for row in rows:
        table.add_row(*(Text(c) if isinstance(c, str) else c for c in row))
    console.print(Text(title, style="bold"))
    console.print(table)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Drops what native code writes to standard error while TensorFlow starts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from keras_senet.export._quiet import quiet

    with quiet():
        yield


class Progress(keras.callbacks.Callback):
    """Shows a training: a bar on a terminal, and one line an epoch.

    Args:
        console: The rich console.
    """

    def __init__(self, console):
        super().__init__()
        self.console = console
        self.bar = None
        self.task = None
        self.epoch = 0
        self.started = 0.0

    def on_train_begin(self, logs=None):
        if self.console.is_terminal:
            self.bar = _bar(self.console)
            self.bar.start()
            self.task = self.bar.add_task("", total=self.params["steps"], note="")

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1
        self.started = time.perf_counter()
        if self.bar:
            text = f"epoch {self.epoch}/{self.params['epochs']}"
            self.bar.reset(self.task, description=text)

    def on_train_batch_end(self, batch, logs=None):
        if self.bar:
            note = f"loss {logs['loss']:.3f}  accuracy {100 * logs['accuracy']:.1f} %"
            self.bar.update(self.task, completed=batch + 1, note=note)

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.started
        self.console.print(
            f"epoch {self.epoch:3}/{self.params['epochs']}   "
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
