"""What the gates of a network do on labelled images (section 7.2 of the paper)."""

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_senet.analysis._probe import open_probe
from keras_senet.utils.files import write_csv
from keras_senet.utils.labelled import class_numbers, read_images, read_labelled

# A gate is open from this share of its largest value on, and closed below the other.
OPEN, CLOSED = 0.9, 0.1

# A variance that rounding makes of equal gates.
_SAME = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LayerExcitation:
    """The gates of one SE layer.

    Attributes:
        name: The layer's name, with those of the models it is nested in.
        parameters: Number of values in its weights.
        means: Mean gate of each class and channel, `(classes, channels)`.
        deviations: Standard deviation of the gates within each class, `(classes,
            channels)`.
        mean: Mean gate of each channel over all images, `(channels,)`.
        deviation: Standard deviation over all images, `(channels,)`.
        open: Share of the gates (images times channels) that are at least 0.9 of the
            sigmoid's largest value, which is 2 with `identity_start`.
        closed: Share of the gates that are at most 0.1 of it.
        constant: Share of the channels whose gate is the same for all images.
        selectivity: Share of the gates' variance that lies between the classes,
            summed over the channels: 0 if all classes have the same mean gates, 1 if
            the gates of each class are constant. By chance about classes / images.
        distance: Root of the mean square of (gate - 1): the distance from identity.

    Example:

    >>> statistics = keras_senet.analysis.excitation_statistics(model, (images, labels))
    >>> statistics.layers[0].mean.shape
    (16,)
    """

    name: str
    parameters: int
    means: np.ndarray
    deviations: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    open: float
    closed: float
    constant: float
    selectivity: float
    distance: float

    @property
    def spread(self) -> float:
        """How far a gate is from its channel's mean, root of the mean square."""
        return float(np.sqrt(np.mean(np.square(self.deviation))))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Excitation:
    """The gates of a network.

    Attributes:
        model: The model's name.
        class_names: The classes that occur in the data.
        counts: Number of images of each.
        layers: The SE layers in the order of the network.

    Example:

    >>> statistics = keras_senet.analysis.excitation_statistics(model, (images, labels))
    >>> statistics.layers[0].name, sum(statistics.counts)
    ('conv1_block1_se', 16)
    """

    model: str
    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    layers: tuple[LayerExcitation, ...]

    def save_csv(self, folder: str | os.PathLike) -> tuple[Path, Path]:
        """Writes gates.csv and layers.csv.

        gates.csv has a row for each layer, channel and class, and one for all classes
        together ("all"); layers.csv has the figures of each layer.

        Args:
            folder: A folder; older files in it are replaced.

        Returns:
            The two paths.
        """
        rows = [("layer", "channel", "class", "images", "mean", "deviation")]
        for layer in self.layers:
            rows.extend(self._rows(layer))
        gates = write_csv(Path(folder) / "gates.csv", rows)
        keys = ("parameters", "spread", "distance")
        keys += ("open", "closed", "constant", "selectivity")
        rows = [("layer", "channels", "mean", *keys)]
        for x in self.layers:
            figures = (getattr(x, key) for key in keys)
            rows.append((x.name, len(x.mean), float(x.mean.mean()), *figures))
        return gates, write_csv(Path(folder) / "layers.csv", rows)

    def _rows(self, layer):
        names = (*self.class_names, "all")
        counts = (*self.counts, sum(self.counts))
        means = np.vstack([layer.means, layer.mean])
        deviations = np.vstack([layer.deviations, layer.deviation])
        for channel in range(means.shape[1]):
            columns = (means[:, channel].tolist(), deviations[:, channel].tolist())
            for name, count, *values in zip(names, counts, *columns, strict=True):
                yield (layer.name, channel, name, count, *values)


