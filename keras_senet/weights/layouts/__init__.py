"""Foreign layouts: how their names map to ours. A file's arrays say which it is."""

import os
from pathlib import Path

from keras_senet.card import Card, Preprocessing
from keras_senet.containers import CONFIG
from keras_senet.utils.files import read_json
from keras_senet.weights.checkpoint import Checkpoint
from keras_senet.weights.layouts import (
    image_classifiers,
    keras_applications,
    regnet,
    resnet_rs,
    timm_legacy,
    timm_modern,
)
from keras_senet.weights.layouts.keras_applications import read_host
from keras_senet.weights.readers import RawFile

__all__ = ["LAYOUTS", "read_host", "recognise"]

# Of each, `matches` says whether arrays have its names, and `read` returns them under
# our names, and the architecture row as far as they tell it. `preprocessing` says how
# images are prepared, if not as the family's are.
LAYOUTS = {
    "timm_modern": timm_modern,
    "timm_legacy": timm_legacy,
    "image_classifiers": image_classifiers,
    "keras_applications": keras_applications,
    "regnet": regnet,
    "resnet_rs": resnet_rs,
}

# Fields of `Preprocessing` and what they are in timm's config.json.
_FIELDS = {
    "mean": "mean",
    "std": "std",
    "image_size": "input_size",
    "crop_fraction": "crop_pct",
    "interpolation": "interpolation",
}


def recognise(raw: RawFile, path: str | os.PathLike) -> Checkpoint:
    """Finds a file's layout and puts its arrays under our names.

    Raises:
        ValueError: If the names are of no known layout, or not all of them are.
    """
    for name, layout in LAYOUTS.items():
        if not layout.matches(raw.arrays):
            continue
        try:
            arrays, row = layout.read(raw.arrays)
        # Shapes of any kind, under the right names, end in any of these.
        except (ValueError, LookupError, TypeError, ArithmeticError) as error:
            raise ValueError(
                f"{str(path)!r} looks like a file of {name}, but its network is "
                f"unknown: {error}"
            ) from None
        # The file of another library has nothing to do with a config of timm's.
        is_torchs = raw.format in ("safetensors", "pth")
        config, untold = _config_beside(Path(path)) if is_torchs else {}, ()
        if layout is timm_modern:
            told = _named_row(config, Path(path).name)
            row, untold = {**row, **told}, () if told else ("anti_alias",)
        prepared = _prepared(config, path)
        if prepared is None and hasattr(layout, "preprocessing"):
            prepared = layout.preprocessing(raw.arrays)
        card = Card(architecture=row, preprocessing=prepared)
        return Checkpoint(arrays=arrays, card=card, layout=name, untold=untold)
    if raw.format in ("weights.h5", "keras"):
        # Keras' own format without our header: the names are the model's.
        return Checkpoint(arrays=raw.arrays, layout="keras")
    names = list(raw.arrays)
    raise ValueError(
        f"{str(path)!r} must be in a known layout ({', '.join(LAYOUTS)}). Received "
        f"{len(names)} arrays, the first of them {', '.join(names[:5])}."
    )


def _config_beside(path):
    """The config.json beside a file of timm's, as the hub's folders have it, or {}."""
    try:
        config = read_json(path.parent / CONFIG)
    except (OSError, ValueError):
        return {}
    is_timms = isinstance(config, dict) and isinstance(config.get("architecture"), str)
    return config if is_timms else {}


def _named_row(config, file):
    """What a network's name in timm says of it that its arrays do not."""
    if config:
        return timm_modern.named_row(config["architecture"])
    row = timm_modern.named_row(file)
    return row if row["anti_alias"] else {}  # without "aa", any name says nothing


def _prepared(config, path):
    """How images are prepared, as timm's configuration says it, or None."""
    known = config.get("pretrained_cfg")
    if not isinstance(known, dict):
        return None
    record = {
        ours: known[theirs] for ours, theirs in _FIELDS.items() if theirs in known
    }
    try:
        if "image_size" in record:
            record["image_size"] = record["image_size"][-1]
        return Preprocessing.from_json(record)
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(
            f"The `pretrained_cfg` of the {CONFIG} beside {str(path)!r} must say how "
            f"images are prepared. {error}"
        ) from None
