"""Ships a finished run: the preset in the package and its exports in saved_models/.

    python scripts/ship_weights.py runs/cifar10 se_resnet20.cifar10
    python scripts/ship_weights.py runs/longer se_resnet20.cifar10 --first runs/cifar10

The second line ships a run that continued another one, from that one's weights. Run it
once for a run folder of `keras-senet train`: it is what touches the official test
images. All figures in index.json, manifest.json and the card are measured here, on the
files that are shipped.
"""

import argparse
import csv
import hashlib
import json
import pathlib
import shutil

import keras
import numpy as np

import keras_senet
from keras_senet import analysis, data
from keras_senet.export import open_runner
from keras_senet.training import Recipe
from keras_senet.utils.copying import in_float32
from keras_senet.utils.files import atomic_path, sha256
from keras_senet.views import view_source
from keras_senet.weights import network_card, save_weights

ROOT = pathlib.Path(__file__).parents[1]
EXPORTS = {
    "saved_model": None,
    "float32.tflite": None,
    "float16.tflite": "float16",
    "int8.tflite": "int8",
}


def generated_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Returns the eight images, smooth noise, whose scores the manifest stores."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (8, 4, 4, shape[-1])).astype("float32")
    image = keras.ops.image.resize(coarse, shape[:2], data_format="channels_last")
    return np.round(np.asarray(image)).astype("float32")


def fingerprint(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file, or of a folder's names and contents in order."""
    if path.is_file():
        return sha256(path)
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path).as_posix()} {sha256(file)}\n".encode())
    return total.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_folder", type=pathlib.Path)
    parser.add_argument("name", help="network.tag, such as se_resnet20.cifar10")
    parser.add_argument(
        "--first",
        type=pathlib.Path,
        help="the folder of the run whose weights this one started from",
    )
    parser.add_argument("--data-dir", type=pathlib.Path)
    parser.add_argument("--root", type=pathlib.Path, default=ROOT)
    arguments = parser.parse_args()
    ship(**vars(arguments))


def ship(run_folder, name, first=None, data_dir=None, root=ROOT):
    recipe = read_recipe(run_folder)
    if (recipe.weights is None) != (first is None):
        raise ValueError(
            "`first` must be the run whose weights this one started from. Received: "
            f"first={first}, and a run that started from weights={recipe.weights}"
        )
    source = data.open_source(recipe.data, data_dir=data_dir)
    model = keras.saving.load_model(run_folder / "model.keras")
    trained = keras_senet.create_model(
        name.split(".")[0],
        weights=str(run_folder / "model.weights.h5"),
        include_preprocessing=True,
    )
    images = generated_images(trained.input_shape[1:])
    np.testing.assert_allclose(
        trained.predict(images, verbose=0),
        in_float32(model).predict(images, verbose=0),
        atol=1e-6,
    )
    header = network_card(trained, labels=source.class_names)
    evaluation = keras_senet.evaluate(trained, source)
    folder = root / "saved_models" / name
    with atomic_path(folder, overwrite=True, what="folder") as temporary:
        temporary.mkdir()
        for file in ("recipe.json", "versions.json", "history.csv", "curves.png"):
            shutil.copy(run_folder / file, temporary / file)
        for file in ("recipe.json", "history.csv") if first else ():
            shutil.copy(first / file, temporary / f"first_{file}")
        entries = export(trained, source, recipe, images, temporary, name)
        card = write_card(
            name, run_folder, first, evaluation, entries, without_se(trained, source)
        )
        (temporary / "README.md").write_text(card, encoding="utf-8")
    # Only now: without its exports the package keeps the weights of before.
    weights = root / "keras_senet" / "weights" / "trained" / f"{name}.weights.h5"
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_weights(trained, weights, header, overwrite=True)
    record = preset_record(name, weights, header, evaluation)
    replace_record(weights.with_name("index.json"), record)
    for entry in entries:
        replace_record(root / "saved_models" / "manifest.json", entry)


def read_recipe(run_folder):
    text = (run_folder / "recipe.json").read_text(encoding="utf-8")
    return Recipe.from_json(json.loads(text))


def without_se(model, source):
    """How many of the test images are right without SE, in per cent, by the gates."""
    view = view_source(source, model.card, model.name)
    batches = view.batches("test")
    statistics = analysis.excitation_statistics(model, batches)
    removal = analysis.removal_accuracy(model, batches, statistics)
    return {trial.by: 100 * trial.top1 for trial in removal.groups[-2:]}  # all layers


