"""From what a user writes to a source: the bundled set, a folder, a tfds name."""

import os

from keras_senet.data.bundled import open_bundled
from keras_senet.data.source import Source


def open_source(
    name: str | os.PathLike, *, data_dir: str | os.PathLike | None = None
) -> Source:
    """Opens labelled images by name."""
    return open_bundled()
