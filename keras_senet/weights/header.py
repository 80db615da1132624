"""What the files we write say about themselves.

A header is JSON: the attribute "keras_senet" of a .weights.h5 root, and the member
"keras_senet.json" of a .keras file. Keras reads both files as if it were not there.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from keras_senet.utils.files import atomic_path
from keras_senet.utils.normalisation import normalises
from keras_senet.version import __version__
from keras_senet.weights.presets import Preprocessing

ATTRIBUTE = "keras_senet"
MEMBER = "keras_senet.json"
FORMAT = 1

# Variables of the classifiers; MobileNet's is a convolution.
HEADS = ("predictions/", "conv_preds/")


def make_header(model: keras.Model, **changes: Any) -> dict[str, Any]:
    """Returns the header of a network of `keras_senet.models`.

    "preprocessing" is how its images are prepared, where that is known, and
    "normalises" whether the network does it itself.

    Args:
        model: The network; its `architecture`, `constructor` and `preprocessing` are
            what its constructor set.
        **changes: Fields to set, `labels` for example.

    Raises:
        ValueError: If a constructor of keras_senet did not make the model.
    """
    row = getattr(model, "architecture", None)
    constructor = getattr(model, "constructor", None)
    if row is None or constructor is None:
        raise ValueError(
            "The model must be a network that a keras_senet constructor made, which "
            f"knows its architecture. Received: {model!r} named {model.name!r}. Save "
            "other models with their own `save`."
        )
    top = next((v for v in model.variables if v.path.startswith(HEADS)), None)
    record = getattr(model, "preprocessing", None)
    header = {
        "format": FORMAT,
        "version": __version__,
        "constructor": constructor,
        "architecture": row.to_json() if hasattr(row, "to_json") else dict(row),
        "include_top": top is not None,
        "classes": None if top is None else int(top.shape[-1]),
        "input_shape": list(model.input_shape[1:]),
        "preprocessing": None if record is None else record.to_json(),
        "normalises": normalises(model),
        "labels": None,
    }
    unknown = sorted(set(changes) - set(header))
    if unknown:
        raise ValueError(
            f"Changes must be fields of the header. Received: {', '.join(unknown)}"
        )
    header.update(changes)
    if header["labels"] is not None:
        header["labels"] = list(header["labels"])
    return header


def save_weights(
    model: keras.Model,
    path: str | os.PathLike,
    header: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a .weights.h5 that says which network it belongs to.

    `model.load_weights(path)` reads it too.

    Args:
        model: A built network.
        path: Ends in ".weights.h5".
        header: Of `make_header`, the default.
        overwrite: Whether an existing file is replaced.

    Raises:
        ValueError: If the name has another ending, the file exists, or `header` is not
            given and the model is no network of ours.
    """
    path = _check_ending(path, ".weights.h5")
    text = json.dumps(make_header(model) if header is None else dict(header))
    with atomic_path(path, overwrite=overwrite) as temporary:
        model.save_weights(temporary)
        with h5py.File(temporary, "a") as file:
            file.attrs[ATTRIBUTE] = text
    return path


def save_model(
    model: keras.Model,
    path: str | os.PathLike,
    header: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a .keras file that also carries the header; arguments as `save_weights`.

    `keras.saving.load_model(path)` reads it too.
    """
    path = _check_ending(path, ".keras")
    text = json.dumps(make_header(model) if header is None else dict(header))
    with atomic_path(path, overwrite=overwrite) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(MEMBER, text)
    return path


def parse_header(text: str | bytes, path: str | os.PathLike) -> dict[str, Any]:
    """Reads a header and checks it.

    Raises:
        ValueError: If it is none, or of a later format than this version knows.
    """
    try:
        header = json.loads(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"The header of {str(path)!r} is not JSON: {error}") from None
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise ValueError(f"The header of {str(path)!r} has no format number.")
    if header["format"] > FORMAT:
        raise ValueError(
            f"{str(path)!r} was written in format {header['format']} by keras_senet "
            f"{header.get('version')}, and this is {__version__}, which reads format "
            f"{FORMAT}. Upgrade with: pip install -U keras-senet"
        )
    if not isinstance(header.get("architecture"), dict):
        raise ValueError(f"The header of {str(path)!r} has no architecture row.")
    if header.get("preprocessing") is not None:
        header["preprocessing"] = Preprocessing.from_json(header["preprocessing"])
    # Older files were written with a record only where the network normalises.
    header.setdefault("normalises", header.get("preprocessing") is not None)
    return header


def _check_ending(path, ending):
    if not str(path).endswith(ending):
        raise ValueError(f"`path` must end in {ending!r}. Received: path={str(path)!r}")
    return Path(path)
