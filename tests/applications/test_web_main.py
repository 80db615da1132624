"""What makes the web page: the exported network, and problems in one line."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_senet

FOLDER = Path(__file__).parents[2] / "applications" / "web"

pytestmark = pytest.mark.slow


def test_normalisation_outside_the_graph_is_put_into_it(
    randomize, images, relative_error, monkeypatch
):
    monkeypatch.syspath_prepend(FOLDER)
    with_gates = runpy.run_path(str(FOLDER / "main.py"))["with_gates"]
    model = randomize(
        keras_senet.SEResNet20(weights=None, classes=7, classifier_activation=None)
    )
    model.preprocessing = keras_senet.Preprocessing(image_size=32, channel_order="BGR")
    raw = 128 + 50 * images(2, 32, 32, 3)
    prepared = keras_senet.preprocess_input(raw, preset=model.preprocessing)
    found = with_gates(model).predict(raw, verbose=0)
    expected = keras.ops.softmax(model.predict(prepared, verbose=0))
    assert relative_error(found["scores"], expected) < 1e-4


def test_problems_are_one_line(tmp_path):
    web = tmp_path / "web"
    shutil.copytree(FOLDER, web, ignore=shutil.ignore_patterns("node_modules"))

    def fail(*words, **env):
        done = subprocess.run(
            [sys.executable, web / "main.py", *map(str, words)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        return done.stderr.strip().splitlines()[-1]

    new = ["se_resnet20", "--output", tmp_path / "new"]
    assert fail(*new, PATH="").startswith("error: LiteRT.js is fetched with npm, which")
    assert "must not exist yet" in fail("se_resnet20", "--output", tmp_path)
    assert not (tmp_path / "new").exists()
