"""Measures this project's goals: speed and memory beside plain hosts and peers.

    python applications/benchmark/main.py --output docs/performance.json \
        --markdown docs/performance.md

README.md in this folder describes what it measures.
"""

import dataclasses
import os
import sys
from pathlib import Path

import tyro
from parts import PARTS
from report import (
    goals_table,
    load_report,
    machine_line,
    open_report,
    outcomes,
    part_table,
    write_page,
)

from keras_senet.benchmark import describe_machine, load

# Processes that want a core; above it timings are those of a busy machine.
_CALM = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measures parts of the benchmark, each in a process with its threads fixed.

    Attributes:
        parts: What to measure; by default all parts that have a goal.
        smoke: Use tiny networks to try the code. The results mean nothing.
        threads: Threads of TensorFlow, LiteRT and torch; by default one per core.
        rounds: Number of turns of each network, if not the part's own.
        only: Only networks whose names match this shell pattern; parts without such a
            network are left out.
        output: A JSON file for the results. If it exists and is from this machine, the
            parts that are not measured now stay; with --only, also the groups that were
            measured with the same versions of the packages.
        markdown: A page; its tables are written from the results.
        render: Do not measure; show the results in --output (of all parts, or of those
            that are named) and write --markdown.
        check: End with exit code 1 if a measured goal is missed.
    """

    parts: tyro.conf.Positional[tuple[str, ...]] = ()
    smoke: bool = False
    threads: int | None = None
    rounds: int | None = None
    only: str = "*"
    output: Path | None = None
    markdown: Path | None = None
    render: bool = False
    check: bool = False

    def run(self) -> int:
        """Returns the exit code."""
        self._check()
        if self.render:
            report, names, failed = load_report(self.output), self.parts, False
        else:
            machine = describe_machine(self.threads)
            report = open_report(self.output, machine, toy=self.smoke)
            names = self.parts or [name for name in PARTS if PARTS[name].is_goal]
            report, failed = self._measure(report, names)
        for name in names or report.parts:
            if name in report.parts:
                print(
                    f"\n{PARTS[name].title}\n\n{part_table(name, report.parts[name])}"
                )
        print(f"\nGoals\n\n{goals_table(report)}")
        if self.markdown is not None:
            write_page(self.markdown, report)
        missed = any(outcome.met is False for outcome in outcomes(report))
        return 1 if failed or (self.check and missed) else 0

    def _check(self):
        unknown = ", ".join(sorted(set(self.parts) - set(PARTS)))
        if unknown:
            raise ValueError(f"Parts are {', '.join(PARTS)}. Received: {unknown}")
        if self.rounds is not None and self.rounds < 1:
            raise ValueError(
                f"`rounds` must be a positive integer. Received: rounds={self.rounds}"
            )
        if self.render and self.output is None:
            raise ValueError("`render` needs the figures. Received no --output.")
        if self.render and (
            self.smoke or self.threads or self.rounds or self.only != "*"
        ):
            raise ValueError(
                "`render` measures nothing. Received one of --smoke, --threads, "
                "--rounds and --only. Leave it out."
            )
        if self.markdown is not None and not self.markdown.is_file():
            raise FileNotFoundError(f"There is no page {str(self.markdown)!r}.")

    def _measure(self, report, names):
        from measuring import Options, matching, measure

        names = matching(names, self.only)
        options = Options(
            threads=report.machine["threads"],
            smoke=self.smoke,
            rounds=self.rounds,
            only=self.only,
        )
        print(machine_line(report))
        if load() > _CALM:
            print(f"Other work keeps {load():.1f} cores busy: timings will be rough.")
        failed = False
        for name in names:
            print(f"{PARTS[name].title} ({name})", flush=True)
            try:
                result = measure(name, options)
            except Exception as error:
                print(f"  failed: {error}", flush=True)  # the others are worth a try
                failed = True
                continue
            old = report.parts.get(name, result)
            if old.versions != result.versions and set(old.figures) - set(
                result.figures
            ):
                print("  older figures are dropped: the packages have other versions")
            report = report.with_part(name, result)
            if self.output is not None:
                report.save(self.output)
        return report, failed


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        sys.exit(tyro.cli(Benchmark).run())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
