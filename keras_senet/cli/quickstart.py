"""`keras-senet quickstart`: the whole chain on the images in the package."""

import dataclasses
import json
import time
from pathlib import Path

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
        from keras_senet.evaluation import evaluate
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
            result = self._train(console)
        except TrainingStopped:
            console.print("Stopped by SIGTERM. Start again in a new folder.")
            return EXIT_STOPPED
        stage("train", f"Trained at {result.images_per_second:.0f} images/s")
        evaluation = evaluate(result.model, result.source, limit=result.recipe.limit)
        evaluation.save_confusion_picture(self.run_folder / "confusion.png")
        top1 = 100 * evaluation.top1
        stage("evaluate", f"{top1:.1f} % of the held-out images right")
        files = self._export(result)
        stage("export", f"Exported {len(files)} files")
        reports = self._verify(result, files)
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
        from keras_senet.training import RECIPES, train

        recipe = RECIPES["quickstart"]
        if self.smoke:
            # Enough steps for the averages of batch normalization to settle.
            recipe = dataclasses.replace(recipe.smoke(), limit=400)
        console.print(f"{recipe.model} on the bundled Fashion-MNIST images")
        progress = Progress(console)
        try:
            return train(recipe, self.run_folder, callbacks=[progress], verbose=0)
        finally:
            progress.stop()

    def _export(self, result):
        from keras_senet.export import export_saved_model, export_tflite

        folder, model = self.run_folder / "export", result.model
        labels = result.source.class_names
        files = [export_saved_model(model, folder / "saved_model", labels=labels)]
        images, _ = first_images(result.source, "train", model, 256)
        for quantization in QUANTIZATIONS:
            file = folder / f"{quantization or 'float32'}.tflite"
            options = {"quantization": quantization, "labels": labels}
            if quantization == "int8":
                options["representative_dataset"] = [images]
            files.append(export_tflite(model, file, **options))
        return files

    def _verify(self, result, files):
        from keras_senet.export import verify
        from keras_senet.utils.pictures import draw_predictions

        source, limit = result.source, result.recipe.limit
        images, labels = first_images(source, "test", result.model, limit)
        draw_predictions(
            result.model.predict(images[:40], verbose=0),
            images[:40],
            labels[:40],
            source.class_names,
            self.run_folder / "predictions.png",
        )
        # After a few steps no class stands out, and rounding moves the accuracy.
        loose = {"int8": 0.5} if self.smoke else {}
        return [
            verify(result.model, file, images, labels, tolerance=loose.get(file.stem))
            for file in files
        ]

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
