"""`keras-senet finetune`."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tyro.conf import OmitArgPrefixes, Positional

from keras_senet.cli.command import UsageError, parse_arguments
from keras_senet.cli.console import make_console
from keras_senet.cli.reports import first_images, print_verifications
from keras_senet.cli.train import EXIT_STOPPED, RECIPE_TITLES, run_training, value_of
from keras_senet.training.recipe import FinetuneRecipe, Recipe
from keras_senet.training.recipes import load_recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetune:
    """Fine-tunes a trained network on your own images, writes a report, and exports it.

    First a new linear classifier is fitted to the features of the network: the linear
    probe. Then all layers are trained. The better of the two on the held-out images is
    kept. The run folder gets the model, report.html, and export/ with a SavedModel and
    a .tflite file, both verified on the held-out images. SIGTERM saves the state and
    ends the command with exit code 143; --resume resumes the run.

    Attributes:
        data: A folder with one subfolder of images for each class; also "bundled" or a
            tensorflow_datasets name. Not needed with --resume.
        run_folder: A new or empty folder for everything that is written; with --resume,
            the folder of the run.
        probe: Stop after the linear probe, which needs one pass over the images.
        export: Export the files.

    Examples:
        keras-senet finetune photos --run-folder runs/photos
        keras-senet finetune photos --run-folder runs/b --weights se_resnet50.a1_in1k
    """

    data: Positional[str]
    run_folder: Path
    probe: bool = False
    resume: bool = False
    checkpoint_every: int | None = None
    data_dir: Path | None = None
    export: bool = True
    values: OmitArgPrefixes[Recipe]

    TITLES: ClassVar = RECIPE_TITLES

    def run(self) -> int:
        from keras_senet.training import finetune, make_strategy
        from keras_senet.training.report import write_report
        from keras_senet.training.strategies import is_chief

        console, strategy = make_console(), make_strategy()
        options = {"recipe": self.values, "probe": self.probe, "strategy": strategy}
        call = functools.partial(finetune, self.data, self.run_folder, **options)
        result = run_training(self, "finetune", console, call)
        if result is None:
            return EXIT_STOPPED
        if not is_chief(strategy):
            return 0
        reports = self._export(result) if self.export else []
        if reports:
            write_report(result, reports)
        console.print(
            f"{100 * result.accuracy:.1f} % of the held-out {result.source.counted} "
            f"right, on {result.evaluation.images} images. Report: "
            f"{result.report.with_suffix('.html')}",
        )
        if reports and result.at_chance:
            console.print("These files are no better than chance:", style="bold red")
        if reports:
            size = (self.run_folder / "model.keras").stat().st_size
            print_verifications(console, reports, size)
        return 0 if all(report.passed for report in reports) else 1

    def _export(self, result):
        from keras_senet.export import export_saved_model, export_tflite, verify

        model, folder = result.model, self.run_folder / "export"
        options = {"labels": model.card.labels, "overwrite": True}
        files = [
            export_saved_model(model, folder / "saved_model", **options),
            export_tflite(model, folder / "model.tflite", **options),
        ]
        split = result.recipe.validation_split
        images, labels = first_images(result.source, split, model, 200)
        return [verify(model, file, images, labels) for file in files]


def parse(arguments: Sequence[str]) -> Finetune | None:
    """Reads the words after the verb; weights that are given may name the network."""
    import tyro

    if value_of("--data", arguments) is not None:
        raise UsageError("the data is the first argument: keras-senet finetune DATA")
    weights = value_of("--weights", arguments)
    folder = value_of("--run-folder", arguments)
    data, values = tyro.MISSING, FinetuneRecipe(model="se_resnet50")
    if "--resume" in arguments and folder is not None:
        values = load_recipe(Path(folder).expanduser() / "recipe.json")
        data = values.data
    elif weights is not None and value_of("--model", arguments) is None:
        values = FinetuneRecipe(weights=weights)
    default = Finetune(data=data, run_folder=tyro.MISSING, values=values)
    network = value_of("--model", arguments)
    return parse_arguments(Finetune, "finetune", arguments, default, network)
