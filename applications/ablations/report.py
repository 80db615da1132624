"""The grid's results as tables, a picture and what they show."""

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grid import BASE_ERRORS, RESULT, Cell, Table

from keras_senet.training import Recipe

# A difference counts from this many standard errors on: of sixteen that are pure
# chance about one in ten grids has one as large.
CLEAR = 3.0

_OURS, _PAPER = "#1b5e9e", "#b3561d"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """What the grid has given so far.

    Attributes:
        errors: Cell name -> the top-1 error in per cent of each seed that is done.
        facts: Cell name -> parameters, multiply_adds, widths.
        seconds: Of each training, evaluation after each epoch included.
        images: Number of the images that judged.
        diverged: Names of the cells that had a seed without a finite loss.
        uses: Cell name -> how its SE is used, one a seed; see `grid.Work`.
    """

    errors: Mapping[str, Mapping[int, float]]
    facts: Mapping[str, Mapping[str, Any]]
    seconds: Sequence[float]
    images: int
    diverged: Sequence[str]
    uses: Mapping[str, list[Mapping[str, float]]]

    def mean(self, cell: Cell) -> float | None:
        """The mean error of a cell, per cent."""
        errors = self.errors.get(cell.name)
        return statistics.fmean(errors.values()) if errors else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation between seeds, pooled over all cells, points."""
        parts = [[*e.values()] for e in self.errors.values() if len(e) > 1]
        if not parts:
            return None
        squares = sum((len(e) - 1) * statistics.variance(e) for e in parts)
        return math.sqrt(squares / sum(len(e) - 1 for e in parts))

    def score(self, cell: Cell, base: Cell) -> float | None:
        """A cell's difference from the base in standard errors."""
        gain, error = self.gain(cell, base) or (0.0, None)
        return -gain / error if error else None

    def gain(self, cell: Cell, base: Cell) -> tuple[float, float | None] | None:
        """How much better a cell is than the base in points, and the standard error.

        It is of the seeds that both have: seeds differ as much as cells do.
        """
        mine, theirs = (self.errors.get(c.name, {}) for c in (cell, base))
        seeds = mine.keys() & theirs.keys()
        if not seeds:
            return None
        gain = statistics.fmean(theirs[seed] - mine[seed] for seed in seeds)
        if self.deviation is None:
            return gain, None
        return gain, self.deviation * math.sqrt(2 / len(seeds))

    def accuracies(self, cell: Cell) -> tuple[str, str]:
        """The accuracy of a cell as text: mean and deviation, and that of each seed."""
        values = [100 - error for error in self.errors.get(cell.name, {}).values()]
        each = [f"{value:.2f}" for value in values]
        each += ["diverged"] * self.diverged.count(cell.name)
        if not values:
            return "not yet", ", ".join(each)
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        return f"{statistics.fmean(values):.2f}{spread}", ", ".join(each)


_PICTURE = (
    "Top-1 errors of all networks of the tables below: ours with a dot for each seed "
    "and a bar for the mean, beside them the paper's."
)


def read(output: Path, cells: Sequence[Cell], seeds: Sequence[int]) -> Results:
    """Reads what is done of a grid."""
    errors, facts, uses, seconds, images, diverged = {}, {}, {}, [], 0, []
    for cell in cells:
        for seed in seeds:
            path = output / cell.name / f"seed-{seed}" / RESULT
            if not path.is_file():
                continue
            result = json.loads(path.read_text("utf-8"))
            if "diverged" in result:
                diverged.append(cell.name)
                continue
            errors.setdefault(cell.name, {})[seed] = result["error"]
            facts[cell.name] = result
            seconds.append(result["seconds"])
            images = result["images"]
            if "uses" in result:
                uses.setdefault(cell.name, []).append(result["uses"])
    return Results(
        errors=errors,
        facts=facts,
        seconds=seconds,
        images=images,
        diverged=diverged,
        uses=uses,
    )


