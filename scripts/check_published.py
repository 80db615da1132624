"""Fetches published checkpoints, checks and loads them, and writes what happened.

    python scripts/check_published.py                      # all: much to fetch
    python scripts/check_published.py se_resnet50.ra2_in1k "regnety_0*"
    python scripts/check_published.py "resnetrs*" --image dog.jpg --data imagenet/val

Needs a network, and torch for .pth files. Each file of a preset is fetched, compared
with its publisher's hash, read, and compared with the preset's other files. The network
then classifies a photograph: of Grace Hopper in uniform, which comes with matplotlib
and is a "military uniform" to ImageNet, or --image. With --data, ImageNet's validation
images in a subfolder for each class, named by its WordNet number, its accuracy stands
beside the published one. The exit status is 1 if something failed.
"""

import argparse
import fnmatch
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from matplotlib import cbook

import keras_senet
from keras_senet.data import read_image
from keras_senet.preprocessing import imagenet_classes, resize_and_crop
from keras_senet.utils.errors import nearest
from keras_senet.utils.files import sha256
from keras_senet.utils.markdown import markdown_table
from keras_senet.weights import Preset, find_preset, read_checkpoint
from keras_senet.weights.store import fetch_anywhere

COLUMNS = ("preset", "file", "SHA-256", "what happened", "top-1, %", "published, %")
# What a bad network, a bad file, a missing package or a small memory raise.
TROUBLE = (OSError, ValueError, ImportError, MemoryError)


def check_files(preset: Preset) -> Iterator[tuple[str, str, str, bool]]:
    """Yields name, hash, what happened and whether it is well, for each file."""
    first = None
    for file in preset.files:
        digest = "-"
        try:
            path = fetch_anywhere(file)
            digest = sha256(path)
            arrays = read_checkpoint(path, preset=preset).arrays
            told = "hash as published" if file.sha256 or file.md5 else "hash of the hub"
            if "blobs" not in path.resolve().parts and not (file.sha256 or file.md5):
                told = "no hash published"
            happened, is_well = f"{told}, {len(arrays)} arrays", True
            if first is None:
                first = arrays
            elif not _same(arrays, first):
                happened, is_well = f"{happened}, others than in the first file", False
        except TROUBLE as error:
            happened, is_well = _line(error), False
        yield file.name, digest, happened, is_well


def _same(arrays, others):
    return arrays.keys() == others.keys() and all(
        np.array_equal(array, others[name]) for name, array in arrays.items()
    )


def batches(
    folder: Path, preset: Preset, size: int = 50
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields all images of a folder as a preset's network takes them, and classes."""
    files = [
        (path, number)
        for number, (wordnet, _) in enumerate(imagenet_classes())
        for path in sorted((folder / wordnet).iterdir())
    ]
    for start in range(0, len(files), size):
        chosen = files[start : start + size]
        images = [fitted(path, preset) for path, _ in chosen]
        yield np.stack(images), np.array([number for _, number in chosen])


def fitted(path: Path, preset: Preset) -> np.ndarray:
    """Reads an image in a preset's size; its network normalises it."""
    return np.asarray(resize_and_crop(read_image(path), preset.card.preprocessing))


def classify(
    preset: Preset, image: Path, data: Path | None
) -> tuple[str, float | None]:
    """Loads a preset as users do; returns its answer, and its accuracy on `data`."""
    card = preset.card
    size = card.preprocessing.image_size
    top = {} if card.include_top else {"include_top": False, "pooling": "avg"}
    keras.utils.clear_session(free_memory=True)
    model = keras_senet.create_model(
        preset.name, include_preprocessing=True, input_shape=(size, size, 3), **top
    )
    scores = keras.ops.convert_to_numpy(model(fitted(image, preset)[None]))[0]
    if not np.isfinite(scores).all():
        raise ValueError("its outputs are not finite")
    if not card.include_top:
        return f"{len(scores)} features", None
    best = int(scores.argmax())
    name = f"class {best}"
    if card.classes == 1000:
        name = keras_senet.decode_predictions(scores[None], top=1)[0][0][1]
    answer = f"{name}, {100 * scores[best]:.0f} %"
    if data is None or card.classes != 1000:
        return answer, None
    return answer, 100 * keras_senet.evaluate(model, batches(data, preset)).top1


def check(preset: Preset, image: Path, data: Path | None) -> tuple[list[tuple], bool]:
    """Returns a preset's rows of the table, and whether all is well."""
    rows, is_good = [], True
    for file, digest, happened, is_well in check_files(preset):
        rows.append((preset.name, file, digest[:16], happened, "", ""))
        is_good &= is_well
    published = f"{preset.accuracy.top1:.2f}" if preset.accuracy else ""
    try:
        answer, top1 = classify(preset, image, data)
        measured = "" if top1 is None else f"{top1:.2f}"
        rows.append((preset.name, "", "", f"says {answer}", measured, published))
    except TROUBLE as error:
        rows.append((preset.name, "", "", f"does not load: {_line(error)}", "", ""))
        is_good = False
    return rows, is_good


def _line(error):
    return " ".join(str(error).split()) or type(error).__name__


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", default=["*"], metavar="PRESET")
    photograph = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    parser.add_argument("--image", type=Path, default=photograph)
    parser.add_argument("--data", type=Path, help="ImageNet's validation images")
    parser.add_argument("--output", type=Path, default=Path("published.md"))
    given = parser.parse_args(words)
    if given.data and not (given.data / imagenet_classes()[-1][0]).is_dir():
        parser.error(
            f"--data must have a folder for each class, {imagenet_classes()[0][0]} to "
            f"{imagenet_classes()[-1][0]}. Received: {given.data}"
        )
    known, names = keras_senet.list_weights(), []
    for pattern in given.presets:
        found = fnmatch.filter(known, pattern)
        if not found:
            parser.error(f"no preset fits {pattern!r}.{nearest(pattern, known)}")
        names += [name for name in found if name not in names]
    rows, good = [], 0
    for name in names:
        more, is_good = check(find_preset(name), given.image, given.data)
        rows, good = rows + more, good + is_good
        for row in more:
            print(*(cell for cell in row if cell), sep="  ", flush=True)
        # After each, since the next one may take the memory or the disk.
        given.output.write_text(markdown_table(COLUMNS, rows) + "\n", encoding="utf-8")
    print(f"{good} of {len(names)} presets are well; the table is {given.output}")
    return 0 if good == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
