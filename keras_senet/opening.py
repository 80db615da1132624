"""Opens anything that is a model: the one door for models and files."""

import dataclasses
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from keras_senet.card import Card
from keras_senet.containers import CONFIG
from keras_senet.models import create_model, list_models, network_of
from keras_senet.runners import (
    PRECISIONS,
    KerasRunner,
    OnnxRunner,
    OpenVinoRunner,
    Runner,
    SavedModelRunner,
    TFLiteRunner,
    unreadable,
)
from keras_senet.utils.errors import as_integer, nearest
from keras_senet.utils.files import DiskFull, ImplausibleArchive, disk_full_explained
from keras_senet.weights import open_checkpoint
from keras_senet.weights.claims import check_keras_file
from keras_senet.weights.repository import SCHEME


def open_model(
    source: keras.Model | str | os.PathLike | Runner,
    weights: str | os.PathLike | None = None,
    *,
    trained: bool = True,
    image_size: int | None = None,
    threads: int | None = None,
    precision: str | None = None,
    trust: bool = False,
) -> Runner:
    """Opens a model or a file of one.

    Args:
        source: A `keras.Model`; a run folder or a folder of `save_pretrained`; a .keras
            file; a .weights.h5 file of this package; a SavedModel folder; a .tflite,
            .onnx or OpenVINO .xml file; the name of a network or a preset, or
            "hf://user/model". A `Runner` is returned unchanged.
        weights: The weights for the name of a network: a preset or a file.
        trained: Whether a network without weights raises an error.
        image_size: Height and width for a network that is built here, by default its
            own. The size of a file cannot be changed.
        threads: Number of threads for TFLite, ONNX Runtime or OpenVINO. `None` is one
            for each core, for TFLite at most 4. The threads of TensorFlow are a setting
            of the process.
        precision: For an OpenVINO file: "float32" or "bfloat16" (on processors with
            AVX512_BF16 or AMX). `None` is float32.
        trust: Open a SavedModel whose graph has other operations than those that only
            compute. They may read and write files, or run code.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the package that runs such files is not installed.
        ValueError: If `source` is none of these or is damaged, the file or this
            processor does not support `precision`, or a SavedModel needs `trust`.

    Example:

    >>> keras_senet.export_tflite(model, "model.tflite")
    >>> scores = keras_senet.open_model("model.tflite").predict(images)
    """
    if isinstance(source, Runner):
        return source
    if isinstance(source, keras.Model):
        return KerasRunner(source)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(
            "The model must be a keras.Model, a path or the name of a network. "
            f"Received: {source!r} (of type {type(source).__name__})"
        )
    path, threads = Path(source), threads and as_integer("threads", threads)
    if precision is not None and (path.suffix != ".xml" or precision not in PRECISIONS):
        raise ValueError(
            f"`precision` must be one of {tuple(PRECISIONS)}, and is only for an .xml "
            f"file of OpenVINO. Received: precision={precision!r}, {str(path)!r}"
        )
    if weights is not None or not path.exists():
        model = _network(os.fspath(source), weights, trained, image_size)
        return KerasRunner(model, source)
    if (path / "model.keras").is_file():  # a run folder
        return KerasRunner(_load_keras(path / "model.keras"), path)
    if path.suffix == ".keras":
        return KerasRunner(_load_keras(path), path)
    if (path / CONFIG).is_file() or path.name.endswith(".weights.h5"):
        return KerasRunner(_load_weights(path, image_size), path)
    if (path / "saved_model.pb").is_file():
        return SavedModelRunner(path, trust)
    if path.suffix == ".tflite":
        return TFLiteRunner(path, threads)
    if path.suffix == ".onnx":
        return OnnxRunner(path, threads)
    if path.suffix == ".xml":
        return OpenVinoRunner(path, threads, precision or "float32")
    raise ValueError(
        "A model must be a run folder, a folder of save_pretrained, a SavedModel "
        "folder, or a .keras, .weights.h5, .tflite, .onnx or .xml file. Received: "
        f"{str(path)!r}, which is none of these."
    )


