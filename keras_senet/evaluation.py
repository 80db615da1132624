"""Evaluation of a model, or of a file of one, on labelled images."""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_senet.card import Card
from keras_senet.data import Source
from keras_senet.opening import open_model
from keras_senet.runners import Runner
from keras_senet.utils.errors import check_counts
from keras_senet.utils.files import atomic_path
from keras_senet.utils.graph import data_format
from keras_senet.utils.labelled import read_labelled
from keras_senet.utils.measures import ClassCounts, LabelCounts
from keras_senet.utils.pictures import draw_confusion, save_figure
from keras_senet.utils.records import Measured
from keras_senet.views import as_source, in_range

# Why a figure is nan.
NO_LABEL = "unknown (no image has a label)"
NO_PAIR = "unknown (all images have the same label)"
NO_MEANING = "unknown (nothing says what the outputs mean)"


def in_words(template: str, value: float, unknown: str) -> str:
    """Returns a figure in a template such as "{:.4f}", or why it is nan."""
    return unknown if np.isnan(value) else template.format(value)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Evaluated(Measured):
    """What both kinds of evaluation tell."""

    model: str
    kind: str
    data: str | None
    split: str | None
    images: int
    image_size: tuple[int, int]
    crop_fraction: float | None
    class_names: tuple[str, ...]
    loss: float
    images_per_second: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation(_Evaluated):
    """What `evaluate` measured of a classifier: one class an image.

    Attributes:
        model: Name or path of what was evaluated.
        kind: "keras", "saved_model", "tflite", "onnx" or "openvino".
        data: Name of the data, `None` for arrays and batches.
        split: Its split, `None` for arrays and batches.
        images: Number of images.
        image_size: Their (height, width).
        crop_fraction: As in `keras_senet.data.batches`, `None` for arrays and batches.
        class_names: Names of the classes, or their numbers as text.
        loss: Mean cross-entropy in nats; nan if the meaning of the outputs is unknown.
        images_per_second: Speed of the model, without reading the images and without
            the first batch (if there is another one).
        top1: Share of the images whose class has the highest score.
        top5: Share of the images whose class is among the `top_k` highest scores.
        top_k: 5, or the number of classes minus one if there are fewer than six.
        calibration_error: Expected calibration error: the gap between confidence and
            accuracy, averaged over 15 equal bins of confidence, weighted by images;
            nan where the loss is.
        class_accuracy: Top-1 accuracy of each class, nan for one without images.
        confusion: Number of images, `(classes, classes)`: row true, column predicted.

    Example:

    >>> evaluation = keras_senet.evaluate(model, "bundled", limit=100)
    >>> evaluation.images, evaluation.confusion.shape
    (100, (10, 10))
    """

    top1: float
    top5: float
    top_k: int
    calibration_error: float
    class_accuracy: np.ndarray = dataclasses.field(repr=False)
    confusion: np.ndarray = dataclasses.field(repr=False)

    def summary(self) -> str:
        """Returns the main figures in one line."""
        more = f"top-{self.top_k} {self.top5:.2%}, " if self.top_k > 1 else ""
        loss, error = (
            in_words("{:.4f}", value, NO_MEANING)
            for value in (self.loss, self.calibration_error)
        )
        return (
            f"{self.model}: top-1 {self.top1:.2%}, {more}"
            f"loss {loss}, calibration error {error} on "
            f"{self.images} images, {self.images_per_second:.0f} images/s"
        )

    def findings(self) -> list[str]:
        """Returns sentences: the accuracy, and the most frequent mistake."""
        found = f"{100 * self.top1:.1f} % of {self.images:,} images are right."
        wrong = _off_diagonal(self.confusion)
        if not wrong.any():
            return [found, "There are no mistakes."]
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        return [
            found,
            f"The most frequent mistake: {wrong[row, column]:,} of "
            f"{self.confusion[row].sum():,} images of {self.class_names[row]} are "
            f"classified as {self.class_names[column]}. Look for wrong labels among "
            "them, or add images of both classes.",
        ]

    def by_class(self) -> list[dict]:
        """Returns a row for each class: images, accuracy (0..1), its worst mistake."""
        wrong, names = _off_diagonal(self.confusion), self.class_names
        return [
            {
                "class": name,
                "images": int(self.confusion[i].sum()),
                "top-1": float(self.class_accuracy[i]),
                "most often classified as": names[wrong[i].argmax()]
                if wrong[i].any()
                else "-",
            }
            for i, name in enumerate(names)
        ]

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
            title = f"top-1 {self.top1:.2%} of {self.images:,} images"
            figure = draw_confusion(self.class_names, self.confusion, title)
            save_figure(figure, temporary, dpi=150, format=None)
        return Path(path)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LabelEvaluation(_Evaluated):
    """What `evaluate` measured of a network whose outputs are independent.

    Each output is the probability of one label: an image may have several labels or
    none. A network with one output is a binary classifier. A label is predicted if its
    probability is above one half. A value is nan if its denominator is zero.

    Attributes:
        model: As in `Evaluation`, like all fields before `loss`.
        class_names: Names of the labels.
        loss: Mean binary cross-entropy of an output, in nats.
        images_per_second: As in `Evaluation`.
        positives: Number of images with each label.
        accuracy: For each label, the share of the images whose prediction is right.
        precision: For each label, the share of the predicted images that have it.
        recall: For each label, the share of the images with it that are predicted.
        f1: For each label, the harmonic mean of precision and recall.
        average_precision: For each label, the precision averaged over all recalls.
        auc: For each label, the area under the ROC curve.
        mean_average_precision: The mean over the labels that at least one image has.

    Example:

    >>> binary = keras_senet.SEResNet20(
    ...     weights=None,
    ...     classes=1,
    ...     classifier_activation="sigmoid",
    ...     input_shape=(28, 28, 1),
    ... )
    >>> evaluation = keras_senet.evaluate(binary, (images, np.arange(16) % 2))
    >>> evaluation.class_names
    ('0',)
    """

    mean_average_precision: float
    positives: np.ndarray = dataclasses.field(repr=False)
    accuracy: np.ndarray = dataclasses.field(repr=False)
    precision: np.ndarray = dataclasses.field(repr=False)
    recall: np.ndarray = dataclasses.field(repr=False)
    f1: np.ndarray = dataclasses.field(repr=False)
    average_precision: np.ndarray = dataclasses.field(repr=False)
    auc: np.ndarray = dataclasses.field(repr=False)

    def summary(self) -> str:
        """Returns the main figures in one line, of several labels their means."""
        mean = in_words("{:.4f}", self.mean_average_precision, NO_LABEL)
        figures = f"mean average precision {mean}"
        if len(self.class_names) == 1:
            figures = f"AUC {in_words('{:.4f}', self.auc[0], NO_PAIR)}"
        return (
            f"{self.model}: accuracy {np.nanmean(self.accuracy):.2%}, {figures}, "
            f"loss {self.loss:.4f} on {self.images} images, "
            f"{self.images_per_second:.0f} images/s"
        )

    def findings(self) -> list[str]:
        """Returns sentences: how many labels are right, and which is the weakest."""
        mean = in_words("{:.3f}", self.mean_average_precision, NO_LABEL)
        found = [
            f"{100 * np.nanmean(self.accuracy):.1f} % of the labels of "
            f"{self.images:,} images are right; mean average precision {mean}."
        ]
        if len(self.class_names) > 1 and not np.isnan(self.average_precision).all():
            worst = int(np.nanargmin(self.average_precision))
            found.append(
                f"The weakest label: {self.class_names[worst]}, average precision "
                f"{self.average_precision[worst]:.3f}. Look for wrong labels, or add "
                "images of it."
            )
        return found

    def by_class(self) -> list[dict]:
        """Returns a row for each label: its images and figures (0..1)."""
        figures = ("accuracy", "precision", "recall", "f1", "average_precision", "auc")
        columns = {name.replace("_", " "): getattr(self, name) for name in figures}
        return [
            {
                "label": name,
                "images": int(self.positives[i]),
                **{figure: float(values[i]) for figure, values in columns.items()},
            }
            for i, name in enumerate(self.class_names)
        ]


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
    on_batch: Callable | None = None,
) -> Evaluation | LabelEvaluation:
    """Evaluates a classifier on labelled images.

    The result is a `LabelEvaluation` if the outputs are independent probabilities
    (`card.outputs` is "sigmoid"), else an `Evaluation`.

    Args:
        model_or_file: What `keras_senet.open_model` opens: a `keras.Model`, a preset's
            name, a run folder, a .keras file, an exported file; or what it returns.
        data: A `keras_senet.data.Source` or what `keras_senet.data.open_source` takes
            ("bundled", a tensorflow_datasets name, a folder); a tuple of two arrays,
            (images, labels); or batches of such pairs, such as a tf.data dataset.
            Arrays have images as the model takes them. Labels are integers, (N,) or (N,
            1), or one-hot rows, (N, classes); for independent outputs rows of 0 and 1,
            for a single output also (N,).
        split: The split of a source.
        image_size: Size of the images of a source. `None` is that of the model.
        crop_fraction: Share of the image's side that stays, for a source, see
            `keras_senet.data.batches`. `None` is that of the model, or 1.
        batch_size: Number of images in one step.
        limit: How many images to use at most.
        threads: Threads of the TFLite interpreter, see `keras_senet.open_model`.
        on_batch: Called for each batch with three arrays: images, probabilities (None
            if the meaning of the outputs is unknown) and labels.

    Raises:
        ValueError: If model and data have different classes or another order of them,
            the labels are of another kind than the outputs, there are no images, they
            do not fit the model, arrays are not in the range of values that it takes,
            or it says that it needs normalised images and not how. If nothing is known
            about that, it gets raw images.
        OSError: If an image of a source cannot be read.

    Example:

    >>> keras_senet.export_tflite(model, "model.tflite")
    >>> keras_senet.evaluate("model.tflite", "bundled").top1
    0.87
    """
    check_counts(batch_size=batch_size, limit=limit)
    runner = open_model(model_or_file, threads=threads)
    data = as_source(data)
    about = {"data": None, "split": None, "crop_fraction": None}
    names = runner.card.labels
    if isinstance(data, Source):
        view = runner.view(data, image_size=image_size, crop_fraction=crop_fraction)
        batches = view.arrays(split, batch_size=batch_size, limit=limit)
        about = {"data": data.name, "split": split, "crop_fraction": view.crop_fraction}
        names = _checked_names(runner.card, data)
    else:
        given = {"image_size": image_size, "crop_fraction": crop_fraction}
        given["split"] = None if split == "test" else split
        if told := [f"{n}={v!r}" for n, v in given.items() if v is not None]:
            raise ValueError(
                "`split`, `image_size` and `crop_fraction` are for a source, not for "
                f"arrays and batches. Received: {', '.join(told)}"
            )
        batches = in_range(read_labelled(data, batch_size, limit=limit), runner.card)
    counts, record = ClassCounts(), Evaluation
    if runner.card.outputs == "sigmoid":
        counts, record = LabelCounts(), LabelEvaluation
    times = []
    for images, labels in batches:
        start = time.perf_counter()
        outputs = runner.predict(images, batch_size=batch_size)
        times.append((len(images), time.perf_counter() - start))
        probabilities = _probabilities(outputs, names, runner.card, counts.images)
        counts.add(outputs, probabilities, labels)
        if on_batch is not None:
            on_batch(images, probabilities, labels)
        about.setdefault("image_size", _image_size(runner, images))
        counts.images += len(images)
    timed = times[1:] or times
    return record(
        **about,
        **counts.figures(),
        model=runner.name,
        kind=runner.kind,
        images=counts.images,
        class_names=tuple(map(str, names or range(counts.classes))),
        images_per_second=sum(n for n, _ in timed) / sum(s for _, s in timed),
    )


