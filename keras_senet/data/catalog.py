"""From what a user writes to a source: "bundled", a folder, a CSV file, a tfds name."""

import os
import warnings
from pathlib import Path

from keras_senet.data.bundled import open_bundled
from keras_senet.data.folders import open_folder
from keras_senet.data.source import Source
from keras_senet.data.tables import find_tables, open_tables
from keras_senet.data.tfds import open_tfds


def open_source(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    on_error: str = "raise",
    held_out: float = 0.2,
) -> Source:
    """Opens labelled images by name.

    A folder holds a subfolder of images for each class, nested as you like, or train/
    and test/ (or val/, validation/, valid/) with such subfolders. Where an image may
    have several labels, a CSV file names them: `labels.csv` in the folder, or one in
    each of train/ and test/. It has a column `file`, `filename` or `image`, relative to
    it, and either a column `labels` with names between ; , or | or a column of 0 and 1
    for each label.

    Without a test part some images (of each class) are held out, chosen by their
    names: the same ones every time, on every machine. Hidden files and folders are left
    out. Each file counts once, whatever links lead to it. Every file's header is read,
    and more where that is needed to know that the file is whole. What was left out,
    and images that are both trained on and held out, are said in a warning and in the
    source's `notes`.

    Of a tensorflow_datasets set "test" is the test split where it has labels, else
    "validation", else a part of "train". It is downloaded where it is not yet there.

    Args:
        name: "bundled"; the path of a folder or of a CSV file; or a tensorflow_datasets
            name such as "cifar10" or "imagenet2012". A folder that exists comes before
            a data set.
        data_dir: Where tensorflow_datasets keeps its sets. Default: the folder tfds/
            below the one that the environment's KERAS_SENET_DATA names, where that
            exists, else tensorflow_datasets' own.
        on_error: What a folder's image that cannot be read does: "raise" an error that
            names it, or "skip", with one warning that counts them. To know them all,
            "skip" decodes every image here, once; with "raise" one that is broken
            inside may be found only when it is its turn.
        held_out: The share of images held out where the data has no part for it.

    Returns:
        The source, for `batches`.

    Raises:
        FileNotFoundError: If a path was given and there is nothing.
        ValueError: If there is no such data, or it is not images with classes.
        OSError: If a data set cannot be downloaded or prepared.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(
            f"`on_error` must be 'raise' or 'skip'. Received: on_error={on_error!r}."
        )
    if not 0 < held_out < 1:
        raise ValueError(
            f"`held_out` must lie between 0 and 1. Received: held_out={held_out!r}."
        )
    if name == "bundled":
        return open_bundled()
    if _is_path(name):
        options = {"on_error": on_error, "held_out": held_out}
        if tables := find_tables(Path(name).expanduser()):
            source = open_tables(name, tables, **options)
        else:
            source = open_folder(name, **options)
        for note in source.notes:
            warnings.warn(note, stacklevel=2)
        return source
    return open_tfds(name, data_dir=data_dir, held_out=held_out)


def _is_path(name: str | os.PathLike) -> bool:
    if isinstance(name, os.PathLike) or os.path.exists(name):
        return True
    return name.startswith((".", "~", os.sep)) or name.endswith(os.sep)
