"""The curves of a training as a picture."""

import csv
import os
from collections.abc import Mapping, Sequence

from keras_senet.utils.files import atomic_path
from keras_senet.utils.pictures import save_figure

_TRAINING, _VALIDATION, _RATE = "#8c96a3", "#1b5e9e", "#b3561d"


def read_history(path: str | os.PathLike) -> dict[str, list[float]]:
    """Returns the columns of a history.csv of Keras' CSVLogger, one value an epoch."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else ())}


def plot_curves(
    history: Mapping[str, Sequence[float]], path: str | os.PathLike, *, title: str = ""
) -> None:
    """Draws loss, accuracy and learning rate over the epochs into a PNG file.

    The values are named as Keras names them; "val_" is put before a name for the
    held-out images. An older file is replaced.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy, rate = figure.subplots(1, 3)
    _pair(loss, history, "loss", 1)
    loss.set_ylabel("loss (nats)")
    loss.set_ylim(bottom=0)
    _pair(accuracy, history, "accuracy", 100)
    accuracy.set_ylabel("top-1 accuracy (%)")
    _line(rate, history.get("learning_rate", ()), color=_RATE)
    rate.set_ylabel("learning rate at the end of the epoch")
    rate.set_ylim(bottom=0)
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epochs")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    with atomic_path(path, overwrite=True) as temporary:
        save_figure(figure, temporary)


def _pair(axes, history, name, scale):
    for key, label, color in (
        (name, "training", _TRAINING),
        (f"val_{name}", "held out", _VALIDATION),
    ):
        values = [scale * value for value in history.get(key, ())]
        _line(axes, values, color=color, label=label)
    axes.legend(frameon=False)


def _line(axes, values, **style):
    epochs = range(1, len(values) + 1)
    few = len(values) <= 30
    axes.plot(epochs, values, marker="o" if few else None, markersize=3.5, **style)
