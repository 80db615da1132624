"""The grid of ablations, as a program."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "applications" / "ablations"


def run(*words):
    return subprocess.run(
        [sys.executable, FOLDER / "main.py", *map(str, words)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )


def finish(folder, errors, **result):
    """Writes what done cells leave behind, one error a seed."""
    facts = {"parameters": 1234, "multiply_adds": 5_600_000, "widths": [1, 2]}
    for seed, error in enumerate(errors):
        cell = folder / f"seed-{seed}"
        cell.mkdir(parents=True)
        values = {"error": error, **facts, **result, "recipe": {"model": "se_resnet20"}}
        (cell / "result.json").write_text(json.dumps(values))


def test_tables_of_known_results(tmp_path):
    grid, page = tmp_path / "grid", tmp_path / "page.md"
    finish(grid / "base", [30.0, 32.0])
    finish(grid / "gate-tanh", [40.0, 42.0])
    finish(grid / "gate-relu", [30.5, 32.5])
    finish(grid / "squeeze-max", [20.0])
    finish(grid / "squeeze-none", [0], diverged="epoch 2")
    page.write_text("before <!-- ablations --> x <!-- end of the ablations --> after")
    options = ("--output", grid, "--report", "--only", "gate", "squeeze")
    done = run(*options, "--docs", page)
    assert done.returncode == 0, done.stderr
    text = (grid / "ablations.md").read_text()
    facts = "| 1, 2 | 1,234 | 5.60 |"
    for row in (
        f"| sigmoid {facts} 31.00 (30.00, 32.00) |  | 22.28 / 6.03 |  | 28.1 M |",
        f"| tanh {facts} 41.00 (40.00, 42.00) | +10.00 * | 23.00 / 6.38 | +0.72 |  |",
        f"| ReLU {facts} 31.50 (30.50, 32.50) | +0.50 | 23.47 / 6.98 | +1.19 |  |",
        f"| max {facts} 20.00 | \N{MINUS SIGN}11.00 * | 22.57 / 6.09 | +0.29 |  |",
        "| none | - |  |  | diverged |  | 22.93 / 6.39 | +0.65 |  |",
    ):
        assert row in text
    # Each pair of seeds has variance 2.
    assert "varies by 1.41 points" in text
    assert "a standard error of 1.41" in text
    assert "Worse than the base: tanh." in text
    assert "Better than the base: max." in text
    assert "Not told from the base: ReLU." in text
    assert "over 3 cells: 0.50." in text
    assert (grid / "ablations.png").stat().st_size > 10_000
    written = page.read_text()
    assert written.startswith("before <!-- ablations -->")
    assert written.endswith("<!-- end of the ablations --> after")
    assert "+10.00 *" in written
    assert "(images/ablations.png)" in written
    assert (tmp_path / "images" / "ablations.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "gates"], "`only` must be some of reduction, squeeze, gate"),
        (["--smoke", "--only", "gate"], "was trained with another one"),
    ],
)
def test_what_makes_no_sense_is_said(tmp_path, words, message):
    finish(tmp_path / "base", [30.0])
    done = run("--output", tmp_path, *words)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_stopped_grid_goes_on(tmp_path):
    words = ["--output", tmp_path, "--smoke", "--seeds", "0", "--only", "squeeze"]
    first = run(*words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count(": trained") == 3
    results = {p: p.read_text() for p in tmp_path.glob("*/seed-0/result.json")}
    assert len(results) == 3
    # As if the last cell had been stopped in its first epoch.
    cut = tmp_path / "squeeze-none" / "seed-0"
    for name in ("result.json", "model.keras", "model.weights.h5"):
        (cut / name).unlink()
    shutil.rmtree(cut / "checkpoints")
    (cut / "history.csv").write_text("")
    second = run(*words)
    assert second.stdout.count(": was done") == 2
    assert second.stdout.count(": trained") == 1
    assert {p: p.read_text() for p in results} == results
    table = (tmp_path / "ablations.md").read_text()
    assert "not yet" not in table
