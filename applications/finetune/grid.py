"""Tries fine-tuning's defaults on many tasks, beside a grid of other values.

    python applications/finetune/grid.py --output runs/finetune-grid

README.md beside this file says what it writes.
"""

import dataclasses
import fnmatch
import functools
import gc
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tyro
from recipe import scratch, with_budget
from tables import ADAPTS, GRID, table
from tasks import TASKS, Images, Task, images_of

from keras_senet import evaluate, open_model
from keras_senet.data import open_arrays
from keras_senet.training import FinetuneRecipe, Recipe, finetune, train
from keras_senet.training.recipes import updates_for
from keras_senet.utils.files import (
    atomic_path,
    read_json,
    temporary_folder,
    write_json,
)
from keras_senet.utils.pages import write_block

# Up to so many images version 0.1's 20 epochs are cheap enough to be tried.
_OLD_IMAGES = 500
# Of each way but the default, about: so often the held-out images are looked at.
_EPOCHS = 5
# What the networks from scratch are to have in common with the pre-trained ones.
_AS_PRETRAINED = {
    "se_mobilenet": {
        "image_size": 64,
        "model_arguments": {**scratch.model_arguments, "alpha": 0.25},
    }
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A task, and a way to train for it.

    Attributes:
        task: The task.
        arm: The way's name.
        sweep: Cells of a lower number come first.
    """

    task: Task
    arm: str
    sweep: int

    @property
    def name(self) -> str:
        """Its file, without the ending."""
        return f"{self.task.name}/{self.arm}"

    def recipe(self, images: int) -> Recipe:
        """How to train.

        Args:
            images: Training images, without those that are held out.
        """
        task = self.task
        facts = {
            "model": task.model,
            "weights": task.weights,
            "image_size": task.image_size,
            "seed": task.seed,
        }
        default = FinetuneRecipe(**facts)
        if self.arm == "default":
            return default
        if self.arm == "0.1":
            return Recipe.from_json({**facts, "head_epochs": 5})  # as its files had it
        if self.arm == "scratch":
            batch = min(scratch.global_batch_size, images)
            recipe = with_budget(scratch, images)
            passes = max(1, recipe.epochs // _EPOCHS)
            return dataclasses.replace(
                recipe,
                epochs=round(recipe.epochs / passes),
                passes=passes,
                model=task.model,
                global_batch_size=batch,
                train_split="train",
                validation_split="test",
                seed=task.seed,
                **_AS_PRETRAINED.get(task.model, {}),
            )
        arm = self.arm.removesuffix(ADAPTS)
        rate, updates = GRID[arm]
        steps = max(images // default.global_batch_size, 1)
        epochs = min(_EPOCHS, max(1, round(updates / steps)))
        return dataclasses.replace(
            default,
            learning_rate=rate,
            epochs=epochs,
            passes=max(1, round(updates / (epochs * steps))),
            freeze_batch_norm=arm == self.arm,
        )


class _Weights(keras.callbacks.Callback):
    """Keeps the weights that all layers are trained from, and those of the best epoch.

    Fine-tuning gives one of the two back, the one that is better on held-out images.
    """

    start, best, lowest = None, None, math.inf

    def on_train_begin(self, logs=None):
        self.start = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.lowest:
            self.best, self.lowest = self.model.get_weights(), logs["val_loss"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Fine-tunes for every task in every way; can be stopped and goes on.

    Attributes:
        output: The folder of the results, new or of a grid that goes on.
        only: Only cells whose names, TASK/ARM, match this shell pattern.
        data_dir: Where tensorflow_datasets has CIFAR-10, if not in the usual place.
        docs: A page to write the table into, between its marks.
        report: Train nothing; write the table of what is done.
        smoke: A minute: one task, one epoch of each way.
    """

    output: Path
    only: str = "*"
    data_dir: Path | None = None
    docs: Path | None = None
    report: bool = False
    smoke: bool = False

    def run(self) -> None:
        cells = sorted(self._cells(), key=lambda cell: cell.sweep)
        chosen = [c for c in cells if fnmatch.fnmatch(c.name, self.only)]
        for number, cell in enumerate([] if self.report else chosen, 1):
            seconds = self._run_cell(cell)
            done = "was done" if seconds is None else f"{seconds:.0f} s"
            print(f"{number}/{len(chosen)}  {cell.name}: {done}", flush=True)
            if seconds is not None:
                self._write(cells)
        self._write(cells)
        print(f"Written to {self.output / 'grid.md'}")

    def _cells(self) -> Iterator[Cell]:
        smallest = min(
            (task for task in TASKS if task.data == "bundled"),
            key=lambda task: task.classes * task.images,
        )
        for task in [smallest] if self.smoke else TASKS:
            yield Cell(task=task, arm="default", sweep=0)
            if task.weights is None:
                continue
            for arm in list(GRID)[: 1 if self.smoke else None]:
                yield Cell(task=task, arm=arm, sweep=0)
            yield Cell(task=task, arm=f"0.0005-300{ADAPTS}", sweep=1)
            yield Cell(task=task, arm="scratch", sweep=1)
            if sum(task.counts) <= _OLD_IMAGES:
                yield Cell(task=task, arm="0.1", sweep=1)

    def _run_cell(self, cell: Cell) -> float | None:
        """Trains and measures a cell; returns its seconds, None if it was done."""
        images = _images(cell.task, self.data_dir)
        source = open_arrays(images.train, class_names=images.names)
        count = source.splits["train"]
        recipe = self._recipe(cell, count)
        about = _about(recipe, count)
        path = self.output / f"{cell.name}.json"
        if path.exists() and _is_of(read_json(path), about):
            return None  # A cell of another rule is trained anew.
        begin = time.perf_counter()
        result = _measure(cell, recipe, images, source)
        seconds = time.perf_counter() - begin
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {**about, **result, "seconds": seconds}
        write_json(path, values, overwrite=True)
        keras.backend.clear_session()
        gc.collect()
        return seconds

    def _recipe(self, cell, count):
        recipe = cell.recipe(count)
        if not self.smoke:
            return recipe
        return dataclasses.replace(
            recipe, epochs=1, passes=1, head_epochs=min(recipe.head_epochs, 1)
        )

    def _write(self, cells):
        results = {}
        for cell in cells:
            path = self.output / f"{cell.name}.json"
            if path.exists():
                found = read_json(path)
                count = found["trained_on"]
                if _is_of(found, _about(self._recipe(cell, count), count)):
                    results[cell.task, cell.arm] = found
        text = table(list(dict.fromkeys(cell.task for cell in cells)), results)
        self.output.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.output / "grid.md", overwrite=True) as path:
            path.write_text(f"# Fine-tuning on many tasks\n\n{text}", "utf-8")
        if self.docs is not None:
            write_block(self.docs, "grid", text)


