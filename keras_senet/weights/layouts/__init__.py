"""Foreign layouts: how their names map to ours. A file's arrays say which it is."""

import json
import os
from pathlib import Path

from keras_senet.card import Card
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

LAYOUTS = {
    "timm_modern": timm_modern,
    "timm_legacy": timm_legacy,
    "image_classifiers": image_classifiers,
    "keras_applications": keras_applications,
    "regnet": regnet,
    "resnet_rs": resnet_rs,
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
                f"{str(path)!r} looks like {name} but is no network of it: {error}"
            ) from None
        untold = ()
        if layout is timm_modern:
            told = _named_row(Path(path))
            row, untold = {**row, **told}, () if told else ("anti_alias",)
        return Checkpoint(
            arrays=arrays, card=Card(architecture=row), layout=name, untold=untold
        )
    if raw.format in ("weights.h5", "keras"):
        # Keras' own format without our header: the names are the model's.
        return Checkpoint(arrays=raw.arrays, layout="keras")
    names = list(raw.arrays)
    raise ValueError(
        f"{str(path)!r} must be in a known layout ({', '.join(LAYOUTS)}). Received "
        f"{len(names)} arrays, the first of them {', '.join(names[:5])}."
    )


def _named_row(path):
    """What the names of a file of timm's say that its arrays do not.

    The hub's folders have a config.json beside the file; a file's own name may say
    that its network is another one, and nothing for certain otherwise.
    """
    try:
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        name = config.get("architecture") if isinstance(config, dict) else None
    except (OSError, ValueError):
        name = None
    if isinstance(name, str):
        return timm_modern.named_row(name)
    row = timm_modern.named_row(path.name)
    return row if row["anti_alias"] else {}
