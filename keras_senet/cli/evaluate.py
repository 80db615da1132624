"""`keras-senet evaluate`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

from keras_senet.cli.command import parse_arguments
from keras_senet.cli.console import make_console, print_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measures the accuracy of a model, or of a file of one, on labelled images.

    Attributes:
        model: A run folder, a .keras or .tflite file, a SavedModel folder, or the
            name of a network.
        weights: For a network: a preset or a file.
        output: A new folder for evaluation.json and, of one class an image,
            confusion.png and the worst mistakes, worst.html and worst.png.
        data: "bundled", a tensorflow_datasets name, or a folder of images.
        data_dir: Where the data lies, if not in its usual place.
        split: The split to evaluate on.
        image_size: Height and width in pixels, if not the model's own.
        crop_fraction: The centre crop's share of the resized image.
        batch_size: Images that go through the model at a time.
        limit: Use only so many images.
        trust: Open a SavedModel that may do more than compute.
        precision: Of OpenVINO's .xml file: what it is computed in, "float32" or, where
            the processor can, "bfloat16".

    Examples:
        keras-senet evaluate se_resnet20.cifar10 --data cifar10
        keras-senet evaluate model.tflite --data photos --output runs/accuracy
    """

    model: Positional[str]
    weights: str | None = None
    output: Path | None = None
    data: str = "bundled"
    data_dir: Path | None = None
    split: str = "test"
    image_size: int | None = None
    crop_fraction: float | None = None
    batch_size: int = 64
    limit: int | None = None
    trust: bool = False
    precision: str | None = None

    TITLES: ClassVar = {"data": "Images"}

    def run(self) -> int:
        from keras_senet.data import open_source
        from keras_senet.evaluation import Evaluation, evaluate
        from keras_senet.mistakes import Mistakes
        from keras_senet.opening import open_model
        from keras_senet.utils.files import atomic_path

        if self.output is not None and self.output.exists():
            raise ValueError(
                "`output` must not exist yet. Received: "
                f"{str(self.output)!r}, which exists. Choose another folder."
            )
        model = open_model(
            self.model,
            self.weights,
            image_size=self.image_size,
            trust=self.trust,
            precision=self.precision,
        )
        mistakes, is_kept = Mistakes(), self.output and model.card.outputs != "sigmoid"
        result = evaluate(
            model,
            open_source(self.data, data_dir=self.data_dir),
            split=self.split,
            image_size=self.image_size,
            crop_fraction=self.crop_fraction,
            batch_size=self.batch_size,
            limit=self.limit,
            on_batch=mistakes.add if is_kept else None,
        )
        console = make_console()
        _print(console, result)
        if self.output is not None:
            with atomic_path(self.output, what="output folder") as folder:
                folder.mkdir()
                (folder / "evaluation.json").write_text(result.to_json(), "utf-8")
                if isinstance(result, Evaluation):
                    result.save_confusion_picture(folder / "confusion.png")
                    mistakes.write(folder, result.class_names, model)
            console.print(f"Written to {self.output}", markup=False)
        return 0


def _print(console, result):
    height, width = result.image_size
    rows = [("images", f"{result.images:,} of {height} x {width} pixels")]
    rows += _of_classes(result) if hasattr(result, "top1") else _of_labels(result)
    rows.append(("speed", f"{result.images_per_second:.0f} images/s"))
    title = f"{result.model} on {result.data}, {result.split}"
    print_table(console, title, ("", ""), rows)
    if not hasattr(result, "top1") and len(result.class_names) <= 20:
        _print_labels(console, result)


def _of_classes(result):
    yield "top-1 accuracy", f"{100 * result.top1:.2f} %"
    yield f"top-{result.top_k} accuracy", f"{100 * result.top5:.2f} %"
    yield "loss", f"{result.loss:.4f} nats"
    yield "calibration error", f"{100 * result.calibration_error:.2f} %"
    if len(result.class_names) <= 20:
        for name, value in zip(result.class_names, result.class_accuracy, strict=True):
            yield f"  {name}", f"{100 * value:.1f} %"


def _of_labels(result):
    if len(result.class_names) > 1:
        yield "mean average precision", f"{100 * result.mean_average_precision:.2f} %"
    yield "loss", f"{result.loss:.4f} nats"


def _print_labels(console, result):
    measures = ("accuracy", "precision", "recall", "f1", "average_precision", "auc")
    columns = [">" + name.replace("_", " ") for name in measures]
    rows = [
        (name, str(count), *(f"{100 * value:.1f} %" for value in values))
        for name, count, *values in zip(
            result.class_names,
            result.positives,
            *(getattr(result, name) for name in measures),
            strict=True,
        )
    ]
    print_table(console, "Each label", ("label", ">images", *columns), rows)


def parse(arguments: Sequence[str]) -> Evaluate | None:
    """Reads the words after the verb."""
    return parse_arguments(Evaluate, "evaluate", arguments)
