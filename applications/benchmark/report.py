"""What was measured: records, a JSON file of them, and tables in Markdown."""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from parts import GOALS, PARTS, Goal, Group

from keras_senet.benchmark import Ratio, ratio
from keras_senet.utils.files import atomic_path
from keras_senet.utils.markdown import markdown_table
from keras_senet.utils.pages import write_block

FORMAT = 1
_PACKAGES = (
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "numpy",
    "torch",
    "timm",
    "image-classifiers",
    "kimm",
)
_UNITS = {"time": ("ms", 1e3, ".1f"), "memory": ("MB", 1e-6, ",.0f")}
_UNITS["kernels"] = ("values", 1, ",.0f")

# A subject and its batch size.
Key = tuple[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What one part of the benchmark measured.

    Attributes:
        figures: One figure a round: seconds a call, bytes, or a count.
        skipped: Subject -> why it was not measured.
        load: The load average of the minute before; 0 on an idle machine.
        seconds: What the part took in all.
        versions: Package -> version.
    """

    figures: Mapping[Key, tuple[float, ...]]
    skipped: Mapping[str, str]
    load: float
    seconds: float
    versions: Mapping[str, str]

    def fastest(self, names: tuple[str, ...], batch: int) -> str | None:
        """Returns the one of some subjects with the smallest median, where measured."""
        found = [name for name in names if (name, batch) in self.figures]
        return min(
            found, key=lambda name: median(self.figures[name, batch]), default=None
        )

    def ratio(self, subject: str, peer: str | None, batch: int) -> Ratio | None:
        """Returns subject / peer, or None where one of them was not measured."""
        ours, theirs = (
            self.figures.get((subject, batch)),
            self.figures.get((peer, batch)),
        )
        return ratio(ours, theirs) if ours and theirs else None

    def joined(self, old: "Result", groups: tuple[Group, ...]) -> "Result":
        """Returns the result, with groups of an older one that are not measured now.

        Ratios are of subjects in turn, so a group is kept whole or not at all, and only
        where the packages are the same.
        """
        if old.versions != self.versions:
            return self
        figures, skipped = dict(self.figures), dict(self.skipped)
        for group in groups:
            names = {subject.name for subject in group.subjects}
            keys = {(name, group.batch) for name in names}
            if names & set(self.skipped) or keys & set(self.figures):
                continue
            figures |= {key: old.figures[key] for key in keys & set(old.figures)}
            skipped |= {k: why for k, why in old.skipped.items() if k in names}
        if len(figures) == len(self.figures):
            return self
        return dataclasses.replace(
            self,
            figures=figures,
            skipped=skipped,
            load=max(old.load, self.load),
            seconds=old.seconds + self.seconds,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The parts that were measured on one machine.

    Attributes:
        machine: Cores, instructions, threads.
        toy: Whether the networks were toys, so that the figures say nothing.
        parts: Part -> its result.
    """

    machine: Mapping[str, int | str]
    toy: bool
    parts: Mapping[str, Result] = dataclasses.field(default_factory=dict)

    def with_part(self, name: str, result: Result) -> "Report":
        """Returns the report with one part new, or joined to an older result."""
        old = self.parts.get(name)
        result = result.joined(old, PARTS[name].groups) if old else result
        return dataclasses.replace(self, parts={**self.parts, name: result})

    def save(self, path: Path) -> None:
        """Writes the report as JSON, in place of an older one."""
        document = {"format": FORMAT, **dataclasses.asdict(self)}
        for part in document["parts"].values():
            part["measurements"] = [
                {"subject": subject, "batch": batch, "samples": samples}
                for (subject, batch), samples in part.pop("figures").items()
            ]
        with atomic_path(path, overwrite=True) as temporary:
            text = json.dumps(document, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Returns the versions of the packages whose speed is measured, where installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load_report(path: Path) -> Report:
    """Reads a report.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not the report of a benchmark.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise ValueError("another format")
        if unknown := sorted(set(document["parts"]) - set(PARTS)):
            raise ValueError(f"unknown parts: {', '.join(unknown)}")
        for part in document["parts"].values():
            part["figures"] = {
                (row["subject"], row["batch"]): tuple(row["samples"])
                for row in part.pop("measurements")
            }
        parts = {name: Result(**part) for name, part in document["parts"].items()}
        return Report(**{**document, "parts": parts})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The file must be a report of this benchmark. Received: {path!s}, which "
            f"is not ({error}). Choose another path."
        ) from error


def open_report(path: Path | None, machine: Mapping, *, toy: bool) -> Report:
    """Returns the report to go on with: the one in a file, or a new one.

    Raises:
        ValueError: If the file holds figures of another machine or other threads.
    """
    new = Report(machine=machine, toy=toy)
    if path is None or not path.exists():
        return new
    old = load_report(path)
    if (old.machine, old.toy) != (machine, toy):
        raise ValueError(
            f"{path} must hold figures of the same machine, threads and size. "
            f"Received: {old.machine}, toy={old.toy} there and {machine}, toy={toy} "
            "here. Choose another path or remove it."
        )
    return old


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a report says about a goal.

    Attributes:
        goal: The goal.
        peer: The fastest of its peers that was measured.
        ratio: The subject by that peer, or None where one was not measured.
        beside: The same of the subject's default form.
    """

    goal: Goal
    peer: str | None = None
    ratio: Ratio | None = None
    beside: Ratio | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where it was not measured."""
        return None if self.ratio is None else self.ratio.value <= self.goal.at_most


def outcomes(report: Report) -> list[Outcome]:
    """Returns the outcome of every goal."""
    found = []
    for goal in GOALS:
        result, outcome = report.parts.get(goal.part), Outcome(goal=goal)
        if result is not None:
            peer = result.fastest(goal.peers, goal.batch)
            outcome = Outcome(
                goal=goal,
                peer=peer,
                ratio=result.ratio(goal.subject, peer, goal.batch),
                beside=result.ratio(goal.beside, peer, goal.batch),
            )
        found.append(outcome)
    return found


def goals_table(report: Report) -> str:
    """Returns the goals of the parts that were measured."""
    words = {True: "met", False: "missed", None: "not measured"}
    rows = [
        (
            o.goal.part,
            f"{o.goal.subject} / {o.peer or o.goal.peers[0]}",
            o.goal.batch,
            f"{o.goal.at_most:g}",
            o.ratio or "-",
            o.beside or "-",
            words[o.met],
        )
        for o in outcomes(report)
        if o.goal.part in report.parts
    ]
    columns = ("part", "ratio", ">batch", ">goal", ">measured", ">default form", "")
    return markdown_table(columns, rows)


def part_table(name: str, result: Result) -> str:
    """Returns the figures of a part; ratios are to the group's fastest base."""
    part, rows = PARTS[name], []
    unit, factor, style = _UNITS[part.measures]
    for group in part.groups:
        names = [
            s.name for s in group.subjects if (s.name, group.batch) in result.figures
        ]
        bases = tuple(subject.name for subject in group.subjects[: group.bases])
        base = result.fastest(bases, group.batch) or (names or [None])[0]
        for subject in names:
            middle = factor * median(result.figures[subject, group.batch])
            compared = result.ratio(subject, base, group.batch)
            share = "1" if subject == base else compared
            rows.append((subject, group.batch, format(middle, style), share))
    skipped = [f"\nSkipped: {s}. {why}" for s, why in sorted(result.skipped.items())]
    packages = ", ".join(f"{name} {v}" for name, v in result.versions.items())
    facts = f"Load before: {result.load:.1f}; took {result.seconds:.0f} s; {packages}."
    table = markdown_table(("what", ">batch", f">{unit}", ">ratio"), rows)
    return "\n".join([table, *skipped, f"\n{facts}"])


def machine_line(report: Report) -> str:
    """Returns a line about the machine and its threads."""
    line = (
        "{cores} cores, {instructions}; threads: TensorFlow {threads} within and "
        "{threads} between operations, LiteRT {threads}, torch {threads}."
    ).format(**report.machine)
    if report.toy:
        line += " TOY SIZE: these figures try the code and say nothing."
    return line


def write_page(page: Path, report: Report) -> None:
    """Writes a report's tables between the marks of a page.

    The marks are `utils.pages.write_block`'s: "machine", "goals" and names of parts.
    What was not measured stays as it is.

    Raises:
        ValueError: If the page has no such marks.
    """
    texts = {"machine": machine_line(report), "goals": goals_table(report)}
    texts |= {name: part_table(name, result) for name, result in report.parts.items()}
    marked = [n for n in texts if f"<!-- {n} -->" in page.read_text(encoding="utf-8")]
    if not marked:
        raise ValueError(
            f"{page} must have marks such as <!-- goals --> and <!-- end of the goals "
            "-->. Received a page without."
        )
    for name in marked:
        write_block(page, name, texts[name])
