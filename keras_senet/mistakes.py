"""The worst mistakes of a classifier: found, drawn, and on a page with overlays."""

import io
import operator
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_senet.analysis import class_activation, overlay
from keras_senet.analysis.class_activation import as_picture
from keras_senet.opening import open_model
from keras_senet.utils.files import atomic_path
from keras_senet.utils.labelled import class_numbers
from keras_senet.utils.pictures import draw_predictions
from keras_senet.utils.report_page import Picture, Report

_HEIGHT = 140
_CAPTION = (
    "Beside each image, bright parts support the predicted class, then the true class "
    "(Grad-CAM)."
)


class Mistakes:
    """Keeps the `limit` images whose own class a network gave the lowest scores."""

    def __init__(self, limit: int = 24):
        self._limit = limit
        self._rows = []

    def add(self, images, scores, labels) -> None:
        """Takes a batch, as `on_batch` of `keras_senet.evaluate` is called."""
        if scores is None:
            return
        labels = class_numbers(labels)
        own = scores[np.arange(len(labels)), labels]
        wrong = np.flatnonzero(scores.argmax(-1) != labels)
        # Copies: a view would keep its whole batch in memory.
        rows = [
            (own[i], np.copy(images[i]), np.copy(scores[i]), labels[i]) for i in wrong
        ]
        rows = sorted(self._rows + rows, key=operator.itemgetter(0))
        self._rows = rows[: self._limit]

    def write(self, folder: Path, class_names: Sequence[str], model) -> list[dict]:
        """Writes worst.png and worst.html, which has the overlays too, into a folder.

        The model is what `open_model` takes; an exported file has no overlays. Without
        mistakes nothing is written.

        Returns:
            What each image is and what the network says, the worst first.
        """
        if not self._rows:
            return []
        _, images, scores, labels = map(np.stack, zip(*self._rows, strict=True))
        pictures = np.stack([as_picture(image) for image in images])
        title = "The worst mistakes"
        draw_predictions(
            scores, pictures, labels, class_names, folder / "worst.png", title=title
        )
        rows = [
            {
                "class": class_names[label],
                "predicted": class_names[row.argmax()],
                "score": float(row.max()),
                "score_of_class": float(row[label]),
            }
            for row, label in zip(scores, labels, strict=True)
        ]
        shown = [[picture] for picture in pictures]
        try:
            network, caption = open_model(model).keras_model(), _CAPTION
            for classes in (scores.argmax(-1), labels):
                where = class_activation(network, images, classes, batch_size=8)
                for pair, picture, one in zip(shown, pictures, where, strict=True):
                    pair.append(overlay(picture, one))
        except ValueError as error:  # an exported file, a network without a last map
            caption = f"Without overlays: {error}"
        texts = [
            f"{row['predicted']} {row['score']:.1%}, "
            f"is {row['class']} {row['score_of_class']:.1%}"
            for row in rows
        ]
        report = Report(
            title=title,
            answer=[caption],
            pictures=[
                Picture(_png(pictures), text, text)
                for pictures, text in zip(shown, texts, strict=True)
            ],
        )
        with atomic_path(folder / "worst.html", overwrite=True) as path:
            path.write_text(report.to_html(), encoding="utf-8")
        return rows


def _png(pictures):
    """Pictures of one size beside each other, as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    shown = Image.fromarray(np.concatenate(pictures, 1))
    times = -(-_HEIGHT // shown.height)  # small images are hard to see
    shown.resize((times * shown.width, times * shown.height), 0).save(buffer, "PNG")
    return buffer.getvalue()
