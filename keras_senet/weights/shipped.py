"""The checkpoints that this project trained and that come with the package."""

import json
from importlib import resources
from pathlib import Path

from keras_senet.weights.presets import Preset, parse_preset


def shipped_folder() -> Path:
    """Returns the folder of the files; it is part of the installed package."""
    return Path(str(resources.files("keras_senet.weights"))) / "trained"


def shipped_presets() -> list[Preset]:
    """Returns the records of `trained/index.json`."""
    text = (shipped_folder() / "index.json").read_text(encoding="utf-8")
    return [_preset(record) for record in json.loads(text)]


def _preset(record):
    name = f"{record['name']}.weights.h5"
    return parse_preset(
        {
            "licence": "Apache-2.0",
            "layout": "keras_senet",
            "source": "keras_senet",
            "files": [{"url": "", "sha256": record["sha256"], "name": name}],
            **record,
        }
    )
