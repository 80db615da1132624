"""Everything about a network's gates as pictures, tables and one page."""

import os
from collections.abc import Sequence
from pathlib import Path

from keras_senet.analysis import plots
from keras_senet.analysis.excitation import Excitation
from keras_senet.analysis.removal import Removal
from keras_senet.utils.files import atomic_path, write_json
from keras_senet.utils.markdown import markdown_table
from keras_senet.utils.pictures import save_figure
from keras_senet.utils.report_page import Picture, Report

ALTS = {
    "classes": "Lines of mean gates over channels, one panel for each layer.",
    "deviations": "Mean gates of two classes, with bands of the standard deviation.",
    "maps": "Heat maps of mean gates: a row for each class, a column for each channel.",
    "course": "Curves along the SE layers, one panel for each measure.",
    "activations": "Images; beside each, the parts that support its class.",
}
TEXTS = {
    "course": "Selectivity is the share of the gates' variance that lies between the "
    "classes. The deviation shows how much a gate differs from its channel's mean; if "
    "it is near 0, a constant could replace the gate. The distance is that from a gate "
    "of 1. The last panel shows how much accuracy the network loses if one layer is "
    "replaced. The network is not trained again.",
    "classes": "The mean gate of evenly spaced channels, for some classes and for all "
    "images. If the lines coincide, the layer treats all classes alike. The paper "
    "finds this in early layers, and class-specific gates in later ones.",
    "deviations": "The mean gate of two classes, plus and minus the standard deviation "
    "within the class. Where the band is wide, the gate depends on the image.",
    "maps": "The mean gates of all channels. Vertical stripes: the channels differ, "
    "the classes do not. Rows that differ: the layer distinguishes classes.",
    "activations": "Bright parts of an image support its class (Grad-CAM). If the "
    "network has other classes than the data, they support the predicted class.",
}


def write_report(
    folder: str | os.PathLike,
    statistics: Excitation,
    removal: Removal | None = None,
    *,
    classes: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    activations=None,
    data: str = "",
) -> Path:
    """Writes pictures, CSV files and index.html, a page that needs no other file.

    Args:
        folder: A new folder: gates.csv, layers.csv, layers.md, removal.csv,
            report.json, classes.png, deviations.png, maps.png, course.png, index.html.
        statistics: From `excitation_statistics`.
        removal: From `removal_accuracy`; without it, its parts are left out.
        classes: The classes in the pictures, by default the four most frequent. The
            maps show all classes if there are at most twenty, else these or the twenty
            most frequent.
        layers: The layers in the pictures, by default twelve, evenly spread.
        activations: A figure of `plots.draw_activations`, activations.png.
        data: Name of the images, for the page.

    Returns:
        The path of index.html.

    Raises:
        ValueError: If the folder exists, or a class or layer is unknown.

    Example:

    >>> statistics = keras_senet.analysis.excitation_statistics(model, (images, labels))
    >>> keras_senet.analysis.write_report("gates", statistics).name
    'index.html'
    """
    pictures = _draw_all(statistics, removal, classes, layers)
    if activations is not None:
        pictures["activations"] = activations
    with atomic_path(folder, what="report folder") as temporary:
        temporary.mkdir()
        files = {}
        for name, figure in pictures.items():
            save_figure(figure, temporary / f"{name}.png")
            files[name] = (temporary / f"{name}.png").read_bytes()
        statistics.save_csv(temporary)
        if removal is not None:
            removal.save_csv(temporary)
        tables = {"Layers": layer_rows(statistics, removal)}
        if removal is not None and removal.groups:
            tables["Several layers at once"] = group_rows(statistics, removal)
        text = "\n\n".join(
            markdown_table([head[0], *(f">{name}" for name in head[1:])], rows)
            for head, *rows in tables.values()
        )
        (temporary / "layers.md").write_text(f"{text}\n", "utf-8")
        write_json(temporary / "report.json", _facts(statistics, removal, data))
        page = _page(statistics, removal, files, tables, data)
        (temporary / "index.html").write_text(page, "utf-8")
    return Path(folder) / "index.html"


def _draw_all(statistics, removal, classes, layers) -> dict:
    few = plots.choose_classes(statistics, classes, 4)
    many = statistics.class_names
    if len(many) > 20:
        many = plots.choose_classes(statistics, classes, 20)
    drawn = plots.choose_layers(statistics, layers)
    return {
        "classes": plots.draw_classes(statistics, drawn, few),
        "deviations": plots.draw_deviations(statistics, drawn, few),
        "maps": plots.draw_maps(statistics, drawn, many),
        "course": plots.draw_course(statistics, removal),
    }


