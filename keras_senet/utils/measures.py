"""How well scores fit labels."""

import numpy as np


def hits(scores: np.ndarray, labels: np.ndarray, top: int = 1) -> np.ndarray:
    """Returns for each image whether its class is among the `top` highest scores.

    Of classes with the same score the first ones count as higher, as in `argmax`.

    Args:
        scores: `(N, classes)`.
        labels: Integers `(N,)`.
        top: How many classes count.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(-1) < top


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the mean of the precisions at each step of recall; nan of no positives.

    The sum of (R_n - R_n-1) P_n over the thresholds, as scikit-learn has it.

    Args:
        scores: `(N,)`.
        positive: Booleans `(N,)`.
    """
    found, seen = _at_thresholds(scores, positive)
    if not positive.any():
        return float("nan")
    recall = found / np.count_nonzero(positive)
    return float(np.sum(np.diff(recall, prepend=0.0) * found / seen))


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the area under the ROC curve; nan where one of the two sides is empty.

    It is the share of pairs of a positive and a negative whose scores are in order.

    Args:
        scores: `(N,)`.
        positive: Booleans `(N,)`.
    """
    found, seen = _at_thresholds(scores, positive)
    if positive.all() or not positive.any():
        return float("nan")
    sides = np.stack([found, seen - found]) / [[found[-1]], [seen[-1] - found[-1]]]
    true, false = np.concatenate([np.zeros((2, 1)), sides], axis=1)
    return float(np.trapezoid(true, false))


def _at_thresholds(scores, positive) -> tuple[np.ndarray, np.ndarray]:
    """How many positives, and how many in all, have each score or a higher one."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(ordered[1:] != ordered[:-1], [True] * bool(len(scores)))
    return np.cumsum(positive[order])[last], np.arange(1, len(scores) + 1)[last]
