"""`keras-senet explain`."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

import keras_senet
from keras_senet.cli.console import make_console, print_table
from keras_senet.cli.reports import check_new


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explain:
    """Shows what a network's gates do on labelled images, and which are not needed.

    Where the images have more or fewer classes than the network, no accuracy is
    measured, only whose class changes.

    Attributes:
        model: A run folder, a .keras file, or the name of a network.
        output: A new folder for the pictures, CSV files and index.html.
        classes: The classes drawn, by default the four most frequent.
        layers: The SE layers drawn, by default twelve, evenly spread.
        removal: Also measure the network without each of its SE layers.
        tolerance: A layer is not needed if the network loses at most this share of the
            images without it.
        split: The split whose images are used.

    Examples:
        keras-senet explain runs/quickstart --output runs/gates
        keras-senet explain se_resnet20.cifar10 --output gates --data cifar10
    """

    model: Positional[str]
    output: Path
    weights: str | None = None
    classes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    removal: bool = True
    tolerance: float = 0.001
    data: str = "bundled"
    data_dir: Path | None = None
    split: str = "test"
    limit: int | None = None
    image_size: int | None = None
    crop_fraction: float | None = None
    batch_size: int = 64

    TITLES: ClassVar = {"data": "Images"}

    def run(self) -> int:
        from keras_senet.data.failures import explained

        check_new(self.output)
        if not self.removal and self.tolerance != type(self).tolerance:
            raise ValueError(
                "`tolerance` is for the networks without SE. Received: "
                f"tolerance={self.tolerance}, removal=False. Leave one of them out."
            )
        opened = keras_senet.open_model(self.model, self.weights)
        source = keras_senet.data.open_source(self.data, data_dir=self.data_dir)
        with explained(source):
            return self._run(opened, source)

    def _run(self, opened, source):
        from keras_senet.analysis import plots, report

        model = opened.keras_model()
        classes_of_data = opened.card.check_names(source.class_names)
        is_own = opened.card.classes == len(classes_of_data)
        view = opened.view(
            source, image_size=self.image_size, crop_fraction=self.crop_fraction
        )
        dataset = view.batches(self.split, batch_size=self.batch_size, limit=self.limit)
        statistics = keras_senet.analysis.excitation_statistics(
            model, dataset, class_names=source.class_names
        )
        # Wrong names are found before the long measurement.
        classes, layers = self.classes or None, self.layers or None
        plots.choose_classes(statistics, classes, 1)
        plots.choose_layers(statistics, layers)
        console = make_console()
        if not is_own:
            console.print(
                f"{source.name} has other classes than {self.model}. So nothing is "
                "said about right images, only about images whose class changes."
            )
        removal = None
        if self.removal:
            removal = keras_senet.analysis.removal_accuracy(
                model,
                # -1 is no class, so that no class counts as right.
                dataset if is_own else dataset.map(lambda x, y: (x, 0 * y - 1)),
                statistics,
                tolerance=self.tolerance,
            )
        try:
            drawn = plots.choose_classes(statistics, classes, 4)
            activations = _draw_activations(model, dataset, source, drawn, is_own)
        except ValueError as error:  # no classifier, or none with a last map
            console.print(f"Without class activations: {error}")
            activations = None
        page = report.write_report(
            self.output,
            statistics,
            removal,
            classes=classes,
            layers=layers,
            activations=activations,
            data=f"{source.name}, {self.split}",
        )
        title = f"{self.model} on {source.name}, {self.split}"
        _print(console, title, report.layer_rows(statistics, removal))
        if removal is not None:
            _print_removal(console, statistics, removal)
        console.print(f"Written to {page}")
        return 0


def _draw_activations(model, dataset, source, classes, is_own):
    """Returns a figure of three images of each class, None of several labels.

    `is_own` is whether the classes are the model's; else its best class is explained.
    """
    import numpy as np

    from keras_senet.analysis import plots

    if source.multi_label:
        return None
    wanted = {source.class_names.index(name): [] for name in classes}
    for images, labels in dataset.as_numpy_iterator():
        for image, label in zip(images, labels, strict=True):
            if len(wanted.get(int(label), "...")) < 3:
                wanted[int(label)].append(image)
        if all(len(found) == 3 for found in wanted.values()):
            break
    labels = [label for label, found in wanted.items() for _ in found]
    images = np.stack([image for found in wanted.values() for image in found])
    explained = labels if is_own else None
    where = keras_senet.analysis.class_activation(model, images, explained)
    names = [source.class_names[label] for label in labels]
    return plots.draw_activations(images, where, names)


# Columns of the report that fit into a terminal, and their names there.
_COLUMNS = {
    "layer": "layer",
    "mean gate": ">mean",
    "deviation": ">deviation",
    "open": ">open",
    "closed": ">closed",
    "selectivity": ">selectivity",
    "points lost, gate 1": ">lost, gate 1",
    "points lost, gate's mean": ">lost, mean",
    "% changed, gate 1": ">changed, gate 1",
    "% changed, gate's mean": ">changed, mean",
}


def _print_removal(console, statistics, removal):
    from keras_senet.analysis import report

    if removal.groups:
        head, *rows = report.group_rows(statistics, removal)
        columns = [head[0], *(f">{name}" for name in head[1:])]
        print_table(console, "Several at once", columns, rows)
    if removal.top1 is not None:
        console.print(f"The whole network: {100 * removal.top1:.2f} % right.")
    console.print(report.verdict(statistics, removal))


def _print(console, title, table):
    head, *rows = table
    places = [i for i, name in enumerate(head) if name in _COLUMNS]
    columns = [_COLUMNS[head[i]] for i in places]
    print_table(console, title, columns, [[row[i] for i in places] for row in rows])
