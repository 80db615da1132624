"""What an exported file says about itself: labels, preprocessing, where it is from.

JSON as `keras_senet.card` has it: a file beside the graph of a SavedModel,
a member of the zip archive that a .keras file is, and of one that follows the
flatbuffer in a .tflite file. Other readers take the files as if it were not there.
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import keras

from keras_senet import card
from keras_senet.card import FOLDER, MEMBER, Card, Preprocessing

CARD = "README.md"


def describe(model: keras.Model, labels: list[str] | None, **others) -> str:
    """Returns the card of an export as JSON text, and with it what is not None."""
    known = Card.of(model)
    if labels is not None:
        known = dataclasses.replace(known, labels=labels)
    header = known.to_json()
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

    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    normalises: bool | None = None


def read_header(path: Path) -> Header:
    """Returns what an exported file says of itself.

    Raises:
        ValueError: If the file is damaged, or its header cannot be read.
    """
    found = Card.read(path)
    if found is None:
        return Header()
    return Header(found.labels, found.preprocessing, found.normalises)


def parse_header(text: str | None, path: Path) -> Header:
    """Reads a header; of a text that is None nothing is known."""
    if text is None:
        return Header()
    found = Card.parse(text, path)
    return Header(found.labels, found.preprocessing, found.normalises)


def read_encoded(path: Path) -> dict | None:
    """Returns what a SavedModel says of its `classify_bytes`, if it does."""
    header = card.read_header(path)
    return None if header is None else json.loads(header).get("encoded_images")
