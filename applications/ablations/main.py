"""Repeats section 6 of the paper as a grid that can be stopped and goes on.

    python applications/ablations/main.py --output runs/ablations

README.md beside this file says what it writes.
"""

import dataclasses
import os
import sys
from pathlib import Path

import grid
import report
import tyro

from keras_senet.training import Recipe, load_recipe
from keras_senet.utils.files import atomic_path

HERE = Path(__file__).parent
PICTURE = "ablations.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablations:
    """Trains every cell of the paper's ablations with every seed, and compares.

    Attributes:
        output: The grid's folder, new or of a grid that goes on.
        recipe: A recipe's name or file: the base of all cells.
        seeds: Every cell is trained once with each.
        only: Names of the tables wanted: reduction, squeeze, gate, stages, placement.
        model: Another network than the recipe's.
        limit: Another number of images than the recipe's.
        epochs: Another number of epochs than the recipe's.
        data_dir: Where the data lies, if not in its usual place.
        docs: A page to write the result into, between its marks.
        smoke: Shrink every cell to seconds on the bundled images.
        report: Train nothing; write the result of what is done.
    """

    output: Path
    recipe: str = str(HERE / "recipe.py")
    seeds: tuple[int, ...] = (0, 1)
    only: tuple[str, ...] = ()
    model: str | None = None
    limit: int | None = None
    epochs: int | None = None
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
        tables = self._tables(grid.tables(grid.stages_of(base)))
        cells = grid.distinct(tables)
        if not self.report:
            self._train(base, tables, cells)
        self._write(base, tables, cells)
        print(f"Written to {self.output / 'ablations.md'}")

    def _tables(self, tables):
        names = [table.name for table in tables]
        unknown = set(self.only).difference(names)
        if unknown:
            raise ValueError(
                f"`only` must be some of {', '.join(names)}. "
                f"Received: {', '.join(sorted(unknown))}"
            )
        return [table for table in tables if not self.only or table.name in self.only]

    def _train(self, base, tables, cells):
        # Seed by seed, so that a grid that was stopped has something of each cell.
        runs = [(cell, seed) for seed in self.seeds for cell in cells]
        for number, (cell, seed) in enumerate(runs, 1):
            trained = grid.run_cell(cell, base, seed, self.output, self.data_dir)
            state = "trained" if trained else "was done"
            print(
                f"{number}/{len(runs)}  {cell.name}, seed {seed}: {state}", flush=True
            )
            if trained:
                self._write(base, tables, cells)

    def _write(self, base, tables, cells):
        self.output.mkdir(parents=True, exist_ok=True)
        results = report.read(self.output, cells, self.seeds)
        with atomic_path(self.output / PICTURE, overwrite=True) as path:
            report.draw(results, tables, path)
        block = report.text(results, tables, base, self.seeds, PICTURE)
        with atomic_path(self.output / "ablations.md", overwrite=True) as path:
            path.write_text(f"# Ablations\n\n{block}", "utf-8")
        if self.docs is None:
            return
        picture = self.docs.parent / "images" / PICTURE
        with atomic_path(picture, overwrite=True) as path:
            report.draw(results, tables, path)
        block = report.text(results, tables, base, self.seeds, f"images/{PICTURE}")
        page = report.insert(self.docs.read_text("utf-8"), block)
        with atomic_path(self.docs, overwrite=True) as path:
            path.write_text(page, "utf-8")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Ablations).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
