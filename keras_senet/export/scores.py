"""What a classifier's outputs are."""

import numpy as np


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether the rows `(N, classes)` are probabilities, else logits.

    The sum is taken loosely: in an int8 file a small probability rounds to zero.
    """
    in_range = scores.min() >= 0 and scores.max() <= 1 + 1e-3
    return bool(in_range and np.all(np.abs(scores.sum(-1) - 1) < 0.5))


def log_probabilities(scores: np.ndarray, *, probabilities: bool) -> np.ndarray:
    """Returns the natural logarithms of class probabilities, at least about -16."""
    scores = scores.astype("float64")
    if probabilities:
        scores = np.log(np.clip(scores, 1e-7, None))
    scores = scores - scores.max(-1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    return np.maximum(logs, np.log(1e-7))
