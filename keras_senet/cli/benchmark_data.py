"""`keras-senet benchmark data`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tyro.conf import OmitArgPrefixes

from keras_senet.benchmark import measure_input
from keras_senet.cli.command import parse_arguments
from keras_senet.cli.console import make_console
from keras_senet.cli.reports import check_new
from keras_senet.cli.train import RECIPE_TITLES, value_of
from keras_senet.training.recipe import Recipe
from keras_senet.training.recipes import load_recipe
from keras_senet.utils.files import write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkData:
    """Measures the training input of a recipe in images/s, without a model.

    The values of the recipe are options too: --recipe cifar10 --global-batch-size 256.

    Attributes:
        recipe: The name of a recipe, or a .json or .py file.
        seconds: Duration of the measurement of the input, and of the training step.
        with_model: Also measure the training step of the recipe's network, and show
            which of the two is the limit.
        output: A new JSON file for the figures.
        values: The recipe's values.

    Examples:
        keras-senet benchmark data --recipe cifar10
        keras-senet benchmark data --recipe imagenet --data-dir data --with-model
    """

    recipe: str
    data_dir: Path | None = None
    seconds: float = 10.0
    with_model: bool = False
    output: Path | None = None
    values: OmitArgPrefixes[Recipe]

    TITLES: ClassVar = RECIPE_TITLES

    def run(self) -> int:
        check_new(self.output)
        speed = measure_input(
            self.values,
            data_dir=self.data_dir,
            seconds=self.seconds,
            with_model=self.with_model,
        )
        make_console().print(_sentence(speed))
        if self.output is not None:
            write_json(self.output, speed)
        return 0


def _sentence(speed):
    text = (
        "The input of {data} ({batch} images of {image_size} pixels) gives "
        "{input_images_per_second:,.0f} images/s"
    ).format(**speed)
    if "limit" not in speed:
        return f"{text}. --with-model measures the training step beside it."
    step = (
        "a training step of {model} takes {step_images_per_second:,.0f} images/s.\n"
        "The limit is {limit}. On a CPU both share the cores, so that together they "
        "are slower than either."
    ).format(**speed)
    return f"{text}, {step}"


def parse(arguments: Sequence[str]) -> BenchmarkData | None:
    """Reads the words after the two verbs."""
    given = value_of("--recipe", arguments)
    name = given or "quickstart"
    default = BenchmarkData(recipe=name, values=load_recipe(name))
    network = value_of("--model", arguments) or (given and default.values.model)
    return parse_arguments(BenchmarkData, "benchmark data", arguments, default, network)
