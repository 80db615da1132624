"""What makes the web page: the exported network, and problems in one line."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from PIL import Image

import keras_senet

FOLDER = Path(__file__).parents[2] / "applications" / "web"

pytestmark = pytest.mark.slow


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "server", raising=False)
    return runpy.run_path(str(FOLDER / "main.py"))


def test_normalisation_outside_the_graph_is_put_into_it(
    randomize, images, relative_error, program
):
    model = randomize(
        keras_senet.SEResNet20(weights=None, classes=7, classifier_activation=None)
    )
    model.preprocessing = keras_senet.Preprocessing(image_size=32, channel_order="BGR")
    raw = 128 + 50 * images(2, 32, 32, 3)
    prepared = keras_senet.preprocess_input(raw, preset=model.preprocessing)
    network = program["with_gates"](model)
    card = keras_senet.Card.of(network)
    assert (card.normalises, card.outputs, card.classes) == (True, "softmax", 7)
    found = network.predict(raw, verbose=0)
    expected = keras.ops.softmax(model.predict(prepared, verbose=0))
    assert relative_error(found["scores"], expected) < 1e-4


@pytest.mark.parametrize(
    ("card", "shape", "message"),
    [
        ({"outputs": None}, (32, 32, 3), "outputs=None"),
        ({"outputs": "features"}, (32, 32, 3), "outputs='features'"),
        ({"normalises": False}, (32, 32, 3), "include_preprocessing=True"),
        ({}, (None, None, 3), "takes any size"),
    ],
)
def test_networks_that_the_page_cannot_show(program, card, shape, message):
    model = keras.Sequential([keras.Input(shape), keras.layers.GlobalMaxPool2D()])
    card = keras_senet.Card(**{"outputs": "softmax", **card})
    with pytest.raises(ValueError, match=message):
        program["picture"](model, card)


def test_options_are_checked_before_the_export(program, tmp_path):
    def make(**options):
        program["Page"](model="se_resnet20", output=tmp_path / "new", **options).run()

    with pytest.raises(ValueError, match="from 0 to 65535"):
        make(port=70000)
    with pytest.raises(FileNotFoundError, match="no folder 'none'"):
        make(examples=Path("none"))


def test_examples_are_files_that_browsers_show(program, tmp_path):
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.mkdir()
    folder.mkdir()
    image = Image.new("RGB", (5, 4), (250, 0, 0))
    for name in ("a.tif", "a.png", "b.TIFF", "c.jpg"):
        image.save(source / name)
    (source / "notes.txt").write_text("notes")
    found = dict(program["copy_pictures"](source, folder))
    assert found == {"a.png": "a", "a.tif.png": "a", "b.TIFF.png": "b", "c.jpg": "c"}
    assert {path.name for path in folder.iterdir()} == set(found)
    assert Image.open(folder / "a.tif.png").getpixel((0, 0)) == (250, 0, 0)


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
