"""Opens anything that is a model: the one door for models and files."""

import dataclasses
import functools
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from keras_senet.card import Card
from keras_senet.containers import (
    CONFIG,
    ENDINGS,
    MODELS,
    RUN_MODEL,
    WEIGHTS,
    kind_of,
)
from keras_senet.models import constructor_of, create_model, list_models, network_of
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
from keras_senet.utils.files import (
    DiskFull,
    ImplausibleArchive,
    disk_full_explained,
    read_json,
)
from keras_senet.utils.graph import data_format
from keras_senet.weights import find_preset, open_checkpoint
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
    if not isinstance(source, (Runner, keras.Model, str, os.PathLike)):
        raise ValueError(
            "The model must be a keras.Model, a path or the name of a network. "
            f"Received: {source!r} (of type {type(source).__name__})"
        )
    in_memory = isinstance(source, (Runner, keras.Model))
    kind = None if in_memory else kind_of(source)
    threads = None if threads is None else as_integer("threads", threads)
    if image_size is not None:
        image_size = as_integer("image_size", image_size)
    if precision is not None and (kind != "openvino" or precision not in PRECISIONS):
        raise ValueError(
            f"`precision` must be one of {tuple(PRECISIONS)}, and is only for an .xml "
            f"file of OpenVINO. Received: precision={precision!r}, {str(source)!r}"
        )
    if in_memory:
        _check_weights(source, weights)
        runner = source if isinstance(source, Runner) else KerasRunner(source)
    elif weights is not None or not os.path.exists(source):
        model = _network(os.fspath(source), weights, trained, image_size)
        return KerasRunner(model, source)
    elif kind == "pretrained":
        build = functools.partial(load_folder, Path(source))
        return KerasRunner(_sized(build, image_size), source)
    elif kind == "weights":
        return KerasRunner(_load_weights(Path(source), image_size), source)
    else:
        runner = _open_file(Path(source), kind, threads, precision, trust)
    if image_size is not None and not {None, image_size} & {*runner.input_shape[1:3]}:
        raise ValueError(
            "`image_size` is for a network that is built here; a file and a model have "
            f"their own. Received: image_size={image_size}, and {runner.name!r} of "
            f"images {runner.input_shape}"
        )
    return runner


def _open_file(path, kind, threads, precision, trust) -> Runner:
    """Opens a file or folder that holds its network."""
    if kind == "run":
        return KerasRunner(_load_keras(path / RUN_MODEL), path)
    if kind == "keras":
        return KerasRunner(_load_keras(path), path)
    if kind == "saved_model":
        return SavedModelRunner(path, trust)
    if kind == "tflite":
        return TFLiteRunner(path, threads)
    if kind == "onnx":
        return OnnxRunner(path, threads)
    if kind == "openvino":
        return OpenVinoRunner(path, threads, precision or "float32")
    hidden = ""
    if str(path) in list_models() or find_preset(str(path)) is not None:
        hidden = (
            " It hides the network of that name: rename the file or folder, or work in "
            "another folder."
        )
    raise ValueError(
        f"A model must be {MODELS}. Received: {str(path)!r}, which is none of these."
        f"{hidden}"
    )


def _check_weights(source, weights) -> None:
    """Raises if weights are given with what has its own."""
    if weights is not None:
        raise ValueError(
            "`weights` are for the name of a network; a path has its own, and so have "
            f"a model and a repository. Received: {source!r} with weights={weights!r}"
        )


