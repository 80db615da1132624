"""`keras-senet export`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from keras_senet.cli.command import parse_arguments
from keras_senet.cli.console import make_console
from keras_senet.cli.opening import open_model
from keras_senet.cli.reports import first_images, print_verifications


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Writes a SavedModel or a .tflite file, and verifies it on real images.

    Attributes:
        model: A run folder, a .keras file, or the name of a network.
        output: A new .tflite file, or a new folder for a SavedModel.
        weights: For a network: a preset or a file.
        quantization: Of a .tflite file; int8 is calibrated on the training images of
            the data.
        data: The images for calibration and verification: "bundled", a
            tensorflow_datasets name, or a folder.
        data_dir: Where the data lies, if not in its usual place.
        split: The split that the file is verified on.
        images: How many images it is verified on; 0 for no verification.
    """

    model: Positional[str]
    output: Path
    weights: str | None = None
    quantization: Literal["none", "float16", "dynamic", "int8"] = "none"
    data: str = "bundled"
    data_dir: Path | None = None
    split: str = "test"
    images: int = 1000

    def run(self) -> int:
        from keras_senet.export import export_saved_model, export_tflite, verify

        opened = open_model(self.model, self.weights)
        model = opened.keras_model()
        if self.output.suffix != ".tflite":
            if self.quantization != "none":
                raise ValueError(
                    "A quantised file must end in .tflite. Received: "
                    f"{str(self.output)!r}, quantization={self.quantization!r}"
                )
            export_saved_model(model, self.output, labels=opened.labels)
        else:
            quantization = None if self.quantization == "none" else self.quantization
            export_tflite(
                model,
                self.output,
                quantization=quantization,
                labels=opened.labels,
                representative_dataset=self._calibration(opened),
            )
        console = make_console()
        console.print(f"Written: {self.output}", markup=False)
        if not self.images:
            return 0
        images, labels = self._images(opened, self.split, self.images)
        report = verify(model, self.output, images, labels)
        print_verifications(console, [report])
        return 0 if report.passed else 1

    def _calibration(self, opened):
        if self.quantization != "int8":
            return None
        return [self._images(opened, "train", 256)[0]]

    def _images(self, opened, split, limit):
        from keras_senet.data import open_source

        source = open_source(self.data, data_dir=self.data_dir)
        return first_images(source, split, opened.model, limit, opened.preprocessing)


def parse(arguments: Sequence[str]) -> Export | None:
    """Reads the words after the verb."""
    return parse_arguments(Export, "export", arguments)
