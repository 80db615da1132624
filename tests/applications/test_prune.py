"""The comparison of prunings, as a program."""

import importlib
import json
from pathlib import Path

import pytest
from conformance import cases

PROGRAM = Path(__file__).parents[2] / "applications" / "prune" / "main.py"

pytestmark = pytest.mark.usefixtures("modules")


def rows_of(keep, importance, after, **values):
    return [
        {
            "keep": keep, "importance": importance, "seed": seed, "parameters": 1234,
            "multiply_adds": 5_600_000, "latency": 0.0012, "before": 0.5,
            "after": accuracy, **values,
        }
        for seed, accuracy in enumerate(after)
    ]  # fmt: skip


def test_table_of_known_results():
    report = importlib.import_module("report")
    rows = [
        *rows_of(1.0, report.WHOLE, [0.91, 0.93], parameters=2345),
        *rows_of(0.5, "weights", [0.80, 0.82]),
        *rows_of(0.5, "gates", [0.87, 0.89], before=0.625),
        *rows_of(0.5, "both", [0.79, 0.81]),
    ]
    text = report.text(rows, "A setting.")
    assert text.startswith("A setting.\n\n| kept | by |")
    for line in (
        "| 100 % | not pruned | 2,345 | 5.60 | 1.20 | 50.00 | 92.00 (91.00, 93.00) |",
        "| 50 % | gates | 1,234 | 5.60 | 1.20 | 62.50 | 88.00 (87.00, 89.00) |",
        # Each pair of seeds has variance 2, the error of a mean of two is 1.
        "- 50 % kept, gates against weights: +7.00 points after further training "
        "(standard error 1.41).",
        "- 50 % kept, both against weights: \N{MINUS SIGN}1.00 points after further "
        "training (standard error 1.41, may be chance).",
    ):
        assert line in text
    assert "outgoing" not in text
    one = report.text([row for row in rows if row["seed"] == 0], "")
    assert "| 50 % | weights | 1,234 | 5.60 | 1.20 | 50.00 | 80.00 |" in one
    assert "gates against weights: +7.00 points after further training (one seed" in one


@pytest.mark.slow
def test_every_importance_at_equal_cost(tmp_path, randomize, run, capsys):
    model = randomize(cases.build("small", input_shape=(28, 28, 1), classes=10))
    model.save(tmp_path / "model.keras")
    output, page = tmp_path / "pruned", tmp_path / "page.md"
    page.write_text("<!-- pruning -->\n<!-- end of the pruning -->")
    words = [tmp_path / "model.keras", "--output", output, "--keep", "0.5"]
    words += ["--epochs", "1", "--limit", "40", "--test-split", "test[:50]"]
    words += ["--docs", page]
    run(*words, "--seeds", "0")
    rows = json.loads((output / "results.json").read_text())["rows"]
    ways = ["not pruned", "weights", "outgoing", "gates", "both"]
    assert [row["importance"] for row in rows] == ways
    costs = {(row["parameters"], row["multiply_adds"]) for row in rows[1:]}
    assert len(costs) == 1
    assert costs.pop()[0] < rows[0]["parameters"] == model.count_params()
    assert {row["images"] for row in rows} == {50}
    assert (output / "pruning.md").read_text().count("| 50 % |") == 4
    assert page.read_text().count("| 50 % |") == 4
    capsys.readouterr()
    run(*words, "--seeds", "0")
    done = f"Written to {output / 'pruning.md'}"
    assert capsys.readouterr().out.splitlines() == [done]
    run(*words, "--seeds", "0", "1")
    again = json.loads((output / "results.json").read_text())["rows"]
    assert again[:5] == rows
    assert [row["seed"] for row in again[5:]] == [1] * 5
    for name in ("latency", "before"):
        assert [row[name] for row in again[5:]] == [row[name] for row in rows]
    with pytest.raises(SystemExit, match="must be resumed with its own options"):
        run(*words, "--epochs", "2")
