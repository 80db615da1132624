"""The linear probe: the best linear classifier on what a network's backbone sees.

The backbone goes once over the images. On its features a classifier is fitted to
convergence, a convex problem with one solution, for several strengths of its
regularisation; the one with the lowest loss on the held-out images is taken.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import optimize, special

from keras_senet.training.network import is_classifier
from keras_senet.utils.files import atomic_path, disk_full_explained

# Features of more bytes lie in a file of the run folder while they are used.
MEMORY_BYTES = 2**30
# Of half the sum of the squared weights, on features with deviation 1. The strongest
# first: each fit starts from the one before.
STRENGTHS = tuple(10.0 ** (-n / 2) for n in range(11))
_ROWS = 4096
_THUMBNAIL = 16
# Correlation of two thumbnails of one photograph, compressed or resized again.
_SAME = 0.998


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A fitted linear probe.

    Attributes:
        kernel: (features, classes).
        bias: (classes,).
        strength: Of the regularisation.
        accuracy: On the held-out images; of single labels if an image has several.
        loss: On the held-out images, nats.
        training_accuracy: On the images that it was fitted to.
        copies: Held-out images that look like a training image.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    accuracy: float
    loss: float
    training_accuracy: float
    copies: int

    def save(self, path: str | os.PathLike) -> None:
        """Writes it as a NumPy archive."""
        with atomic_path(path, overwrite=True) as temporary, open(temporary, "wb") as f:
            np.savez(f, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Probe":
        """Reads what `save` wrote."""
        with np.load(path) as found:
            values = {k: found[k] for k in cls.__dataclass_fields__}
        return cls(**{k: v if v.ndim else v.item() for k, v in values.items()})

    def put_into(self, network: keras.Model) -> None:
        """Gives a network's classifier the probe's weights."""
        (layer,) = filter(is_classifier, network.layers)
        layer.kernel.assign(self.kernel.reshape(layer.kernel.shape))
        layer.bias.assign(self.bias)


class Seen(NamedTuple):
    """What one pass over the images of a split gives.

    Attributes:
        features: float32 (N, features).
        labels: float32 (N, classes).
        weights: How much each image counts, (N,).
        thumbnails: Small grey pictures with mean 0 and length 1, float16 (N, 256).
        seconds: For an image, without the first batch where there are others.
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    thumbnails: np.ndarray
    seconds: float


def see(
    network: keras.Model,
    splits: Iterable[tuple[tf.data.Dataset, int]],
    file: Path,
    on_batch: Callable[[], None] = lambda: None,
) -> list[Seen]:
    """Goes once over the images of each split, as in inference.

    The features are the input of the network's classifier. A split is its batches of
    (images, labels), or also with how much each counts, and its number of images.
    Features of more than `MEMORY_BYTES` lie in the file, with the number of the split
    behind its name.
    """
    (layer,) = filter(is_classifier, network.layers)
    backbone = keras.Model(network.inputs, layer.input)
    spec = tf.TensorSpec((None, *network.input_shape[1:]))

    @tf.function(input_signature=[spec])
    def look(images):
        values = tf.cast(backbone(images, training=False), tf.float32)
        grey = tf.reduce_mean(images, -1, keepdims=True)
        small = tf.image.resize(grey, (_THUMBNAIL, _THUMBNAIL), "area")
        small = tf.reshape(small, (-1, _THUMBNAIL**2))
        small -= tf.reduce_mean(small, 1, keepdims=True)
        return tf.reshape(values, (tf.shape(images)[0], -1)), tf.math.l2_normalize(
            small, 1, epsilon=1.0
        )

    return [
        _collect(look, *split, file.with_stem(f"{file.stem}_{number}"), on_batch)
        for number, split in enumerate(splits)
    ]


def _collect(look, batches, images, file, on_batch):
    features, rest, times, done = None, [], [], 0
    for batch, labels, *weights in batches:
        begin = time.perf_counter()
        values, small = (part.numpy() for part in look(batch))
        times.append((time.perf_counter() - begin) / len(values))
        if features is None:
            features = _empty((images, values.shape[1]), file)
        features[done : done + len(values)] = values
        done += len(values)
        counts = weights[0].numpy() if weights else np.ones(len(values))
        rest.append((labels.numpy(), counts, small.astype("float16")))
        on_batch()
    labels, counts, small = map(np.concatenate, zip(*rest, strict=True))
    return Seen(features, labels, counts, small, float(np.mean(times[1:] or times)))


def _empty(shape, file):
    if 4 * np.prod(shape) <= MEMORY_BYTES:
        return np.empty(shape, np.float32)
    with disk_full_explained(file):
        features = np.lib.format.open_memmap(file, "w+", np.float32, shape)
        if hasattr(os, "posix_fallocate"):
            # Writing to memory for which the disk has no room would end the process.
            with open(file, "rb+") as taken:
                os.posix_fallocate(taken.fileno(), 0, file.stat().st_size)
    return features


