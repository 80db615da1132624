"""Pictures of images with what a model says of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_senet.utils.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

_RIGHT, _WRONG = "#1b7a3d", "#b3261e"


def draw_predictions(
    scores: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    path: Path,
    *,
    title: str = "Held-out images: green is right, red is wrong",
) -> None:
    """Draws images with what the model says of them into a PNG file.

    Args:
        scores: Probabilities (N, classes).
        images: Raw images (N, H, W, 1 or 3), 0..255.
        labels: The classes, N integers.
        class_names: Names of the classes.
        path: The file; an older one is replaced.
        title: Stands above the images.
    """
    import numpy as np
    from matplotlib.figure import Figure

    columns = min(max(len(images), 3), 8)  # three are as wide as the title
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.6 * columns, 1.95 * rows + 0.5), layout="constrained")
    grid = np.atleast_2d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, score, image, label in zip(grid, scores, images, labels, strict=False):
        top = int(np.argmax(score))
        axes.imshow(image.squeeze().astype("uint8"), cmap="gray", vmin=0, vmax=255)
        text, color = f"{class_names[top]}, {100 * score[top]:.0f} %", _RIGHT
        if top != label:
            text, color = f"{text}\n(is {class_names[label]})", _WRONG
        axes.set_title(text, fontsize=8, color=color)
    figure.suptitle(title, fontsize=11)
    with atomic_path(path, overwrite=True) as temporary:
        save_figure(figure, temporary)


def draw_confusion(names: Sequence[str], counts: np.ndarray, title: str) -> Figure:
    """Draws a confusion matrix, each row in shares of its class.

    `counts` are numbers of images: row true, column predicted.
    """
    import numpy as np
    from matplotlib.figure import Figure

    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(max(5.0, 2.5 + 0.5 * len(names)), 16.0)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * shares, cmap="cividis", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=11)
    if len(names) <= 50:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= 20:
        centred = {"ha": "center", "va": "center", "fontsize": 8}
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                color = "black" if share > 0.5 else "white"
                axes.text(column, row, f"{100 * share:.0f}", color=color, **centred)
    return figure


def save_figure(
    figure: Figure, path: str | os.PathLike, *, dpi: int = 120, format="png"
) -> None:
    """Writes a figure, whose texts are plain then: a `$` in a name begins no formula.

    For the format None, the file's ending says it.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with warnings.catch_warnings():
        # Names in letters that the font does not have.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(path, dpi=dpi, format=format)
