"""Runs verbs that write where the system refuses files of more bytes, a process apart.

`python full_disk.py FOLDER`: prints one JSON line, for each case by its name what
`attempt` returns. Libraries that meet a full disk may end their process.
"""

import contextlib
import io
import json
import resource
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import keras_senet
from keras_senet.cli import main
from keras_senet.weights import save_model

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
SHORT = ["--variants", "float32", "--limit", "8", "--latency-runs", "1"]
# What is written into a new folder, and the words before it.
WRITERS = {
    "tflite": ("out.tflite", "export", PRESET, "--images", "0", "--output"),
    "saved_model": ("out", "export", PRESET, "--images", "0", "--output"),
    "onnx": ("out.onnx", "export", PRESET, "--images", "0", "--output"),
    "openvino": ("out.xml", "export", PRESET, "--images", "0", "--output"),
    "weights": ("out.weights.h5", "convert", PRESET),
    "keras": ("out.keras", "convert", PRESET),
    "variants": ("out", "variants", PRESET, *SHORT, "--output"),
    "evaluation": ("out", "evaluate", PRESET, "--limit", "8", "--output"),
    "explanation": ("out", "explain", PRESET, "--limit", "8", "--output"),
}


def attempt(folder, words, room=None):
    """Runs a command; returns its code, its error lines and the files in a folder."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room or -1, -1))
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            code = main([str(word) for word in words])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    files = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    return {"code": code, "lines": errors.getvalue().splitlines(), "files": files}


def run(root):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    found = {}

    def new(name):
        folder = root / name
        folder.mkdir()
        return folder

    for name, (target, *words) in WRITERS.items():
        folder = new(name)
        found[name] = attempt(folder, [*words, folder / target], 15_000)
    folder = new("picture")
    Image.fromarray(np.zeros((28, 28, 3), "uint8")).save(folder / "a.png")
    words = ["predict", folder / "a.png", "--model", PRESET, "--explain"]
    found["picture"] = attempt(folder, words, 300)
    # First there is no room for the recipe, then none for the weights, then enough.
    recipe = root / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    for name, room in {"recipe": 300, "training": 20_000}.items():
        folder = new(name)
        words = ["train", "--recipe", recipe, "--run-folder", folder / "run"]
        found[name] = attempt(folder, words, room)
    found["resumed"] = attempt(folder, [*words, "--resume"])
    model = keras_senet.SEResNet(**NETWORK, input_shape=(32, 32, 3), classes=10)
    folder = new("unpacking")
    save_model(model, folder / "a.keras")
    found["unpacking"] = attempt(folder, ["info", folder / "a.keras"], 15_000)
    found["unpacking"]["place"] = tempfile.gettempdir()
    return found


if __name__ == "__main__":
    results = run(Path(sys.argv[1]))
    print(json.dumps(results))
