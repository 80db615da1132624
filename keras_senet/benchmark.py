"""Times models and files of models beside each other, in turns.

What is compared takes turns, and a ratio is taken turn by turn: what slows the machine
down for a while slows both sides, and leaves their ratio alone.
"""

from __future__ import annotations

import dataclasses
import gc
import inspect
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import lazy_loader

import keras_senet
from keras_senet.card import Card
from keras_senet.containers import SUFFIXES, kind_of
from keras_senet.utils.errors import as_integer, check_counts
from keras_senet.utils.files import temporary_folder

if TYPE_CHECKING:
    import keras
    import numpy as np

    from keras_senet.training import Recipe
else:  # The command line shows its help without it.
    np = lazy_loader.load("numpy")

Call = Callable[[], object]
Progress = Callable[[str], None]
Form = Literal["memory", "saved_model", "tflite", "onnx", "openvino", "training"]

# A turn of a fast call is repeated until it lasts about so long.
_TURN_SECONDS = 0.2
_MOST_CALLS = 20

# What TensorFlow takes its numbers of threads from.
THREADS = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """How one thing compares with another, measured in turn.

    The median over the rounds of one's figure by the other's, and their quartiles.
    """

    value: float
    low: float
    high: float

    def __str__(self):
        if self.low == self.value == self.high:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratio(samples: Sequence[float], others: Sequence[float]) -> Ratio:
    """Returns the ratio of two series of as many figures, taken round by round."""
    if len(samples) != len(others) or not samples:
        raise ValueError(
            "Both series must have the same number of rounds, at least one. Received: "
            f"{len(samples)} and {len(others)} values."
        )
    low, value, high = np.quantile(np.divide(samples, others), (0.25, 0.5, 0.75))
    return Ratio(value=float(value), low=float(low), high=float(high))


def in_turn(
    calls: Mapping[str, Call],
    *,
    rounds: int,
    turn_seconds: float = _TURN_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, tuple[float, ...]]:
    """Times calls in turn: each once a round, in an order drawn anew for each round.

    Each call is made twice before the first round. A turn is one call, or as many of
    each as the slowest needs for about `turn_seconds`; its time is their median.

    Returns:
        The seconds of one call, for each name and round.
    """

    def seconds(call):
        start = clock()
        call()
        return clock() - start

    for call in calls.values():
        call()
    slowest = max(seconds(call) for call in calls.values())
    repeats = min(max(math.ceil(turn_seconds / max(slowest, 1e-9)), 1), _MOST_CALLS)
    order = np.random.default_rng(0)
    times = {name: [] for name in calls}
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in order.permutation(list(calls)):
                turn = [seconds(calls[name]) for _ in range(repeats)]
                times[name].append(float(np.median(turn)))
            gc.collect()
    finally:
        if collects:
            gc.enable()
    return {name: tuple(samples) for name, samples in times.items()}


# From the newest on; the first that the processor has names its vector unit.
_INSTRUCTIONS = {
    "amx_tile": "AMX",
    "avx512_bf16": "AVX-512 with bfloat16",
    "avx512_vnni": "AVX-512 with VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "sve": "SVE",
    "asimd": "NEON",
}


def describe_machine(threads: int | None = None) -> dict[str, int | str]:
    """Returns what timings depend on.

    Args:
        threads: Threads of each engine, a positive integer; None is one a core.

    Returns:
        `cores` that the process may use, their widest vector `instructions`, `threads`.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = as_integer("threads", cores if threads is None else threads)
    file = Path("/proc/cpuinfo")
    words = set(file.read_text("utf-8").split()) if file.exists() else set()
    known = [name for flag, name in _INSTRUCTIONS.items() if flag in words]
    name = known[0] if known else platform.machine()
    return {"cores": cores, "instructions": name, "threads": threads}


def load() -> float:
    """Returns the load average of the last minute: running and waiting processes."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def random_images(shape: Sequence[int | None], count: int) -> np.ndarray:
    """Returns normalised noise for a network, float32.

    Raises a ValueError if the input shape, with the batch, leaves a size open.
    """
    if None in shape[1:]:
        raise ValueError(
            "A network must have a fixed image size. Received: a network with the "
            f"input shape {tuple(shape)}. Save it with a fixed size, or give the name "
            "of a network and --image-size."
        )
    return np.random.default_rng(0).standard_normal((count, *shape[1:]), "float32")


