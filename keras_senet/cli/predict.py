"""`keras-senet predict`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from keras_senet.cli.command import UsageError, parse_arguments
from keras_senet.cli.console import make_console, print_table
from keras_senet.cli.opening import open_model, read_labels
from keras_senet.preprocessing import (
    decode_predictions,
    preprocess_input,
    resize_and_crop,
)
from keras_senet.weights import Preprocessing, find_preset


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict:
    """Says what is on images: the most probable classes of each.

    Attributes:
        images: Image files.
        model: A run folder, a .keras or .tflite file, a SavedModel folder, or the
            name of a network.
        weights: For a network: a preset or a file.
        labels: A file with the class names, where the model carries none: a JSON
            list, or one name a line.
        top: How many classes to show.
    """

    images: Positional[tuple[str, ...]]
    model: str
    weights: str | None = None
    labels: Path | None = None
    top: int = 5

    def run(self) -> int:
        from keras_senet.data import read_image
        from keras_senet.export import open_runner

        opened = open_model(self.model, self.weights)
        runner = open_runner(opened.model)
        prepare = _preparation(opened.preprocessing or runner.preprocessing, runner)
        channels = runner.input_shape[-1]
        batch = [prepare(read_image(path, channels=channels)) for path in self.images]
        console = make_console()
        for path, image in zip(self.images, batch, strict=True):
            scores = runner.predict(image[np.newaxis])
            rows = [
                (str(rank), name.replace("_", " "), f"{100 * score:.1f} %")
                for rank, (name, score) in enumerate(
                    self._best(scores, opened.labels or runner.labels), 1
                )
            ]
            print_table(console, path, (">", "class", ">probability"), rows)
        return 0

    def _best(self, scores, labels):
        """Returns (name, score) of the best classes."""
        preset = None
        if self.labels is not None:
            labels = read_labels(self.labels)
        elif labels is None and self.weights and find_preset(self.weights, self.model):
            preset = find_preset(self.weights, self.model)
        elif labels is None and scores.shape[-1] != 1000:
            labels = range(scores.shape[-1])
        decoded = decode_predictions(scores, self.top, preset=preset, labels=labels)
        return [(name, score) for _, name, score in decoded[0]]


def _preparation(record, runner):
    """Returns what makes the model's input of an image's pixels."""
    height, width = runner.input_shape[1:3]
    if height != width:
        raise ValueError(
            "Predictions need a model of square images. Received: "
            f"{runner.name}, which takes {height} x {width} pixels"
        )
    if record is None and runner.normalises is False:
        raise ValueError(
            "Predictions need a model that normalises images, or says how. Received: "
            f"{runner.name}, which does neither. Build it with "
            "include_preprocessing=True."
        )
    if record is None:
        record = Preprocessing(crop_fraction=1.0, interpolation="bilinear")
    record = dataclasses.replace(record, image_size=height or record.image_size)

    def prepare(image):
        image = np.asarray(resize_and_crop(image, record))
        if runner.normalises is False:
            return preprocess_input(image, "channels_last", preset=record)
        return image

    return prepare


def parse(arguments: Sequence[str]) -> Predict | None:
    """Reads the words after the verb."""
    command = parse_arguments(Predict, "predict", arguments)
    if command is not None and not command.images:
        raise UsageError("which images? keras-senet predict IMAGE… --model MODEL")
    return command
