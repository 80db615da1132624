"""The comparison of prunings, as a program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conformance import cases

MAIN = Path(__file__).parents[2] / "applications" / "prune" / "main.py"


def run(*words):
    return subprocess.run(
        [sys.executable, MAIN, *map(str, words)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_importance_at_equal_cost(tmp_path, randomize):
    model = randomize(cases.build("small", input_shape=(28, 28, 1), classes=10))
    model.save(tmp_path / "model.keras")
    output = tmp_path / "pruned"
    words = [tmp_path / "model.keras", "--output", output, "--keep", "0.5"]
    words += ["--epochs", "1", "--limit", "40"]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    rows = json.loads((output / "results.json").read_text())["rows"]
    assert [row["importance"] for row in rows] == ["none", "weights", "gates", "both"]
    costs = {(row["parameters"], row["multiply_adds"]) for row in rows[1:]}
    assert len(costs) == 1
    assert costs.pop()[0] < rows[0]["parameters"] == model.count_params()
    page = (output / "pruning.md").read_text()
    assert page.count("| 50 % |") == 3
    again = run(*words)
    assert again.stdout.splitlines() == [f"Written to {output / 'pruning.md'}"]
    other = run(*words, "--seed", "1")
    assert other.returncode == 1
    assert "goes on with its own options" in other.stderr
