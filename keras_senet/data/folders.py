"""A folder of images, one subfolder a class, as a source."""

import dataclasses
import os
from pathlib import Path

from keras_senet.data.files import (
    TEST_NAMES,
    TRAIN_NAMES,
    composed,
    find_images,
    open_files,
    split_folders,
    subfolders,
)
from keras_senet.data.images import ACCEPTED
from keras_senet.data.source import Source

LAYOUT = (
    "The folder must have a subfolder of images for each class, or the folders train/ "
    "and test/ (or val/) with such subfolders."
)


def open_folder(
    path: str | os.PathLike, *, on_error: str = "raise", held_out: float = 0.2
) -> Source:
    """Opens a folder of images as a source; see `keras_senet.data.open_source`."""
    root = Path(path).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"There is no folder {str(path)!r}.")
    if not root.is_dir():
        raise ValueError(
            f"The data must be a folder. Received: {str(path)!r}, which is a file. "
            f"{LAYOUT}"
        )
    folders = split_folders(root)
    names, notes = [folder.name for folder in subfolders(root)], []
    if folders and subfolders(folders["train"]):
        parts = {folder.name for folder in folders.values()}
        if others := [name for name in names if name not in parts]:
            notes = [
                f"Folders of {str(root)!r} were left out, because they are no part of "
                f"the data beside {folders['train'].name}/: {', '.join(others)}."
            ]
    elif names and {name.casefold() for name in names} <= {*TRAIN_NAMES, *TEST_NAMES}:
        raise ValueError(
            f"The folder {str(root)!r} has parts of the data, but no train/ with class "
            f"folders. Received: {', '.join(names)}. {LAYOUT}"
        )
    else:
        folders = {"train": root}
    classes = {
        (split, subfolder): subfolder
        for split, folder in folders.items()
        for subfolder in subfolders(folder)
    }
    images, left_out = find_images(classes)
    found = {split: {} for split in folders}
    for (split, subfolder), paths in images.items():
        found[split].setdefault(composed(subfolder.name), []).extend(paths)
    class_names = tuple(sorted(found["train"]))
    _check_classes(folders, found)
    source = open_files(
        str(path),
        root,
        {
            split: [
                (path, class_names.index(name))
                for name, paths in names.items()
                for path in paths
            ]
            for split, names in found.items()
        },
        class_names=class_names,
        on_error=on_error,
        held_out=held_out,
        left_out=left_out,
        notes=notes,
    )
    return dataclasses.replace(source, folders=tuple(folders.values()))


def _check_classes(folders, found):
    classes = found["train"]
    for split, others in found.items():
        if unknown := sorted(set(others) - set(classes)):
            raise ValueError(
                f"The class folders of {str(folders[split])!r} must also be in "
                f"{str(folders['train'])!r}. Received: {unknown[:5]}, which are not."
            )
        if not any(others.values()):
            raise ValueError(
                f"The folder {str(folders[split])!r} has no class folders with images. "
                f"{LAYOUT} {ACCEPTED}"
            )
    if len(classes) == 1:
        raise ValueError(
            f"The folder {str(folders['train'])!r} has one class folder, "
            f"{next(iter(classes))!r}. A classifier needs at least two. {LAYOUT}"
        )
