"""Measures of scores against labels: plain definitions, and scikit-learn's."""

import warnings

import numpy as np
import pytest

from keras_senet.utils.measures import average_precision, hits, roc_auc


def cases():
    """Scores with and without ties, and shares of positives."""
    rng = np.random.default_rng(0)
    for count, share in ((1, 0.5), (2, 0.5), (50, 0.1), (300, 0.5), (300, 0.99)):
        positive = rng.random(count) < share
        scores = rng.random(count).astype("float32") + 0.3 * positive
        yield scores, positive
        yield np.round(4 * scores) / 4, positive
        yield np.zeros(count), positive


def test_hits_are_the_first_of_a_stable_order():
    rng = np.random.default_rng(0)
    for scores in (rng.random((40, 7)), rng.integers(-2, 2, (40, 7)).astype("int8")):
        labels = rng.integers(0, 7, 40)
        order = np.argsort(-scores.astype("float64"), axis=1, kind="stable")
        for top in (1, 3, 7):
            expected = (order[:, :top] == labels[:, None]).any(1)
            np.testing.assert_array_equal(hits(scores, labels, top), expected)
        np.testing.assert_array_equal(hits(scores, labels), scores.argmax(1) == labels)


def test_average_precision_and_auc_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    both = 0
    for scores, positive in cases():
        if positive.any():
            expected = metrics.average_precision_score(positive, scores)
            assert average_precision(scores, positive) == pytest.approx(expected)
        if positive.any() and not positive.all():
            both += 1
            expected = metrics.roc_auc_score(positive, scores)
            assert roc_auc(scores, positive) == pytest.approx(expected)
    assert both > 5


def test_auc_is_the_share_of_pairs_in_order():
    for scores, positive in cases():
        if positive.any() and not positive.all():
            pairs = np.subtract.outer(scores[positive], scores[~positive])
            expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
            assert roc_auc(scores, positive) == pytest.approx(expected)


def test_what_cannot_be_told_is_nan():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(average_precision(np.ones(3), np.zeros(3, bool)))
        assert np.isnan(roc_auc(np.ones(3), np.zeros(3, bool)))
        assert np.isnan(roc_auc(np.ones(3), np.ones(3, bool)))
        assert average_precision(np.arange(3.0), np.ones(3, bool)) == 1
