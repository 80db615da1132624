"""Scripts that replace pages and weights: only by what is whole."""

import csv
import json
import types

import make_reliability_page
import measure_start
import pytest
import ship_weights

import keras_senet
import keras_senet.views
from keras_senet.training import load_recipe
from keras_senet.utils.files import write_json


@pytest.mark.parametrize("code", [0, 1, 2, 5])
def test_the_page_of_faults_is_of_whole_runs(tmp_path, monkeypatch, capsys, code):
    kept = code > 1
    page = tmp_path / "page.md"
    text = (
        "<!-- faults -->\n\n| a fault | 3 | 2 |\n\nA run.\n\n<!-- end of the faults -->"
    )
    page.write_text(text)

    def run(words, plugins):
        plugins[0].tries["a fault"] = 4
        plugins[0].survivals["a fault"] = 4 - code
        plugins[0].skips["needs it"] = 2
        return pytest.ExitCode(code)

    monkeypatch.setattr(make_reliability_page, "PAGE", page)
    monkeypatch.setattr(make_reliability_page.pytest, "main", run)
    monkeypatch.chdir(tmp_path)
    assert make_reliability_page.main([]) == code
    assert (page.read_text() == text) == kept
    found = "Not survived: 1." if code else "Not survived: none."
    for words in (
        f"| a fault | 4 | {4 - code} |",
        found,
        "Skipped tests: 2 (needs it).",
    ):
        assert (words in page.read_text()) != kept
    assert capsys.readouterr().err.count("\n") == kept


def test_start_is_not_measured_where_it_fails():
    assert measure_start.cpu_seconds("-c", "pass") > 0
    with pytest.raises(RuntimeError, match=r"ended with 3: .*broken"):
        measure_start.cpu_seconds(
            "-c", "import sys; print('broken', file=sys.stderr); exit(3)"
        )


@pytest.fixture
def run_folder(tmp_path):
    """A run that stopped early, of the shipped network."""
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = load_recipe("quickstart").to_json()
    recipe |= {"stop_early": True, "patience": 2, "epochs": 9}
    write_json(folder / "recipe.json", recipe)
    rows = [(1, 0.5, 0.1), (2, 0.875, 0.5), (3, 0.25, 0.125)]
    with open(folder / "history.csv", "w", newline="") as file:
        values = [(epoch, accuracy, loss) for epoch, accuracy, loss in rows]
        csv.writer(file).writerows([("epoch", "val_accuracy", "val_loss"), *values])
    return folder


GATES = {"identity": 80.0, "mean": 90.5}


@pytest.fixture(scope="module")
def evaluation():
    network = keras_senet.SEResNet20(weights="fashion_mnist")
    return keras_senet.evaluate(network, "bundled", limit=10)


def test_card_is_of_the_epoch_that_is_shipped(run_folder, evaluation):
    name = "se_resnet20.fashion_mnist"
    card = ship_weights.write_card(name, run_folder, None, evaluation, [], GATES)
    assert "held out from the training images: 50.00 %" in card
    assert ", 3 epochs,\nseed" in card
    assert "80.00 % of the same images" in card and "first" not in card
    card = ship_weights.write_card(name, run_folder, run_folder, evaluation, [], GATES)
    assert "after 9 epochs from random weights by `first_recipe.json`" in card
    first, then, ship = card.partition("```sh\n")[2].splitlines()[:3]
    assert first.endswith("first_recipe.json --run-folder runs/fashion_mnist-first")
    assert then.endswith("runs/fashion_mnist --weights runs/fashion_mnist-first")
    assert ship.endswith("--first runs/fashion_mnist-first")
    with pytest.raises(ValueError, match="`first` must be the run"):
        ship_weights.ship(run_folder, name, first=run_folder)


def test_record_of_the_shipped_weights_is_the_one_there_is(evaluation):
    folder = ship_weights.ROOT / "keras_senet" / "weights" / "trained"
    name = "se_resnet20.fashion_mnist"
    records = json.loads((folder / "index.json").read_text("utf-8"))
    (known,) = [record for record in records if record["name"] == name]
    network = keras_senet.SEResNet20(
        weights="fashion_mnist", include_preprocessing=True
    )
    card = ship_weights.network_card(network)
    made = ship_weights.preset_record(
        name, folder / f"{name}.weights.h5", card, evaluation
    )
    same = ("name", "constructor", "sha256", "architecture", "classes", "labels")
    assert {key: made[key] for key in same} == {key: known[key] for key in same}
    assert made["preprocessing"] == known["preprocessing"]
    assert list(made["accuracy"]) == list(known["accuracy"])


def test_without_se_an_accuracy_is_measured_for_both_gates(monkeypatch):
    network = keras_senet.SEResNet20(weights="fashion_mnist")
    source = keras_senet.data.open_source("bundled")
    few = keras_senet.views.view_source(source, network.card, network.name)
    batches = few.batches("test", limit=64)
    view = types.SimpleNamespace(batches=lambda split: batches)
    monkeypatch.setattr(ship_weights, "view_source", lambda *_: view)
    found = ship_weights.without_se(network, source)
    assert list(found) == ["identity", "mean"]
    assert all(50 < value <= 100 for value in found.values())


def test_weights_of_before_stay_without_exports(run_folder, tmp_path, monkeypatch):
    model = keras_senet.SEResNet20(weights="fashion_mnist", include_preprocessing=True)
    model.save(run_folder / "model.keras")
    header = ship_weights.network_card(model)
    ship_weights.save_weights(model, run_folder / "model.weights.h5", header)
    for file in ("versions.json", "curves.png"):
        (run_folder / file).touch()

    def fail(*_):
        raise ValueError("no export")

    monkeypatch.setattr(ship_weights, "export", fail)
    monkeypatch.setattr(keras_senet, "evaluate", lambda *_: None)
    root = tmp_path / "root"
    with pytest.raises(ValueError, match="no export"):
        ship_weights.ship(run_folder, "se_resnet20.fashion_mnist", root=root)
    assert not list(root.rglob("*.*"))
