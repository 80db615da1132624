"""The comparison of prunings as a table and what it shows."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

WHOLE = "not pruned"
IMPORTANCES = ("weights", "outgoing", "gates", "both")

# A difference counts from this many standard errors on.
CLEAR = 3.0

Row = Mapping[str, Any]


def key(row: Row) -> tuple[float, str, int]:
    """What tells rows apart."""
    return row["keep"], row["importance"], row["seed"]


def text(rows: Sequence[Row], setting: str) -> str:
    """Returns all rows, a line for each way to prune, as Markdown."""
    head = (
        "| kept | by | parameters | multiply-adds, M | latency, ms "
        "| accuracy before further training, % | accuracy after further training, % |"
    )
    ways = dict.fromkeys((row["keep"], row["importance"]) for row in rows)
    lines = [line([row for row in rows if key(row)[:2] == way]) for way in ways]
    table = "\n".join([head, "|---" * 7 + "|", *lines])
    keeps = [keep for keep in dict.fromkeys(row["keep"] for row in rows) if keep < 1]
    findings = "\n".join(line for keep in keeps for line in _findings(rows, keep))
    return f"{setting}\n\n{table}\n\n{findings}\n"


def line(rows: Sequence[Row]) -> str:
    """Returns the line of one way to prune, trained on with some seeds."""
    first, after = rows[0], [100 * row["after"] for row in rows]
    each = f" ({', '.join(f'{value:.2f}' for value in after)})" * (len(after) > 1)
    return (
        f"| {100 * first['keep']:.0f} % | {first['importance']} "
        f"| {first['parameters']:,} | {first['multiply_adds'] / 1e6:.2f} "
        f"| {1e3 * first['latency']:.2f} | {100 * first['before']:.2f} "
        f"| {statistics.fmean(after):.2f}{each} |"
    )


def _findings(rows, keep):
    """Each importance beside the magnitude of weights."""
    deviation = _deviation(rows)
    weights = _after(rows, keep, "weights")
    for importance in IMPORTANCES[1:]:
        other = _after(rows, keep, importance)
        if not weights or not other:
            continue
        difference = statistics.fmean(other) - statistics.fmean(weights)
        certainty = "one seed: this may be chance"
        if deviation is not None:
            error = deviation * math.sqrt(1 / len(weights) + 1 / len(other))
            clear = abs(difference) >= CLEAR * error
            certainty = f"standard error {error:.2f}"
            certainty += "" if clear else ", may be chance"
        signed = f"{difference:+.2f}".replace("-", "\N{MINUS SIGN}")
        yield (
            f"- {100 * keep:.0f} % kept, {importance} against weights: {signed} points "
            f"after further training ({certainty})."
        )


def _after(rows, keep, importance):
    """Accuracies in per cent, one a seed."""
    way = keep, importance
    return [100 * row["after"] for row in rows if key(row)[:2] == way]


def _deviation(rows):
    """The standard deviation between seeds, pooled over all ways, points."""
    ways = dict.fromkeys(key(row)[:2] for row in rows)
    parts = [part for way in ways if len(part := _after(rows, *way)) > 1]
    if not parts:
        return None
    squares = sum((len(part) - 1) * statistics.variance(part) for part in parts)
    return math.sqrt(squares / sum(len(part) - 1 for part in parts))
