"""`keras-senet convert`."""

import dataclasses
from pathlib import Path

from tyro.conf import Positional

import keras_senet
from keras_senet.cli.console import make_console


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convert:
    """Converts a timm, PyTorch or Keras checkpoint, and writes a model card beside it.

    Attributes:
        source: A preset ("se_resnet50.ra2_in1k"), or a .safetensors, .pth, .h5, .keras
            or .weights.h5 file.
        target: A new .weights.h5 or .keras file.
        model: The network, if it does not follow from the source.
        overwrite: Replace existing files.

    Examples:
        keras-senet convert se_resnet50.ra2_in1k se_resnet50.keras
        keras-senet convert checkpoint.pth mine.weights.h5 --model se_resnet50
    """

    source: Positional[str]
    target: Positional[Path]
    model: str | None = None
    overwrite: bool = False

    def run(self) -> int:
        done = keras_senet.hub.convert(
            self.source, self.target, model=self.model, overwrite=self.overwrite
        )
        make_console().print(
            f"{done.constructor}, layout {done.layout}: written to {done.path}, card "
            f"{done.card}. Loaded again, its outputs differ by "
            f"{done.relative_error:.1e} (relative).",
        )
        return 0
