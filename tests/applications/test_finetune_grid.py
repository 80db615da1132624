"""Fine-tuning's defaults on many tasks, as a program."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from keras_senet.training import FinetuneRecipe

FOLDER = Path(__file__).parents[2] / "applications" / "finetune"
PROGRAM = FOLDER / "grid.py"

pytestmark = pytest.mark.usefixtures("modules")


def test_every_level_is_tried():
    tasks = importlib.import_module("tasks").TASKS
    assert len({task.name for task in tasks}) == len(tasks)
    trained = [task for task in tasks if task.weights]
    for name, levels in {
        "classes": {2, 4, 10},
        "images": {5, 10, 50, 500},
        "uneven": {False, True},
        "seed": {0, 1},
        "model": {"se_resnet20", "se_mobilenet"},
    }.items():
        assert {getattr(task, name) for task in trained} == levels
    ways = {(task.weights, task.data) for task in trained}
    assert ways == {
        ("cifar10", "cifar10"), ("cifar10", "bundled"), ("fashion_mnist", "cifar10")
    }  # fmt: skip
    assert [task.model for task in tasks if not task.weights] == ["se_resnet50"]


@pytest.mark.parametrize("uneven", [False, True])
def test_a_tasks_images(uneven):
    tasks = importlib.import_module("tasks")
    task = tasks.Task(
        model="se_resnet20",
        weights="cifar10",
        data="bundled",
        classes=4,
        images=50,
        uneven=uneven,
    )
    found = tasks.images_of(task, None)
    counts = np.bincount(found.train[1])
    assert tuple(counts) == task.counts
    assert (counts[0], counts[-1]) == (50, 5 if uneven else 50)
    parts = [{image.tobytes() for image in part[0]} for part in found[1:]]
    assert not any(a & b for a, b in zip(parts, [*parts[1:], parts[0]], strict=True))
    assert found.names[:2] == ("Shirt", "T-shirt/top")
    assert set(found.report[1]) == {0, 1, 2, 3}


def finish(output, task, values):
    """Writes what done cells of a task leave behind."""
    for arm, (choose, report) in values.items():
        path = output / f"{task.name}/{arm}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        result = {"choose": choose, "report": report, "images": 1000, "seconds": 60}
        grid, count = importlib.import_module("grid"), sum(task.counts)
        recipe = grid.Cell(task=task, arm=arm, sweep=0).recipe(count)
        result |= {"trained_on": count, **grid._about(recipe, count)}
        if arm == "default":
            result |= {"keeps_probe": True, "probe": {"report": report}}
        path.write_text(json.dumps(result))


def test_table_of_known_results(tmp_path, run):
    """The best of the grid is the one that other images choose."""
    first, second, third, *_ = importlib.import_module("tasks").TASKS
    arms = list(importlib.import_module("tables").GRID)
    grid = dict.fromkeys(arms, (0.5, 0.99)) | {arms[3]: (0.6, 0.84)}
    adapts = {f"{arms[3]}-adapts": (0.7, 0.9)}
    old = {"0.1": (0.5, 0.5)}
    finish(tmp_path, first, {"default": (0.5, 0.81), **grid, **adapts, **old})
    finish(tmp_path, second, {"default": (0.5, 0.83), **grid})
    finish(tmp_path, third, {"default": (0.5, 0.83)})
    docs = tmp_path / "docs.md"
    docs.write_text("<!-- grid --> <!-- end of the grid -->")
    run("--output", tmp_path, "--report", "--docs", docs)
    text = docs.read_text().replace("\N{MINUS SIGN}", "-")
    assert "| 81.0 | 81.0 | probe | 84.0 (0.0005, 300) | - | 50.0 | -3.0 missed" in text
    assert "| 83.0 | 83.0 | probe | 84.0 (0.0005, 300) | - | - | -1.0 |" in text
    assert "| 83.0 | 83.0 | probe | - | - | - | not yet | 1000 |" in text
    assert f"in 1 of 2 tasks. Missed: `{first.name}` (-3.0)." in text
    assert "version 0.1's default the default is +31.0 points better" in text
    assert "Means over 1 task on" in text
    assert "| 0.0005, 300, batch normalization adapts | 70.0 | +0.0 |" in text
    assert "| default | 50.0 | -20.0 |" in text
    # A cell that another rule trained is as if it were not there.
    path = tmp_path / f"{first.name}/default.json"
    result = json.loads(path.read_text())
    result["recipe"]["epochs"] = 1
    path.write_text(json.dumps(result))
    run("--output", tmp_path, "--report")
    text = (tmp_path / "grid.md").read_text()
    assert "| 81.0 |" not in text


def test_the_default_has_no_option():
    grid = importlib.import_module("grid")
    task = importlib.import_module("tasks").TASKS[1]
    default = grid.Cell(task=task, arm="default", sweep=0).recipe(100)
    assert default == FinetuneRecipe(model=task.model, weights=task.weights, seed=1)
    other = grid.Cell(task=task, arm="0.0005-300", sweep=0).recipe(100)
    assert other.learning_rate == 5e-4
    assert other.epochs * other.passes * (100 // 32) == pytest.approx(300, rel=0.1)
    scratch = grid.Cell(task=task, arm="scratch", sweep=1).recipe(9)
    assert scratch.epochs * scratch.passes * 9 == pytest.approx(300 * 20, rel=0.1)
    assert scratch.epochs < 10


@pytest.mark.slow
def test_smoke_can_be_repeated(tmp_path, run, capsys):
    run("--output", tmp_path, "--smoke")
    assert " s\n" in capsys.readouterr().out
    (row,) = [
        line
        for line in (tmp_path / "grid.md").read_text().splitlines()
        if line.startswith("| `se_resnet20`")
    ]
    assert "not yet" in row  # one way of the grid is tried
    run("--output", tmp_path, "--smoke")
    assert capsys.readouterr().out.count("was done") == 5