def _network(name, weights, trained, image_size) -> keras.Model:
    known = list_models()
    if weights is None and name.startswith(SCHEME):
        network = network_of(open_checkpoint(name).card)
        return _from_weights(network or name, name, image_size)
    if name.startswith(SCHEME) or (Path(name).exists() and name not in known):
        _check_weights(name, weights)
    endings = {Path(f"model{ending}").suffix for ending in ENDINGS.values()}
    is_path = Path(name).suffix in endings or os.sep in name
    if is_path and find_preset(name) is None:
        raise FileNotFoundError(f"There is no model {name!r}: the path does not exist.")
    if name not in known and "." not in name:
        raise ValueError(
            f"The model must be the name of a network, {MODELS}. Received: {name!r}, "
            f"which is none of these.{nearest(name, known)}"
        )
    if trained and weights is None and name in known:
        raise ValueError(
            f"The network {name!r} needs weights here. Received none. Give a preset or "
            "a file with --weights."
        )
    if str(weights).startswith(SCHEME) or Path(str(weights)).is_file():
        return _from_weights(name, weights, image_size)
    arguments = {} if weights is None and name not in known else {"weights": weights}
    build = functools.partial(create_model, name, include_preprocessing=True)
    return _sized(functools.partial(build, **arguments), image_size)


def load_folder(folder: Path, **kwargs: Any) -> keras.Model:
    """Builds the network of a folder that `save_pretrained` wrote.

    Args:
        folder: The folder.
        **kwargs: Arguments of the constructor instead of what the folder says.

    Raises:
        FileNotFoundError: If the folder or one of its files does not exist.
        ValueError: If `save_pretrained` did not write the config.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"The folder must hold {CONFIG} and {WEIGHTS}. Received: "
                f"{str(folder)!r}, which has no {name}. For a repository of the hub, "
                "use 'user/model'."
            )
    card = Card.read(folder)
    needed = ("constructor", "include_top", "input_shape")
    missing = [name for name in needed if getattr(card, name) is None]
    if missing:
        raise ValueError(
            f"{str(folder / CONFIG)!r} must be written by save_pretrained. Received: "
            f"a file without {', '.join(missing)}"
        )
    facts = read_json(folder / CONFIG)  # version 0.1 did not write these two
    arguments = {
        "include_top": card.include_top,
        "include_preprocessing": card.preprocessing is not None and card.normalises,
        "input_shape": card.input_shape,
        **{n: facts[n] for n in ("pooling", "data_format") if facts.get(n)},
        **kwargs,
    }
    if "input_tensor" in kwargs:
        arguments["input_shape"] = kwargs.get("input_shape")
    model = constructor_of(card.constructor)(weights=folder / WEIGHTS, **arguments)
    known = {"preset": card.preset, "licence": card.licence}
    if model.card.classes == card.classes and card.labels is not None:
        known["labels"] = card.labels
    model.card = dataclasses.replace(model.card, **known)
    return model


def _load_weights(path: Path, image_size) -> keras.Model:
    """Builds the network of a .weights.h5 file of this package."""
    card = Card.read(path)
    if card is None or card.constructor is None:
        raise ValueError(
            "A .weights.h5 file has weights, but no network. Received: "
            f"{str(path)!r}. Build the network with keras_senet.create_model(name, "
            "weights=path) and pass the model."
        )
    constructor_of(card.constructor)  # a file names a network, and never an address
    return _from_weights(card.constructor, path, image_size)


def _from_weights(name, weights, image_size) -> keras.Model:
    """Builds a network with the weights of a file or the hub, as their card says."""
    checkpoint = open_checkpoint(weights, name)
    card = checkpoint.card
    arguments: dict[str, Any] = {"include_preprocessing": True}
    if checkpoint.layout == "keras_senet":  # whose card is a network's
        arguments["include_preprocessing"] = bool(card.normalises) and (
            card.preprocessing or True
        )
        arguments["include_top"] = card.include_top
    build = functools.partial(create_model, name, weights=weights, **arguments)
    return _sized(build, image_size)


def _sized(build, image_size) -> keras.Model:
    model = build()
    shape = list(model.input_shape[1:])
    # Only the network that is built knows how many channels its weights take.
    sides = slice(1, 3) if data_format(model) == "channels_first" else slice(0, 2)
    if image_size is None or shape[sides] == [image_size] * 2:
        return model
    shape[sides] = [image_size] * 2
    return build(input_shape=tuple(shape))


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
    card = Card.read(path)
    if card is not None:
        # Older files do not say what their outputs mean, or how large they are.
        model.card = card.completed(Card.of(model))
    return model
