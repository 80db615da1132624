"""Counts every network of the paper and writes docs/complexity.md between its marks.

    python applications/benchmark/main.py family --rounds 5 \\
        --output docs/complexity.json
    python scripts/make_complexity_page.py --benchmark docs/complexity.json

The first measures the times, some minutes; without its file the page has none.
"""

import argparse
import dataclasses
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

import keras_senet
from keras_senet.analysis import Complexity
from keras_senet.benchmark import ratio
from keras_senet.utils.pages import write_block

PAGE = Path(__file__).parents[1] / "docs" / "complexity.md"

_CAFFE = {"stride_on": "1x1"}  # as the paper's SE-ResNets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A network and what the paper says of it.

    Attributes:
        network: Its name in the registry.
        arguments: Of its constructor.
        gflops: Published, plain and with SE: tables 2 and 3 of the paper.
        millions: Published parameters in millions, plain and with SE.
        note: Why ours differs, where it does.
    """

    network: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gflops: tuple[str, str] | None = None
    millions: tuple[str, str] | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """Its name in the table."""
        values = ", ".join(f"{k}={v}" for k, v in self.arguments.items())
        return f"`{self.network}`" + (f" ({values})" if values else "")


ROWS = (
    Row(
        network="se_resnet50",
        arguments=_CAFFE,
        gflops=("3.86", "3.87"),
        millions=("25.6", "28.1"),
    ),
    Row(network="se_resnet101", arguments=_CAFFE, gflops=("7.58", "7.60")),
    Row(network="se_resnet152", arguments=_CAFFE, gflops=("11.30", "11.32")),
    Row(network="se_resnext50", gflops=("4.24", "4.25")),
    Row(network="se_resnext101", gflops=("7.99", "8.00")),
    Row(network="se_vgg16", gflops=("15.47", "15.48")),
    Row(network="se_bn_inception", gflops=("2.03", "2.04")),
    Row(
        network="se_inception_resnet_v2",
        gflops=("11.75", "11.76"),
        note="the keras.applications host is a larger variant",
    ),
    Row(network="se_mobilenet", gflops=("0.569", "0.572"), millions=("4.2", "4.7")),
    Row(network="se_shufflenet", gflops=("0.140", "0.142"), millions=("1.8", "2.4")),
    Row(network="se_inception_v3"),
    Row(network="senet154"),
    Row(network="se_resnet18"),
    Row(network="se_resnet34"),
    Row(network="se_resnet20"),
    Row(network="se_resnet110"),
    Row(network="se_resnet164"),
    Row(network="se_wide_resnet16_8"),
)


def count(row: Row, **arguments: Any) -> Complexity:
    """Builds a network with random weights and counts it."""
    model = keras_senet.create_model(
        row.network, weights=None, **row.arguments, **arguments
    )
    counted = keras_senet.complexity(model)
    keras.backend.clear_session()
    return counted


def line(row: Row) -> str:
    """One network's line of the table."""
    plain, with_se = count(row, se=False), count(row)
    added = with_se.parameters / plain.parameters - 1
    more = with_se.multiply_adds / plain.multiply_adds - 1
    cells = [
        row.label,
        f"{plain.parameters / 1e6:.2f} → {with_se.parameters / 1e6:.2f}",
        f"{100 * added:.1f} %",
        "{} → {}".format(*row.millions) if row.millions else "",
        f"{plain.gflops:.3f} → {with_se.gflops:.3f}",
        f"{100 * more:.2f} %",
        "{} → {}".format(*row.gflops) if row.gflops else "",
        f"{with_se.se_parameters:,}",
        f"{with_se.se_formula:,.0f}",
        row.note,
    ]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The overhead of SE in every network."""
    head = (
        "| network | parameters, M | more | paper's, M | multiply-adds, G | more "
        "| paper's, G | SE's parameters | by the formula | |"
    )
    ruler = "|---|---|---|---|---|---|---|---|---|---|"
    return "\n".join([head, ruler, *map(line, ROWS)])


def last_stage() -> str:
    """Section 4's remark: SE in all stages but the last."""
    row = ROWS[0]
    plain, every = count(row, se=False).parameters, count(row).parameters
    without = count(row, se_stages=(2, 3, 4)).parameters
    return (
        f"Without SE in the last stage `{row.network}` has {without:,} parameters "
        f"instead of {every:,}: {100 * (without / plain - 1):.1f} % more than its "
        f"plain host instead of {100 * (every / plain - 1):.1f} %. (The paper: 4 % "
        "instead of 10 %, for less than 0.1 % of top-5 error.)"
    )


def times(path: Path | None) -> str:
    """What SE costs in time, where it was measured."""
    if path is None:
        return "Times: not measured yet."
    report = json.loads(path.read_text(encoding="utf-8"))
    part = report["parts"].get("family")
    if report["toy"] or part is None:
        raise SystemExit(
            f"{path} must hold the part 'family' at full size. Received: "
            f"toy={report['toy']}, parts {', '.join(report['parts'])}. Measure that "
            "part with applications/benchmark."
        )
    samples = {(m["subject"], m["batch"]): m["samples"] for m in part["measurements"]}
    head = ["network"]
    kinds = (("inference", 1), ("training", 4))
    for what, batch in kinds:
        head += [f"{what}, batch {batch}: plain → SE, ms", "SE / plain"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    failed: list[str] = []
    for row in ROWS:
        cells = [f"`{row.network}`"]
        for what, batch in kinds:
            names = [f"{row.network} {kind}, {what}" for kind in ("plain", "with SE")]
            found = [samples.get((name, batch)) for name in names]
            if None in found:
                cells += ["", ""]
                continue
            plain, with_se = (1e3 * statistics.median(x) for x in found)
            cells += [f"{plain:.1f} → {with_se:.1f}", str(ratio(found[1], found[0]))]
        if any(cells[1:]):
            lines.append(f"| {' | '.join(cells)} |")
        elif f"{row.network} plain, inference" in part["skipped"]:
            failed.append(f"`{row.network}`")
    if failed:
        lines += ["", f"Not measured, because it failed: {', '.join(failed)}."]
    facts = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    return "\n".join(
        [
            f"Measured on: {facts}; load average before: {part['load']:.1f}. "
            "Inference is of the exported SavedModel. Ratios: median over the rounds, "
            "quartiles in brackets. The paper, ResNet-50 on its own machines: training "
            "190 → 209 ms (1.10), CPU inference 164 → 167 ms (1.02).",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmark", type=Path)
    path = parser.parse_args().benchmark
    measured = times(path)  # A wrong file is found before the networks are built.
    write_block(PAGE, "complexity", "\n\n".join([table(), last_stage(), measured]))
