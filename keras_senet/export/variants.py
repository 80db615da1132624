"""The variants of a model's .tflite and OpenVINO files, compared on labelled images."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_senet.data import Source
from keras_senet.export.openvino import check_openvino, write_openvino
from keras_senet.export.quantize import calibration_images
from keras_senet.export.search import LAYER_IMAGES, check_classifier, layer_errors
from keras_senet.export.tflite import QUANTIZATIONS, Conversion
from keras_senet.export.verify import latencies
from keras_senet.opening import open_model
from keras_senet.tracing import Frozen, freeze
from keras_senet.utils.errors import as_integer, check_counts, nearest
from keras_senet.utils.files import atomic_path
from keras_senet.utils.flatbuffer import read_tflite
from keras_senet.utils.labelled import class_numbers, read_labelled
from keras_senet.utils.markdown import in_markdown, markdown_table
from keras_senet.utils.pictures import save_figure
from keras_senet.utils.records import Measured
from keras_senet.views import as_source, in_range, view_source

# For phones; the others, for servers, are made when they are asked for.
_TFLITE = tuple(name or "float32" for name in QUANTIZATIONS)
_OPENVINO = {
    "openvino": None,
    "openvino_float16": "float16",
    "openvino_int8": "int8",
}
VARIANTS = (*_TFLITE, *_OPENVINO)

# Told apart without colours as well; a file's colour is the same in both parts.
_COLORS = ("#1b5fa8", "#d98c21", "#3a8f5c", "#b3261e", "#7a4fa3", "#5f6b76") * 2
_MARKERS = "osD^vPX*h<>p"
_LINE = "#9aa3ad"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One file of a model.

    Attributes:
        name: "float32" or the quantization of `export_tflite`; for OpenVINO files
            "openvino", "openvino_float16" or "openvino_int8".
        file: Its name in the report's folder.
        size_bytes: Its size; for OpenVINO with the file of weights.
        results: For a .tflite file: the number of operations by the type of the result.
        latency: Median seconds for one image, by the number of threads.
        accuracy: Top-1 accuracy.
        agreement: Share of the images with the same top class as the Keras model.
        max_difference: Largest difference of an output from the Keras model's.
        worst_layer: The layer whose result differs most from that of the float32 file;
            "" for OpenVINO files.
        worst_error: Its error: the root mean square of the difference, divided by that
            of the values. It includes the errors of earlier layers. None for OpenVINO.
        on_front: Whether no other variant is at least as accurate and as fast, and
            better in one of them.

    Example:

    >>> report = keras_senet.export.compare_variants(
    ...     model, "files", (images, labels), variants=("float32", "float16")
    ... )
    >>> [variant.name for variant in report.variants]
    ['float32', 'float16']
    """

    name: str
    file: str
    size_bytes: int
    results: Mapping[str, int]
    latency: Mapping[int, float]
    accuracy: float
    agreement: float
    max_difference: float
    worst_layer: str
    worst_error: float | None
    on_front: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariantsReport(Measured):
    """What `compare_variants` measured.

    Attributes:
        model: The model's name.
        data: Name of the data, `None` for arrays.
        split: The split of the data, `None` for arrays.
        images: Number of images.
        model_accuracy: Top-1 accuracy of the Keras model.
        variants: The files, in the requested order.

    Example:

    >>> report = keras_senet.export.compare_variants(
    ...     model, "files", (images, labels), variants=("float32", "float16")
    ... )
    >>> report.images
    16
    """

    model: str
    data: str | None
    split: str | None
    images: int
    model_accuracy: float
    variants: tuple[Variant, ...]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Returns the names of the columns and the cells of each row as text."""
        threads = list(self.variants[0].latency)
        columns = ["variant", "size", *map(_threads, threads)]
        columns += ["top-1", "same class", "worst layer", "its error", "front"]
        rows = [
            [
                variant.name,
                f"{variant.size_bytes / 1e6:.2f} MB",
                *(f"{1000 * variant.latency[n]:.2f} ms" for n in threads),
                f"{variant.accuracy:.2%}",
                f"{variant.agreement:.2%}",
                variant.worst_layer,
                f"{variant.worst_error:.1%}" if variant.worst_layer else "",
                "yes" if variant.on_front else "",
            ]
            for variant in self.variants
        ]
        return columns, rows

    def to_markdown(self) -> str:
        """Returns the table with a line on what was measured."""
        columns, rows = self.table()
        head = (
            f"{_title(self)}; the Keras model has a top-1 accuracy of "
            f"{self.model_accuracy:.2%}. Latency is of one image."
        )
        return f"{in_markdown(head)}\n\n{markdown_table(columns, rows)}\n"


def _title(report: VariantsReport) -> str:
    where = f" of {report.data}, {report.split}" if report.data else ""
    return f"{report.model} on {report.images:,} images{where}"


def _threads(number: int) -> str:
    return f"{number} thread" if number == 1 else f"{number} threads"


def compare_variants(
    model: keras.Model,
    folder: str | os.PathLike,
    data,
    *,
    split: str = "test",
    limit: int | None = None,
    representative_dataset: Source | str | os.PathLike | Iterable | None = None,
    representative_limit: int = 256,
    variants: Sequence[str] | None = None,
    threads: Sequence[int] = (1, 2),
    latency_runs: int = 50,
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    fold: bool = True,
) -> VariantsReport:
    """Exports a model to several kinds of files and compares them.

    The folder gets the files, `report.json`, `report.md` and `report.png`: accuracy
    against latency, with the Pareto front, and the sizes.

    Args:
        model: A functional or sequential classifier.
        folder: The new folder.
        data: Labelled images: a data source, a name that `open_source` takes, or a pair
            of arrays (images, classes) in the form that the model takes.
        split: The split of a source.
        limit: The largest number of images to use.
        representative_dataset: Training images for int8, as for `export_tflite`. By
            default those of the source.
        representative_limit: The largest number of these images to use.
        variants: Some of `VARIANTS`. `None` is all .tflite files that are possible.
        threads: Numbers of threads for measuring the latency.
        latency_runs: How many times the latency of one image is measured. The files
            take turns.
        labels: Class names. By default those of the source.
        image_size: Height and width, for a model that leaves them open.
        fold: Whether the model is folded first.

    Raises:
        ValueError: If the folder exists, an argument is out of its range, or a file
            cannot be made.

    Example:

    >>> report = keras_senet.export.compare_variants(model, "files", "bundled")
    >>> print(report.to_markdown())
    """
    _check(variants)
    check_counts(latency_runs=latency_runs)
    numbers = np.ravel(threads).tolist() or [threads]
    threads = tuple(as_integer("threads", number) for number in numbers)
    data = as_source(data)
    about = {"data": None, "split": None}
    if isinstance(data, Source):
        about = {"data": data.name, "split": split}
        if representative_dataset is None:
            representative_dataset = data
    with atomic_path(folder, what="folder") as temporary:
        temporary.mkdir()
        frozen = _ready(model, data, labels, image_size, fold)
        images = None
        if any("int8" in name for name in variants or VARIANTS):
            images = calibration_images(
                frozen, representative_dataset, limit=representative_limit
            )
        conversion = Conversion(frozen, images)
        if images is None:
            samples = [next(_batches(frozen, data, split, 1))[0]]
        else:
            samples = conversion.images[:LAYER_IMAGES]
        files, worst = _export(conversion, temporary, variants, samples)
        batches = _batches(frozen, data, split, limit)
        scored, count, model_accuracy = _score(model, files, batches)
        times = _latency(files, samples[0][:1], threads, latency_runs)
        rows = [
            Variant(
                name=name,
                file=file.name,
                latency=times[name],
                **scored[name],
                **worst[name],
            )
            for name, file in files.items()
        ]
        report = VariantsReport(
            model=frozen.name,
            images=count,
            model_accuracy=model_accuracy,
            variants=tuple(_with_front(rows, threads[0])),
            **about,
        )
        (temporary / "report.json").write_text(report.to_json() + "\n", "utf-8")
        (temporary / "report.md").write_text(report.to_markdown(), "utf-8")
        _draw(report, temporary / "report.png")
    return report


def _check(variants) -> None:
    unknown = [name for name in variants or () if name not in VARIANTS]
    hint = nearest(unknown[0], VARIANTS) if unknown else ""
    if unknown or (variants is not None and not variants):
        raise ValueError(
            f"`variants` must be some of {VARIANTS}, or None for all .tflite files. "
            f"Received: variants={variants!r}.{hint}"
        )
    for name in _OPENVINO.keys() & set(variants or ()):
        check_openvino(_OPENVINO[name])


def _ready(model, data, labels, image_size, fold) -> Frozen:
    """Freezes a classifier of the data's classes; a source's names are the default."""
    frozen = freeze(model, image_size=image_size, fold=fold)
    check_classifier(frozen)
    if not isinstance(data, Source):
        return frozen.named(labels)
    classes = frozen.outputs[0].shape[-1]
    names = frozen.card.check_names(data.class_names)
    if classes != len(names):
        raise ValueError(
            "The model and the data must have the same classes. Received: a model with "
            f"{classes} classes, and {data.name!r} with {len(data.class_names)}"
        )
    return frozen.named(names if labels is None else labels)


def _export(conversion: Conversion, folder: Path, variants, samples):
    """Writes the files; returns them and their worst layers on sample images."""
    if variants is None:
        variants = [n for n in _TFLITE if conversion.gates or "gates" not in n]
    files, worst = {}, {}
    for name in variants:
        if name in _OPENVINO:
            files[name] = folder / f"{name}.xml"
            images = conversion.images
            write_openvino(conversion.frozen, files[name], _OPENVINO[name], images)
            worst[name] = {"worst_layer": "", "worst_error": None, "results": {}}
            continue
        data = conversion.convert(None if name == "float32" else name)
        files[name] = folder / f"{name}.tflite"
        conversion.write(data, files[name])
        errors = layer_errors(conversion.float32, data, samples)
        layer = max(errors, key=errors.get, default="")
        worst[name] = {
            "worst_layer": layer.split(";")[0],
            "worst_error": errors.get(layer, 0.0),
            "results": dict(read_tflite(data).results),
        }
    return files, worst


def _batches(frozen: Frozen, data, split, limit):
    if not isinstance(data, Source):
        yield from in_range(read_labelled(data, limit=limit), frozen.card)
        return
    yield from view_source(data, frozen.card, frozen.name).arrays(split, limit=limit)


def _score(model, files, batches):
    """Returns accuracy and agreement of each file, the count, the model's accuracy."""
    reference = open_model(model)
    runners = {name: open_model(file) for name, file in files.items()}
    right, same = dict.fromkeys(files, 0), dict.fromkeys(files, 0)
    largest = dict.fromkeys(files, 0.0)
    count, model_right, predicted = 0, 0, reference.card.predicted
    for images, labels in batches:
        classes, expected = class_numbers(labels), reference.predict(images)
        count += len(images)
        top = predicted(expected)
        model_right += int(np.sum(top == classes))
        for name, runner in runners.items():
            scores = runner.predict(images)
            right[name] += int(np.sum(predicted(scores) == classes))
            same[name] += int(np.sum(predicted(scores) == top))
            difference = float(np.abs(scores - expected).max())
            largest[name] = max(largest[name], difference)
    scored = {
        name: {
            "accuracy": right[name] / count,
            "agreement": same[name] / count,
            "max_difference": largest[name],
            "size_bytes": runners[name].size_bytes,
        }
        for name in files
    }
    return scored, count, model_right / count


