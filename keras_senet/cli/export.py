"""`keras-senet export`."""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar, Literal

from tyro.conf import Positional

import keras_senet
from keras_senet.cli.console import make_console
from keras_senet.cli.reports import first_images, has_classes, print_verifications
from keras_senet.containers import SUFFIXES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Writes a SavedModel or a file for another runtime; verifies it on real images.

    Attributes:
        model: A run folder, a .keras file, or the name of a network.
        output: A new .tflite or .onnx file, a new .xml file for OpenVINO, or a new
            folder for a SavedModel.
        format: The format, if it does not follow from the name of the output.
        version: For a SavedModel: write the folder OUTPUT/VERSION, as TensorFlow
            Serving needs it.
        batch_size: A fixed number of images; by default it is open.
        rgb_input: Give a grey network an RGB input, for phone libraries that only take
            RGB images. The file turns them into grey.
        quantization: For a .tflite file; for OpenVINO: float16 and int8. int8 is
            calibrated on the training images of the data.
        io_type: For an int8 file: the type of its input and output.
        max_accuracy_loss: For quantization int8: keep as few operations as possible in
            float to lose at most this many points of accuracy on the split.
        data: The images for calibration and verification: "bundled", a
            tensorflow_datasets name, or a folder. By default "bundled"; int8 needs
            images like those that the model was trained on.
        split: The split for the verification.
        images: Number of images for the verification; 0 for no verification.

    Examples:
        keras-senet export runs/quickstart --output model.tflite --quantization int8
        keras-senet export se_resnet20.fashion_mnist --output served --version 1
    """

    model: Positional[str]
    output: Path
    format: Literal["saved_model", "tflite", "onnx", "openvino"] | None = None
    weights: str | None = None
    version: int | None = None
    batch_size: int | None = None
    fold: bool = True
    rgb_input: bool = False
    quantization: Literal[
        "none", "float16", "dynamic", "int8", "int8_float_gates", "int8_int16_gates"
    ] = "none"
    io_type: Literal["float32", "uint8", "int8"] = "float32"
    max_accuracy_loss: float | None = None
    data: str | None = None
    data_dir: Path | None = None
    split: str = "test"
    images: int = 1000

    TITLES: ClassVar = {"quantization": "Quantisation", "data": "Images"}

    def run(self) -> int:
        self._check()
        opened = keras_senet.open_model(self.model, self.weights)
        if self.rgb_input:
            model = keras_senet.surgery.rgb_input(opened.keras_model())
            opened = keras_senet.open_model(model)
        # Before anything is written, so that what is wrong with them leaves no file.
        if self.images:
            model = opened.keras_model()
            images, labels = self._images(opened, self.split, self.images)
        output = self._write(opened)
        console = make_console()
        console.print(f"Written: {output}")
        if not self.images:
            return 0
        report = keras_senet.verify(model, output, images, labels)
        print_verifications(console, [report])
        return 0 if report.passed else 1

    @property
    def _kind(self) -> str:
        by_name = {suffix: kind for kind, suffix in SUFFIXES.items()}
        return self.format or by_name.get(self.output.suffix.lower(), "saved_model")

    def _check(self):
        kind, suffix = self._kind, self.output.suffix
        needs_images = self.images or self.quantization.startswith("int8")
        given = {"data": self.data, "data_dir": self.data_dir, "split": self.split}
        known = [f"{n}={str(v)!r}" for n, v in given.items() if v not in (None, "test")]
        if known and not needs_images:
            raise ValueError(
                "`data`, `data_dir` and `split` are for the verification and for int8. "
                f"Received: {', '.join(known)}, images=0. Leave out --images 0, or "
                "these."
            )
        for name, plain, kinds in (
            ("quantization", "none", ("tflite", "openvino")),
            ("io_type", "float32", ("tflite",)),
            ("max_accuracy_loss", None, ("tflite",)),
        ):
            value = getattr(self, name)
            if kind not in kinds and value != plain:
                endings = " or ".join(SUFFIXES[kind] for kind in kinds)
                raise ValueError(
                    f"A quantised file must end in {endings}. Received: "
                    f"{str(self.output)!r}, {name}={value!r}"
                )
        if kind in SUFFIXES and suffix != SUFFIXES[kind]:
            raise ValueError(
                f"The output of the format {kind} must end in {SUFFIXES[kind]}. "
                f"Received: {str(self.output)!r}"
            )
        if suffix.lower() in (".keras", ".h5", ".pb", ".tflit", ".lite", ".bin"):
            raise ValueError(
                "The output must be a .tflite, .onnx or .xml file, or a folder for a "
                f"SavedModel. Received: {str(self.output)!r}"
            )
        if kind in SUFFIXES and self.version is not None:
            raise ValueError(
                "`version` is only for a SavedModel folder. Received: "
                f"{str(self.output)!r}, version={self.version}"
            )

    def _write(self, opened):
        kind = self._kind
        arguments = {"labels": opened.class_names(), "fold": self.fold}
        arguments["batch_size"] = self.batch_size
        model = opened.keras_model()
        if kind == "saved_model":
            arguments["version"] = self.version
        if kind == "tflite":
            arguments["io_type"] = self.io_type
        if self.max_accuracy_loss is not None:
            return self._search(opened, arguments)
        if kind in ("tflite", "openvino"):
            quantization = None if self.quantization == "none" else self.quantization
            arguments["quantization"] = quantization
            arguments["representative_dataset"] = self._calibration(opened)
        return getattr(keras_senet, f"export_{kind}")(model, self.output, **arguments)

    def _search(self, opened, arguments):
        images, targets = self._images(opened, self.split, self.images or None)
        if self.quantization != "int8" or targets is None:
            raise ValueError(
                "`max_accuracy_loss` needs quantization int8 and data with the model's "
                "classes, one label an image. Received: "
                f"quantization={self.quantization!r}, "
                f"data={self.data!r}"
            )
        found = keras_senet.search_int8(
            opened.keras_model(),
            self.output,
            images,
            targets,
            representative_dataset=self._calibration(opened),
            max_accuracy_loss=self.max_accuracy_loss,
            **arguments,
        )
        make_console().print(found.summary())
        return self.output

    def _calibration(self, opened):
        if not self.quantization.startswith("int8"):
            return None
        if self.data is None and not has_classes(opened.card, self._source.class_names):
            raise ValueError(
                "An int8 file is calibrated on images like those that the model was "
                "trained on. Received: no --data, and a model with other classes than "
                "the bundled images. Give the images with --data."
            )
        return [self._images(opened, "train", 256)[0]]

    def _images(self, opened, split, limit):
        return first_images(self._source, split, opened, limit)

    @functools.cached_property
    def _source(self):
        name = self.data or "bundled"
        return keras_senet.data.open_source(name, data_dir=self.data_dir)
