"""`keras-senet benchmark`, and `keras-senet benchmark data`."""

import dataclasses
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tyro.conf import OmitArgPrefixes, Positional

import keras_senet
from keras_senet.benchmark import (
    THREADS,
    Form,
    describe_machine,
    load,
    measure_input,
    plain_host,
    ratio,
    time_model,
)
from keras_senet.card import Card
from keras_senet.cli.command import parse_arguments
from keras_senet.cli.console import make_console, print_table
from keras_senet.cli.reports import check_new
from keras_senet.cli.train import RECIPE_TITLES, value_of
from keras_senet.training.recipe import Recipe
from keras_senet.training.recipes import load_recipe
from keras_senet.utils.files import write_json

# Processes that want a core; above it timings are those of a busy machine.
_CALM = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measures the speed of a model or a file, and compares it with another one.

    A network of this package is compared with its plain network, without SE. The two
    take turns; each turn gives one ratio, and the table shows the median and quartiles.
    `keras-senet benchmark data` measures the input pipeline of a recipe; it has its own
    --help.

    Attributes:
        weights: For a network: a preset or a file. They do not change the speed.
        beside: Another model to compare with, instead of the plain network.
        output: A new JSON file for the figures.
        forms: How a Keras model is run; a file runs as it is.
        batches: Number of images in one call.
        rounds: Number of turns of each model.
        threads: Threads of TensorFlow, LiteRT and ONNX Runtime; by default one for
            each core.
        image_size: Height and width that a network is built for, if not its own.

    Examples:
        keras-senet benchmark se_resnet50 --batches 1
        keras-senet benchmark model.tflite --beside other.tflite --threads 1
    """

    model: Positional[str]
    weights: str | None = None
    beside: str | None = None
    output: Path | None = None
    trust: bool = False
    forms: tuple[Form, ...] = ("memory", "saved_model", "tflite", "training")
    batches: tuple[int, ...] = (1, 8)
    rounds: int = 9
    threads: int | None = None
    image_size: int | None = None

    TITLES: ClassVar = {"forms": "What is timed"}

    def run(self) -> int:
        import keras

        check_new(self.output)
        console = make_console()
        machine = describe_machine(self.threads)
        if self.threads is not None:
            # TensorFlow reads them once, when it lists its devices.
            os.environ |= dict.fromkeys(THREADS, str(self.threads))
        if load() > _CALM:
            text = f"Other work keeps {load():.1f} cores busy."
            console.print(f"{text} Timings will be imprecise.", style="bold red")
        model = self._open(self.model, self.weights)
        if not isinstance(model, keras.Model) and self.forms != Benchmark.forms:
            raise ValueError(
                "`forms` is for a Keras model; a file runs as it is. Received: "
                f"{self.model!r}, forms={self.forms}. Leave out --forms."
            )
        if self.beside is not None:
            name, other = self.beside, self._open(self.beside)
        elif isinstance(model, keras.Model):
            from keras_senet.utils.graph import data_format

            name, other = "plain host", plain_host(Card.of(model), data_format(model))
        else:
            name, other = "float32 plain host", plain_host(Card.read(model))
        timings = list(
            time_model(
                model,
                other,
                forms=self.forms,
                batches=self.batches,
                rounds=self.rounds,
                threads=machine["threads"],
                trust=self.trust,
                progress=lambda line: console.print(f"  {line}"),
            )
        )
        columns = ("form", ">batch", ">ms", f">{name}, ms", ">ratio")
        columns = columns if other is not None else columns[:3]
        print_table(console, self.model, columns, [_row(t) for t in timings])
        facts = ", ".join(f"{key} {value}" for key, value in machine.items())
        console.print(f"Measured on: {facts}")
        if self.output is not None:
            names = {"model": self.model, "beside": None if other is None else name}
            rows = [timing._asdict() for timing in timings]
            write_json(self.output, {**names, "machine": machine, "timings": rows})
        return 0

    def _open(self, name, weights=None):
        options = {"image_size": self.image_size, "trust": self.trust}
        opened = keras_senet.open_model(name, weights, trained=False, **options)
        return opened.keras_model() if opened.kind == "keras" else Path(name)


def _row(timing):
    cells = [timing.form, str(timing.batch), _milliseconds(timing.seconds)]
    if timing.beside is not None:
        compared = ratio(timing.seconds, timing.beside)
        cells += [_milliseconds(timing.beside), str(compared)]
    return cells


def _milliseconds(samples):
    return f"{1e3 * statistics.median(samples):.1f}"


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


def parse(arguments: Sequence[str]) -> Benchmark | BenchmarkData | None:
    """Reads the words after the verb, and after "data" those of the input pipeline."""
    if arguments[:1] != ["data"]:
        return parse_arguments(Benchmark, "benchmark", arguments)
    words = arguments[1:]
    given = value_of("--recipe", words)
    name = given or "quickstart"
    default = BenchmarkData(recipe=name, values=load_recipe(name))
    network = value_of("--model", words) or (given and default.values.model)
    return parse_arguments(BenchmarkData, "benchmark data", words, default, network)
