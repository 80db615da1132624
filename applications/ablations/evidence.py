"""SE against its plain host on CIFAR-10 and Fashion-MNIST, as a table of a page.

    python applications/ablations/evidence.py --output runs/evidence

Both networks of a data set have the recipe of its shipped weights, but shorter and on
fewer images: half an hour for one training on CIFAR-10, on one core. SE starts as the
identity, so that both networks begin as the same function: in so short a training,
gates that start near 1/2 cost more than they gain. The folder is a grid like that of
main.py, one for each data set, and goes on as it does.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import grid
import report
import workers

from keras_senet.training import RECIPES, Recipe
from keras_senet.utils.files import atomic_path
from keras_senet.utils.pages import write_block

CELLS = (
    grid.Cell(label="ResNet20", changes={"se": False}),
    grid.Cell(label="SEResNet20", changes={"identity_start": True}),
)
TITLES = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST"}

_SPLITS = {"train_split": "train[:98%]", "validation_split": "train[98%:]"}
BASES = {
    "cifar10": dataclasses.replace(
        RECIPES["cifar10"],
        model_arguments={"reduction": 4},
        nesterov=True,
        l2=5e-4,
        schedule="cosine",
        warmup_epochs=1.0,
        limit=40_000,
        **_SPLITS,
    ),
    "fashion_mnist": dataclasses.replace(
        RECIPES["fashion_mnist"], limit=10_000, **_SPLITS
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """Trains both networks on both data sets with every seed, and compares.

    Attributes:
        output: The folder of all runs, new, or of a comparison to resume.
        seeds: Each network is trained once with each seed.
        epochs: Number of epochs of each training.
        limit: Number of training images, if not the recipes'.
        jobs: Number of trainings at a time, each in a process with one thread.
        data_dir: The folder of the data, if not the usual one.
        docs: A Markdown page; the table is written between its marks.
        smoke: Shrink each training to seconds, on the bundled images.
    """

    output: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 12
    limit: int | None = None
    jobs: int = 1
    data_dir: Path | None = None
    docs: Path | None = None
    smoke: bool = False

    def run(self) -> None:
        # Seed by seed, so that a comparison that was stopped has something of each.
        works = [
            grid.Work(
                cell=cell,
                recipe=cell.recipe(base, seed),
                folder=self.output / name / cell.name / f"seed-{seed}",
                data_dir=self.data_dir,
            )
            for seed in self.seeds
            for name, base in self.bases().items()
            for cell in CELLS
        ]
        workers.finish(works, self.jobs, self.output, self.write)
        print(f"Written to {self.output / 'evidence.md'}")

    def bases(self) -> dict[str, Recipe]:
        """The recipe of each data set."""
        changes = {"epochs": self.epochs}
        if self.limit is not None:
            changes["limit"] = self.limit
        bases = {n: dataclasses.replace(b, **changes) for n, b in BASES.items()}
        return {n: b.smoke() for n, b in bases.items()} if self.smoke else bases

    def write(self) -> None:
        """Writes the table of what is done into its file and the page."""
        results = {
            name: report.read(self.output / name, CELLS, self.seeds) for name in BASES
        }
        text = table(results, self.bases())
        with atomic_path(self.output / "evidence.md", overwrite=True) as path:
            path.write_text(f"# SE against its plain host\n\n{text}\n", "utf-8")
        if self.docs is not None:
            write_block(self.docs, "evidence", text)


def table(results: Mapping[str, report.Results], recipes: Mapping[str, Recipe]) -> str:
    """Returns the comparison as Markdown.

    Args:
        results: What is done, by the name of the data set.
        recipes: How it was trained, by the name of the data set.
    """
    (epochs,) = {recipe.epochs for recipe in recipes.values()}
    images = " and ".join(
        f"{recipes[name].limit:,} images of {TITLES[name]}" for name in results
    )
    lines = [
        f"Top-1 accuracy in per cent on the test images, used once, after {epochs} "
        f"epochs on {images}; mean and standard deviation over the seeds.",
        "",
        "| data | network | parameters | multiply-adds, M | accuracy | each seed |",
        "|---|---|--:|--:|--:|---|",
    ]
    for name, found in results.items():
        for cell in CELLS:
            cells = [TITLES[name], cell.label, *_cost(found.facts.get(cell.name))]
            lines.append(f"| {' | '.join([*cells, *found.accuracies(cell)])} |")
    lines.append("")
    return "\n".join([*lines, *(_gain(name, results[name]) for name in results)])


def _cost(facts):
    if facts is None:
        return "", ""
    return f"{facts['parameters']:,}", f"{facts['multiply_adds'] / 1e6:.2f}"


def _gain(name, results):
    plain, se = CELLS
    found = results.gain(se, plain)
    if found is None:
        return f"- {TITLES[name]}: not yet."
    gain, error = found
    if error is None:
        return f"- {TITLES[name]}: {gain:+.2f} points with SE, of one seed."
    return f"- {TITLES[name]}: {gain:+.2f} points with SE, standard error {error:.2f}."


if __name__ == "__main__":
    workers.call(Evidence)