def fit(train: Seen, held_out: Seen, *, independent: bool) -> Probe:
    """Fits a classifier to features, which are scaled in place.

    The held-out images choose the strength. With `independent` each class has a
    probability of its own (sigmoids), else all together (a softmax).
    """
    mean, deviation = _statistics(train.features)
    for part in (train.features, held_out.features):
        for rows in _pieces(len(part)):
            part[rows] = (part[rows] - mean) / deviation
    basis = None
    if len(train.features) < train.features.shape[1]:
        # The kernel is a sum of images: few of them need few coordinates.
        basis = np.linalg.qr(train.features.T.astype(np.float64))[0]
        train, held_out = (
            part._replace(features=part.features @ basis) for part in (train, held_out)
        )
    shape = (train.features.shape[1], train.labels.shape[1])
    values, best = np.zeros(shape[0] * shape[1] + shape[1]), None
    worse = 0
    for strength in STRENGTHS:
        values = optimize.minimize(
            _objective,
            values,
            (train, strength, independent),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 500, "ftol": 1e-9, "gtol": 1e-6},
        ).x
        loss = _measure(values, held_out, independent)[0]
        worse = worse + 1 if best and loss >= best[0] else 0
        if not worse:
            best = loss, strength, values
        if worse == 2:
            break
    loss, strength, values = best
    kernel, bias = _split(values, shape[1])
    kernel = (kernel if basis is None else basis @ kernel) / deviation[:, None]
    return Probe(
        kernel=kernel.astype(np.float32),
        bias=(bias - mean @ kernel).astype(np.float32),
        strength=strength,
        accuracy=_measure(values, held_out, independent)[1],
        loss=loss,
        training_accuracy=_measure(values, train, independent)[1],
        copies=near_copies(train.thumbnails, held_out.thumbnails),
    )


def near_copies(train: np.ndarray, held_out: np.ndarray) -> int:
    """Returns how many held-out thumbnails are also, nearly, among the others."""
    others = train.astype(np.float32).T
    return sum(
        int(((held_out[rows].astype(np.float32) @ others).max(1) > _SAME).sum())
        for rows in _pieces(len(held_out), 256)
    )


def _pieces(count, rows=_ROWS):
    return (slice(i, i + rows) for i in range(0, count, rows))


def _statistics(features):
    """Mean and deviation of each column; 1 where it is constant."""
    pieces = list(_pieces(len(features)))
    mean = sum(features[p].sum(0, dtype=np.float64) for p in pieces) / len(features)
    squares = sum(((features[p] - mean) ** 2).sum(0) for p in pieces) / len(features)
    deviation = np.sqrt(squares)
    return mean, np.where(deviation > 1e-6 * max(deviation.max(), 1e-30), deviation, 1)


def _split(values, classes):
    return values[:-classes].reshape(-1, classes), values[-classes:]


def _losses(logits, labels, independent):
    """Each image's loss, and the probabilities."""
    if independent:
        losses = (np.logaddexp(0, logits) - labels * logits).mean(1)
        return losses, special.expit(logits)
    logs = special.log_softmax(logits, axis=1)
    return -(labels * logs).sum(1), np.exp(logs)


def _objective(values, seen, strength, independent):
    """The regularised loss and its gradient."""
    kernel, bias = _split(values, seen.labels.shape[1])
    loss, slope, slope_bias = 0.0, np.zeros_like(kernel), np.zeros_like(bias)
    for rows in _pieces(len(seen.labels)):
        x = np.asarray(seen.features[rows], np.float64)
        y, w = seen.labels[rows], seen.weights[rows] / len(seen.labels)
        losses, probabilities = _losses(x @ kernel + bias, y, independent)
        error = w[:, None] * (probabilities - y)
        if independent:
            error /= y.shape[1]
        loss += w @ losses
        slope += x.T @ error
        slope_bias += error.sum(0)
    loss += strength / 2 * np.sum(kernel**2)
    return loss, np.concatenate([(slope + strength * kernel).ravel(), slope_bias])


def _measure(values, seen, independent):
    """Loss and accuracy, each image counting the same."""
    kernel, bias = _split(values, seen.labels.shape[1])
    loss = right = 0.0
    for rows in _pieces(len(seen.labels)):
        logits = np.asarray(seen.features[rows], np.float64) @ kernel + bias
        y = seen.labels[rows]
        loss += _losses(logits, y, independent)[0].sum()
        if independent:
            right += ((logits > 0) == (y > 0.5)).mean(1).sum()
        else:
            right += (logits.argmax(1) == y.argmax(1)).sum()
    return float(loss / len(seen.labels)), float(right / len(seen.labels))
