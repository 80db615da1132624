"""Images a second of an input pipeline, and of the training step behind it."""

import dataclasses
import json
import os
import time
from collections.abc import Callable

import numpy as np

from keras_senet import data
from keras_senet.training.recipes import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSpeed:
    """How fast images come, and how fast a network is trained on them.

    Attributes:
        data: What the source was opened by.
        batch: Images of a batch.
        image_size: Height and width, pixels.
        input_images_per_second: Of the pipeline alone.
        model: The network whose training step was measured, or None.
        step_images_per_second: Of that step on one batch that is there already.
    """

    data: str
    batch: int
    image_size: int
    input_images_per_second: float
    model: str | None = None
    step_images_per_second: float | None = None

    @property
    def limit(self) -> str | None:
        """Which is slower, "input" or "compute"; None without a model."""
        if self.step_images_per_second is None:
            return None
        slow = self.input_images_per_second < self.step_images_per_second
        return "input" if slow else "compute"

    def summary(self) -> str:
        """Returns what was found in a line or two."""
        text = (
            f"The input of {self.data} ({self.batch} images of {self.image_size} "
            f"pixels) gives {self.input_images_per_second:,.0f} images/s"
        )
        if self.limit is None:
            return f"{text}. --with-model measures the training step beside it."
        return (
            f"{text}, a training step of {self.model} takes "
            f"{self.step_images_per_second:,.0f} images/s.\n"
            f"The limit is {self.limit}. On a CPU both share the cores, so that "
            "together they are slower than either."
        )

    def to_json(self) -> str:
        """Returns the figures as JSON."""
        return json.dumps({**dataclasses.asdict(self), "limit": self.limit}, indent=2)


def measure_input(
    recipe: Recipe,
    *,
    data_dir: str | os.PathLike | None = None,
    seconds: float = 10.0,
    with_model: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> InputSpeed:
    """Measures a recipe's training input, without a model or beside one.

    The first batch is not counted: it waits until the shuffle buffer is full.

    Args:
        recipe: Whose data, image size, batch and augmentation are used.
        data_dir: Where the data lies, if not in its usual place.
        seconds: How long each of the two is measured.
        with_model: Whether the training step of the recipe's network is measured.
        clock: Returns seconds.

    Raises:
        ValueError: If the recipe contradicts its data, or `seconds` is not positive.
    """
    from keras_senet.training.datasets import make_datasets, resolve_recipe

    if not seconds > 0:
        raise ValueError(f"`seconds` must be positive. Received: seconds={seconds!r}")
    source = data.open_source(recipe.data, data_dir=data_dir)
    recipe = resolve_recipe(recipe, source)
    training, _ = make_datasets(recipe, source)
    batches = iter(training)
    first = next(batches)
    rate = _calls_per_second(lambda: next(batches), seconds, clock)
    speed = InputSpeed(
        data=recipe.data,
        batch=recipe.step_batch_size,
        image_size=recipe.image_size,
        input_images_per_second=rate * recipe.step_batch_size,
    )
    if not with_model:
        return speed
    step = _training_step(recipe, source, first)
    rate = _calls_per_second(step, seconds, clock)
    return dataclasses.replace(
        speed,
        model=recipe.model,
        step_images_per_second=rate * recipe.step_batch_size,
    )


def _training_step(recipe, source, batch):
    from keras_senet.training.network import build_model, compile_model

    model = build_model(recipe, source)
    compile_model(model, recipe, steps_per_epoch=1)

    def step():
        return model.train_on_batch(*batch)

    for _ in range(2):  # the first traces the step
        step()
    return step


def _calls_per_second(call, seconds, clock):
    start, times = clock(), []
    while not times or times[-1] - start < seconds:
        call()
        times.append(clock())
    return 1 / float(np.mean(np.diff([start, *times])))