def _network(name, weights, trained, image_size) -> keras.Model:
    known = list_models()
    if weights is None and name.startswith(SCHEME):
        network = network_of(open_checkpoint(name).card)
        return _from_weights(network or name, name, image_size)
    if weights is not None and Path(name).exists():
        raise ValueError(
            "`weights` are for the name of a network; a path has its own. Received: "
            f"{name!r} with weights={weights!r}"
        )
    if (
        Path(name).suffix in (".keras", ".tflite", ".onnx", ".xml", ".h5")
        or os.sep in name
    ):
        raise FileNotFoundError(f"There is no model {name!r}: the path does not exist.")
    if name not in known and "." not in name:
        raise ValueError(
            "The model must be a run folder, a .keras or .tflite file, a SavedModel "
            "folder, or the name of a network. Received: "
            f"{name!r}, which is none of these.{nearest(name, known)}"
        )
    if trained and weights is None and name in known:
        raise ValueError(
            f"The network {name!r} needs weights here. Received none. Give a preset or "
            "a file with --weights."
        )
    if isinstance(weights, (str, os.PathLike)) and Path(weights).is_file():
        return _from_weights(name, weights, image_size)
    arguments = {} if weights is None and name not in known else {"weights": weights}
    return _sized(name, image_size, include_preprocessing=True, **arguments)


def _load_weights(path: Path, image_size) -> keras.Model:
    """Builds the network of a .weights.h5 file, or of a folder of `save_pretrained`."""
    card = Card.read(path)
    file = path / "model.weights.h5" if path.is_dir() else path
    if card is None or card.constructor is None:
        raise ValueError(
            "A .weights.h5 file has weights, but no network. Received: "
            f"{str(path)!r}. Build the network with keras_senet.create_model(name, "
            "weights=path) and pass the model."
        )
    model = _from_weights(card.constructor, file, image_size)
    if path.is_dir():
        facts = {name: getattr(card, name) for name in ("labels", "preset", "licence")}
        model.card = dataclasses.replace(model.card, **facts)
    return model


def _from_weights(name, file, image_size) -> keras.Model:
    """Builds a network with the weights of a file, and as its card says."""
    checkpoint = open_checkpoint(file, name)
    card = checkpoint.card
    arguments: dict[str, Any] = {"include_preprocessing": True}
    if checkpoint.layout == "keras_senet":  # whose card is a network's
        arguments["include_preprocessing"] = bool(card.normalises) and (
            card.preprocessing or True
        )
        arguments["include_top"] = card.include_top
        arguments |= card.activation_argument()
    return _sized(name, image_size, weights=file, **arguments)


def _sized(name, image_size, **arguments) -> keras.Model:
    model = create_model(name, **arguments)
    if image_size in (None, model.input_shape[1]):
        return model
    # Only the network that is built knows how many channels its weights take.
    shape = (image_size, image_size, model.input_shape[-1])
    return create_model(name, input_shape=shape, **arguments)


def _load_keras(path: Path) -> keras.Model:
    if not zipfile.is_zipfile(path):
        error = ValueError("A .keras file is a zip archive.")
        raise unreadable(path, "a .keras file", error)
    try:
        check_keras_file(path)
        # Keras unpacks it there.
        with disk_full_explained(tempfile.gettempdir()):
            model = keras.saving.load_model(path, compile=False)
    except (ImplausibleArchive, DiskFull):
        raise
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise unreadable(path, "a .keras file", error) from error
    # A configuration of other types, or a damaged archive, can raise anything.
    except Exception as error:
        # Keras wraps the reason in the whole configuration.
        text = str(error).rpartition("Exception encountered: ")[2]
        reason = (text.strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            "Keras must know all layers of a .keras file. Received: "
            f"{str(path)!r}. The error of Keras is: {reason.split('. ')[0][:200]}. If "
            "the model has classes of your own, register them and open it in Python."
        ) from error
    card, seen = Card.read(path), Card.of(model)
    if card is not None:
        # Older files do not say what their outputs mean, or how large they are.
        known = {f.name: getattr(seen, f.name) for f in dataclasses.fields(Card)}
        missing = {n: v for n, v in known.items() if getattr(card, n) is None}
        model.card = dataclasses.replace(card, **missing)
    return model
