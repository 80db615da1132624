"""`keras-senet quickstart`: the whole chain on the images in the package."""

import dataclasses
import functools
import json
import time
from pathlib import Path

from keras_senet.cli.command import parse_arguments
from keras_senet.cli.console import make_console
from keras_senet.cli.reports import first_images, print_verifications
from keras_senet.cli.train import EXIT_STOPPED

QUANTIZATIONS = (None, "float16", "dynamic", "int8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quickstart:
    """Trains SEResNet20 on the bundled images, evaluates, exports and verifies it.

    Attributes:
        run_folder: A new or empty folder for everything that is written.
        smoke: Train on a few images only, to see that everything works.

    Examples:
        keras-senet quickstart
        keras-senet quickstart --smoke --run-folder runs/smoke
    """

    run_folder: Path = Path("runs/quickstart")
    smoke: bool = False

    def run(self) -> int:
        from keras_senet.training import TrainingStopped

        console = make_console()
        seconds, start = {}, time.perf_counter()

        def stage(name, text):
            seconds[name] = time.perf_counter() - start - sum(seconds.values())
            console.print(text)

        if (self.run_folder / "recipe.json").exists():  # `train` would name --resume
            raise ValueError(
                "The run folder must be new or empty. Received: "
                f"{str(self.run_folder)!r}, which holds a run. Choose another folder "
                "with --run-folder."
            )
        try:
            result, source = self._train(console)
        except TrainingStopped:
            console.print("Stopped by SIGTERM. Start again in a new folder.")
            return EXIT_STOPPED
        stage("train", f"Trained at {result.images_per_second:.0f} images/s")
        evaluation = self._evaluate(result, source)
        top1 = 100 * evaluation.top1
        stage("evaluate", f"{top1:.1f} % of the held-out images right")
        files = self._export(result, source)
        stage("export", f"Exported {len(files)} files")
        reports = self._verify(result, source, files)
        stage("verify", "")
        size = (self.run_folder / "model.keras").stat().st_size
        print_verifications(console, reports, size)
        passed = all(report.passed for report in reports)
        self._write_report(passed, seconds, result, evaluation, reports)
        total = sum(seconds.values())
        console.print(
            f"{total:.0f} s in total. Files and pictures: {self.run_folder}",
        )
        return 0 if passed else 1

    def _train(self, console):
        from keras_senet.cli.progress import Progress
        from keras_senet.data import open_source
        from keras_senet.training import RECIPES, train

        recipe = RECIPES["quickstart"]
        if self.smoke:
            # Enough steps for the averages of batch normalization to settle.
            recipe = dataclasses.replace(recipe.smoke(), limit=400)
        console.print(f"{recipe.model} on the bundled Fashion-MNIST images")
        progress = Progress(console)
        try:
            result = train(recipe, self.run_folder, callbacks=[progress], verbose=0)
        finally:
            progress.stop()
        return result, open_source(recipe.data)

    def _evaluate(self, result, source):
        from keras_senet.evaluation import evaluate

        evaluation = evaluate(result.model, source, limit=result.recipe.limit)
        evaluation.save_confusion_picture(self.run_folder / "confusion.png")
        return evaluation

    def _export(self, result, source):
        from keras_senet.export import export_saved_model, export_tflite

        folder, labels = self.run_folder / "export", source.class_names
        files = [
            export_saved_model(result.model, folder / "saved_model", labels=labels)
        ]
        images, _ = first_images(source, "train", result.model, 256)
        for quantization in QUANTIZATIONS:
            file = export_tflite(
                result.model,
                folder / f"{quantization or 'float32'}.tflite",
                quantization=quantization,
                representative_dataset=[images] if quantization == "int8" else None,
                labels=labels,
            )
            files.append(file)
        return files

    def _verify(self, result, source, files):
        from keras_senet.export import verify
        from keras_senet.utils.pictures import draw_predictions

        limit = result.recipe.limit or source.splits["test"]
        images, labels = first_images(source, "test", result.model, limit)
        draw_predictions(
            result.model.predict(images[:40], verbose=0),
            images[:40],
            labels[:40],
            source.class_names,
            self.run_folder / "predictions.png",
        )
        return [
            verify(result.model, file, images, labels, tolerance=self._tolerance(file))
            for file in files
        ]

    def _tolerance(self, file):
        # After a few steps no class stands out, and rounding moves the accuracy.
        return 0.5 if self.smoke and file.stem == "int8" else None

    def _write_report(self, passed, seconds, result, evaluation, reports):
        from keras_senet.utils.files import write_json

        report = {
            "passed": passed,
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "images_per_second": round(result.images_per_second, 1),
            "evaluation": json.loads(evaluation.to_json()),
            "verifications": [json.loads(report.to_json()) for report in reports],
        }
        write_json(self.run_folder / "report.json", report)


parse = functools.partial(parse_arguments, Quickstart, "quickstart")
