"""From what a user writes to a source: "bundled", a folder, a CSV file, a tfds name."""

import os
import warnings
from pathlib import Path

from keras_senet.data.bundled import open_bundled
from keras_senet.data.folders import open_folder
from keras_senet.data.source import Source, check_held_out
from keras_senet.data.tables import find_tables, open_tables
from keras_senet.utils.errors import require


def open_source(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    on_error: str = "raise",
    held_out: float = 0.2,
) -> Source:
    """Opens labelled images by name.

    A folder has one subfolder of images for each class (these may be nested), or train/
    and test/ (or val/, validation/, valid/) with such subfolders. If an image may have
    several labels, a CSV file names them: `labels.csv` in the folder, or one in each of
    train/ and test/. It has a column `file`, `filename` or `image` with paths relative
    to it, and either a column `labels` with names separated by ; , or | or one column
    of 0 and 1 for each label.

    Without a test part, a share of the images of each class is held out. It is chosen
    by the file names, so it is the same every time and on every machine. Hidden files
    and folders are ignored. If several links lead to one file, it counts once. The
    header of each file is read, and more if necessary to know that the file is
    complete. A warning and the `notes` of the source name what was left out, and images
    that are both in the training and in the held-out part.

    For a tensorflow_datasets name, "test" is the test split if it has labels, else
    "validation", else a part of "train". The data set is downloaded if necessary.

    Args:
        name: "bundled"; the path of a folder or of a CSV file; or a tensorflow_datasets
            name such as "cifar10" or "imagenet2012". If a folder with this name exists,
            the folder is opened.
        data_dir: Folder of the tensorflow_datasets data sets. By default the folder
            tfds/ in the one that the environment variable KERAS_SENET_DATA names, if it
            exists, else the default of tensorflow_datasets.
        on_error: What happens if an image of a folder cannot be read: "raise" raises an
            error with its name; "skip" skips it and gives one warning with the number.
            "skip" decodes all images once, here; with "raise", some damaged images are
            only found when they are used.
        held_out: The share of images that is held out if the data has no test part.

    Returns:
        The source, for `batches`.

    Raises:
        FileNotFoundError: If `name` is a path that does not exist.
        ValueError: If there is no such data, it has no images with classes, or it is
            not of tensorflow_datasets and `data_dir` is given.
        OSError: If a data set cannot be downloaded or prepared.

    Example:

    >>> source = keras_senet.data.open_source("bundled")
    >>> source.class_names[0], source.splits["train"]
    ('T-shirt/top', 6000)
    """
    require(on_error in ("raise", "skip"), "be 'raise' or 'skip'", on_error=on_error)
    check_held_out(held_out)
    has_own_place = (
        name == "bundled"
        or isinstance(name, os.PathLike)
        or os.path.exists(name)
        or name.startswith((".", "~", os.sep))
        or name.endswith(os.sep)
    )
    if has_own_place and data_dir is not None:
        raise ValueError(
            "`data_dir` is only for the data sets of tensorflow_datasets. Received: "
            f"{str(name)!r}, data_dir={str(data_dir)!r}. Name such a data set, or "
            "leave out `data_dir`."
        )
    if name == "bundled":
        return open_bundled()
    if has_own_place:
        options = {"on_error": on_error, "held_out": held_out}
        if tables := find_tables(Path(name).expanduser()):
            source = open_tables(name, tables, **options)
        else:
            source = open_folder(name, **options)
        for note in source.notes:
            warnings.warn(note, stacklevel=2)
        return source
    from keras_senet.data.tfds import open_tfds  # slow to import

    return open_tfds(name, data_dir=data_dir, held_out=held_out)