def training_step(
    model: keras.Model, images: np.ndarray, *, jit_compile: bool = False
) -> Call:
    """Prepares `model.train_on_batch` on random targets: SGD with momentum.

    The model is compiled, and each call trains it: its weights and the statistics of
    its batch normalization change. The call returns the loss, or raises a
    FloatingPointError if that is not finite.
    """
    import keras
    import tensorflow as tf

    shapes = [tuple(tensor.shape[1:]) for tensor in model.outputs]
    if len(shapes) == 1 and len(shapes[0]) == 1 and shapes[0][0] > 1:
        loss = "sparse_categorical_crossentropy"
        y = tf.constant(np.random.default_rng(2).integers(0, *shapes[0], len(images)))
    else:
        loss = "mean_squared_error"
        y = [tf.zeros((len(images), *shape)) for shape in shapes]
        y = y if len(shapes) > 1 else y[0]
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9), loss, jit_compile=jit_compile
    )
    x = tf.constant(images)

    def call():
        loss = np.asarray(model.train_on_batch(x, y))
        if not np.isfinite(loss).all():
            raise FloatingPointError(
                f"The loss of {model.name} must stay finite. Received: {loss}"
            )
        return loss

    return call


class Timing(NamedTuple):
    """The seconds of a call in each round, of a model and of what is beside it."""

    form: str
    batch: int
    seconds: tuple[float, ...]
    beside: tuple[float, ...] | None


def plain_host(
    card: Card | None, data_format: str = "channels_last"
) -> keras.Model | None:
    """Builds the network of a card without SE: same architecture, input and classes.

    Returns:
        The host, with random weights; None unless it is a network of ours with SE.
    """
    if card is None or not (card.constructor and (card.architecture or {}).get("se")):
        return None
    constructor = keras_senet.models.constructor_of(card.constructor)
    taken = inspect.signature(constructor).parameters
    row = {name: value for name, value in card.architecture.items() if name in taken}
    return constructor(
        **{**row, "se": False},
        weights=None,
        input_shape=card.input_shape,
        data_format=data_format,
        include_top=card.include_top,
        classes=card.classes,
        **card.arguments(),
        include_preprocessing=(card.normalises and card.preprocessing) or False,
    )


def time_model(
    model: keras.Model | Path,
    beside: keras.Model | Path | None = None,
    *,
    forms: Sequence[Form] = ("memory", "saved_model", "tflite", "training"),
    batches: Sequence[int] = (1, 8),
    rounds: int = 9,
    threads: int | None = None,
    trust: bool = False,
    progress: Progress = lambda line: None,
) -> Iterator[Timing]:
    """Times a model in several forms, in turn with another one.

    Args:
        model: A Keras model, which the form "training" trains, or a file of one.
        beside: What it is compared with, of either kind.
        forms: How a Keras model runs: "memory" is as `model.predict` does, "training"
            is a step of it, others export it. A file runs as it is, and a Keras model
            beside it is exported to its kind.
        batches: Images of a call.
        rounds: How many turns each gets.
        threads: Threads of LiteRT, ONNX Runtime and OpenVINO; TensorFlow's are the
            process'.
        trust: Of a SavedModel, see `open_model`.
        progress: Is given a line for each thing that takes a while.
    """
    import keras

    check_counts(rounds=rounds)
    for batch in batches:
        check_counts(batches=batch)
    unknown = [form for form in forms if form not in get_args(Form)]
    if unknown:
        raise ValueError(
            f"`forms` must be some of {get_args(Form)}. Received: {unknown[0]!r}"
        )
    subjects = {"model": model} | ({} if beside is None else {"beside": beside})
    files = [Path(x) for x in subjects.values() if not isinstance(x, keras.Model)]
    if files:
        kind = kind_of(files[0])
        forms = [kind if kind in ("saved_model", *SUFFIXES) else "memory"]
    with temporary_folder() as folder:
        for form in sorted(forms, key=lambda form: form == "training"):  # changes it
            opened = {}
            for name, subject in subjects.items():
                progress(f"preparing {form}: {name}")
                path = folder / name
                opened[name] = _open(subject, form, path, threads, trust)
            for batch in batches:
                progress(f"{form}, batch {batch}: {rounds} rounds")
                calls = {name: prepare(batch) for name, prepare in opened.items()}
                times = in_turn(calls, rounds=rounds)
                yield Timing(form, batch, times["model"], times.get("beside"))


