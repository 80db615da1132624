"""Repeats section 6 of the paper as a grid that can be interrupted and resumed.

    python applications/ablations/main.py --output runs/ablations

README.md in this folder describes its output.
"""

import dataclasses
from pathlib import Path

import grid
import report
import workers

from keras_senet.models import stages_of
from keras_senet.training import Recipe, load_recipe
from keras_senet.utils.files import atomic_path
from keras_senet.utils.pages import write_block

HERE = Path(__file__).parent
PICTURE = "ablations.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablations:
    """Trains every cell of the paper's ablations with every seed, and compares.

    Attributes:
        output: The grid's folder, new, or of a grid to resume.
        recipe: A recipe's name or file: the base of all cells.
        seeds: Each cell is trained once with each seed.
        only: Only these tables: reduction, squeeze, gate, stages, placement.
        model: A network to use instead of the recipe's.
        limit: Number of training images, if not the recipe's.
        epochs: Number of epochs, if not the recipe's.
        jobs: Number of trainings at a time, each in a process with one thread.
        data_dir: The folder of the data, if not the usual one.
        docs: A Markdown page; the result is written between its marks.
        smoke: Shrink each cell to seconds, on the bundled images.
        report: Do not train; write the results so far.
    """

    output: Path
    recipe: str = str(HERE / "recipe.py")
    seeds: tuple[int, ...] = (0, 1)
    only: tuple[str, ...] = ()
    model: str | None = None
    limit: int | None = None
    epochs: int | None = None
    jobs: int = 1
    data_dir: Path | None = None
    docs: Path | None = None
    smoke: bool = False
    report: bool = False

    def base(self) -> Recipe:
        """The recipe that the cells change."""
        names = ("model", "limit", "epochs")
        given = {name: getattr(self, name) for name in names}
        given = {name: value for name, value in given.items() if value is not None}
        recipe = dataclasses.replace(load_recipe(self.recipe), **given)
        return recipe.smoke() if self.smoke else recipe

    def run(self) -> None:
        base = self.base()
        architecture = grid.architecture_of(base)
        tables = grid.tables(stages_of(base.model), architecture.reduction)
        tables = self._chosen(tables)
        if self.report:
            self._write(base, tables)
        else:
            works = self._works(base, tables)
            workers.finish(
                works, self.jobs, self.output, lambda: self._write(base, tables)
            )
        print(f"Written to {self.output / 'ablations.md'}")

    def _chosen(self, tables):
        names = [table.name for table in tables]
        unknown = set(self.only).difference(names)
        if unknown:
            raise ValueError(
                f"`only` must be some of {', '.join(names)}. "
                f"Received: {', '.join(sorted(unknown))}"
            )
        return [table for table in tables if not self.only or table.name in self.only]

    def _works(self, base, tables):
        # Seed by seed, so that a grid that was stopped has something of each cell.
        return [
            grid.Work(
                cell=cell,
                recipe=cell.recipe(base, seed),
                folder=self.output / cell.name / f"seed-{seed}",
                data_dir=self.data_dir,
            )
            for seed in self.seeds
            for cell in grid.distinct(tables)
        ]

    def _write(self, base, tables):
        self.output.mkdir(parents=True, exist_ok=True)
        results = report.read(self.output, grid.distinct(tables), self.seeds)

        def block(picture: Path, link: str) -> str:
            with atomic_path(picture, overwrite=True) as path:
                report.draw(results, tables, path)
            return report.text(results, tables, base, self.seeds, link)

        text = block(self.output / PICTURE, PICTURE)
        with atomic_path(self.output / "ablations.md", overwrite=True) as path:
            path.write_text(f"# Ablations\n\n{text}", "utf-8")
        if self.docs is not None:
            picture = self.docs.parent / "images" / PICTURE
            write_block(self.docs, "ablations", block(picture, f"images/{PICTURE}"))


if __name__ == "__main__":
    workers.call(Ablations)
