"""Makes a web page that runs a trained network in the browser, and serves it.

    python applications/web/main.py runs/quickstart --output runs/page --serve

README.md in this folder describes the page and what it needs.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

import keras
import tyro
from PIL import Image
from server import check_port, serve

import keras_senet
from keras_senet.data import batches, is_image_file, open_source, read_image
from keras_senet.opening import open_model
from keras_senet.utils.files import atomic_path
from keras_senet.views import view_images

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules" / "@litertjs"
# With threads, without, and for browsers without relaxed SIMD.
RUNTIMES = ("litert_wasm_threaded", "litert_wasm", "litert_wasm_compat")
# Multiply-adds from which threads make one picture faster.
WORTH_THREADS = 100_000_000
SCORES = "scores"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """Makes a web page that runs a trained network in the browser.

    Attributes:
        model: A run folder, a .keras file, a preset, or a network with --weights.
        output: A new folder for the page.
        weights: For a network: a preset or a file.
        title: The network's name on the page, if not its own name.
        examples: A folder with example pictures. By default, a network with the
            classes of the bundled data gets some of their test images.
        serve: Serve the page on this machine until ctrl-C.
        port: The port of the server; 0 is any free port.
    """

    model: tyro.conf.Positional[str]
    output: Path
    weights: str | None = None
    title: str | None = None
    examples: Path | None = None
    serve: bool = False
    port: int = 8000

    def run(self) -> None:
        check_port(self.port)
        if self.examples is not None and not self.examples.is_dir():
            raise FileNotFoundError(f"There is no folder {str(self.examples)!r}.")
        with atomic_path(self.output, what="folder of a page") as folder:
            install()
            shutil.copytree(HERE / "page", folder)
            copy_runtime(folder / "litert")
            description = self._export(folder)
            text = json.dumps(description, indent=1, ensure_ascii=False)
            (folder / "model.json").write_text(text + "\n", "utf-8")
        print(f"Written to {self.output}", flush=True)
        if self.serve:
            serve(self.output, self.port)

    def _export(self, folder: Path) -> dict:
        """Writes the network and the examples; returns what the page must know."""
        opened = open_model(self.model, self.weights)
        model = opened.keras_model()
        taken = picture(model, opened.card)
        size, channels = taken["size"], taken["channels"]
        labels = opened.class_names()
        if labels is None:
            count = model.output_shape[-1]
            labels = [f"class {i}" for i in range(count)] if count > 1 else ["class 1"]
        network = with_gates(model)
        file = folder / "model.tflite"
        keras_senet.export_tflite(
            network, file, labels=labels, image_size=size, batch_size=1
        )
        cost = keras_senet.complexity(model, input_shape=(size, size, channels))
        return {
            "title": self.title or model.name,
            "file": file.name,
            "parameters": cost.parameters,
            "threads": cost.multiply_adds >= WORTH_THREADS,
            "labels": list(labels),
            **taken,
            "scores": SCORES,
            "layers": [
                {"name": name, "channels": gate.shape[-1]}
                for name, gate in network.output.items()
                if name != SCORES
            ],
            "examples": self._examples(folder / "examples", labels),
        }

    def _examples(self, folder, labels):
        """Copies or writes the examples and returns their files and names."""
        folder.mkdir()
        if self.examples is not None:
            named = list(copy_pictures(self.examples, folder))
        else:
            named = list(write_bundled(folder, labels))
        return [
            {"file": f"examples/{urllib.parse.quote(file)}", "name": name}
            for file, name in named
        ]


def with_gates(model: keras.Model) -> keras.Model:
    """Returns a model with a classifier's probabilities and its gates as outputs.

    Args:
        model: A classifier; the SE layers that it calls itself are shown, not those of
            models inside it.

    Returns:
        A model of raw images 0..255 with the outputs "scores", `(N, classes)`, and for
        each SE layer one of the layer's name, `(N, channels)`: what the channels are
        multiplied by, averaged over the positions where it differs among them.
    """
    folded = keras_senet.fold(model)
    scores = folded.output
    card = keras_senet.Card.of(model)
    if card.outputs == "logits":
        if scores.shape[-1] == 1:
            raise ValueError(
                "A single output must be a probability ('sigmoid'). Received: "
                f"{model.name!r}, whose output is linear."
            )
        scores = keras.ops.softmax(scores)
    outputs = {SCORES: scores}
    for layer in model.layers:
        if isinstance(layer, keras_senet.SqueezeExcite):
            # Folded, SE is a product of the map and its gate.
            _, gate = folded.get_layer(layer.name).input
            outputs[layer.name] = keras.ops.mean(gate, (1, 2))
    network = keras.Model(folded.inputs, outputs, name=model.name)
    if card.preprocessing is not None and not card.normalises:
        raw = keras.Input(model.input_shape[1:], name="images")
        prepared = keras_senet.preprocess_input(
            raw, "channels_last", preset=card.preprocessing
        )
        network = keras.Model(raw, network(prepared), name=model.name)
        card = dataclasses.replace(card, normalises=True)
    meaning = "softmax" if card.outputs == "logits" else card.outputs
    network.card = dataclasses.replace(
        card, constructor=None, architecture=None, outputs=meaning
    )
    return network


def picture(model: keras.Model, card: keras_senet.Card) -> dict:
    """Returns how the page makes the network's input of a picture.

    Raises:
        ValueError: If the page cannot show such a network.
    """
    if card.outputs in (None, "features"):
        raise ValueError(
            "The page shows classifiers, whose outputs are probabilities or logits. "
            f"Received: {model.name}, with outputs={card.outputs!r}"
        )
    view = view_images(card, model.name)
    height, width = view.image_size
    if height != width:
        raise ValueError(
            "The page shows networks of square pictures. Received: "
            f"{model.name}, which takes {height} x {width}"
        )
    return {
        "size": height,
        "channels": view.channels,
        "crop_fraction": view.crop_fraction,
        "interpolation": view.interpolation,
    }


def copy_pictures(source: Path, folder: Path):
    """Copies a folder's pictures, TIFF as PNG for browsers; yields files and names."""
    for path in sorted(filter(is_image_file, source.iterdir())):
        name = path.name
        if path.suffix.lower() in (".tif", ".tiff"):
            name += ".png"
            Image.fromarray(read_image(path)).save(folder / name)
        else:
            shutil.copy(path, folder)
        yield name, path.stem


