"""Full disks, kills and two at a time, through the command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import keras_senet
from keras_senet.cli import main
from keras_senet.utils.files import locked_folder
from keras_senet.weights import save_model

pytestmark = pytest.mark.faults

PRESET = "se_resnet20.fashion_mnist"
NETWORK = {
    "block": "basic",
    "blocks": [1, 1, 1, 1],
    "filters": [8, 8, 8, 16],
    "stem_filters": [8],
}
RECIPE = {
    "model": "se_resnet",
    "model_arguments": NETWORK,
    "image_size": 32,
    "epochs": 1,
    "limit": 32,
    "global_batch_size": 16,
}


@pytest.fixture
def shell(capsys):
    """Runs a command; returns its exit code and the lines of its error output."""

    def call(*words):
        code = main([str(word) for word in words])
        return code, capsys.readouterr().err.splitlines()

    return call


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    model = keras_senet.SEResNet(**NETWORK, input_shape=(32, 32, 3), classes=10)
    return save_model(model, tmp_path_factory.mktemp("network") / "mine.keras")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(RECIPE))
    return path


@pytest.mark.parametrize(
    "words",
    [
        (["export", PRESET, "--images", "0", "--output", "out.tflite"]),
        (["export", PRESET, "--images", "0", "--output", "out"]),
        (["convert", PRESET, "out.weights.h5"]),
        (["convert", PRESET, "out.keras"]),
        (["evaluate", PRESET, "--limit", "8", "--output", "out"]),
        (["explain", PRESET, "--limit", "8", "--output", "out"]),
    ],
)
def test_a_full_disk(words, shell, small_files, tmp_path):
    folder = tmp_path / "out of room"
    folder.mkdir()
    with small_files(15_000):
        code, lines = shell(*words[:-1], folder / words[-1])
    assert code == 1
    assert len(lines) == 1, lines
    assert "could not be written: File too large" in lines[0]
    assert str(folder) in lines[0]
    assert list(folder.iterdir()) == []


def test_a_training_on_a_full_disk_goes_on_when_there_is_room(
    shell, small_files, recipe, tmp_path
):
    """First there is no room for the recipe, then none for the weights."""
    for size in (300, 20_000):
        run = tmp_path / f"run{size}"
        words = ["train", "--recipe", recipe, "--run-folder", run]
        with small_files(size):
            code, lines = shell(*words)
        assert code == 1
        assert len(lines) == 1, lines
        assert "could not be written: File too large" in lines[0]
        assert str(run) in lines[0]
        hidden = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
        assert hidden == []
    assert list((tmp_path / "run300").iterdir()) == []
    code, lines = shell(*words, "--resume")
    assert (code, lines) == (0, [])
    assert (run / "model.keras").exists()


def test_a_run_is_of_one_process(shell, recipe, tmp_path):
    run = tmp_path / "run"
    words = ["train", "--recipe", recipe, "--run-folder", run]
    run.mkdir()
    with locked_folder(run, "run folder"):
        code, lines = shell(*words)
    assert code == 1
    assert f"'process {os.getpid()} on " in lines[0]
    assert list(run.iterdir()) == []


def test_a_conversion_that_was_killed_after_its_card(network, shell, tmp_path):
    source, target = tmp_path / "source.keras", tmp_path / "out.weights.h5"
    shutil.copy(network, source)
    card = tmp_path / "out.md"
    assert shell("convert", source, target)[0] == 0
    target.unlink()
    assert shell("convert", source, target)[0] == 0
    target.unlink()
    card.write_text("mine")
    code, lines = shell("convert", source, target)
    assert (code, len(lines)) == (1, 1)
    assert card.read_text() == "mine"


def test_a_model_that_cannot_be_unpacked(network, shell, small_files):
    with small_files(15_000):
        code, lines = shell("info", network)
    assert (code, len(lines)) == (1, 1)
    assert f"{tempfile.gettempdir()!r} could not be written: File too" in lines[0]


@pytest.mark.parametrize("seconds", [0, 1.5, 4])
def test_ctrl_c_at_any_time(seconds, network):
    """Before the command has a handler of SIGTERM, Python itself is starting."""
    command = Path(sys.executable).with_name("keras-senet")
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.Popen(
        [command, "info", network],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    status = Path(f"/proc/{process.pid}/status")
    bit = 1 << signal.SIGTERM - 1
    while not int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) & bit:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 130, error.decode()
    assert error.decode() == "keras-senet: error: interrupted\n"
