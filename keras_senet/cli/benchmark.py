"""`keras-senet benchmark`."""

import dataclasses
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import keras
from tyro.conf import OmitArgPrefixes, Positional

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
from keras_senet.cli.train import value_of
from keras_senet.opening import open_model
from keras_senet.training.recipes import Recipe, load_recipe

# Processes that want a core; above it timings are those of a busy machine.
_CALM = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Times a model or a file of one, and beside it what it is compared with.

    A network of this package is timed beside its plain host. The two take turns;
    ratios are taken turn by turn, with their quartiles. `keras-senet benchmark data`
    measures the input pipeline of a recipe; it has its own --help.

    Attributes:
        model: A run folder, a .keras, .tflite or .onnx file, a SavedModel folder, or
            the name of a network.
        weights: For a network: a preset or a file; times do not depend on them.
        beside: Another model to compare it with, not its plain host.
        forms: What a Keras model is timed as; a file is timed as it is.
        batches: Images of a call.
        rounds: Turns of each.
        threads: Threads of TensorFlow, LiteRT and ONNX Runtime, if not one a core.
        image_size: Height and width that a network is built for, if not its own.
        output: A new JSON file for the figures.
    """

    model: Positional[str]
    weights: str | None = None
    beside: str | None = None
    forms: tuple[Form, ...] = ("memory", "saved_model", "tflite", "training")
    batches: tuple[int, ...] = (1, 8)
    rounds: int = 9
    threads: int | None = None
    image_size: int | None = None
    output: Path | None = None

    def run(self) -> int:
        console = make_console()
        machine = describe_machine(self.threads)
        if self.threads is not None:
            # TensorFlow reads them once, when it lists its devices.
            os.environ |= dict.fromkeys(THREADS, str(self.threads))
        if load() > _CALM:
            text = f"Other work keeps {load():.1f} cores busy."
            console.print(f"{text} Timings will be rough.", style="bold red")
        model = self._open(self.model, self.weights)
        if self.beside is not None:
            name, other = self.beside, self._open(self.beside)
        elif isinstance(model, keras.Model):
            name, other = "plain host", plain_host(Card.of(model))
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
                progress=lambda line: console.print(f"  {line}", markup=False),
            )
        )
        columns = ("form", ">batch", ">ms", f">{name}, ms", ">ratio")
        columns = columns if other is not None else columns[:3]
        print_table(console, self.model, columns, [_row(t) for t in timings])
        facts = ", ".join(f"{key} {value}" for key, value in machine.items())
        console.print(f"Measured on: {facts}", markup=False)
        names = {"model": self.model, "beside": None if other is None else name}
        rows = [timing._asdict() for timing in timings]
        _write(self.output, {**names, "machine": machine, "timings": rows})
        return 0

    def _open(self, name, weights=None):
        opened = open_model(name, weights, trained=False, image_size=self.image_size)
        return opened.keras_model() if opened.kind == "keras" else Path(name)


def _row(timing):
    cells = [timing.form, str(timing.batch), _milliseconds(timing.seconds)]
    if timing.beside is not None:
        compared = ratio(timing.seconds, timing.beside)
        cells += [_milliseconds(timing.beside), str(compared)]
    return cells


def _milliseconds(samples):
    return f"{1e3 * statistics.median(samples):.1f}"


def _write(path, figures):
    from keras_senet.utils.files import atomic_path

    if path is not None:
        with atomic_path(path) as file:
            file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkData:
    """Measures the training input of a recipe in images/s, without a model.

    The recipe's values are options too: --recipe cifar10 --global-batch-size 256.

    Attributes:
        recipe: A recipe's name, or a .json or .py file of yours.
        data_dir: Where the data lies, if not in its usual place.
        seconds: How long the input, and then the training step, is measured.
        with_model: Measure the training step of the recipe's network beside it, and
            say which of the two is the limit.
        output: A new JSON file for the figures.
        values: The recipe's values.
    """

    recipe: str
    data_dir: Path | None = None
    seconds: float = 10.0
    with_model: bool = False
    output: Path | None = None
    values: OmitArgPrefixes[Recipe]

    def run(self) -> int:
        speed = measure_input(
            self.values,
            data_dir=self.data_dir,
            seconds=self.seconds,
            with_model=self.with_model,
        )
        make_console().print(_sentence(speed), markup=False)
        _write(self.output, speed)
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
    """Reads the words after the verb."""
    if arguments[:1] == ["data"]:
        name = value_of("--recipe", arguments[1:]) or "quickstart"
        default = BenchmarkData(recipe=name, values=load_recipe(name))
        return parse_arguments(BenchmarkData, "benchmark data", arguments[1:], default)
    return parse_arguments(Benchmark, "benchmark", arguments)
