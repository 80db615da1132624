"""A report as tables: cells of text, for a terminal and for Markdown."""

import dataclasses
import re

from keras_senet.benchmark.parts import GOALS, PARTS, Goal, Part, PartName
from keras_senet.benchmark.results import Measurement, PartResult, Report
from keras_senet.benchmark.timing import Ratio


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text.

    Attributes:
        title: Stands above it.
        columns: Names of the columns; ">" before a name aligns the column right.
        rows: The cells of each row.
        notes: Lines below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """Returns the table as Markdown, without its title."""
        rule = ["---:" if name.startswith(">") else "---" for name in self.columns]
        head = [name.lstrip(">") for name in self.columns]
        lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *self.rows)]
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([*lines, *notes])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a report says about a goal.

    Attributes:
        goal: The goal.
        ratio: What was measured, or None.
        beside: The same of the subject's default form, or None.
    """

    goal: Goal
    ratio: Ratio | None
    beside: Ratio | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where it was not measured."""
        return None if self.ratio is None else self.ratio.value <= self.goal.at_most


def outcomes(report: Report) -> list[Outcome]:
    """Returns the outcome of every goal."""
    found = []
    for goal in GOALS:
        part, measured, beside = report.parts.get(goal.part), None, None
        if part is not None:
            measured = part.ratio(goal.subject, goal.peer, goal.batch)
        if part is not None and goal.beside is not None:
            beside = part.ratio(goal.beside, goal.peer, goal.batch)
        found.append(Outcome(goal=goal, ratio=measured, beside=beside))
    return found


def goals_table(report: Report) -> Table:
    """Returns goals and what was measured."""
    words = {True: "met", False: "missed", None: "not measured"}
    rows = tuple(
        (
            o.goal.part,
            f"{o.goal.subject} / {o.goal.peer}",
            str(o.goal.batch),
            f"{o.goal.at_most:g}",
            str(o.ratio or "-"),
            str(o.beside or "-"),
            words[o.met],
        )
        for o in outcomes(report)
    )
    columns = ("part", "ratio", ">batch", ">goal", ">measured", ">default form", "")
    return Table(title="Goals", columns=columns, rows=rows)


def part_table(name: PartName, result: PartResult) -> Table:
    """Returns the figures of a part; ratios are to the first subject of the group."""
    part, rows = PARTS[name], []
    for group in part.groups:
        measured = [result.find(s.name, group.batch) for s in group.subjects]
        measured = [m for m in measured if m is not None]
        for measurement in measured:
            compared = result.ratio(
                measurement.subject, measured[0].subject, group.batch
            )
            rows.append(
                (
                    measurement.subject,
                    str(group.batch),
                    _figure(part, measurement),
                    "1" if measurement is measured[0] else str(compared),
                )
            )
    unit = {"time": "ms", "memory": "MB", "kernels": "values"}[part.measures]
    skipped = [f"Skipped: {s}. {why}" for s, why in sorted(result.skipped.items())]
    return Table(
        title=part.title,
        columns=("what", ">batch", f">{unit}", ">ratio"),
        rows=tuple(rows),
        notes=(*skipped, _conditions(result)),
    )


def _figure(part: Part, measurement: Measurement) -> str:
    if part.measures == "time":
        return f"{1e3 * measurement.median:.1f}"
    if part.measures == "memory":
        return f"{measurement.median / 1e6:,.0f}"
    return f"{measurement.median:,.0f}"


def _conditions(result: PartResult) -> str:
    packages = ", ".join(f"{name} {v}" for name, v in result.versions.items())
    return f"Load before: {result.load:.1f}; took {result.seconds:.0f} s; {packages}."


def machine_line(report: Report) -> str:
    """Returns a line about the machine and its threads."""
    machine, threads = report.machine, report.machine.threads
    line = (
        f"{machine.cores} cores, {machine.instructions}; threads: TensorFlow {threads} "
        f"within and {threads} between operations, LiteRT {threads}, torch {threads}."
    )
    if report.toy:
        line += " TOY SIZE: these figures try the code and say nothing."
    return line


def markdown_parts(report: Report) -> dict[str, str]:
    """Returns what stands between the marks of a page, by the marks' names."""
    texts = {"machine": machine_line(report), "goals": goals_table(report)}
    texts |= {name: part_table(name, result) for name, result in report.parts.items()}
    return {
        name: text.to_markdown() if isinstance(text, Table) else text
        for name, text in texts.items()
    }


def insert(page: str, report: Report) -> str:
    """Returns a page with a report's tables between its marks.

    The marks are lines, `<!-- benchmark: NAME -->` and `<!-- end of NAME -->`, where
    NAME is "machine", "goals" or a part. What was not measured stays as it is.

    Raises:
        ValueError: If the page has no such marks.
    """
    marks = re.findall(r"<!-- benchmark: (\w+) -->", page)
    if not marks:
        raise ValueError(
            "The page must have marks such as <!-- benchmark: goals --> and "
            "<!-- end of goals -->. Received a page without."
        )
    texts = markdown_parts(report)
    for name in marks:
        begin, end = f"<!-- benchmark: {name} -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"The page must have {end!r} after {begin!r}.")
        if name in texts:
            page = f"{before}{begin}\n{texts[name]}\n{end}{after}"
    return page