def text(
    results: Results,
    tables: Sequence[Table],
    recipe: Recipe,
    seeds: Sequence[int],
    picture: str,
) -> str:
    """Returns the tables and what they show as Markdown."""
    base = Cell(label="base", paper=BASE_ERRORS)
    setting = _setting(results, recipe, seeds)
    parts = [setting, f"![{_PICTURE}]({picture})"]
    for table in tables:
        parts.append(f"### {table.title}\n\n{_table(results, table, base)}")
    parts.append(f"### What it shows\n\n{_findings(results, tables, base)}")
    return "\n\n".join(parts) + "\n"


def _setting(results, recipe, seeds):
    images = f"{recipe.limit:,} training images" if recipe.limit else "all images"
    arguments = ", ".join(f"{k}={v!r}" for k, v in recipe.model_arguments.items())
    return (
        f"Ours: `{recipe.model}` ({arguments or 'defaults'}) on {recipe.data}, "
        f"{images}, {recipe.epochs} epochs, seeds {', '.join(map(str, seeds))}; top-1 "
        f"error on {results.images:,} test images, used once, after the training. "
        f"{len(results.seconds)} trainings, {sum(results.seconds) / 60:.0f} minutes of "
        "training one after another. "
        "The paper's: "
        "SE-ResNet-50 on ImageNet, about 300 epochs, top-1 / top-5 error. Differences "
        "are of top-1, from the base, in points: a positive one is worse."
    )


