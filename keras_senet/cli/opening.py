"""What the command line calls a model: a run folder, a file, or a network's name."""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_senet.card import Card, Preprocessing
from keras_senet.models import create_model, list_models
from keras_senet.preprocessing import imagenet_classes
from keras_senet.utils.errors import nearest
from keras_senet.weights import find_preset, open_checkpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A model that a command works with.

    Attributes:
        name: What it was called by.
        model: The Keras model, or the path of an exported file.
        labels: Its class names, where they are known.
        preprocessing: How an image is prepared for it, where it is known.
        architecture: Its architecture row, where it is known.
    """

    name: str
    model: keras.Model | Path
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    architecture: Mapping[str, Any] | None = None

    def keras_model(self) -> keras.Model:
        """Returns the Keras model, or raises a ValueError for an exported file."""
        if isinstance(self.model, keras.Model):
            return self.model
        raise ValueError(
            "This needs a Keras model: a run folder, a .keras file or a network's "
            f"name with weights. Received: {self.name!r}, an exported file."
        )


def open_model(
    name: str,
    weights: str | None = None,
    *,
    trained: bool = True,
    image_size: int | None = None,
) -> OpenedModel:
    """Opens what the command line calls a model.

    Args:
        name: A run folder, a .keras file, a .weights.h5 file that names its network,
            a .tflite file, a SavedModel folder, or the name of a network.
        weights: The weights of a network: a preset or a file.
        trained: Whether a network without weights is refused.
        image_size: Height and width that a network is built for, if not its own; a
            file has the size that it has.

    Raises:
        ValueError: If there is no such model.
        FileNotFoundError: If there is no such file.
    """
    path = Path(name)
    if (path / "model.keras").is_file():
        path = path / "model.keras"
    if weights is not None or not path.exists():
        return _open_network(name, weights, trained, image_size)
    if path.name.endswith(".weights.h5"):
        network = open_checkpoint(path, None).card.constructor
        if network is not None:
            opened = _open_network(network, name, trained, image_size)
            return dataclasses.replace(opened, name=name)
    if path.suffix != ".keras":
        return OpenedModel(name=name, model=path)
    import keras_senet.layers
    import keras_senet.network  # noqa: F401  registers what the file names

    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error
    card = Card.read(path) or Card.of(model)
    model.card = card
    return OpenedModel(
        name=name,
        model=model,
        labels=card.labels,
        preprocessing=card.preprocessing,
        architecture=card.architecture,
    )


def _unreadable(path: Path, error: Exception) -> ValueError:
    received = f"Received: {str(path)!r}"
    if not zipfile.is_zipfile(path):
        return ValueError(
            f"The path must hold a .keras file. {received}, which cannot be read. It "
            "may be cut short; write or copy it again."
        )
    # Keras wraps the reason in the whole configuration.
    text = str(error).rpartition("Exception encountered: ")[2]
    reason = (text.strip().splitlines() or [type(error).__name__])[0]
    return ValueError(
        "The command line opens models of Keras' and keras_senet's own layers. "
        f"{received}, of which Keras says: {reason.split('. ')[0]}. A model with "
        "classes of yours is exported in Python, keras_senet.export_saved_model and "
        "export_tflite."
    )


def _open_network(name, weights, trained, image_size):
    known = list_models()
    if name not in known and "." not in name:
        raise ValueError(
            "The model must be a run folder, a .keras or .tflite file, a SavedModel "
            f"folder or a network. Received: {name!r}, which is none."
            f"{nearest(name, known)}"
        )
    if Path(name).suffix in (".keras", ".tflite", ".onnx") or "/" in name:
        raise FileNotFoundError(f"There is no model {name!r}.")
    if trained and weights is None and name in known:
        raise ValueError(
            f"The network {name!r} needs its weights here. Received none. Give a "
            "preset or a file with --weights."
        )
    arguments: dict[str, Any] = {"include_preprocessing": True}
    if weights is not None or name in known:
        arguments["weights"] = weights
    labels = None
    if weights is not None and Path(weights).is_file():
        checkpoint = open_checkpoint(weights, name)
        labels = checkpoint.card.labels
        if checkpoint.layout == "keras_senet":  # whose header knows its preprocessing
            arguments["include_preprocessing"] = checkpoint.card.preprocessing or False
    model = create_model(name, **arguments)
    if image_size not in (None, model.input_shape[1]):
        # Only the network that is built knows how many channels its weights take.
        arguments["input_shape"] = (image_size, image_size, model.input_shape[-1])
        model = create_model(name, **arguments)
    return OpenedModel(
        name=name,
        model=model,
        labels=labels,
        preprocessing=model.preprocessing,
        architecture=model.architecture,
    )


def class_names(
    opened: OpenedModel, weights: str | None = None
) -> tuple[str, ...] | None:
    """Returns a model's class names, else those of its preset, where one is known.

    Args:
        opened: The model.
        weights: What it was opened with.
    """
    preset = find_preset(weights or opened.name, opened.name)
    if opened.labels is not None or preset is None:
        return opened.labels
    if preset.card.labels is None and preset.card.classes == len(imagenet_classes()):
        return tuple(name for _, name in imagenet_classes())
    return preset.card.labels


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Reads class names: a JSON list, or a text with one name a line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8, or the JSON is no list of names.
    """
    as_json = Path(path).suffix == ".json"
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        labels = json.loads(text) if as_json else text.splitlines()
    except ValueError as error:
        raise ValueError(f"{path} must be UTF-8 text or JSON: {error}") from error
    if not isinstance(labels, list):
        raise ValueError(f"{path} must hold a JSON list of class names.")
    return tuple(map(str, labels))
