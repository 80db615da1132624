"""Scripts that replace pages and weights: only by what is whole."""

import csv
import importlib.util
from pathlib import Path

import pytest

import keras_senet
from keras_senet.training import load_recipe
from keras_senet.utils.files import write_json

SCRIPTS = Path(__file__).parents[2] / "scripts"


def load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("code", [0, 1, 2, 5])
def test_the_page_of_faults_is_of_whole_runs(tmp_path, monkeypatch, capsys, code):
    kept = code > 1
    script = load("make_reliability_page")
    page = tmp_path / "page.md"
    text = f"{script.BEGIN}\n\n| a fault | 3 | 2 |\n\nA run.\n\n{script.END}"
    page.write_text(text)

    def run(words, plugins):
        plugins[0].tries["a fault"] = plugins[0].survivals["a fault"] = 4
        return pytest.ExitCode(code)

    monkeypatch.setattr(script, "PAGE", page)
    monkeypatch.setattr(script.pytest, "main", run)
    monkeypatch.chdir(tmp_path)
    assert script.main([]) == code
    assert (page.read_text() == text) == kept
    assert ("| a fault | 4 | 4 |" in page.read_text()) != kept
    assert capsys.readouterr().err.count("\n") == kept


def test_start_is_not_measured_where_it_fails():
    script = load("measure_start")
    assert script.cpu_seconds("-c", "pass") > 0
    with pytest.raises(RuntimeError, match=r"ended with 3: .*broken"):
        script.cpu_seconds(
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


def test_card_is_of_the_epoch_that_is_shipped(run_folder):
    script = load("ship_weights")
    recipe = load_recipe(run_folder / "recipe.json")
    evaluation = keras_senet.evaluate(
        keras_senet.SEResNet20(weights="fashion_mnist"), "bundled", limit=10
    )
    card = script.write_card(
        "se_resnet20.fashion_mnist", recipe, run_folder, evaluation, []
    )
    assert "held out from the training images: 50.00 %" in card
    assert ", 3 epochs, seed" in card


def test_weights_of_before_stay_without_exports(run_folder, tmp_path, monkeypatch):
    script = load("ship_weights")
    model = keras_senet.SEResNet20(weights="fashion_mnist", include_preprocessing=True)
    model.save(run_folder / "model.keras")
    header = script.network_card(model)
    script.save_weights(model, run_folder / "model.weights.h5", header)
    for file in ("versions.json", "curves.png"):
        (run_folder / file).touch()

    def fail(*_):
        raise ValueError("no export")

    monkeypatch.setattr(script, "export", fail)
    monkeypatch.setattr(keras_senet, "evaluate", lambda *_: None)
    root = tmp_path / "root"
    with pytest.raises(ValueError, match="no export"):
        script.ship(run_folder, "se_resnet20.fashion_mnist", root=root)
    assert not list(root.rglob("*.*"))