def _table(results, table, base):
    lines = [
        "| | squeeze widths | parameters | multiply-adds, M | our error, % "
        "| difference | paper's error, % | difference | paper's cost |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    published = [cell.paper for cell in table.cells if cell.name == base.name]
    reference = (published or [BASE_ERRORS])[0][0]
    for cell in table.cells:
        cells = [cell.label, *_cost(results.facts.get(cell.name))]
        cells += [_error(results, cell), _difference(results, cell, base)]
        paper = "{:.2f} / {:.2f}".format(*cell.paper) if cell.paper else ""
        further = cell.paper and cell.name != base.name
        cells += [paper, _signed(cell.paper[0] - reference) if further else ""]
        cost = [f"{cell.millions} M"] * (cell.millions is not None)
        cost += [f"{cell.gflops} G"] * (cell.gflops is not None)
        lines.append(f"| {' | '.join([*cells, ', '.join(cost)])} |")
    return "\n".join(lines)


def _cost(facts):
    if facts is None:
        return "", "", ""
    widths = ", ".join(map(str, facts["widths"]))
    adds = f"{facts['multiply_adds'] / 1e6:.2f}"
    return widths or "-", f"{facts['parameters']:,}", adds


def _error(results, cell):
    errors = [*results.errors.get(cell.name, {}).values()]
    shown = [f"{error:.2f}" for error in errors]
    shown += ["diverged"] * results.diverged.count(cell.name)
    if len(shown) > 1 and errors:
        return f"{statistics.fmean(errors):.2f} ({', '.join(shown)})"
    return shown[0] if shown else "not yet"


def _difference(results, cell, base):
    mine, theirs = results.mean(cell), results.mean(base)
    if cell.name == base.name or mine is None or theirs is None:
        return ""
    score = results.score(cell, base)
    clear = score is not None and abs(score) >= CLEAR
    return _signed(mine - theirs) + (" *" if clear else "")


def _signed(value):
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _findings(results, tables, base):
    if results.deviation is None or base.name not in results.errors:
        return (
            "With one seed, any difference above may be chance. Repeat with more "
            "`--seeds`."
        )
    cells = {c.name: c for table in tables for c in table.cells if c.name != base.name}
    scores = {name: results.score(cell, base) for name, cell in cells.items()}
    known = {name: score for name, score in scores.items() if score is not None}
    worse = [cells[n] for n, score in known.items() if score >= CLEAR]
    better = [cells[n] for n, score in known.items() if score <= -CLEAR]
    rest = [cells[n] for n, score in known.items() if abs(score) < CLEAR]
    seeds = len(results.errors[base.name])
    error = results.deviation * math.sqrt(2 / seeds)
    lines = [
        f"The error varies by {results.deviation:.2f} points between seeds (standard "
        f"deviation, pooled over all cells), so a difference of two means of "
        f"{seeds} seeds has a standard error of {error:.2f}. A star marks differences "
        f"of {CLEAR:g} standard errors, {CLEAR * error:.2f} points, and more.",
        "",
        f"- Worse than the base: {_names(worse)}.",
        f"- Better than the base: {_names(better)}.",
        f"- No measurable difference from the base: {_names(rest)}.",
        _diverged(results),
        _order(results, [base, *cells.values()]),
    ]
    return "\n".join(line for line in lines if line is not None)


def _names(cells):
    return ", ".join(f"`{cell.name}`" for cell in cells) or "none"


def _diverged(results):
    names = dict.fromkeys(results.diverged)
    if not names:
        return None
    return f"- Diverged with some seed: {', '.join(f'`{name}`' for name in names)}."


def _order(results, cells):
    """How far our errors go the way of the paper's."""
    pairs = [
        (results.mean(cell), cell.paper[0])
        for cell in cells
        if cell.paper and cell.name in results.errors
    ]
    if len(pairs) < 3:
        return None
    ranks = [_ranks([pair[i] for pair in pairs]) for i in (0, 1)]
    try:
        correlation = statistics.correlation(*ranks)
    except statistics.StatisticsError:
        return None
    return (
        f"- Rank correlation of our errors with the paper's over {len(pairs)} "
        f"cells: {correlation:.2f}".replace("-0", "\N{MINUS SIGN}0")
        + "."
    )


def _ranks(values):
    ordered = sorted(values)
    return [ordered.index(v) + (ordered.count(v) - 1) / 2 for v in values]


def draw(results: Results, tables: Sequence[Table], path: Path) -> None:
    """Draws every cell's error, ours and the paper's, as a PNG file."""
    from matplotlib.figure import Figure

    rows = [
        (table.title.split(" (")[0], cell) for table in tables for cell in table.cells
    ]
    figure = Figure(figsize=(10, 0.26 * len(rows) + 1.6), layout="constrained")
    ours, paper = figure.subplots(1, 2, sharey=True)
    for place, (_, cell) in enumerate(rows):
        errors = [*results.errors.get(cell.name, {}).values()]
        ours.plot(errors, [place] * len(errors), "o", color=_OURS, ms=4, alpha=0.6)
        if errors:
            ours.plot(results.mean(cell), place, "|", color="black", ms=13, mew=2)
        if cell.paper:
            paper.plot(cell.paper[0], place, "D", color=_PAPER, ms=5)
    base = Cell(label="base", paper=BASE_ERRORS)
    if results.mean(base) is not None:
        ours.axvline(results.mean(base), color="0.6", lw=1, zorder=0)
    paper.axvline(BASE_ERRORS[0], color="0.6", lw=1, zorder=0)
    firsts = [
        i for i, (title, _) in enumerate(rows) if i == 0 or rows[i - 1][0] != title
    ]
    for axes, title in (
        (ours, "ours: dots are seeds, bars their mean"),
        (paper, "paper"),
    ):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("top-1 error (%); the line is the base")
        axes.grid(axis="x", alpha=0.25)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        for first in firsts[1:]:
            axes.axhline(first - 0.5, color="0.85", lw=0.8)
    names = {first: rows[first][0] for first in firsts}
    labels = [
        f"{names[i]}:  {cell.label}" if i in names else cell.label
        for i, (_, cell) in enumerate(rows)
    ]
    ours.set_yticks(range(len(rows)), labels)
    ours.set_ylim(len(rows) - 0.5, -0.5)
    figure.savefig(path, dpi=130, format="png")