def preset_record(name, weights, card, evaluation):
    """The record of index.json."""
    header = card.to_json()
    return {
        "name": name,
        "constructor": header["constructor"],
        "sha256": sha256(weights),
        "architecture": header["architecture"],
        "classes": header["classes"],
        "preprocessing": header["preprocessing"],
        "labels": header["labels"],
        "accuracy": {
            "top1": round(100 * evaluation.top1, 2),
            "top5": round(100 * evaluation.top5, 2),
            "image_size": header["preprocessing"]["image_size"],
            "crop_fraction": header["preprocessing"]["crop_fraction"],
            "source": "keras_senet",
            "images": f"{evaluation.images:,} test images of {evaluation.data}",
        },
    }


def export(model, source, recipe, images, folder, name):
    """Writes the exports, measures each on the test split, returns their records."""
    representative = first_images(source, recipe, 512)
    entries = []
    for file, quantization in EXPORTS.items():
        path = folder / file
        if file == "saved_model":
            keras_senet.export_saved_model(model, path, labels=source.class_names)
        else:
            keras_senet.export_tflite(
                model,
                path,
                quantization=quantization,
                representative_dataset=representative if quantization else None,
                labels=source.class_names,
            )
        evaluation = keras_senet.evaluate(path, source)
        scores = open_runner(path).predict(images)
        bundled = None
        if source.name == "fashion_mnist":  # the package has a part of it
            bundled = keras_senet.evaluate(path, "bundled").top1
        entries.append(
            {
                "name": f"{name}/{file}",
                "sha256": fingerprint(path),
                "bytes": sum(p.stat().st_size for p in files_of(path)),
                "command": f"python scripts/ship_weights.py RUN_FOLDER {name}",
                "data": evaluation.data,
                "images": evaluation.images,
                "accuracy": round(evaluation.top1, 4),
                "bundled_accuracy": bundled,
                "scores": np.round(np.asarray(scores).astype("float64"), 7).tolist(),
            }
        )
        print(f"{file}: {100 * evaluation.top1:.2f} %", flush=True)
    return entries


def first_images(source, recipe, count):
    batches = data.batches(
        source,
        recipe.train_split,
        image_size=recipe.image_size,
        channels=recipe.channels,
        batch_size=64,
        limit=count,
    )
    return [np.asarray(images) for images, _ in batches]


def files_of(path):
    return [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]


def replace_record(path, record):
    """Writes a list of records with one of them added or replaced, by name."""
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    records = [r for r in records if r["name"] != record["name"]] + [record]
    records.sort(key=lambda r: r["name"])
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def write_card(name, run_folder, first, evaluation, entries, gates):
    network, tag = name.split(".")
    recipe = read_recipe(run_folder)
    with open(run_folder / "history.csv", newline="", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    shipped = epochs[-1]
    if recipe.stop_early:
        shipped = min(epochs, key=lambda epoch: float(epoch["val_loss"]))
    rows = "\n".join(
        f"| `{e['name'].split('/')[1]}` | {e['bytes'] / 1e6:.2f} MB | "
        f"{100 * e['accuracy']:.2f} % |"
        for e in entries
    )
    limit = f", {recipe.limit:,} images of it" if recipe.limit else ""
    command = "keras-senet train --recipe saved_models"
    commands = f"{command}/{name}/recipe.json --run-folder runs/{tag}"
    before = ship = ""
    if first is not None:
        begin = read_recipe(first)
        before = (
            f", after {begin.epochs} epochs from random weights by `first_recipe.json`"
        )
        ship = f" --first runs/{tag}-first"
        commands = (
            f"{command}/{name}/first_recipe.json --run-folder runs/{tag}-first\n"
            f"{commands} --weights runs/{tag}-first"
        )
    return f"""# {name}

{network} trained by this project on {recipe.data}; in the package it is
`weights="{tag}"`. It takes raw images, 0..255, of
{recipe.image_size}x{recipe.image_size} pixels and {recipe.channels} channel(s).

Top-1 on the {evaluation.images:,} official test images, which were used once, after the
training: **{100 * evaluation.top1:.2f} %** (calibration error \
{evaluation.calibration_error:.3f}). On `{recipe.validation_split}`,
held out from the training images: {100 * float(shipped["val_accuracy"]):.2f} %.

| file | size | top-1, same images |
|---|---|---|
{rows}

How much it uses SE: {gates["identity"]:.2f} % of the same images are right where every
gate is replaced by 1, and {gates["mean"]:.2f} % where it is its channel's mean.

Trained on `{recipe.train_split}`{limit}, {len(epochs)} epochs,
seed {recipe.seed}{before}; the whole recipe is `recipe.json`, the log
`history.csv`, its picture `curves.png`. The commands:

```sh
{commands}
python scripts/ship_weights.py runs/{tag} {name}{ship}
```

What it does not do: it has seen only {recipe.data}'s classes and kind of image; EXIF
orientation is not applied by the exported files. Licence: Apache-2.0, apart from the
terms of the data set.
"""


if __name__ == "__main__":
    main()
