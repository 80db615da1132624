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
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = {
        "loss": ("loss (nats)", 1, _TRAINING),
        "accuracy": ("top-1 accuracy (%)", 100, _TRAINING),
        "learning_rate": ("learning rate at the end of the epoch", 1, _RATE),
    }
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), panels, strict=True):
        meaning, scale, own = panels[name]
        curves = (name, "training", own), (f"val_{name}", "held out", _VALIDATION)
        for key, label, color in curves:
            values = [scale * value for value in history.get(key, ())]
            style = {"marker": "o" if len(values) <= 30 else None, "markersize": 3.5}
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, color=color, label=label, **style)
        axes.set_ylabel(meaning)
        if name != "accuracy":
            axes.set_ylim(bottom=0)
        if name != "learning_rate":
            axes.legend(frameon=False)
        axes.set_xlabel("epochs")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    with atomic_path(path, overwrite=True) as temporary:
        save_figure(figure, temporary)
