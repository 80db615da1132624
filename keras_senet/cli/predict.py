"""`keras-senet predict`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from keras_senet.cli.command import UsageError, parse_arguments
from keras_senet.cli.console import make_console, print_table
from keras_senet.cli.opening import class_names, open_model, read_labels
from keras_senet.preprocessing import (
    PLAIN,
    decode_predictions,
    imagenet_classes,
    preprocess_input,
    resize_and_crop,
)


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
        from keras_senet.export.scores import are_probabilities, log_probabilities

        opened = open_model(self.model, self.weights)
        runner = open_runner(opened.model)
        _check(runner)
        names = class_names(opened, self.weights) or runner.labels
        if self.labels is not None:
            names = read_labels(self.labels)
        prepare = _preparation(opened.preprocessing or runner.preprocessing, runner)
        channels = runner.input_shape[-1]
        batch = [prepare(read_image(path, channels=channels)) for path in self.images]
        console = make_console()
        for path, image in zip(self.images, batch, strict=True):
            scores = runner.predict(image[np.newaxis])
            best = self._best(scores, names, runner.name)
            logs = log_probabilities(scores, probabilities=are_probabilities(scores))
            rows = [
                (str(rank), name.replace("_", " "), f"{100 * np.exp(logs[0, i]):.1f} %")
                for rank, (i, name) in enumerate(best, 1)
            ]
            print_table(console, path, (">", "class", ">probability"), rows)
        return 0

    def _best(self, scores, names, model):
        """Returns (number, name) of the best classes."""
        if isinstance(scores, dict) or scores.ndim != 2:
            raise ValueError(
                "Predictions need a model with one output (N, classes). Received: "
                f"{model}, which has another"
            )
        classes = scores.shape[1]
        if names is None and classes == len(imagenet_classes()):
            names = [name for _, name in imagenet_classes()]
        names = range(classes) if names is None else names
        if len(names) != classes:
            raise ValueError(
                f"The labels must name the {classes} classes of {model}. Received: "
                f"{len(names)} labels"
            )
        decoded = decode_predictions(scores, self.top, labels=range(classes))
        return [(int(i), str(names[int(i)])) for i, _, _ in decoded[0]]


def _check(runner):
    shape = runner.input_shape
    if len(shape) != 4 or shape[-1] not in (1, 3) or shape[1] != shape[2]:
        raise ValueError(
            "Predictions need a model of square images, (N, height, width, channels) "
            f"with 1 or 3 channels. Received: {runner.name}, which takes {shape}"
        )


def _preparation(record, runner):
    """Returns what makes the model's input of an image's pixels."""
    height = runner.input_shape[1]
    if record is None and runner.normalises is False:
        raise ValueError(
            "Predictions need a model that normalises images, or says how. Received: "
            f"{runner.name}, which does neither. Build it with "
            "include_preprocessing=True."
        )
    record = record or PLAIN
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