def excitation_statistics(
    model: keras.Model,
    data,
    *,
    class_names: Sequence[str] | None = None,
    batch_size: int = 64,
) -> Excitation:
    """Measures the gates of every SE layer, by class.

    Reference: Hu et al., [Squeeze-and-Excitation Networks](
    https://arxiv.org/abs/1709.01507), section 7.2 and figures 6 and 7.

    Args:
        model: A functional or sequential model with SqueezeExcite layers.
        data: Labelled images as the model takes them: a pair of arrays (images,
            labels), or batches of such pairs, as of a tf.data dataset. Labels are
            integers or one-hot rows; they need not be the model's classes.
        class_names: Names of the labels 0, 1, ...; by default their numbers.
        batch_size: Number of images in one step, for arrays.

    Returns:
        The statistics of the classes that occur. With `squeeze="none"`, a gate is first
        averaged over the positions.

    Raises:
        ValueError: If the model has no SE layer, or the data no images.

    Example:

    >>> statistics = excitation_statistics(model, (images, labels))
    >>> [layer.selectivity for layer in statistics.layers]
    [0.02, 0.05, 0.31, ...]
    """
    probe = open_probe(model)
    sums = {name: _Sums(_top(layer)) for name, layer in probe.blocks.items()}
    counts = collections.Counter()
    for images, given in read_labelled(data, batch_size):
        labels = class_numbers(given)
        _, gates = probe.run(images)
        counts.update(labels.tolist())
        for name, values in gates.items():
            sums[name].add(np.asarray(values, "float64"), labels)
    labels = sorted(counts)
    names = _class_names(class_names, labels)
    each = tuple(counts[label] for label in labels)
    layers = []
    for name, layer in probe.blocks.items():
        parameters = layer.count_params()
        figures = sums[name].figures(labels, np.array(each))
        layers.append(LayerExcitation(name=name, parameters=parameters, **figures))
    return Excitation(
        model=model.name, class_names=names, counts=each, layers=tuple(layers)
    )


def mean_gates(
    model: keras.Model, data, *, batch_size: int = 64
) -> dict[str, np.ndarray]:
    """Returns the mean gate of each channel, over images without labels.

    Args:
        model: As for `excitation_statistics`.
        data: Images as the model takes them: an array, or batches of images; labels
            beside them are not read.
        batch_size: Images that go through the model at a time, for arrays.

    Returns:
        The name of each SE layer -> `(channels,)`.

    Raises:
        ValueError: If the model has no SE layer, or there are no images.

    Example:

    >>> keras_senet.analysis.mean_gates(model, images)["conv1_block1_se"].shape
    (16,)
    """
    batches = read_images(data, batch_size)
    pairs = ((images, np.zeros(len(images), "int64")) for images in batches)
    statistics = excitation_statistics(model, pairs)
    return {layer.name: layer.mean for layer in statistics.layers}


def _top(layer):
    """The value that the gate is measured by: 1, or where it starts in units of."""
    if not layer.identity_start:
        return 1.0
    start = layer.gate(keras.ops.zeros((1, layer.expand.filters)))
    return 1.0 / float(keras.ops.convert_to_numpy(start)[0, 0])


def _class_names(class_names, labels):
    if class_names is None:
        return tuple(map(str, labels))
    if labels[0] < 0 or labels[-1] >= len(class_names):
        raise ValueError(
            "`class_names` must name every label of the data. Received: "
            f"{len(class_names)} names, labels from {labels[0]} to {labels[-1]}"
        )
    return tuple(str(class_names[label]) for label in labels)


class _Sums:
    """Sums over batches, from which one layer's figures follow."""

    def __init__(self, top: float):
        self.top = top
        self.shift = None
        self.classes: dict[int, np.ndarray] = {}
        self.open = self.closed = self.values = 0
        self.squares = 0.0

    def add(self, gates: np.ndarray, labels: np.ndarray) -> None:
        """Adds the gates (images, channels) of one batch."""
        if self.shift is None:
            # So that the variance of a constant gate is exactly 0.
            self.shift = gates[0]
        self.open += int((gates >= OPEN * self.top).sum())
        self.closed += int((gates <= CLOSED * self.top).sum())
        self.values += gates.size
        self.squares += float(np.square(gates - 1).sum())
        shifted = gates - self.shift
        for label in np.unique(labels):
            part = shifted[labels == label]
            total = np.stack([part.sum(0), np.square(part).sum(0)])
            self.classes[int(label)] = self.classes.get(int(label), 0) + total

    def figures(self, labels: list[int], counts: np.ndarray) -> Mapping:
        """Returns the figures of all batches."""
        sums = np.stack([self.classes[label] for label in labels])
        share = counts[:, None] / counts.sum()
        means, squares = sums[:, 0] / counts[:, None], sums[:, 1] / counts[:, None]
        mean, square = (means * share).sum(0), (squares * share).sum(0)
        within = np.maximum(squares - np.square(means), 0)
        variance = np.maximum(square - np.square(mean), 0)
        between = (np.square(means - mean) * share).sum(0)
        total = variance.sum()
        return {
            "means": means + self.shift,
            "deviations": np.sqrt(within),
            "mean": mean + self.shift,
            "deviation": np.sqrt(variance),
            "open": self.open / self.values,
            "closed": self.closed / self.values,
            "constant": float((variance <= _SAME).mean()),
            "selectivity": float(between.sum() / total) if total > 0 else 0.0,
            "distance": float(np.sqrt(self.squares / self.values)),
        }