def _image_size(runner, images) -> tuple[int, int]:
    is_keras = runner.kind == "keras"
    first = is_keras and data_format(runner.keras_model()) == "channels_first"
    return tuple(images.shape[2:4] if first else images.shape[1:3])


def _checked_names(card: Card, source: Source) -> tuple[str, ...]:
    """Returns the names of the outputs; raises if the data has others, or an order."""
    theirs = card.check_names(source.class_names)
    if source.multi_label and card.outputs != "sigmoid":
        raise ValueError(
            f"The images of {source.name!r} have several labels each, so the outputs "
            "of the model must be independent probabilities ('sigmoid'). Received: a "
            f"model with outputs={card.outputs!r}"
        )
    return theirs


def _probabilities(outputs, names, card, images) -> np.ndarray | None:
    """Checks outputs (N, classes); returns probabilities, where they are known."""
    if isinstance(outputs, dict) or outputs.ndim != 2 or card.outputs == "features":
        shape = list(outputs) if isinstance(outputs, dict) else outputs.shape
        raise ValueError(
            "The model must be a classifier with one output of shape (N, classes). "
            f"Received: a model with the output {shape}, outputs={card.outputs!r}"
        )
    classes = outputs.shape[1]
    if classes == 1 and card.outputs != "sigmoid":
        raise ValueError(
            "The model must have at least 2 classes, or one output that is a "
            f"probability ('sigmoid'). Received: one output, outputs={card.outputs!r}"
        )
    if names is not None and len(names) != classes:
        raise ValueError(
            "The model and the data must have the same classes. Received: a model with "
            f"{classes} classes, data with {len(names)}. Use the data that the model "
            "was trained on, or fine-tune the model on these data."
        )
    if not np.isfinite(outputs).all():
        raise ValueError(
            "The model's scores must be finite. Received: NaN or infinity after "
            f"{images} images with finite scores."
        )
    return None if card.outputs is None else card.scores(outputs)


def _off_diagonal(counts: np.ndarray) -> np.ndarray:
    return counts * (1 - np.eye(len(counts), dtype=counts.dtype))
