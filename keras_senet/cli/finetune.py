"""`keras-senet finetune`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import OmitArgPrefixes, Positional

from keras_senet.cli.command import parse_arguments
from keras_senet.cli.console import make_console
from keras_senet.cli.finetune_report import write_report, write_worst
from keras_senet.cli.reports import first_images, print_verifications
from keras_senet.cli.train import value_of
from keras_senet.training.finetune_recipe import FinetuneRecipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetune:
    """Fits a trained network to your own images, reports, and exports it.

    First the new classifier learns alone, then all layers do at a lower rate. The run
    folder gets the model, report.md with its pictures, and export/ with a SavedModel
    and a .tflite file, both verified on the held-out images.

    Attributes:
        data: A folder with a subfolder of images a class; also "bundled" or a
            tensorflow_datasets name.
        run_folder: A new or empty folder for everything that is written.
        data_dir: Where a data set lies, if not in its usual place.
        export: Whether files are exported.
        values: The recipe's values.
    """

    data: Positional[str]
    run_folder: Path
    data_dir: Path | None = None
    export: bool = True
    values: OmitArgPrefixes[FinetuneRecipe]

    def run(self) -> int:
        from keras_senet.cli.progress import Progress
        from keras_senet.evaluation import evaluate
        from keras_senet.training.finetune import finetune

        console = make_console()
        progress = Progress(console)
        try:
            result = finetune(
                self.values,
                self.data,
                self.run_folder,
                data_dir=self.data_dir,
                callbacks=[progress],
                verbose=0,
            )
        finally:
            progress.stop()
        evaluation = evaluate(
            result.model, result.source, split=result.recipe.validation_split
        )
        evaluation.save_confusion_picture(self.run_folder / "confusion.png")
        worst = write_worst(result, self.run_folder / "worst.png")
        reports = self._export(result) if self.export else []
        write_report(result, evaluation, worst, reports)
        console.print(
            f"{100 * evaluation.top1:.1f} % of {evaluation.images} held-out images "
            f"right. Report: {self.run_folder / 'report.md'}",
            markup=False,
        )
        if reports:
            size = (self.run_folder / "model.keras").stat().st_size
            print_verifications(console, reports, size)
        return 0 if all(report.passed for report in reports) else 1

    def _export(self, result):
        from keras_senet.export import export_saved_model, export_tflite, verify

        folder, names = self.run_folder / "export", result.source.class_names
        files = [
            export_saved_model(result.model, folder / "saved_model", labels=names),
            export_tflite(result.model, folder / "model.tflite", labels=names),
        ]
        split = result.recipe.validation_split
        images, labels = first_images(result.source, split, result.model, 200)
        return [verify(result.model, file, images, labels) for file in files]


def parse(arguments: Sequence[str]) -> Finetune | None:
    """Reads the words after the verb; weights that are given may name the network."""
    import tyro

    weights = value_of("--weights", arguments)
    values = FinetuneRecipe(model="se_resnet50")
    if weights is not None and value_of("--model", arguments) is None:
        values = FinetuneRecipe(weights=weights)
    default = Finetune(data=tyro.MISSING, run_folder=tyro.MISSING, values=values)
    return parse_arguments(Finetune, "finetune", arguments, default)
