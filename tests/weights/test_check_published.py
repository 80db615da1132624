"""scripts/check_published.py, against a mirror on this machine."""

import dataclasses
import functools
import hashlib
import http.server
import threading
from pathlib import Path

import check_published
import numpy as np
import pytest
from PIL import Image

from keras_senet.preprocessing import imagenet_classes
from keras_senet.weights import catalogue, find_preset, store
from keras_senet.weights.presets import File

GOLDEN = Path(__file__).parent / "golden" / "regnet_timm.safetensors"
NAME = "regnety_002.pycls_in1k"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that is served as the mirror of all files."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv(store.MIRROR, url)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.chdir(tmp_path)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def preset(mirror, monkeypatch):
    """A small network in the place of a published one, in two files."""
    content = GOLDEN.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    known = find_preset(NAME)
    row = {"blocks": [1, 1, 3, 1], "filters": [8, 16, 32, 64], "group_width": 4}
    small = dataclasses.replace(known.card.preprocessing, image_size=64)
    card = dataclasses.replace(
        known.card, constructor="regnety", architecture=row, preprocessing=small,
        classes=5,
    )  # fmt: skip
    files = [
        File(url="https://host/a", name=f"{name}.safetensors", sha256=hash_)
        for name, hash_ in (("first", ""), ("second", digest[:8]))
    ]
    made = dataclasses.replace(known, card=card, files=tuple(files))
    monkeypatch.setitem(catalogue.PRESETS, NAME, made)
    for file in files:
        (mirror / file.name).write_bytes(content)
    return made


def test_what_is_well_and_what_is_not(preset, mirror, capsys, monkeypatch):
    assert check_published.main([NAME]) == 0
    table = Path("published.md").read_text()
    digest = hashlib.sha256(GOLDEN.read_bytes()).hexdigest()[:16]
    assert f"| first.safetensors | {digest} | no hash published, " in table
    assert f"| second.safetensors | {digest} | hash as published, " in table
    assert "| says class " in table and "| 70.29 |" in table
    assert "1 of 1 presets are well" in capsys.readouterr().out
    # The second file is another, then it is gone; the network is there all the same.
    answer = "class 3, 50 %", 71.5
    monkeypatch.setattr(check_published, "classify", lambda *_: answer)
    store.cache_folder().joinpath("second.safetensors").unlink()
    content = bytearray(GOLDEN.read_bytes())
    content[-1] ^= 1
    (mirror / "second.safetensors").write_bytes(content)
    assert check_published.main([NAME, "--output", "again.md"]) == 1
    table = Path("again.md").read_text()
    assert "is not the published file: its SHA-256 must begin with" in table
    assert "| says class 3, 50 % | 71.50 | 70.29 |" in table
    assert "0 of 1 presets are well" in capsys.readouterr().out
    (mirror / "second.safetensors").unlink()
    *_, (_, _, happened, is_well) = check_published.check_files(preset)
    assert not is_well and "answered HTTP 404" in happened


def test_files_of_other_weights_are_told(preset, mirror):
    content = bytearray(GOLDEN.read_bytes())
    content[-1] ^= 1
    (mirror / "first.safetensors").write_bytes(content)
    found = list(check_published.check_files(preset))
    assert [is_well for *_, is_well in found] == [True, False]
    assert found[1][2].endswith("others than in the first file")


def test_the_accuracy_counts_every_image(tmp_path, capsys):
    """Of each class's folder, in ImageNet's order."""
    for number, (wordnet, _) in enumerate(imagenet_classes()):
        (tmp_path / wordnet).mkdir()
        if number in (0, 7, 999):
            Image.new("RGB", (70, 90), (number % 256,) * 3).save(
                tmp_path / wordnet / "a.png"
            )
    small = find_preset("regnety_002.pycls_in1k")
    (images, labels), rest = check_published.batches(tmp_path, small, size=2)
    assert images.shape == (2, 224, 224, 3) and labels.tolist() == [0, 7]
    assert rest[1].tolist() == [999] and np.unique(rest[0]).tolist() == [999 % 256]
    with pytest.raises(SystemExit):
        check_published.main(["--data", str(tmp_path / "nowhere"), NAME])
    with pytest.raises(SystemExit):
        check_published.main(["regnety_02.pycls_in1k"])
    error = capsys.readouterr().err
    assert "--data must have a folder for each class" in error
    assert "no preset fits 'regnety_02.pycls_in1k'. Did you mean" in error
