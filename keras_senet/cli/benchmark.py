"""`keras-senet benchmark`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import OmitArgPrefixes, Positional

from keras_senet.benchmark.parts import PARTS, PartName
from keras_senet.cli.command import parse_arguments
from keras_senet.cli.console import make_console, print_table
from keras_senet.cli.train import value_of
from keras_senet.training.recipes import Recipe, load_recipe

# Processes that want a core; above it timings are those of a busy machine.
_CALM = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measures speed and memory: SE beside its plain host and beside other packages.

    Each part runs in a process of its own with its threads pinned; its subjects take
    turns, and ratios are taken turn by turn. `keras-senet benchmark data` measures the
    input pipeline of a recipe; it has its own --help.

    Attributes:
        parts: What to measure; nothing for all parts that have a goal.
        quick: Toy networks: everything runs, and no figure says anything.
        threads: Threads of TensorFlow, LiteRT and torch, if not one a core.
        rounds: Turns of each subject, if not the part's own number.
        only: Only subjects whose names match this shell pattern.
        output: A JSON file for the figures. Of an older one of this machine, the
            parts that are not measured now stay, and with --only the groups of a part.
        markdown: A page whose tables are written anew from the figures.
        render: Measure nothing: show what --output holds, and write --markdown.
        check: Exit with 1 if a goal that was measured is missed.
    """

    parts: Positional[tuple[PartName, ...]] = ()
    quick: bool = False
    threads: int | None = None
    rounds: int | None = None
    only: str = "*"
    output: Path | None = None
    markdown: Path | None = None
    render: bool = False
    check: bool = False

    def run(self) -> int:
        from keras_senet.benchmark import tables
        from keras_senet.benchmark.machine import load

        console = make_console()
        report = self._open()
        console.print(tables.machine_line(report), markup=False)
        if not self.render and not self.quick and load() > _CALM:
            console.print(
                f"Other work keeps {load():.1f} cores busy: timings will be rough.",
                style="bold red",
            )
        report, failed = self._measure(console, report)
        for name in self._parts(report):
            if name in report.parts:
                _print(console, tables.part_table(name, report.parts[name]))
        _print(console, tables.goals_table(report))
        if self.markdown is not None:
            _rewrite(self.markdown, report)
        missed = [o for o in tables.outcomes(report) if o.met is False]
        return 1 if failed or (self.check and missed) else 0

    def _open(self):
        from keras_senet.benchmark.machine import describe_machine
        from keras_senet.benchmark.results import load_report, open_report

        if self.markdown is not None and not self.markdown.is_file():
            raise FileNotFoundError(f"There is no page {str(self.markdown)!r}.")
        if not self.render:
            machine = describe_machine(self.threads)
            return open_report(self.output, machine, toy=self.quick)
        if self.output is None:
            raise ValueError("`render` needs the figures. Received no --output.")
        return load_report(self.output)

    def _parts(self, report):
        if self.render:
            return tuple(report.parts)
        return self.parts or tuple(name for name in PARTS if PARTS[name].is_goal)

    def _measure(self, console, report):
        from keras_senet.benchmark.running import Options, measure

        failed = False
        if self.render:
            return report, failed
        options = Options(
            threads=report.machine.threads,
            toy=self.quick,
            rounds=self.rounds,
            only=self.only,
        )
        for name in self._parts(report):
            console.print(f"{PARTS[name].title} ({name})", style="bold")
            try:
                result = measure(
                    name, options, lambda line: console.print(f"  {line}", markup=False)
                )
            except RuntimeError as error:
                # The other parts are still worth their time.
                console.print(f"{name} failed: {error}", style="bold red", markup=False)
                failed = True
                continue
            report = report.with_part(name, result)
            if self.output is not None:
                report.save(self.output)
        return report, failed


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkData:
    """Measures the training input of a recipe in images/s, without a model.

    The recipe's values are options too: --recipe cifar10 --global-batch-size 256.

    Attributes:
        recipe: A recipe's name, or a .json or .py file of yours.
        data_dir: Where the data lies, if not in its usual place.
        seconds: How long the input, and then the training step, is measured.
        with_model: Measure the training step of the recipe's network beside it, and
            say which of the two is the limit.
        output: A new JSON file for the figures.
        values: The recipe's values.
    """

    recipe: str
    data_dir: Path | None = None
    seconds: float = 10.0
    with_model: bool = False
    output: Path | None = None
    values: OmitArgPrefixes[Recipe]

    def run(self) -> int:
        from keras_senet.benchmark.input import measure_input
        from keras_senet.utils.files import atomic_path

        speed = measure_input(
            self.values,
            data_dir=self.data_dir,
            seconds=self.seconds,
            with_model=self.with_model,
        )
        make_console().print(speed.summary(), markup=False)
        if self.output is not None:
            with atomic_path(self.output) as file:
                file.write_text(speed.to_json() + "\n", encoding="utf-8")
        return 0


def _print(console, table):
    print_table(console, table.title, table.columns, table.rows)
    for note in table.notes:
        console.print(note, markup=False)


def _rewrite(page, report):
    from keras_senet.benchmark.tables import insert
    from keras_senet.utils.files import atomic_path

    text = insert(page.read_text(encoding="utf-8"), report)
    with atomic_path(page, overwrite=True) as file:
        file.write_text(text, encoding="utf-8")


def parse(arguments: Sequence[str]) -> Benchmark | BenchmarkData | None:
    """Reads the words after the verb."""
    if arguments[:1] == ["data"]:
        return _parse_data(arguments[1:])
    return parse_arguments(Benchmark, "benchmark", arguments)


def _parse_data(arguments):
    name = value_of("--recipe", arguments) or "quickstart"
    default = BenchmarkData(recipe=name, values=load_recipe(name))
    return parse_arguments(BenchmarkData, "benchmark data", arguments, default)
