"""`keras-senet variants`."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

import keras_senet
from keras_senet.cli.console import make_console, print_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variants:
    """Writes all kinds of .tflite files of a model, and compares them.

    The table has size, latency with one and two threads, accuracy, agreement with the
    model, and the layer with the largest error. It marks the Pareto front of accuracy
    and latency. The two files with other types for the gates need LiteRT's quantiser:
    pip install litert-quantizer.

    Attributes:
        model: A run folder, a .keras file, or the name of a network.
        output: A new folder for the files, report.json, report.md and report.png.
        variants: Only these files, such as float32 int8.
        latency_runs: How many times the latency of one image is measured.
        data: The images for calibration and for the accuracy: "bundled", a
            tensorflow_datasets name, or a folder.
        split: The split for the accuracy; all its images are used.
        limit: Use at most this many images of the split.

    Examples:
        keras-senet variants runs/quickstart --output runs/variants
        keras-senet variants runs/quickstart --output few --variants float32 int8
    """

    model: Positional[str]
    output: Path
    weights: str | None = None
    variants: tuple[str, ...] = ()
    latency_runs: int = 50
    fold: bool = True
    data: str = "bundled"
    data_dir: Path | None = None
    split: str = "test"
    limit: int | None = None

    TITLES: ClassVar = {"data": "Images"}

    def run(self) -> int:
        opened = keras_senet.open_model(self.model, self.weights)
        report = keras_senet.compare_variants(
            opened.keras_model(),
            self.output,
            keras_senet.data.open_source(self.data, data_dir=self.data_dir),
            split=self.split,
            limit=self.limit,
            variants=self.variants or None,
            latency_runs=self.latency_runs,
            labels=opened.class_names(),
            fold=self.fold,
        )
        columns, rows = report.table()
        numbers = (">" + column for column in columns[1:])
        console = make_console()
        title = (
            f"{report.images:,} images; the Keras model: {report.model_accuracy:.2%}"
        )
        print_table(console, title, (columns[0], *numbers), rows)
        console.print(f"Written to {self.output}")
        return 0
