"""How well scores fit labels."""

from typing import Any

import numpy as np

from keras_senet.utils.labelled import class_numbers

_CALIBRATION_BINS = 15
_LEAST_PROBABILITY = 1e-7


def hits(scores: np.ndarray, labels: np.ndarray, top: int = 1) -> np.ndarray:
    """Returns for each image whether its class is among the `top` highest scores.

    Of classes with the same score the first ones count as higher, as in `argmax`.
    `scores` are `(N, classes)`, `labels` integers `(N,)`.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(-1) < top


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the mean of the precisions at each step of recall; nan of no positives.

    The sum of (R_n - R_n-1) P_n over the thresholds, as scikit-learn has it; `scores`
    are `(N,)`, and so are the booleans `positive`.
    """
    found, seen = _at_thresholds(scores, positive)
    if not positive.any():
        return float("nan")
    recall = found / np.count_nonzero(positive)
    return float(np.sum(np.diff(recall, prepend=0.0) * found / seen))


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the area under the ROC curve; nan where one of the two sides is empty.

    It is the share of pairs of a positive and a negative whose scores are in order;
    `scores` and `positive` as of `average_precision`.
    """
    found, seen = _at_thresholds(scores, positive)
    if positive.all() or not positive.any():
        return float("nan")
    sides = np.stack([found, seen - found]) / [[found[-1]], [seen[-1] - found[-1]]]
    true, false = np.concatenate([np.zeros((2, 1)), sides], axis=1)
    # NumPy 1 calls its `trapezoid` otherwise.
    return float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())


def _at_thresholds(scores, positive) -> tuple[np.ndarray, np.ndarray]:
    """How many positives, and how many in all, have each score or a higher one."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(ordered[1:] != ordered[:-1], [True] * bool(len(scores)))
    return np.cumsum(positive[order])[last], np.arange(1, len(scores) + 1)[last]


class ClassCounts:
    """Sums over batches of one class an image, from which the figures follow."""

    def __init__(self):
        self.images = self.classes = self.in_top_k = 0
        self.loss = 0.0
        self.bins = np.zeros((2, _CALIBRATION_BINS))  # confidence, correct

    def add(self, outputs, probabilities, labels) -> None:
        """Adds a batch: (N, classes) twice, and (N,), (N, 1) or (N, classes)."""
        if not self.classes:
            self.classes = outputs.shape[1]
            self.top_k = min(5, self.classes - 1)
            self.confusion = np.zeros((self.classes, self.classes), "int64")
        if np.ndim(labels) == 2 and np.shape(labels)[1] not in (1, self.classes):
            raise ValueError(
                f"Labels must be integers, or one-hot rows of {self.classes} columns. "
                f"Received: labels of shape {np.shape(labels)}"
            )
        labels = class_numbers(labels).astype("int64")
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ValueError(
                f"Labels must be integers from 0 and below {self.classes}, the model's "
                f"classes. Received: labels from {labels.min()} to {labels.max()}"
            )
        right = hits(outputs, labels)
        np.add.at(self.confusion, (labels, outputs.argmax(-1)), 1)
        self.in_top_k += np.count_nonzero(hits(outputs, labels, self.top_k))
        if probabilities is None:
            self.loss = float("nan")
            return
        shares = probabilities.astype("float64")
        shares /= np.maximum(shares.sum(-1, keepdims=True), _LEAST_PROBABILITY)
        own = np.take_along_axis(shares, labels[:, None], axis=1)
        self.loss -= np.log(np.maximum(own, _LEAST_PROBABILITY)).sum()
        confidence = shares.max(-1)
        place = np.minimum(confidence * _CALIBRATION_BINS, _CALIBRATION_BINS - 1)
        np.add.at(self.bins[0], place.astype(int), confidence)
        np.add.at(self.bins[1], place.astype(int), right)

    def figures(self) -> dict[str, Any]:
        """Returns the figures of all batches, the fields of an `Evaluation`."""
        each, right = self.confusion.sum(1), np.diag(self.confusion)
        confidence, correct = self.bins
        gap = np.abs(confidence - correct).sum() / self.images
        return {
            "loss": float(self.loss / self.images),
            "top1": float(right.sum() / self.images),
            "top5": self.in_top_k / self.images,
            "top_k": self.top_k,
            "calibration_error": float(gap + 0 * self.loss),
            "class_accuracy": _shares(right, each),
            "confusion": self.confusion,
        }


class LabelCounts:
    """All batches of several labels an image, or of one that is there or not."""

    def __init__(self):
        self.images = self.classes = 0
        self.scores, self.labels = [], []

    def add(self, outputs, probabilities, labels) -> None:
        """Adds a batch: (N, labels) three times; labels of a single one also (N,)."""
        self.classes = outputs.shape[1]
        if self.classes == 1 and labels.ndim == 1:
            labels = labels[:, None]
        if labels.shape != outputs.shape or not np.isin(labels, (0, 1)).all():
            raise ValueError(
                "The labels of independent outputs must be rows of 0 and 1, one column "
                f"an output, {outputs.shape}. Received: labels of shape {labels.shape} "
                f"and values from {labels.min()} to {labels.max()}"
            )
        self.scores.append(probabilities)
        self.labels.append(labels.astype(bool))

    def figures(self) -> dict[str, Any]:
        """Returns the figures of all batches, the fields of a `LabelEvaluation`."""
        scores, labels = np.concatenate(self.scores), np.concatenate(self.labels)
        predicted = scores > 0.5
        right = np.count_nonzero(predicted & labels, axis=0)
        chosen, positives = predicted.sum(0), labels.sum(0)
        own = np.where(labels, scores, 1 - scores.astype("float64"))
        columns = list(zip(scores.T, labels.T, strict=True))
        precisions = np.array([average_precision(*column) for column in columns])
        told = precisions[positives > 0]
        return {
            "loss": float(-np.log(np.maximum(own, _LEAST_PROBABILITY)).mean()),
            "mean_average_precision": float(told.mean()) if len(told) else float("nan"),
            "positives": positives,
            "accuracy": (predicted == labels).mean(0),
            "precision": _shares(right, chosen),
            "recall": _shares(right, positives),
            "f1": _shares(2 * right, chosen + positives),
            "average_precision": precisions,
            "auc": np.array([roc_auc(*column) for column in columns]),
        }


def _shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    return np.where(wholes, parts / np.maximum(wholes, 1), np.nan)