def layer_rows(statistics: Excitation, removal: Removal | None = None) -> list[tuple]:
    """Returns a table of the layers, its head first, all cells as text."""
    head = ["layer", "channels", "parameters", "mean gate", "deviation", "distance"]
    head += ["open", "closed", "constant", "selectivity"]
    losses = {}
    if removal is not None:
        head += _loss_columns(removal)
        for trial in removal.trials:
            losses.setdefault(trial.layers[0], []).append(100 * removal.loss(trial))
    rows = [tuple(head)]
    for x in statistics.layers:
        cells = [x.name, f"{len(x.mean)}", f"{x.parameters:,}", f"{x.mean.mean():.3f}"]
        cells += [f"{x.spread:.3f}", f"{x.distance:.3f}"]
        cells += [f"{100 * share:.0f} %" for share in (x.open, x.closed, x.constant)]
        losing = (x.selectivity, *losses.get(x.name, ()))
        rows.append((*cells, *(f"{figure:.2f}" for figure in losing)))
    return rows


def group_rows(statistics: Excitation, removal: Removal) -> list[tuple]:
    """Returns a table of several layers at once, its head first, all cells as text."""
    rows = [("layers at once", "parameters", *_loss_columns(removal))]
    for identity, mean in zip(removal.groups[::2], removal.groups[1::2], strict=True):
        names = identity.layers
        label = f"{names[0]} to {names[-1]}"
        label = "all" if len(names) == len(statistics.layers) else label
        losses = (f"{100 * removal.loss(t):.2f}" for t in (identity, mean))
        rows.append((label, f"{_saved(statistics, names):,}", *losses))
    return rows


def _saved(statistics, names) -> int:
    """The parameters of the layers of which no call is left without these."""

    def layer(name):  # without the number of a further call
        return name.partition(":")[0]

    kept = {layer(x.name) for x in statistics.layers if x.name not in names}
    parameters = {layer(x.name): x.parameters for x in statistics.layers}
    return sum(n for name, n in parameters.items() if name not in kept)


def _loss_columns(removal):
    unit = "points lost" if removal.top1 is not None else "% changed"
    return [f"{unit}, gate 1", f"{unit}, gate's mean"]


def verdict(statistics: Excitation, removal: Removal) -> str:
    """Returns in words which layers are not needed, and what removing them costs."""
    limit = f"{100 * removal.tolerance:g} points"
    subject = f"Of {len(statistics.layers)} SE layers, {len(removal.dispensable)}"
    if removal.top1 is None:
        limit = f"{100 * removal.tolerance:g} % of the predictions"
    if removal.together is None:
        return f"{subject} can be removed alone for at most {limit}."
    parameters = _saved(statistics, removal.together.layers)
    share = parameters / _saved(statistics, [x.name for x in statistics.layers])
    how = ", ".join(f"{t.layers[0]} ({t.by})" for t in removal.dispensable)
    cost = f"{100 * removal.loss(removal.together):.2f}"
    kind = "% of the predictions" if removal.top1 is None else "points"
    return (
        f"{subject} can be removed alone for at most {limit}: {how}. All of them at "
        f"once cost {cost} {kind} on these {removal.images:,} images and save "
        f"{parameters:,} parameters, {100 * share:.0f} % of SE's. The network was not "
        "trained again."
    )


def _facts(statistics, removal, data):
    facts = {
        "model": statistics.model,
        "data": data,
        "images": sum(statistics.counts),
        "classes": dict(zip(statistics.class_names, statistics.counts, strict=True)),
    }
    if removal is not None:
        facts["top1"] = removal.top1
        facts["dispensable"] = {t.layers[0]: t.by for t in removal.dispensable}
        facts["verdict"] = verdict(statistics, removal)
    return facts


def _page(statistics, removal, files, tables, data):
    answer = [f"{len(statistics.layers)} SE layers were measured."]
    if removal is not None:
        answer = []
        if removal.top1 is not None:
            right = f"{100 * removal.top1:.2f} % of the images"
            answer = [f"The network is right for {right}."]
        answer.append(verdict(statistics, removal))
    about = f"{sum(statistics.counts):,} images of {len(statistics.counts)} classes"
    report = Report(
        title=f"The gates of {statistics.model}",
        answer=answer,
        about=f"{about}, {data}." if data else f"{about}.",
        files=["gates.csv", "layers.csv"] + ["removal.csv"] * (removal is not None),
        pictures=[
            Picture(files[n], ALTS[n], text) for n, text in TEXTS.items() if n in files
        ],
        tables=list(tables.items()),
    )
    return report.to_html()
