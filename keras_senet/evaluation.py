"""Evaluation of a model, or of a file of one, on labelled images."""

import dataclasses
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np

from keras_senet.data import Source, open_source
from keras_senet.export.scores import are_probabilities, log_probabilities
from keras_senet.opening import Runner, open_model
from keras_senet.training.failures import explained
from keras_senet.utils.errors import check_counts
from keras_senet.utils.files import atomic_path

_CALIBRATION_BINS = 15


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What `evaluate` measured.

    Attributes:
        model: Name or path of what was evaluated.
        kind: "keras", "saved_model" or "tflite".
        data: Name of the data, `None` for arrays and batches.
        split: Its split, `None` for arrays and batches.
        images: Number of images.
        image_size: Their (height, width).
        crop_fraction: As in `keras_senet.data.batches`, `None` for arrays and batches.
        class_names: Names of the classes, or their numbers as text.
        top1: Share of the images whose class has the highest score.
        top5: Share of the images whose class is among the `top_k` highest scores.
        top_k: 5, or one less than the classes where there are fewer than six.
        loss: Mean cross-entropy in nats.
        calibration_error: Expected calibration error: the gap between confidence and
            accuracy, averaged over 15 equal bins of confidence, weighted by images.
        class_accuracy: Top-1 accuracy of each class, nan for one without images.
        confusion: Number of images, `(classes, classes)`: row true, column predicted.
        images_per_second: Of the model alone, without reading the images and without
            the first batch (unless it is the only one).
    """

    model: str
    kind: str
    data: str | None
    split: str | None
    images: int
    image_size: tuple[int, int]
    crop_fraction: float | None
    class_names: tuple[str, ...]
    top1: float
    top5: float
    top_k: int
    loss: float
    calibration_error: float
    class_accuracy: np.ndarray = dataclasses.field(repr=False)
    confusion: np.ndarray = dataclasses.field(repr=False)
    images_per_second: float

    def to_json(self) -> str:
        """Returns all fields as a JSON object; the accuracy of no images is null."""
        fields = dataclasses.asdict(self)
        fields["class_accuracy"] = [
            None if np.isnan(value) else float(value) for value in self.class_accuracy
        ]
        fields["confusion"] = self.confusion.tolist()
        return json.dumps(fields, indent=2, ensure_ascii=False)

    def summary(self) -> str:
        """Returns the main figures in one line."""
        return (
            f"{self.model}: top-1 {self.top1:.2%}, top-{self.top_k} {self.top5:.2%}, "
            f"loss {self.loss:.4f}, calibration error {self.calibration_error:.4f} on "
            f"{self.images} images, {self.images_per_second:.0f} images/s"
        )

    def save_confusion_picture(
        self, path: str | os.PathLike, *, overwrite: bool = False
    ) -> Path:
        """Draws the confusion matrix, each row in shares of its class.

        Args:
            path: The picture to write; its suffix says the format (.png, .svg, .pdf).
            overwrite: Whether an existing file is replaced.

        Raises:
            ValueError: If the file exists and `overwrite` is not set.
        """
        with atomic_path(path, overwrite=overwrite, what="picture") as temporary:
            _draw_confusion(self).savefig(temporary, dpi=150)
        return Path(path)


def evaluate(
    model_or_file: keras.Model | str | os.PathLike | Runner,
    data,
    *,
    split: str = "test",
    image_size: int | tuple[int, int] | None = None,
    crop_fraction: float | None = None,
    batch_size: int = 64,
    limit: int | None = None,
    threads: int | None = None,
) -> Evaluation:
    """Evaluates a classifier on labelled images.

    Args:
        model_or_file: A `keras.Model`, or the path of a .keras file, a SavedModel
            folder or a .tflite file.
        data: A `keras_senet.data.Source` or what `keras_senet.data.open_source` takes
            ("bundled", a tensorflow_datasets name, a folder); a tuple of two arrays,
            (images, labels); or batches of such pairs, as of a tf.data dataset. Images
            are as the model takes them, labels are integers, (N,) or (N, 1), or
            one-hot rows, (N, classes).
        split: The split of a source.
        image_size: Size of the images of a source. `None` is the model's.
        crop_fraction: Share of the image's side that a source keeps, see
            `keras_senet.data.batches`. `None` is what the model's preprocessing says,
            else 1.
        batch_size: How many images go through the model at a time.
        limit: How many images to use at most.
        threads: Threads of the TFLite interpreter, see `open_model`.

    Raises:
        ValueError: If the model has not as many classes as the data or has them in
            another order, there are no images, they do not fit the model, or a
            source's would reach a network that does not normalise them and does not
            say how.
        OSError: If an image of a source cannot be read.

    Example:

    >>> keras_senet.evaluate("model.tflite", "bundled").top1
    0.87
    """
    check_counts(batch_size=batch_size, limit=limit)
    runner = open_model(model_or_file, threads=threads)
    batches, about = _open_data(
        data,
        runner,
        split=split,
        image_size=image_size,
        crop_fraction=crop_fraction,
        batch_size=batch_size,
        limit=limit,
    )
    class_names = about.pop("class_names")
    _check_order(runner.labels, class_names)
    counts = _Counts(class_names)
    for images, labels in batches:
        start = time.perf_counter()
        scores = runner.predict(images, batch_size=batch_size)
        counts.add(scores, labels, time.perf_counter() - start)
        about.setdefault("image_size", tuple(images.shape[1:3]))
    return counts.result(
        model=runner.name, kind=runner.kind, class_names=runner.labels, **about
    )


def _open_data(
    data, runner, *, split, image_size, crop_fraction, batch_size, limit
) -> tuple[Iterator, dict]:
    if isinstance(data, (str, os.PathLike)):
        data = open_source(data)
    if not isinstance(data, Source):
        about = {"data": None, "split": None, "crop_fraction": None}
        pairs = _arrays(data, batch_size) if isinstance(data, tuple) else data
        return _limited(pairs, limit), about | {"class_names": None}
    view = runner.view(data, image_size=image_size, crop_fraction=crop_fraction)
    dataset = view.batches(split, batch_size=batch_size, limit=limit)
    about = {"data": data.name, "split": split, "crop_fraction": view.crop_fraction}
    about |= {"class_names": data.class_names, "image_size": view.image_size}
    return _read(dataset, data), about


def _read(dataset, source) -> Iterator:
    with explained(source, several_workers=False):
        yield from dataset.as_numpy_iterator()


def _arrays(data, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    images, labels = (np.asarray(part) for part in data)
    if len(images) != len(labels):
        raise ValueError(
            "There must be one label for each image. Received: "
            f"{len(images)} images and {len(labels)} labels"
        )
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        yield images[part], labels[part]


def _limited(pairs: Iterable, limit: int | None) -> Iterator:
    left = limit
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(
                "Batches must be pairs (images, labels), and two arrays a tuple of "
                f"them. Received: a batch of the type {type(pair).__name__}"
            )
        images, labels = map(np.asarray, pair)
        if left is not None:
            images, labels = images[:left], labels[:left]
            left -= len(images)
        if len(images):
            yield images, labels
        if left == 0:
            return


def _check_order(model_names, data_names) -> None:
    """Raises if the model and the data name the same classes in another order."""
    names, others = list(model_names or ()), list(data_names or ())
    if names != others and sorted(names) == sorted(others):
        place = next(i for i, name in enumerate(names) if name != others[i])
        raise ValueError(
            "The classes of the model must be in the order of the data's. Received: "
            f"class {place} is {names[place]!r} for the model, {others[place]!r} in "
            "the data. Number the data's classes as the model does."
        )


class _Counts:
    """Sums over batches, from which the figures follow."""

    def __init__(self, class_names):
        self.class_names = class_names
        self.confusion = None
        self.in_top_k = 0
        self.loss = 0.0
        self.bins = np.zeros((2, _CALIBRATION_BINS))  # confidence, correct
        self.times = []

    def add(self, scores, labels, seconds: float) -> None:
        """Adds one batch: scores (N, classes), labels (N,), (N, 1), (N, classes)."""
        if self.confusion is None:
            self._start(scores)
        if labels.ndim == 2 and labels.shape[1] == scores.shape[1]:
            labels = labels.argmax(-1)
        elif labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        labels = labels.astype("int64")
        self._check(scores, labels)
        order = np.argsort(-scores, axis=-1, kind="stable")[:, : self.top_k]
        np.add.at(self.confusion, (labels, order[:, 0]), 1)
        self.in_top_k += int((order == labels[:, None]).any(-1).sum())
        logs = log_probabilities(scores, probabilities=self.probabilities)
        self.loss -= logs[np.arange(len(labels)), labels].sum()
        confidence = np.exp(logs.max(-1))
        place = np.minimum(confidence * _CALIBRATION_BINS, _CALIBRATION_BINS - 1)
        place = place.astype(int)
        np.add.at(self.bins[0], place, confidence)
        np.add.at(self.bins[1], place, order[:, 0] == labels)
        self.times.append((len(labels), seconds))

    def _start(self, scores) -> None:
        if isinstance(scores, dict) or scores.ndim != 2 or scores.shape[1] < 2:
            shape = list(scores) if isinstance(scores, dict) else scores.shape
            raise ValueError(
                "A classifier has one output of shape (N, classes), classes at least "
                f"2. Received: a model with the output {shape}"
            )
        classes = scores.shape[1]
        if self.class_names is not None and len(self.class_names) != classes:
            raise ValueError(
                "The model must have the classes of the data. Received: a model with "
                f"{classes} classes, data with {len(self.class_names)}. Use the data "
                "it was trained for, or another head."
            )
        self.top_k = min(5, classes - 1)
        self.confusion = np.zeros((classes, classes), "int64")
        self.probabilities = are_probabilities(scores)

    def _check(self, scores, labels) -> None:
        if not np.isfinite(scores).all():
            raise ValueError(
                "The model's scores must be finite. Received: a nan or an infinity, "
                "after "
                f"{int(self.confusion.sum())} good images."
            )
        classes = scores.shape[1]
        if labels.shape != scores.shape[:1] or labels.min() < 0:
            raise ValueError(
                "Labels must be integers from 0, one for each image, or one-hot rows "
                f"of {classes} classes. Received: labels of shape {labels.shape}, the "
                f"smallest {labels.min()}, for {len(scores)} images"
            )
        if labels.max() >= classes:
            raise ValueError(
                "The model must have the classes of the data. Received: a model with "
                f"{classes} classes, data with at least {int(labels.max()) + 1}."
            )

    def result(self, *, class_names, **about) -> Evaluation:
        """Returns the figures of all batches."""
        if self.confusion is None:
            raise ValueError("There must be images to evaluate. Received: none.")
        images = int(self.confusion.sum())
        each = self.confusion.sum(1)
        right = np.diag(self.confusion)
        confidence, correct = self.bins
        timed = self.times[1:] or self.times
        names = self.class_names or class_names or range(len(self.confusion))
        return Evaluation(
            **about,
            images=images,
            class_names=tuple(str(name) for name in names),
            top1=float(right.sum() / images),
            top5=self.in_top_k / images,
            top_k=self.top_k,
            loss=float(self.loss / images),
            calibration_error=float(np.abs(confidence - correct).sum() / images),
            class_accuracy=np.where(each, right / np.maximum(each, 1), np.nan),
            confusion=self.confusion,
            images_per_second=sum(n for n, _ in timed) / sum(s for _, s in timed),
        )


def _draw_confusion(evaluation: Evaluation):
    from matplotlib.figure import Figure

    names, counts = evaluation.class_names, evaluation.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(max(5.0, 2.5 + 0.5 * len(names)), 16.0)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(
        f"top-1 {evaluation.top1:.2%} of {evaluation.images:,} images", fontsize=11
    )
    if len(names) <= 50:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= 20:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                axes.text(
                    column,
                    row,
                    f"{100 * share:.0f}",
                    ha="center",
                    va="center",
                    color="white" if share > 0.5 else "black",
                    fontsize=8,
                )
    return figure
