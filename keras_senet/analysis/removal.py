"""What a network loses without one of its SE layers."""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from keras_senet.analysis._probe import open_probe
from keras_senet.analysis.excitation import Excitation
from keras_senet.utils.files import write_csv
from keras_senet.utils.labelled import class_numbers, read_labelled

_KINDS = ("identity", "mean")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A network with some gates replaced.

    Attributes:
        layers: Names of the SE layers that are replaced.
        by: "identity" (the gate is 1, as without the layer) or "mean" (each channel's
            mean gate, a constant that can become part of the layer before).
        top1: Share of the images that it classifies correctly; None if the labels are
            not the model's classes.
        agreement: Share of the images with the same class as the whole network.

    Example:

    >>> statistics = keras_senet.analysis.excitation_statistics(model, (images, labels))
    >>> removal = keras_senet.analysis.removal_accuracy(
    ...     model, (images, labels), statistics
    ... )
    >>> removal.trials[0].layers, removal.trials[0].by
    (('conv1_block1_se',), 'identity')
    """

    layers: tuple[str, ...]
    by: str
    top1: float | None
    agreement: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Removal:
    """How much accuracy each SE layer contributes on some images.

    Attributes:
        images: Number of images.
        top1: Of the whole network; None where the labels are not its classes.
        trials: Each layer alone, replaced by the identity and by its mean gate.
        groups: Several layers at once, replaced in the same ways: neighbours with the
            same number of channels (a stage of a residual network), and last all
            layers.
        dispensable: The layers that alone cost at most `tolerance`, each with the
            better replacement.
        together: All dispensable layers at once; None if there are none.
        tolerance: The share of the images.

    Example:

    >>> statistics = keras_senet.analysis.excitation_statistics(model, (images, labels))
    >>> removal = keras_senet.analysis.removal_accuracy(
    ...     model, (images, labels), statistics
    ... )
    >>> removal.images, removal.top1
    (16, 1.0)
    """

    images: int
    top1: float | None
    trials: tuple[Trial, ...]
    groups: tuple[Trial, ...]
    dispensable: tuple[Trial, ...]
    together: Trial | None
    tolerance: float

    def save_csv(self, folder: str | os.PathLike) -> Path:
        """Writes removal.csv: a row for each trial, each group, and `together`.

        Args:
            folder: A folder; an older file in it is replaced.
        """
        rows = [("layers", "by", "top1", "agreement", "loss")]
        for trial in (*self.trials, *self.groups, self.together):
            if trial is not None:
                figures = (trial.top1, trial.agreement, self.loss(trial))
                rows.append((" ".join(trial.layers), trial.by, *figures))
        return write_csv(Path(folder) / "removal.csv", rows)

    def loss(self, trial: Trial) -> float:
        """The share of the images that a trial costs: of the right ones where known."""
        if self.top1 is None or trial.top1 is None:
            return 1.0 - trial.agreement
        return self.top1 - trial.top1


def removal_accuracy(
    model: keras.Model,
    data,
    statistics: Excitation,
    *,
    tolerance: float = 0.001,
    batch_size: int = 64,
) -> Removal:
    """Measures a network without each of its SE layers. It is not trained again.

    The paper finds that SE in the last stage can be left out at little cost (section 4,
    and 7.2: SE_5_2 is near the identity). This function measures how much accuracy each
    layer and each stage contributes.

    Args:
        model: A functional or sequential model with SqueezeExcite layers.
        data: As for `excitation_statistics`. If all labels are numbers of the model's
            outputs, they are its classes.
        statistics: The model's statistics; their mean gates are used.
        tolerance: A layer is dispensable if the network loses at most this share of the
            images without it.
        batch_size: Number of images in one step, for arrays.

    Raises:
        ValueError: If the model is no classifier, or the statistics belong to another
            model.

    Example:

    >>> statistics = keras_senet.analysis.excitation_statistics(model, (images, labels))
    >>> removal = keras_senet.analysis.removal_accuracy(
    ...     model, (images, labels), statistics, tolerance=0.01
    ... )
    >>> removal.save_csv(".").name
    'removal.csv'
    """
    probe = open_probe(model)
    means = {layer.name: layer.mean for layer in statistics.layers}
    if list(means) != list(probe.blocks):
        raise ValueError(
            "`statistics` must belong to the model. Received: statistics of "
            f"{statistics.model!r} with {len(means)} SE layers, and a model with "
            f"{len(probe.blocks)}"
        )
    gates = {"identity": dict.fromkeys(means, 1.0), "mean": means}
    sets = [(name,) for name in means] + list(_groups(statistics))
    tried = [(names, by) for names in sets for by in _KINDS]
    changes = [{n: gates[by][n] for n in names} for names, by in tried]
    images, (whole, *scores) = _measure(probe, data, [{}, *changes], batch_size)
    found = tuple(
        Trial(layers=names, by=by, **score)
        for (names, by), score in zip(tried, scores, strict=True)
    )
    trials, groups = found[: 2 * len(means)], found[2 * len(means) :]
    result = Removal(
        images=images,
        top1=whole["top1"],
        trials=trials,
        groups=groups,
        dispensable=(),
        together=None,
        tolerance=tolerance,
    )
    pairs = zip(trials[::2], trials[1::2], strict=True)
    best = [min(pair, key=result.loss) for pair in pairs]
    # The difference of two accuracies is not exact.
    free = tuple(trial for trial in best if result.loss(trial) <= tolerance + 1e-9)
    if not free:
        return result
    change = {t.layers[0]: gates[t.by][t.layers[0]] for t in free}
    _, (_, score) = _measure(probe, data, [{}, change], batch_size)
    kinds = {trial.by for trial in free}
    by = kinds.pop() if len(kinds) == 1 else "identity or mean"
    together = Trial(layers=tuple(change), by=by, **score)
    return dataclasses.replace(result, dispensable=free, together=together)


def _groups(statistics) -> Iterator[tuple[str, ...]]:
    """Names of neighbours with the same number of channels, then of all layers."""
    layers, every = statistics.layers, tuple(x.name for x in statistics.layers)
    for _, run in itertools.groupby(layers, lambda layer: len(layer.mean)):
        names = tuple(layer.name for layer in run)
        if 1 < len(names) < len(layers):
            yield names
    if len(layers) > 1:
        yield every


def _measure(probe, data, changes, batch_size) -> tuple[int, list[dict]]:
    """How many images; of each change the accuracy and agreement with the first one."""
    right, same = np.zeros(len(changes)), np.zeros(len(changes))
    images, known = 0, True
    for batch, given in read_labelled(data, batch_size):
        labels, whole = class_numbers(given), None
        for i, change in enumerate(changes):
            probe.replace(change)
            scores = _scores(probe.run(batch)[0])
            predicted = scores.argmax(-1)
            whole = predicted if whole is None else whole
            right[i] += (predicted == labels).sum()
            same[i] += (predicted == whole).sum()
        images += len(batch)
        known = known and labels.min() >= 0 and labels.max() < scores.shape[-1]
    probe.replace({})
    shares = zip((right / images).tolist(), (same / images).tolist(), strict=True)
    return images, [
        {"top1": top1 if known else None, "agreement": agreement}
        for top1, agreement in shares
    ]


def _scores(output):
    several = isinstance(output, (dict, list, tuple))
    if several or np.ndim(output) != 2 or output.shape[1] < 2:
        received = f"{len(output)} outputs" if several else f"shape {output.shape}"
        raise ValueError(
            "`model` must be a classifier with one output (batch, classes) of two or "
            f"more classes. Received: {received}. Build a model with that output only. "
            "If the output is one probability p, return the two classes 1 - p and p, "
            "or measure the gates alone (keras-senet explain --no-removal)."
        )
    return np.asarray(output)
