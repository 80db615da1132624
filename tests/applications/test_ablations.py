"""The grid of ablations, as a program."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import keras_senet
from keras_senet.training import load_recipe

FOLDER = Path(__file__).parents[2] / "applications" / "ablations"
PROGRAM = FOLDER / "main.py"

pytestmark = pytest.mark.usefixtures("modules")


def start(*words):
    """Runs the program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, words)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder, errors, **result):
    """Writes what done cells leave behind, one error a seed."""
    facts = {"parameters": 1234, "multiply_adds": 5_600_000, "widths": [1, 2]}
    facts |= {"images": 500, "seconds": 30.0}
    for seed, error in enumerate(errors):
        cell = folder / f"seed-{seed}"
        cell.mkdir(parents=True)
        values = {"error": error, **facts, **result, "recipe": {"model": "se_resnet20"}}
        (cell / "result.json").write_text(json.dumps(values))


def test_every_cell_is_a_network_of_its_own():
    grid = importlib.import_module("grid")
    base = load_recipe(FOLDER / "recipe.py")
    tables = grid.tables((1, 2, 3), 4)
    cells = grid.distinct(tables)
    assert [cell.name for cell in cells] == [
        "base", "reduction-2", "reduction-8", "reduction-16", "reduction-32", "plain",
        "squeeze-max", "squeeze-none", "gate-tanh", "gate-relu", "stages-1", "stages-2",
        "stages-3", "placement-pre", "placement-post", "placement-identity",
        "placement-3x3",
    ]  # fmt: skip
    facts, rows = {}, set()
    for cell in cells:
        recipe = cell.recipe(base, seed=7)
        assert recipe.seed == 7
        model = keras_senet.create_model(
            recipe.model, weights=None, **recipe.model_arguments
        )
        facts[cell.name] = grid.describe(model)
        rows.add(json.dumps(model.architecture.to_json()))
    assert len(rows) == len(cells)
    # Three blocks a stage, two matrices a block, no biases.
    plain = facts["plain"]["parameters"]
    for name, widths in {
        "base": [4, 8, 16],
        "reduction-2": [8, 16, 32],
        "reduction-8": [2, 4, 8],
        "reduction-16": [1, 2, 4],
        "reduction-32": [1, 1, 2],
    }.items():
        assert facts[name]["widths"] == widths
        added = 6 * sum(c * w for c, w in zip((16, 32, 64), widths, strict=True))
        assert facts[name]["parameters"] - plain == added
    only = [facts[f"stages-{stage}"]["parameters"] - plain for stage in (1, 2, 3)]
    assert only == [6 * 16 * 4, 6 * 32 * 8, 6 * 64 * 16]
    assert facts["plain"]["widths"] == []


def test_tables_of_known_results(tmp_path, run):
    grid, page = tmp_path / "grid", tmp_path / "page.md"
    finish(grid / "base", [30.0, 32.0])
    finish(grid / "gate-tanh", [40.0, 42.0])
    finish(grid / "gate-relu", [30.5, 32.5])
    finish(grid / "squeeze-max", [20.0])
    finish(grid / "squeeze-none", [0], diverged="epoch 2")
    page.write_text("before <!-- ablations --> x <!-- end of the ablations --> after")
    run("--output", grid, "--report", "--only", "gate", "squeeze", "--docs", page)
    text = (grid / "ablations.md").read_text()
    facts = "| 1, 2 | 1,234 | 5.60 |"
    base = "31.00 (30.00, 32.00) |  | 22.28 / 6.03 |  | 28.1 M, 3.87 G |"
    for row in (
        f"| sigmoid {facts} {base}",
        f"| average {facts} {base}",
        f"| tanh {facts} 41.00 (40.00, 42.00) | +10.00 * | 23.00 / 6.38 | +0.72 |  |",
        f"| ReLU {facts} 31.50 (30.50, 32.50) | +0.50 | 23.47 / 6.98 | +1.19 |  |",
        f"| max {facts} 20.00 | \N{MINUS SIGN}11.00 * | 22.57 / 6.09 | +0.29 |  |",
        "| no squeeze |  |  |  | diverged |  | 22.93 / 6.39 | +0.65 | 28.1 M, 4.27 G |",
    ):
        assert row in text
    assert "on 500 test images" in text
    assert "7 trainings, 4 minutes" in text
    # Each pair of seeds has variance 2.
    assert "varies by 1.41 points" in text
    assert "a standard error of 1.41" in text
    assert "Worse than the base: `gate-tanh`." in text
    assert "Better than the base: `squeeze-max`." in text
    assert "No measurable difference from the base: `gate-relu`." in text
    assert "Diverged with some seed: `squeeze-none`." in text
    assert "over 4 cells: 0.60." in text
    assert (grid / "ablations.png").stat().st_size > 10_000
    written = page.read_text()
    assert written.startswith("before <!-- ablations -->")
    assert written.endswith("<!-- end of the ablations --> after")
    assert "+10.00 *" in written
    assert "(images/ablations.png)" in written
    assert (tmp_path / "images" / "ablations.png").exists()


