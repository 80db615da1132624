"""The comparison of prunings, as a program."""

import importlib
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from conformance import cases

import keras_senet

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


def test_images_are_shown_as_the_network_takes_them(tmp_path, run, monkeypatch):
    """Normalisation outside the network, linear outputs: neither must be missed."""
    report = importlib.import_module("report")
    trained = []
    monkeypatch.setattr(report, "IMPORTANCES", ())
    monkeypatch.setattr(importlib.import_module("latency"), "latency", lambda *_: 1.0)
    monkeypatch.setattr(
        keras.Model, "fit", lambda model, data, **_: trained.append((model, data))
    )
    model = keras_senet.SEResNet20(
        weights="fashion_mnist", include_preprocessing=False, classifier_activation=None
    )
    model.save(tmp_path / "model.keras")
    words = ["--output", tmp_path / "pruned", "--seeds", "0", "--limit", "64"]
    run(tmp_path / "model.keras", *words, "--test-split", "test[:100]")
    (row,) = json.loads((tmp_path / "pruned" / "results.json").read_text())["rows"]
    assert row["before"] > 0.9
    ((network, data),) = trained
    images, labels = next(iter(data))
    assert np.abs(images).max() < 4
    found = np.argmax(network.predict_on_batch(images), -1)
    assert np.mean(found == labels) > 0.9
    assert network.loss.get_config()["from_logits"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["se_resnet20"], "needs weights here"),
        (["MODEL", "--weights", "fashion_mnist"], "a path has its own"),
        (["MODEL"], "'softmax' or 'logits'. Received: '.*' with outputs='sigmoid'"),
        (["se_resnet20.cifar10"], "same classes in the same order"),
        (["MODEL", "--keep", "0.5", "1.5"], "between 0 and 1. Received: keep=1.5"),
        (["MODEL", "--seeds"], "at least one number"),
        (["MODEL", "--docs", "no/page.md"], "no/page.md"),
        (["MODEL", "--docs", "OTHER/results.json"], "must have the marks"),
        (["se_resnet20.fashion_mnist", "--output", "OTHER"], "which is another file"),
    ],
)
def test_errors_are_one_line_at_the_start(tmp_path, run, words, message):
    places = {"MODEL": tmp_path / "model.keras", "OTHER": tmp_path}
    places["OTHER/results.json"] = tmp_path / "results.json"
    if words == ["MODEL"]:
        outputs = {"classes": 10, "classifier_activation": "sigmoid"}
        cases.build("small", input_shape=(28, 28, 1), **outputs).save(places["MODEL"])
    elif "--weights" in words:
        places["MODEL"].touch()
    (tmp_path / "results.json").write_text("[]")
    words = [places.get(word, word) for word in words]
    with pytest.raises(SystemExit) as end:
        run("--output", tmp_path / "new", *words)
    assert re.search(f"^error: .*{message}", end.value.code)
    assert "\n" not in end.value.code
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_every_importance_at_equal_cost(tmp_path, randomize, run, capsys):
    record = keras_senet.Preprocessing(mean=(0.5,), std=(0.25,))
    options = {"classes": 10, "include_preprocessing": record}
    model = randomize(cases.build("small", input_shape=(28, 28, 1), **options))
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
