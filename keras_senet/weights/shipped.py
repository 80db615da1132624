"""The checkpoints that this project trained and that come with the package."""

import json
from importlib import resources
from pathlib import Path

from keras_senet.weights.presets import Accuracy, File, Preprocessing, Preset


def shipped_folder() -> Path:
    """Returns the folder of the files; it is part of the installed package."""
    return Path(str(resources.files("keras_senet.weights"))) / "trained"


def shipped_presets() -> list[Preset]:
    """Returns the records of `trained/index.json`."""
    text = (shipped_folder() / "index.json").read_text(encoding="utf-8")
    return [_preset(**record) for record in json.loads(text)]


def _preset(*, name, sha256, accuracy, preprocessing, labels, **fields):
    return Preset(
        name=name,
        files=(File(url="", sha256=sha256, name=f"{name}.weights.h5"),),
        layout="keras_senet",
        preprocessing=Preprocessing.from_json(preprocessing),
        accuracy=Accuracy(**accuracy),
        labels=tuple(labels),
        licence="Apache-2.0",
        source="keras_senet",
        **fields,
    )
