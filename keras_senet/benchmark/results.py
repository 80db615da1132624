"""What a benchmark measured, as typed records and as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_senet.benchmark.machine import Machine
from keras_senet.benchmark.parts import PARTS
from keras_senet.benchmark.timing import Ratio, ratio
from keras_senet.utils.files import atomic_path

FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """The figures of one subject at one batch size.

    Attributes:
        subject: Its name.
        batch: Images of one call.
        samples: One figure a round: seconds a call, bytes, or a count.
    """

    subject: str
    batch: int
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the samples."""
        return float(np.median(self.samples))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartResult:
    """What one part of the benchmark measured, in one process.

    Attributes:
        measurements: A figure for each subject and batch size.
        skipped: Subject -> why it was not measured.
        versions: Package -> version.
        load: Processes that wanted a core in the minute before; 0 is a calm machine.
        seconds: What the part took in all.
    """

    measurements: tuple[Measurement, ...]
    skipped: Mapping[str, str]
    versions: Mapping[str, str]
    load: float
    seconds: float

    def find(self, subject: str, batch: int) -> Measurement | None:
        """Returns a subject's measurement, or None where there is none."""
        for measurement in self.measurements:
            if (measurement.subject, measurement.batch) == (subject, batch):
                return measurement
        return None

    def ratio(self, subject: str, peer: str, batch: int) -> Ratio | None:
        """Returns subject / peer, or None where one of them was not measured."""
        ours, theirs = self.find(subject, batch), self.find(peer, batch)
        if ours is None or theirs is None:
            return None
        return ratio(ours.samples, theirs.samples)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PartResult":
        """Makes a result of what `dataclasses.asdict` made of one."""
        measurements = tuple(
            Measurement(**{**row, "samples": tuple(row["samples"])})
            for row in values["measurements"]
        )
        return cls(**{**values, "measurements": measurements})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The parts that were measured on one machine.

    Attributes:
        machine: The machine and its threads.
        toy: Whether the networks were toys, so that the figures say nothing.
        parts: Part -> its result.
    """

    machine: Machine
    toy: bool
    parts: Mapping[str, PartResult] = dataclasses.field(default_factory=dict)

    def with_part(self, name: str, result: PartResult) -> "Report":
        """Returns the report with one part new or replaced.

        Of an older result with the same packages, the groups stay of which nothing is
        measured now. Ratios are of subjects in turn, so others go whole.
        """
        old = self.parts.get(name)
        if old is not None and old.versions == result.versions:
            result = _joined(name, old, result)
        return dataclasses.replace(self, parts={**self.parts, name: result})

    def save(self, path: Path) -> None:
        """Writes the report as JSON, in place of an older one."""
        document = {"format": FORMAT, **dataclasses.asdict(self)}
        with atomic_path(path, overwrite=True) as temporary:
            text = json.dumps(document, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")


def _joined(name, old, new):
    measured = {(m.subject, m.batch) for m in new.measurements}
    replaced = set(measured)
    for group in PARTS[name].groups:
        subjects = {(subject.name, group.batch) for subject in group.subjects}
        failed = any(subject.name in new.skipped for subject in group.subjects)
        if failed or subjects & measured:
            replaced |= subjects
    kept = [m for m in old.measurements if (m.subject, m.batch) not in replaced]
    names = {subject for subject, _ in replaced}
    skipped = {k: why for k, why in old.skipped.items() if k not in names}
    return dataclasses.replace(
        new,
        measurements=(*kept, *new.measurements),
        skipped={**skipped, **new.skipped},
        load=max(old.load, new.load) if kept else new.load,
        seconds=old.seconds + new.seconds if kept else new.seconds,
    )


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
        parts = document["parts"].items()
        return Report(
            machine=Machine(**document["machine"]),
            toy=document["toy"],
            parts={name: PartResult.from_json(part) for name, part in parts},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"The file must be a report of keras-senet benchmark. Received: {path!s}, "
            f"which is not ({error}). Choose another path."
        ) from error


def open_report(path: Path | None, machine: Machine, *, toy: bool) -> Report:
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