def test_differences_are_from_the_row_with_the_bases_reduction(tmp_path, run):
    finish(tmp_path / "base", [30.0])
    finish(tmp_path / "reduction-16", [31.0])
    run("--output", tmp_path, "--report", "--only", "reduction")
    rows = (tmp_path / "ablations.md").read_text().splitlines()
    (base,) = [row for row in rows if row.startswith("| r = 4 ")]
    (other,) = [row for row in rows if row.startswith("| r = 16 ")]
    assert base.endswith("| 30.00 |  | 22.25 / 6.09 |  | 35.7 M |")
    assert other.endswith("| 31.00 | +1.00 | 22.28 / 6.03 | +0.03 | 28.1 M |")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "gates"], "`only` must be some of reduction, squeeze, gate"),
        (["--smoke", "--only", "gate"], "was trained with another one"),
        (["--jobs", "0"], "`jobs` must be at least 1. Received: jobs=0"),
    ],
)
def test_what_makes_no_sense_is_said(tmp_path, run, words, message):
    finish(tmp_path / "base", [30.0])
    with pytest.raises(SystemExit, match=message):
        run("--output", tmp_path, *words)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), FloatingPointError("x")])
def test_a_cell_that_diverged_is_done(tmp_path, monkeypatch, loss):
    grid = importlib.import_module("grid")

    def train(recipe, folder, **_):
        if isinstance(loss, Exception):
            raise loss
        return SimpleNamespace(history={"val_loss": [1.0, loss]})

    monkeypatch.setattr(grid, "train", train)
    recipe = load_recipe(FOLDER / "recipe.py")
    work = grid.Work(cell=grid.Cell(label=""), recipe=recipe, folder=tmp_path / "cell")
    assert not work.is_done()
    work.run()
    assert work.is_done()
    result = json.loads((tmp_path / "cell" / "result.json").read_text())
    assert set(result) == {"diverged", "recipe"}


@pytest.mark.slow
def test_a_stopped_grid_goes_on(tmp_path, run, capsys):
    words = ["--output", tmp_path, "--smoke", "--seeds", "0", "--only", "squeeze"]
    run(*words)
    assert "0 of 3 trainings were done before" in capsys.readouterr().out
    results = {p: p.read_text() for p in tmp_path.glob("*/seed-0/result.json")}
    assert len(results) == 3
    # As if the last cell had been stopped in its first epoch.
    cut = tmp_path / "squeeze-none" / "seed-0"
    for name in ("result.json", "model.keras", "model.weights.h5"):
        (cut / name).unlink()
    shutil.rmtree(cut / "checkpoints")
    (cut / "history.csv").write_text("")
    run(*words)
    out = capsys.readouterr().out
    assert "2 of 3 trainings were done before" in out
    assert "3/3  squeeze-none/seed-0" in out

    def figures(text):
        return {k: v for k, v in json.loads(text).items() if k != "seconds"}

    for path, text in results.items():
        if path.parent == cut:
            assert figures(path.read_text()) == figures(text)
        else:
            assert path.read_text() == text
    table = (tmp_path / "ablations.md").read_text()
    assert "not yet" not in table


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_processes_end_with_a_killed_grid_and_another_goes_on(tmp_path):
    words = ["--output", tmp_path, "--smoke", "--seeds", "0", "--only", "squeeze"]
    grid = start(*words, "--jobs", "2")
    _wait_for(lambda: list(tmp_path.glob("*/seed-0/result.json")))
    children = Path(f"/proc/{grid.pid}/task/{grid.pid}/children").read_text().split()
    assert len(children) >= 2
    grid.send_signal(signal.SIGKILL)
    grid.communicate()
    _wait_for(lambda: not any(map(_is_running, children)))
    results = {p: p.read_text() for p in tmp_path.glob("*/seed-0/result.json")}
    again = start(*words, "--jobs", "2")
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert f"{len(results)} of 3 trainings were done before" in out
    assert {p: p.read_text() for p in results} == results
    assert len(list(tmp_path.glob("*/seed-0/result.json"))) == 3


def _wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def _is_running(process):
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
