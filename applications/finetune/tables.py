"""What the grid has given, as a table and what it shows."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tasks import Task

# Arm -> the learning rate and the number of updates.
GRID = {
    f"{rate:g}-{updates}": (rate, updates)
    for rate, updates in itertools.product((1e-4, 5e-4, 2e-3), (100, 300))
}
# Of an arm's name: batch normalization adapts to the images.
ADAPTS = "-adapts"
# Points that the default may be below the better of the probe and the grid's best.
MARGIN = 2.0

_DATA = {"cifar10": "CIFAR-10", "bundled": "Fashion-MNIST"}

Results = Mapping[tuple[Task, str], Mapping[str, Any]]


def table(tasks: Sequence[Task], results: Results) -> str:
    """Returns, as Markdown, a row for each task, and what the rows show."""
    lines = [
        "Top-1 accuracy in per cent on test images that nothing was chosen by. "
        '"Kept" is what the default keeps. The best of the grid is chosen by other '
        "images, and stands with its rate and its updates.",
        "",
        "| network, weights | images of | classes | a class | seed | linear probe "
        "| default | kept | best of the grid | from scratch | version 0.1 | difference "
        "| test images |",
        "|---|---|--:|--:|--:|--:|--:|---|---|--:|--:|--:|--:|",
        *(_row(task, results) for task in tasks),
        "",
        *_findings(tasks, results),
        "",
        *_choices(tasks, results),
    ]
    return "\n".join([*lines, ""])


def best_of_grid(task: Task, results: Results) -> str | None:
    """Returns the arm that is best on the images to choose by, None if none is done."""
    done = [arm for arm in GRID if (task, arm) in results]
    return max(done, key=lambda arm: results[task, arm]["choose"], default=None)


def difference(task: Task, results: Results) -> float | None:
    """Returns how many points the default is above the better of the two others."""
    arms = ["default", *(GRID if task.weights else ())]
    if not all((task, arm) in results for arm in arms):
        return None
    default = results[task, "default"]
    others = [default["probe"]["report"]]
    best = best_of_grid(task, results)
    if best is not None:
        others.append(results[task, best]["report"])
    return 100 * (default["report"] - max(others))


def _row(task, results):
    counts = task.counts
    shape = f"{counts[0]} to {counts[-1]}" if task.uneven else str(task.images)
    cells = [
        f"`{task.model}`, {task.weights or 'random'}",
        _DATA[task.data],
        str(task.classes),
        shape,
        str(task.seed),
    ]
    default = results.get((task, "default"))
    cells.append(_percent(default and default["probe"]))
    cells.append(_percent(default))
    kept = default and ("probe" if default["keeps_probe"] else "all layers")
    cells.append(kept or "-")
    best = best_of_grid(task, results)
    if best is None:
        cells.append("-")
    else:
        rate, updates = GRID[best]
        cells.append(f"{_percent(results[task, best])} ({rate:g}, {updates})")
    cells += [_percent(results.get((task, arm))) for arm in ("scratch", "0.1")]
    points = difference(task, results)
    if points is None:
        cells.append("not yet")
    else:
        cells.append(_signed(points) + (" missed" if points < -MARGIN else ""))
    cells.append(str(default["images"]) if default else "-")
    return f"| {' | '.join(cells)} |"


def _findings(tasks, results):
    points = {task: difference(task, results) for task in tasks}
    known = {task: value for task, value in points.items() if value is not None}
    missed = [task for task, value in known.items() if value < -MARGIN]
    left = [task for task in tasks if task not in known]
    yield (
        f"- The default is at most {MARGIN:g} points below the better of the linear "
        f"probe and the best of the grid in {len(known) - len(missed)} of "
        f"{_tasks(known)}. Missed: {_names(missed, points)}."
    )
    if known:
        middle = statistics.median(known.values())
        yield f"- The median difference is {_signed(middle)} points."
    for arm, what in (("0.1", "version 0.1's default"), ("scratch", "from scratch")):
        gains = [
            100 * (results[task, "default"]["report"] - results[task, arm]["report"])
            for task in tasks
            if (task, arm) in results and (task, "default") in results
        ]
        if gains:
            yield (
                f"- Beside {what} the default is {_signed(statistics.median(gains))} "
                f"points better in the median of {_tasks(gains)}, between "
                f"{_signed(min(gains))} and {_signed(max(gains))}."
            )
    if left:
        yield f"- Not complete: {_names(left, {})}."
    seconds = sum(result["seconds"] for result in results.values())
    yield f"- {len(results)} trainings, {seconds / 60:.0f} minutes."


def _choices(tasks, results):
    """The means that a default is chosen by, over the tasks that have all of them."""
    arms = ["default", *GRID, *{arm for _, arm in results if arm.endswith(ADAPTS)}]
    full = [t for t in tasks if all((t, arm) in results for arm in arms)]
    if not full:
        return
    yield (
        f"Means over {_tasks(full)} on the images that choices are made by, and the "
        "task that is furthest below its best:"
    )
    yield from ("", "| rate, updates | mean | furthest below |", "|---|--:|--:|")
    best = {t: max(results[t, arm]["choose"] for arm in arms) for t in full}
    for arm in arms:
        mean = statistics.fmean(results[t, arm]["choose"] for t in full)
        gap = min(results[t, arm]["choose"] - best[t] for t in full)
        name = arm
        if arm != "default":
            rate, updates = GRID[arm.removesuffix(ADAPTS)]
            name = f"{rate:g}, {updates}"
        if arm.endswith(ADAPTS):
            name += ", batch normalization adapts"
        yield f"| {name} | {100 * mean:.1f} | {_signed(100 * gap)} |"


def _names(tasks, points):
    texts = [
        f"`{task.name}`" + (f" ({_signed(points[task])})" if task in points else "")
        for task in tasks
    ]
    return ", ".join(texts) or "none"


def _tasks(these):
    return f"{len(these)} task{'' if len(these) == 1 else 's'}"


def _percent(result):
    return f"{100 * result['report']:.1f}" if result else "-"


def _signed(value):
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
