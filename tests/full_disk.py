"""Runs verbs that write where there is no room, in a process apart.

`python full_disk.py FOLDER`: prints one JSON line, for each case by its name what
`attempt` returns. There is no room where the system refuses files of more bytes
("limit"), or where the folder is a small file system ("disk"); that needs a process
that may mount one, and else is left out. Libraries that meet a full disk may end their
process.
"""

import contextlib
import dataclasses
import io
import json
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import keras_senet
from keras_senet.cli import main
from keras_senet.training import RECIPES, probe
from keras_senet.utils.files import DiskFull
from keras_senet.weights import save_model, save_weights

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
MODEL = "MODEL"  # stands for the path of a network's file
FEW = ["--limit", "32"]
# Case -> how many bytes there is room for, the name of what is written, and the words
# before that.
WRITERS = {
    "tflite": (15_000, "out.tflite", "export", MODEL, "--images", "0", "--output"),
    "saved_model": (15_000, "out", "export", MODEL, "--images", "0", "--output"),
    "onnx": (15_000, "out.onnx", "export", MODEL, "--images", "0", "--output"),
    "openvino": (15_000, "out.xml", "export", MODEL, "--images", "0", "--output"),
    "weights": (15_000, "out.weights.h5", "convert", MODEL),
    "keras": (15_000, "out.keras", "convert", MODEL),
    "variants": (
        *(15_000, "out", "variants", MODEL, "--variants", "float32", *FEW),
        *("--latency-runs", "1", "--output"),
    ),
    "evaluation": (15_000, "out", "evaluate", MODEL, *FEW, "--output"),
    "its first file": (300, "out", "evaluate", MODEL, *FEW, "--output"),
    "explanation": (15_000, "out", "explain", MODEL, *FEW, "--output"),
    "benchmark": (
        *(100, "out.json", "benchmark", MODEL, "--forms", "memory", "--batches", "1"),
        *("--rounds", "1", "--output"),
    ),
    "input": (
        *(50, "out.json", "benchmark", "data", "--seconds", "0.01", *FEW),
        *("--global-batch-size", "16", "--output"),
    ),
    "quickstart": (300, "run", "quickstart", "--smoke", "--run-folder"),
    "its weights": (15_000, "run", "quickstart", "--smoke", "--run-folder"),
}
# The same where all files together are too large, and none alone.
LARGE = {"its exports": (1_600_000, "run", "quickstart", "--smoke", "--run-folder")}
# Runs that go on: a run is tried with each room in turn, then without a limit.
RUNS = {
    "train": ((300, 20_000), "train", "--recipe", "RECIPE"),
    "finetune": (
        *((1_500, 300_000), "finetune", "bundled", "--weights", MODEL, *FEW),
        *("--epochs", "1", "--global-batch-size", "16", "--layer-decay", "1.0"),
    ),
}
PAGE = 4096
BALLAST = "ballast"  # a page, since no file system has no room at all


@contextlib.contextmanager
def limited(kind, folder, room):
    """Leaves room for so many bytes in a file ("limit") or a folder ("disk")."""
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, -1))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        return
    size = f"size={room - room % PAGE + PAGE}"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)
    try:
        (folder / BALLAST).write_bytes(bytes(PAGE))
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def attempt(folder, words):
    """Runs a command; returns its code, its error lines and the files in a folder."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = main([str(word) for word in words])
    files = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    lines = errors.getvalue().splitlines()
    return {"code": code, "lines": lines, "files": sorted(files - {BALLAST})}


def try_features(folder):
    """Features in a file that becomes memory, where writing would end the process."""
    try:
        probe._empty((1000, 100), folder / "features.npy")
    except DiskFull as error:
        return {"code": 1, "lines": [str(error)], "files": []}


def run(root):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    probe.MEMORY_BYTES = 0  # features lie in files
    quick = {"model": "se_resnet", "model_arguments": NETWORK}
    RECIPES["quickstart"] = dataclasses.replace(RECIPES["quickstart"], **quick)
    model = keras_senet.SEResNet(
        **NETWORK, input_shape=(32, 32, 3), include_preprocessing=True, classes=10
    )
    # Not a .keras file, which Keras unpacks into a file.
    named = {MODEL: save_weights(model, root / "mine.weights.h5")}
    named["RECIPE"] = root / "recipe.json"
    named["RECIPE"].write_text(json.dumps(RECIPE))
    found = {}

    def new(kind, name):
        folder = root / kind / name
        folder.mkdir(parents=True)
        return folder

    for kind in ("limit", "disk"):
        try:
            with limited(kind, new(kind, "empty"), PAGE):
                pass
        except (subprocess.CalledProcessError, FileNotFoundError):
            break  # may not mount
        writers = WRITERS if kind == "limit" else WRITERS | LARGE
        for name, (room, target, *words) in writers.items():
            folder = new(kind, name)
            words = [named.get(word, word) for word in words]
            with limited(kind, folder, room):
                found[f"{kind}/{name}"] = attempt(folder, [*words, folder / target])
        folder = new(kind, "features")
        with limited(kind, folder, 15_000):
            found[f"{kind}/features"] = try_features(folder)
        folder = new(kind, "picture")
        with limited(kind, folder, 300):
            image = folder / (BALLAST if kind == "disk" else "a.png")
            Image.fromarray(np.zeros((28, 28, 3), "uint8")).save(image, "PNG")
            words = ["predict", image, "--model", named[MODEL], "--explain"]
            found[f"{kind}/picture"] = attempt(folder, words)
    for name, (rooms, *words) in RUNS.items():
        folder = new("limit", name)
        words = [named.get(word, word) for word in words]
        words += ["--run-folder", folder / "run"]
        tries = found[f"limit/{name}"] = []
        for room in (*rooms, -1):
            again = ["--resume"] if (folder / "run" / "recipe.json").exists() else []
            with limited("limit", folder, room):
                tries.append(attempt(folder, [*words, *again]))
    folder, place = new("limit", "unpacking"), tempfile.gettempdir()
    packed = save_model(model, root / "mine.keras")
    with limited("limit", folder, 15_000):
        unpacked = attempt(folder, ["info", packed])
    found["limit/unpacking"] = {**unpacked, "place": place}
    return found


if __name__ == "__main__":
    results = run(Path(sys.argv[1]))
    print(json.dumps(results))