@functools.lru_cache(2)
def _images(task, data_dir):
    return images_of(task, data_dir)


def _about(recipe, count):
    """The rule that a cell was trained by."""
    updates = {"updates": updates_for(count)} if recipe.epochs is None else {}
    return {"recipe": recipe.to_json(), **updates}


def _is_of(found, about):
    return {name: found.get(name) for name in about} == about


def _measure(cell: Cell, recipe: Recipe, images: Images, source) -> dict[str, Any]:
    """Trains; returns the accuracies on the images to choose by and to report."""
    others = open_arrays(images.choose, images.report, class_names=images.names)
    weights = _Weights()
    options = {"callbacks": [weights], "verbose": 0, "say": lambda text: None}
    with temporary_folder() as folder:
        if cell.arm == "default":
            trained = finetune(
                images.train,
                folder / "run",
                recipe=recipe,
                class_names=images.names,
                **options,
            )
        else:
            trained = train(recipe, folder / "run", source=source, **options)
    model, runner = trained.model, open_model(trained.model)
    result = {
        "trained_on": source.splits["train"],
        "epochs": trained.recipe.epochs,
        "passes": trained.recipe.passes,
        "history": trained.history,
    }
    if trained.probe is None:
        return result | _accuracies(runner, others)
    model.set_weights(weights.best)
    result["all_layers"] = final = _accuracies(runner, others)
    if cell.arm == "default":
        model.set_weights(weights.start)
        result |= {
            "probe": _accuracies(runner, others),
            "held_out": {"top1": trained.probe.accuracy, "loss": trained.probe.loss},
            "keeps_probe": trained.keeps_probe,
            "warnings": list(trained.warnings),
        }
        final = result["probe"] if trained.keeps_probe else final
    return result | final


def _accuracies(runner, source):
    found = {
        "choose": evaluate(runner, source, split="train"),
        "report": evaluate(runner, source, split="test"),
    }
    return {name: value.top1 for name, value in found.items()} | {
        "images": found["report"].images
    }


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Grid).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