def write_bundled(folder: Path, labels: Sequence[str]):
    """Writes a test image of each class, if they are the network's; yields names."""
    source = open_source("bundled")
    if tuple(labels) != source.class_names:
        return
    missing = set(range(len(labels)))
    dataset = batches(source, "test", image_size=source.image_size, batch_size=100)
    for image, label in dataset.unbatch().as_numpy_iterator():
        if label in missing:
            missing.remove(label)
            name = f"{label}.png"
            Image.fromarray(image[..., 0].astype("uint8")).save(folder / name)
            yield name, labels[label]


def install() -> None:
    """Fetches LiteRT.js with npm, unless it is there."""
    there = HERE / "node_modules" / ".package-lock.json"
    if there.is_file() and _versions(there) == _versions(HERE / "package-lock.json"):
        return
    if shutil.which("npm") is None:
        raise OSError(
            "LiteRT.js is fetched with npm, which is not installed. It comes with "
            "Node.js."
        )
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OSError(f"npm could not fetch LiteRT.js: {reason}")


def _versions(lock: Path) -> dict[str, str]:
    packages = json.loads(lock.read_text("utf-8"))["packages"]
    return {name: about["version"] for name, about in packages.items() if name}


def copy_runtime(folder: Path) -> None:
    """Copies LiteRT.js's modules and its WASM files."""
    (folder / "wasm").mkdir(parents=True)
    for name in ("core", "wasm-utils"):
        shutil.copy(PACKAGES / name / "dist" / "index.js", folder / f"{name}.js")
    for name in RUNTIMES:
        for suffix in ("js", "wasm"):
            file = PACKAGES / "core" / "wasm" / f"{name}_internal.{suffix}"
            shutil.copyfile(file, folder / "wasm" / file.name)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Page).run()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