def _open(subject, form, path, threads, trust) -> Callable[[int], Call]:
    """What makes the call of a batch."""
    import keras

    if form == "training":
        return lambda batch: training_step(
            subject, random_images(subject.input_shape, batch)
        )
    if form in ("saved_model", *SUFFIXES) and isinstance(subject, keras.Model):
        export = getattr(keras_senet, f"export_{form}")
        subject = export(subject, path.with_suffix(SUFFIXES.get(form, "")))
    runner = keras_senet.open_model(subject, threads=threads, trust=trust)

    def prepare(batch):
        images = random_images(runner.input_shape, batch)
        return lambda: runner.predict(images, batch_size=batch)

    return prepare


def measure_input(
    recipe: Recipe,
    *,
    data_dir: str | os.PathLike | None = None,
    seconds: float = 10.0,
    with_model: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Measures a recipe's training input, without a model or beside one.

    Args:
        recipe: Whose data, image size, batch and augmentation are used.
        data_dir: Where the data lies, if not in its usual place.
        seconds: How long each of the two is measured.
        with_model: Whether the training step of the recipe's network is measured.
        clock: Returns seconds.

    Returns:
        What was measured: `data`, `batch` in images, `image_size` in pixels and
        `input_images_per_second`; with a model also its name, the
        `step_images_per_second` on one batch that is there already, and the `limit`:
        which is slower, "input" or "compute".
    """
    from keras_senet.training.datasets import make_datasets, resolve_recipe
    from keras_senet.training.network import build_model, compile_model

    if not seconds > 0:
        raise ValueError(f"`seconds` must be positive. Received: seconds={seconds!r}")
    options = {"on_error": recipe.on_error, "held_out": recipe.held_out}
    source = keras_senet.data.open_source(recipe.data, data_dir=data_dir, **options)
    recipe = resolve_recipe(recipe, source)
    batches = iter(make_datasets(recipe, source)[0])
    first = next(batches)  # waits until the shuffle buffer is full

    def images_per_second(call):
        start, count, elapsed = clock(), 0, 0.0
        while not count or elapsed < seconds:
            call()
            count, elapsed = count + 1, clock() - start
        return count * recipe.step_batch_size / elapsed

    rate = images_per_second(lambda: next(batches))
    found = {"data": recipe.data, "batch": recipe.step_batch_size}
    found |= {"image_size": recipe.image_size, "input_images_per_second": rate}
    if not with_model:
        return found
    model = build_model(recipe, source)
    compile_model(model, recipe, steps_per_epoch=1)
    for _ in range(2):  # the first traces the step
        model.train_on_batch(*first)
    step = images_per_second(lambda: model.train_on_batch(*first))
    limit = "input" if rate < step else "compute"
    found |= {"model": recipe.model, "step_images_per_second": step, "limit": limit}
    return found
