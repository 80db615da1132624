"""Compares fine-tuning with training from scratch, on few images of Fashion-MNIST.

    python applications/finetune/main.py --output runs/finetune

README.md in this folder describes its output.
"""

import dataclasses
import gc
import json
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import tyro
from recipe import SCRATCH_RATES, recipe, scratch, with_budget

from keras_senet import SEResNet20, evaluate
from keras_senet.data import open_source
from keras_senet.training import FinetuneRecipe, train
from keras_senet.utils.files import atomic_path
from keras_senet.utils.pages import write_block
from keras_senet.weights import save_weights

DATA, CLASSES = "bundled", 10
PRETRAINED = "pre-trained"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One training: a recipe, some images of each class, a seed."""

    arm: str
    images: int
    seed: int
    recipe: FinetuneRecipe

    @property
    def name(self) -> str:
        """The place of its folder."""
        return f"{self.arm.replace(' ', '-')}/images-{self.images}/seed-{self.seed}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetuning:
    """Fine-tunes and trains from scratch on few images, resumably.

    Attributes:
        output: The folder of all runs, new, or of a comparison to resume.
        weights: Weights of an SEResNet20 for CIFAR-10: a preset, a file or a folder.
        images: Number of training images of each class.
        seeds: The comparison is repeated with each seed, with different images.
        test_data: The images for the accuracy: "bundled" has 1,000 test images,
            "fashion_mnist" of tensorflow_datasets 10,000.
        docs: A Markdown page; the table is written between its marks.
        smoke: Run for a minute with one image per class, by default untrained.
    """

    output: Path
    weights: str | None = None
    images: tuple[int, ...] = (10, 50)
    seeds: tuple[int, ...] = (0, 1, 2)
    test_data: str = "bundled"
    docs: Path | None = None
    smoke: bool = False

    def run(self) -> None:
        cells = list(self._cells())
        for number, cell in enumerate(cells, 1):
            done = self._run_cell(cell)
            print(
                f"{number}/{len(cells)}  {cell.name}: {'was done' if done else 'done'}",
                flush=True,
            )
            self._write(cells)
        print(f"Written to {self.output / 'finetune.md'}")

    def _cells(self) -> Iterator[Cell]:
        tuned = dataclasses.replace(recipe, weights=self._weights())
        arms = {PRETRAINED: tuned} | {
            f"scratch {rate:g}": dataclasses.replace(scratch, learning_rate=rate)
            for rate in SCRATCH_RATES
        }
        # Seed by seed, so that a comparison that was stopped has something of each.
        for seed in self.seeds[:1] if self.smoke else self.seeds:
            for images in (1,) if self.smoke else self.images:
                # The bundled images go through the classes in turn.
                first, last = (CLASSES * images * n for n in (seed, seed + 1))
                changes = {"train_split": f"train[{first}:{last}]", "seed": seed}
                for arm, values in list(arms.items())[: 2 if self.smoke else None]:
                    values = with_budget(values, CLASSES * images)
                    if self.smoke:
                        head = min(values.head_epochs, 1)
                        changes |= {"head_epochs": head, "epochs": 2 - head}
                    yield Cell(
                        arm=arm,
                        images=images,
                        seed=seed,
                        recipe=dataclasses.replace(values, **changes),
                    )

    def _weights(self):
        if self.weights or not self.smoke:
            return self.weights or recipe.weights
        path = self.output / "untrained.weights.h5"
        if not path.exists():
            model = SEResNet20(weights=None, reduction=4, include_preprocessing=True)
            save_weights(model, path)
        return str(path)

    def _run_cell(self, cell: Cell) -> bool:
        """Trains and measures a cell; returns whether that was done before."""
        about = {"recipe": cell.recipe.to_json(), "test_data": self.test_data}
        folder = self.output / cell.name
        if folder.exists():
            result = json.loads((folder / "result.json").read_text("utf-8"))
            if {name: result[name] for name in about} != about:
                raise ValueError(
                    "A comparison must be resumed with its own recipes. Received: "
                    f"{str(folder)!r}, which was made with others. Choose another "
                    "--output, or give the options that it was started with."
                )
            return True
        with atomic_path(folder, what="cell") as temporary:
            tuned = train(cell.recipe, temporary, source=DATA, verbose=0)
            if set(tuned.image_counts) != {cell.images}:
                raise ValueError(
                    "There must be as many images of each class. Received: "
                    f"{tuned.image_counts} in {cell.recipe.train_split}"
                )
            found = evaluate(
                tuned.model,
                open_source(self.test_data),
                limit=100 if self.smoke else None,
            )
            result = {"top1": found.top1, "loss": found.loss, "images": found.images}
            text = json.dumps({**result, **about}, indent=2)
            (temporary / "result.json").write_text(text + "\n", "utf-8")
        keras.backend.clear_session()
        gc.collect()
        return False

    def _write(self, cells):
        rows = summarise(self.output, cells)
        text = table(rows, self.test_data)
        for name, content in (
            ("finetune.json", json.dumps(rows, indent=2) + "\n"),
            ("finetune.md", f"# From CIFAR-10 to Fashion-MNIST\n\n{text}"),
        ):
            with atomic_path(self.output / name, overwrite=True) as path:
                path.write_text(content, "utf-8")
        if self.docs is not None:
            write_block(self.docs, "comparison", text)


def summarise(output: Path, cells: list[Cell]) -> list[dict]:
    """Returns a row for each arm and number of images: accuracies in per cent."""
    rows = {}
    for cell in cells:
        row = rows.setdefault((cell.images, cell.arm), [])
        file = output / cell.name / "result.json"
        if file.exists():
            row.append(100 * json.loads(file.read_text("utf-8"))["top1"])
    return [
        {
            "images": images,
            "arm": arm,
            "top1": values,
            "mean": statistics.mean(values) if values else None,
            "deviation": statistics.stdev(values) if len(values) > 1 else None,
        }
        for (images, arm), values in rows.items()
    ]


def table(rows: list[dict], test_data: str) -> str:
    """Returns, as Markdown, all arms and what pre-training is worth."""
    lines = [
        f"Top-1 accuracy in per cent on the test images of {test_data!r}; each seed "
        "has its own training images. The number after `scratch` is the learning rate.",
        "",
        "| images per class | training | mean | deviation | seeds |",
        "|--:|---|--:|--:|---|",
    ]
    for row in rows:
        values = ", ".join(f"{value:.2f}" for value in row["top1"])
        cells = (row["images"], row["arm"], _text(row["mean"]), _text(row["deviation"]))
        lines.append(f"| {' | '.join(map(str, cells))} | {values} |")
    lines.append("")
    for images in dict.fromkeys(row["images"] for row in rows):
        means = {
            row["arm"]: row["mean"]
            for row in rows
            if row["images"] == images and row["mean"] is not None
        }
        if PRETRAINED in means and len(means) > 1:
            gain = means.pop(PRETRAINED) - max(means.values())
            lines.append(
                f"- With {images} images per class, pre-training changes the accuracy "
                f"by {gain:+.2f} points, compared with the best training from scratch."
            )
    return "\n".join([*lines, ""])


def _text(value):
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Finetuning).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
