"""Pictures of gates: the paper's figures 6 and 7, maps of all of them, their course."""

import itertools
from collections.abc import Collection, Sequence

import numpy as np

from keras_senet.analysis.class_activation import as_picture, overlay
from keras_senet.analysis.excitation import Excitation, LayerExcitation
from keras_senet.analysis.removal import Removal
from keras_senet.utils.errors import check_known

# The colour map of all pictures; its lightness rises evenly, so that it reads in grey.
COLOURS = "cividis"

_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def choose_classes(
    statistics: Excitation, classes: Sequence[str] | None, count: int
) -> tuple[str, ...]:
    """Returns the classes to draw: those named, or the most frequent `count`.

    Raises:
        ValueError: If a name is not one of the data's classes.
    """
    if classes is None:
        order = np.argsort(-np.asarray(statistics.counts), kind="stable")[:count]
        return tuple(statistics.class_names[i] for i in sorted(order))
    _check_names("`classes` must occur in the data", classes, statistics.class_names)
    return tuple(classes)


def choose_layers(
    statistics: Excitation, layers: Sequence[str] | None
) -> tuple[LayerExcitation, ...]:
    """Returns the layers to draw: those named, or twelve of them, evenly spread.

    Raises:
        ValueError: If a name is not an SE layer's.
    """
    known = {layer.name: layer for layer in statistics.layers}
    if layers is None:
        return tuple(statistics.layers[i] for i in _evenly_spaced(len(known), 12))
    _check_names("`layers` must be SE layers of the model", layers, known)
    return tuple(known[name] for name in layers)


