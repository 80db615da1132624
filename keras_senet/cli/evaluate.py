"""`keras-senet evaluate`."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

from keras_senet.cli.console import make_console, print_table
from keras_senet.cli.reports import check_new


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measures the accuracy of a model, or of a file of one, on labelled images.

    Attributes:
        output: A new folder for the report: report.html and, for programs, report.md,
            classes.csv and evaluation.json. With one class for each image also
            confusion.png and the worst mistakes, worst.html and worst.png.
        precision: For an OpenVINO .xml file: "float32" or "bfloat16", if the processor
            supports it.
        split: The split to evaluate on.

    Examples:
        keras-senet evaluate se_resnet20.cifar10 --data cifar10
        keras-senet evaluate model.tflite --data photos --output runs/accuracy
    """

    model: Positional[str]
    weights: str | None = None
    output: Path | None = None
    trust: bool = False
    precision: str | None = None
    data: str = "bundled"
    data_dir: Path | None = None
    split: str = "test"
    image_size: int | None = None
    crop_fraction: float | None = None
    batch_size: int = 64
    limit: int | None = None

    TITLES: ClassVar = {"data": "Images"}

    def run(self) -> int:
        from keras_senet.data import open_source
        from keras_senet.evaluation import Evaluation, evaluate
        from keras_senet.mistakes import Mistakes
        from keras_senet.opening import open_model
        from keras_senet.utils.files import atomic_path

        check_new(self.output)
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
                _write_report(folder, result)
            console.print(f"Written to {self.output}")
        return 0


def _title(result):
    return f"{result.model} on {result.data}, {result.split}"


def _write_report(folder, result):
    from keras_senet.utils.report_page import Picture, Report, write_report_files

    pictures, files = [], ["evaluation.json"]
    if (folder / "confusion.png").exists():
        text = "Each row is a class; the columns are what the model says of its images."
        png = (folder / "confusion.png").read_bytes()
        pictures = [Picture(png, "Confusion matrix", text, "confusion.png")]
    if (folder / "worst.html").exists():
        files += ["worst.html"]
    report = Report(
        title=_title(result),
        answer=result.findings(),
        tables=[("Figures", [("figure", "value"), *_figures(result)])],
        pictures=pictures,
        files=files,
    )
    write_report_files(folder, report, result.by_class())


def _figures(result):
    from keras_senet.evaluation import NO_LABEL, NO_MEANING, in_words

    height, width = result.image_size
    yield "images", f"{result.images:,} of {height} x {width} pixels"
    one_class = hasattr(result, "top1")
    if one_class:
        yield "top-1 accuracy", f"{100 * result.top1:.2f} %"
        if result.top_k > 1:  # else of two classes, and the same
            yield f"top-{result.top_k} accuracy", f"{100 * result.top5:.2f} %"
    elif len(result.class_names) > 1:
        mean = in_words("{:.2f} %", 100 * result.mean_average_precision, NO_LABEL)
        yield "mean average precision", mean
    yield "loss", in_words("{:.4f} nats", result.loss, NO_MEANING)
    if one_class:
        error = in_words("{:.2f} %", 100 * result.calibration_error, NO_MEANING)
        yield "calibration error", error
    yield "speed", f"{result.images_per_second:.0f} images/s"


def _print(console, result):
    from keras_senet.utils.report_page import as_text

    print_table(console, _title(result), ("", ""), _figures(result))
    if len(result.class_names) <= 20:
        head, *rows = as_text(result.by_class())
        columns = (head[0], *(f">{name}" for name in head[1:]))
        print_table(console, f"Each {head[0]}", columns, rows)
