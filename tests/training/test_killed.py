"""A run that is killed at any moment and resumed ends as one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

# Checkpoints are as frequent as steps, so that many kills come while one is written.
PROGRAM = """
import json, sys, warnings
import tensorflow as tf
from keras_senet.training import Recipe, train

tf.config.experimental.enable_op_determinism()
# TensorFlow's own warnings at its start are not the test's business.
warnings.simplefilter("ignore")
recipe = Recipe.from_json(json.loads(sys.argv[2]))
train(recipe, sys.argv[1], resume="--resume" in sys.argv, checkpoint_every=1, verbose=0)
"""

RECIPE = {
    "model": "se_resnet",
    "model_arguments": {
        "block": "basic",
        "blocks": [1, 1, 1, 1],
        "filters": [8, 8, 8, 8],
        "stem_filters": [8],
        "reduction": 4,
    },
    "image_size": 32,
    "epochs": 2,
    "limit": 32,
    "global_batch_size": 8,
    "learning_rate": 0.05,
    "reference_batch_size": 8,
    "augmentation": "cifar",
    "dropout_rate": 0.1,
    "seed": 3,
    "ema_momentum": 0.9,
}


def start(folder, *options, recipe=RECIPE):
    command = [sys.executable, "-c", PROGRAM, str(folder), json.dumps(recipe)]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process):
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, output.decode()


def wait_for_checkpoint(process, folder, *, newer_than=0.0):
    last = folder / "checkpoints" / "last.weights.h5"
    while process.poll() is None:
        if last.exists() and last.stat().st_mtime > newer_than:
            return
        time.sleep(0.01)


def progress(folder):
    try:
        with h5py.File(folder / "checkpoints" / "last.weights.h5") as file:
            return {name: file["training"].attrs[name] for name in ("epoch", "step")}
    except OSError:
        return None


def contents(path):
    arrays = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(add)
    return arrays


def check_equal(folder, whole):
    # The weights, and of the state also the optimizer's, the averages, the generators'.
    for name in ("model.weights.h5", "checkpoints/last.weights.h5"):
        actual, expected = contents(folder / name), contents(whole / name)
        assert actual.keys() == expected.keys()
        assert len(actual) > 20
        for key, value in expected.items():
            np.testing.assert_array_equal(actual[key], value, err_msg=key)
    history = [path / "history.csv" for path in (folder, whole)]
    assert history[0].read_text() == history[1].read_text()
    assert not list(folder.rglob(".*"))


def wait_for_writing(process, folder):
    while process.poll() is None and not being_written(folder):
        time.sleep(0.001)


def being_written(folder):
    return list((folder / "checkpoints").glob(".*.weights.h5.*"))


def run_with_kills(folder, kills, seed, recipe=RECIPE):
    """Leaves a run finished that was killed: each second time while it wrote.

    Returns where the run was each time, and how many checkpoints were cut off.
    """
    draw, found, cut = random.Random(seed), [], 0
    process = start(folder, recipe=recipe)
    for kill in range(kills):
        wait_for_checkpoint(process, folder, newer_than=time.time())
        time.sleep(draw.uniform(0, 0.1))
        if kill % 2:
            wait_for_writing(process, folder)
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        found.append(progress(folder))
        cut += bool(being_written(folder))
        process = start(folder, "--resume", recipe=recipe)
    finish(process)
    return found, cut


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    finish(start(folder))
    return folder


@pytest.mark.faults("a kill while a network is trained")
def test_killed_once(whole, tmp_path):
    found, _ = run_with_kills(tmp_path / "run", 1, seed=0)
    assert len(found) == 1
    check_equal(tmp_path / "run", whole)


@pytest.mark.slow
def test_killed_ten_times(tmp_path):
    """Every kill comes a step or more further: each process writes before it."""
    recipe = RECIPE | {"epochs": 12}
    finish(start(tmp_path / "whole", recipe=recipe))
    folder, seed = tmp_path / "run", time.time_ns()
    found, cut = run_with_kills(folder, 10, seed=seed, recipe=recipe)
    print(f"seed {seed}: killed at {found}, {cut} times within a file")
    assert len(found) == 10
    assert cut >= 2
    check_equal(folder, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"accumulation_steps": 2, "ema_momentum": None},
        {"freeze_batch_norm_epochs": 1},
        {"schedule": "plateau", "patience": 1},
        {"dtype_policy": "mixed_float16"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_killed_with_other_recipes(tmp_path, values):
    recipe = RECIPE | values
    finish(start(tmp_path / "whole", recipe=recipe))
    folder = tmp_path / "run"
    process = start(folder, recipe=recipe)
    wait_for_checkpoint(process, folder, newer_than=time.time())
    time.sleep(0.5)
    process.kill()
    process.communicate()
    assert progress(folder)
    finish(start(folder, "--resume", recipe=recipe))
    check_equal(folder, tmp_path / "whole")


@pytest.mark.faults("a kill while a network is trained")
@pytest.mark.slow
def test_sigterm_saves_and_has_its_code(tmp_path):
    """The command itself; here without deterministic operations."""
    folder, recipe = tmp_path / "run", tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE | {"epochs": 500}))
    command = Path(sys.executable).with_name("keras-senet")
    arguments = ["train", "--recipe", str(recipe), "--run-folder", str(folder)]
    process = subprocess.Popen(
        [command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    wait_for_checkpoint(process, folder)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 143, output.decode()
    assert "Stopped by SIGTERM in epoch" in output.decode()
    assert progress(folder)
    assert not (folder / "model.keras").exists()