def _check_names(rule: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        check_known(name, known, f"{rule}, such as {', '.join(list(known)[:10])}")


def sample_channels(layer: LayerExcitation) -> np.ndarray:
    """Returns 50 evenly spaced channels, as the paper's figure 6 has."""
    return _evenly_spaced(len(layer.mean), 50)


def _evenly_spaced(total: int, count: int) -> np.ndarray:
    return np.linspace(0, total - 1, min(count, total)).round().astype(int)


def draw_activations(
    images: np.ndarray, activations: np.ndarray, titles: Sequence[str]
):
    """A figure of images, and beside each the parts that support a class.

    Args:
        images: As a network takes them, (N, height, width, 1 or 3).
        activations: Of `class_activation`, (N, height, width).
        titles: What stands above each image.
    """
    from matplotlib.figure import Figure

    rows = -(-len(images) // 3)
    figure = Figure(figsize=(10, 1.9 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, 6, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for i, (image, where) in enumerate(zip(images, activations, strict=True)):
        grid[2 * i].imshow(as_picture(image))
        grid[2 * i].set_title(titles[i], fontsize=8)
        grid[2 * i + 1].imshow(overlay(image, where))
    return figure


def draw_classes(
    statistics: Excitation, layers: Sequence[LayerExcitation], classes: Sequence[str]
):
    """Figure 6: the mean gate of 50 channels for some classes and for all."""
    figure, panels = _gate_panels(layers, "mean gate")
    rows = [statistics.class_names.index(name) for name in classes]
    for axes, layer in zip(panels, layers, strict=True):
        channels = sample_channels(layer)
        axes.plot(layer.mean[channels], color="0.8", lw=5, label="all")
        means = layer.means[rows][:, channels]
        for mean, label, style in zip(means, classes, _styles(len(rows)), strict=True):
            axes.plot(mean, label=label, lw=1.3, **style)
    figure.suptitle("Mean gate by class (figure 6 of the paper)", fontsize=11)
    _legend(figure, panels[0])
    return figure


def draw_deviations(
    statistics: Excitation, layers: Sequence[LayerExcitation], classes: Sequence[str]
):
    """Figure 7: the mean gate of two classes, plus and minus the deviation within."""
    figure, panels = _gate_panels(layers, "gate")
    for axes, layer in zip(panels, layers, strict=True):
        channels = sample_channels(layer)
        for name, style in zip(classes, _styles(2), strict=False):
            row = statistics.class_names.index(name)
            mean, margin = layer.means[row, channels], layer.deviations[row, channels]
            band = (range(len(mean)), mean - margin, mean + margin)
            axes.fill_between(*band, color=style["color"], alpha=0.35, lw=0)
            axes.plot(mean, label=name, lw=1.3, **style)
    title = "Mean gate and deviation within two classes (figure 7 of the paper)"
    figure.suptitle(title, fontsize=11)
    _legend(figure, panels[0])
    return figure


def draw_maps(
    statistics: Excitation, layers: Sequence[LayerExcitation], classes: Sequence[str]
):
    """All mean gates: a row a class, a column a channel, sorted by its mean."""
    height = 0.5 + 0.16 * len(classes)
    figure, panels = _panels(layers, height, "channels, sorted by their mean gate")
    rows = [statistics.class_names.index(name) for name in classes]
    low = min(float(layer.means[rows].min()) for layer in layers)
    high = max(float(layer.means[rows].max()) for layer in layers)
    for axes, layer in zip(panels, layers, strict=True):
        order = np.argsort(layer.mean, kind="stable")
        image = axes.imshow(
            layer.means[np.ix_(rows, order)],
            cmap=COLOURS,
            vmin=low,
            vmax=high,
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_yticks(range(len(rows)), classes, fontsize=7)
    figure.colorbar(image, ax=list(panels), label="mean gate", shrink=0.8)
    figure.suptitle("Mean gate of each class and channel", fontsize=11)
    return figure


def draw_course(statistics: Excitation, removal: Removal | None = None):
    """The measures of the layers along the network, one panel a measure."""
    from matplotlib.figure import Figure

    layers = statistics.layers
    curves = {
        "selectivity": {"": [x.selectivity for x in layers]},
        "deviation\nfrom channel's mean": {"": [x.spread for x in layers]},
        "distance\nfrom identity": {"": [x.distance for x in layers]},
        "saturation": {
            "open, 0.9 of the largest": [x.open for x in layers],
            "closed, 0.1 of it": [x.closed for x in layers],
        },
    }
    if removal is not None:
        name = "points lost" if removal.top1 is not None else "% changed"
        curves[f"{name}\nwithout the gate"] = {
            label: [100 * removal.loss(t) for t in removal.trials if t.by == by]
            for by, label in (("identity", "gate 1"), ("mean", "gate's mean"))
        }
    names = [layer.name.removesuffix("_se") for layer in layers]
    size = (min(3 + 0.32 * len(names), 16), 1.35 * len(curves) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(curves), 1, sharex=True)
    for axes, (title, values) in zip(panels, curves.items(), strict=True):
        for label, marker, style in zip(values, "os", _styles(2), strict=False):
            axes.plot(values[label], marker=marker, ms=4, lw=1.2, label=label, **style)
        axes.set_ylabel(title, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.axhline(0, color="0.7", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        if len(values) > 1:
            axes.legend(frameon=False, fontsize=7)
    panels[-1].set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    figure.suptitle("The SE layers along the network", fontsize=11)
    return figure


def _panels(layers, height, xlabel):
    """A figure with a panel for each layer, three in a row, on one scale."""
    from matplotlib.figure import Figure

    columns = min(3, len(layers))
    rows = -(-len(layers) // columns)
    size = (1.0 + 3.2 * columns, 1.1 + height * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.ravel()[len(layers) :]:
        axes.set_axis_off()
    panels = grid.ravel()[: len(layers)]
    for axes, layer in zip(panels, layers, strict=True):
        axes.set_title(f"{layer.name}, {len(layer.mean)} channels", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[-columns:]:
        axes.set_xlabel(xlabel, fontsize=8)
    return figure, panels


def _gate_panels(layers, ylabel):
    """Panels of curves over channels, from 0 to 1 where gates stay within."""
    figure, panels = _panels(layers, 1.8, "channels, evenly spaced, 50 at most")
    low = min(float((x.means - x.deviations).min()) for x in layers)
    high = max(float((x.means + x.deviations).max()) for x in layers)
    low, high = min(low, 0.0), max(high, 1.0)
    for axes in panels:
        axes.set_ylim(low - 0.02 * (high - low), high + 0.02 * (high - low))
        axes.grid(alpha=0.25)
    figure.supylabel(ylabel, fontsize=9)
    return figure, panels


def _styles(count):
    """The colour and line of each of some curves."""
    from matplotlib import colormaps

    # The lightest colours do not show on white.
    colours = colormaps[COLOURS](np.linspace(0.0, 0.8, count))
    lines = itertools.cycle(_LINES)
    return [{"color": c, "ls": s} for c, s in zip(colours, lines, strict=False)]


def _legend(figure, axes):
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 6),
        frameon=False,
        fontsize=8,
    )
