"""What an exported file says about itself: labels, preprocessing, where it is from.

JSON as `keras_senet.weights.header` writes it: a file beside the graph of a SavedModel,
a member of the zip archive that a .keras file is, and of one that follows the
flatbuffer in a .tflite file. Other readers take the files as if it were not there.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import keras

from keras_senet.utils.normalisation import normalises
from keras_senet.version import __version__
from keras_senet.weights import Preprocessing
from keras_senet.weights import header as checkpoints
from keras_senet.weights.header import FORMAT, MEMBER, make_header

# TensorFlow leaves this folder of a SavedModel to its users.
FOLDER = "assets.extra"
CARD = "README.md"


def describe(model: keras.Model, labels: list[str] | None, **others) -> str:
    """Returns the header of an export as JSON text.

    A network of `keras_senet.models` is described in full, any other model by its
    preprocessing and labels only. What is not None among the others is added, and
    whether the model normalises raw images.
    """
    if getattr(model, "constructor", None) and getattr(model, "architecture", None):
        header = make_header(model, labels=labels)
    else:
        record = getattr(model, "preprocessing", None)
        header = {
            "format": FORMAT,
            "version": __version__,
            "preprocessing": record and record.to_json(),
            "labels": labels,
        }
        others["normalises"] = normalises(model)
    header |= {name: value for name, value in others.items() if value is not None}
    return json.dumps(header, ensure_ascii=False, indent=1) + "\n"


def write_to_folder(text: str, card: str, folder: Path) -> None:
    """Writes a header and a card into the folder of a SavedModel."""
    (folder / FOLDER).mkdir()
    (folder / FOLDER / MEMBER).write_text(text, "utf-8")
    (folder / FOLDER / CARD).write_text(card, "utf-8")


def append_to_file(texts: Mapping[str, str], path: Path) -> None:
    """Appends files to a .tflite file, in a zip archive after the flatbuffer.

    They are not compressed: phone libraries map them into memory.
    """
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)


class Header(NamedTuple):
    """What a `Runner` knows from a header; its attributes say more."""

    labels: list[str] | None = None
    preprocessing: Preprocessing | None = None
    normalises: bool | None = None


def read_header(path: Path) -> Header:
    """Returns what an exported file says of itself.

    Raises:
        ValueError: If it has a header that cannot be read.
    """
    return parse_header(_read_text(path), path)


def parse_header(text: str | None, path: Path) -> Header:
    """Returns what a header's JSON text says.

    Raises:
        ValueError: If it cannot be read, or is of a later format.
    """
    if text is None:
        return Header()
    try:
        header = json.loads(text)
        is_later = header.get("format", FORMAT) > FORMAT
        found = Header() if is_later else _known(header)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(
            f"The file's {MEMBER} must be a header of keras_senet. Received: "
            f"{str(path)!r}, where it cannot be read ({error})."
        ) from error
    if is_later:
        checkpoints.parse_header(text, path)  # raises, and says what to do
    return found


def _known(header: dict) -> Header:
    record = header.get("preprocessing")
    record = record and Preprocessing.from_json(record)
    normalised = header.get("normalises")
    if normalised is None and header.get("constructor"):
        # A network of this package has its preprocessing inside, or no record.
        normalised = record is not None
    return Header(header.get("labels"), record, normalised)


def read_encoded(path: Path) -> dict | None:
    """Returns what a SavedModel says of its `classify_bytes`, if it does."""
    text = _read_text(path)
    return None if text is None else json.loads(text).get("encoded_images")


def _read_text(path: Path) -> str | None:
    if path.is_dir():
        file = path / FOLDER / MEMBER
        return file.read_text("utf-8") if file.is_file() else None
    if not zipfile.is_zipfile(path):
        if MEMBER.encode() in path.read_bytes():
            raise ValueError(
                f"The file must end with its header. Received: {str(path)!r}, which "
                "is damaged or cut short."
            )
        return None
    with zipfile.ZipFile(path) as archive:
        known = MEMBER in archive.namelist()
        return archive.read(MEMBER).decode() if known else None