def _latency(files, image, threads, runs) -> dict[str, dict[int, float]]:
    """Returns the median seconds for one image, by file and number of threads."""
    keys = [(name, number) for name in files for number in threads]
    runners = [open_model(files[name], threads=number) for name, number in keys]
    times = dict(zip(keys, latencies(runners, image, runs), strict=True))
    return {name: {n: times[name, n] for n in threads} for name in files}


def _with_front(rows: list[Variant], threads: int) -> list[Variant]:
    def beats(a: Variant, b: Variant) -> bool:
        ours = (-a.accuracy, a.latency[threads])
        theirs = (-b.accuracy, b.latency[threads])
        return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))

    return [
        dataclasses.replace(row, on_front=not any(beats(other, row) for other in rows))
        for row in rows
    ]


def _draw(report, path: Path) -> None:
    """Draws accuracy against latency, and the sizes, into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    scatter, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_front(scatter, report)
    _draw_sizes(bars, report.variants)
    figure.suptitle(_title(report), fontsize=12)
    save_figure(figure, path, dpi=130)


def _draw_front(axes, report) -> None:
    threads = next(iter(report.variants[0].latency))
    axes.axhline(
        100 * report.model_accuracy,
        color=_LINE,
        linewidth=0.9,
        linestyle="--",
        label="the Keras model",
    )
    places = [
        (variant, (1000 * variant.latency[threads], 100 * variant.accuracy))
        for variant in report.variants
    ]
    front = sorted(place for variant, place in places if variant.on_front)
    axes.step(
        *zip(*front, strict=True),
        where="post",
        color=_LINE,
        linewidth=1.2,
        label="Pareto front",
    )
    for number, (variant, place) in enumerate(places):
        axes.plot(
            *place,
            _MARKERS[number],
            markeredgecolor=_COLORS[number],
            markerfacecolor="none",
            markeredgewidth=2,
            markersize=10,
            label=variant.name + (" (on the front)" if variant.on_front else ""),
        )
    axes.margins(0.1, 0.2)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"latency of one image, ms ({_threads(threads)})")
    axes.set_ylabel("top-1 accuracy, %")
    axes.set_title("Accuracy against latency", fontsize=10)
    axes.legend(fontsize=8, loc="best", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_sizes(axes, variants) -> None:
    names = [variant.name for variant in variants]
    sizes = [variant.size_bytes / 1e6 for variant in variants]
    colors = [_COLORS[number % len(_COLORS)] for number in range(len(names))]
    drawn = axes.barh(names, sizes, color=colors, height=0.6)
    axes.bar_label(drawn, fmt=" %.2f", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("size, MB")
    axes.set_title("Size of the file", fontsize=10)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
