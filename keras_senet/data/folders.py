"""A folder of images, one subfolder a class, as a source."""

import collections
import hashlib
import itertools
import os
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_senet.data.decoding import Window, crop, decode_jpeg
from keras_senet.data.images import ACCEPTED, check_image, is_image_file, read_image
from keras_senet.data.source import Part, Source

# In lower case; a folder's own may differ.
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "validation", "valid")
LAYOUT = (
    "Expected is a subfolder of images for each class, or train/ and test/ (or val/) "
    "with such subfolders."
)


class _File(NamedTuple):
    path: Path
    label: int
    size: tuple[int, int]
    grey: bool
    plain_jpeg: bool


def open_folder(
    path: str | os.PathLike, *, on_error: str = "raise", held_out: float = 0.2
) -> Source:
    """Opens a folder of images as a source; see `keras_senet.data.open_source`."""
    root = Path(path).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"There is no folder {str(path)!r}.")
    if not root.is_dir():
        raise ValueError(f"A folder was expected, {str(path)!r} is a file. {LAYOUT}")
    folders = _split_folders(root)
    listed = {split: _images_by_class(folder) for split, folder in folders.items()}
    class_names = tuple(listed["train"])
    _check_classes(root, folders, listed)
    files, skipped = _checked_files(root, listed, class_names, on_error)
    if "test" not in files:
        files |= _held_out(root, files["train"], class_names, held_out)
    everything = [file for part in files.values() for file in part]
    sizes = {file.size for file in everything}
    channels = 1 if all(file.grey for file in everything) else 3
    image_size = sizes.pop() if len(sizes) == 1 else None
    return Source(
        name=str(path),
        class_names=class_names,
        splits={split: len(part) for split, part in files.items()},
        channels=channels,
        image_size=image_size,
        skipped=skipped,
        reader=_FolderReader(files, channels, image_size),
    )


class _FolderReader:
    """Plain JPEG files go through tf.io, everything else through Pillow."""

    record_bytes = 256

    def __init__(
        self,
        files: Mapping[str, list[_File]],
        channels: int,
        image_size: tuple[int, int] | None,
    ):
        self._files = {split: _by_share(listed) for split, listed in files.items()}
        self._channels = channels
        self._image_size = image_size

    def records(self, part: Part) -> tf.data.Dataset:
        files = _classes_in_turn(self._files[part.split][part.start : part.stop])
        # Names that are no valid Unicode survive as the bytes that they are.
        paths = np.array([os.fsencode(file.path) for file in files], dtype=object)
        plain = np.array([file.plain_jpeg for file in files])
        labels = np.array([file.label for file in files], dtype=np.int64)
        return tf.data.Dataset.from_tensor_slices(((paths, plain), labels))

    def reordered(self, part: Part, seed: tf.Tensor) -> None:
        return None

    def first_unreadable(self) -> str | None:
        files = [file for listed in self._files.values() for file in listed]
        with ThreadPoolExecutor() as pool:
            return next(filter(None, pool.map(_trouble, files)), None)

    def decode(
        self, record: tuple[tf.Tensor, tf.Tensor], window: Window | None = None
    ) -> tf.Tensor:
        path, plain = record
        channels = self._channels

        def with_pillow(path: bytes) -> np.ndarray:
            return read_image(os.fsdecode(path), channels=channels)

        def by_pillow():
            image = tf.numpy_function(with_pillow, [path], tf.uint8, stateful=False)
            return crop(tf.ensure_shape(image, (None, None, channels)), window)

        def by_tf():
            contents = tf.io.read_file(path)
            return decode_jpeg(contents, channels=channels, window=window)

        image = tf.cond(plain, by_tf, by_pillow)
        if window is None and self._image_size:
            return tf.ensure_shape(image, (*self._image_size, channels))
        return image


def _trouble(file: _File) -> str | None:
    """Says what is wrong with a file now, with its name."""
    try:
        check_image(file.path, whole=True)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split; only "train" where nothing is held out."""
    named = {folder.name.casefold(): folder for folder in _subfolders(root)}
    train = [named[name] for name in TRAIN_NAMES if name in named]
    if not train or not _subfolders(train[0]):
        return {"train": root}
    found = [named[name] for name in TEST_NAMES if name in named]
    return dict(zip(("train", "test", "validation"), train[:1] + found, strict=False))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith((".", "__"))
    )


def _images_by_class(folder: Path) -> dict[str, list[Path]]:
    """Returns the image files anywhere below each class folder, sorted by class."""
    classes = {}
    for subfolder in _subfolders(folder):
        images = [
            Path(parent, name)
            for parent, _, names in os.walk(subfolder, followlinks=True)
            for name in names
            if is_image_file(name) and not name.startswith(".")
        ]
        classes.setdefault(_composed(subfolder.name), []).extend(images)
    return dict(sorted(classes.items()))


def _composed(name: str) -> str:
    """Returns the one form of a name with umlauts, which differs between machines."""
    return unicodedata.normalize("NFC", name)


def _check_classes(
    root: Path,
    folders: Mapping[str, Path],
    listed: Mapping[str, Mapping[str, list[Path]]],
) -> None:
    classes = listed["train"]
    if not any(classes.values()):
        raise ValueError(
            f"The folder {str(folders['train'])!r} has no class folders with images. "
            f"{LAYOUT} {ACCEPTED}"
        )
    if len(classes) == 1:
        raise ValueError(
            f"The folder {str(folders['train'])!r} has one class folder, "
            f"{next(iter(classes))!r}; a classifier needs two or more. {LAYOUT}"
        )
    for split, others in listed.items():
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


def _checked_files(
    root: Path,
    listed: Mapping[str, Mapping[str, list[Path]]],
    class_names: tuple[str, ...],
    on_error: str,
) -> tuple[dict[str, list[_File]], int]:
    """Reads every file's header, or all of it where unreadable ones are skipped.

    Returns the readable files and how many are not.
    """

    def checked(path: Path, label: int) -> _File | ValueError | OSError:
        try:
            return _File(path, label, *check_image(path, whole=on_error == "skip"))
        except (ValueError, OSError) as error:
            return error

    files, errors = {}, []
    with ThreadPoolExecutor() as pool:
        for split, classes in listed.items():
            files[split] = []
            for name, paths in classes.items():
                labels = itertools.repeat(class_names.index(name))
                for result in pool.map(checked, _in_fixed_order(root, paths), labels):
                    if isinstance(result, _File):
                        files[split].append(result)
                    elif on_error == "raise":
                        raise result
                    else:
                        errors.append(str(result))
    for label, name in enumerate(class_names):
        if all(file.label != label for file in files["train"]):
            raise ValueError(
                f"The class folder {name!r} of {str(root)!r} has no image that can be "
                f"read. Add some or remove the folder. {ACCEPTED}"
            )
    for split, readable in files.items():
        if not readable:
            raise ValueError(
                f"The images for {split!r} of {str(root)!r} cannot be read, none of "
                f"them; the first: {errors[0]}"
            )
    if errors:
        warnings.warn(
            f"{len(errors)} images below {str(root)!r} cannot be read and are skipped; "
            f"the first: {errors[0]}",
            stacklevel=4,
        )
    return files, len(errors)


def _in_fixed_order(root: Path, paths: Iterable[Path]) -> list[Path]:
    """Returns the paths in an order that looks random but depends on names only."""

    def key(path: Path) -> bytes:
        name = _composed(path.relative_to(root).as_posix())
        return hashlib.sha256(os.fsencode(name)).digest()

    return sorted(paths, key=key)


def _held_out(
    root: Path, files: list[_File], class_names: tuple[str, ...], share: float
) -> dict[str, list[_File]]:
    """Splits off the first images of each class, in the fixed order of their names."""
    train, test, alone = [], [], []
    for label, name in enumerate(class_names):
        members = [file for file in files if file.label == label]
        count = min(max(1, round(share * len(members))), len(members) - 1)
        test += members[:count]
        train += members[count:]
        if count == 0:
            alone.append(name)
    if not test:
        raise ValueError(
            f"The folder {str(root)!r} has one image a class, so none can be held out. "
            "Add images or a test/ folder."
        )
    if alone:
        warnings.warn(
            f"These classes of {str(root)!r} have a single image, which is trained on "
            f"and never tested: {', '.join(alone)}.",
            stacklevel=4,
        )
    return {"train": train, "test": test}


def _by_share(files: list[_File]) -> list[_File]:
    """Orders files so that each stretch has its share of every class."""
    totals = collections.Counter(file.label for file in files)
    seen = collections.Counter()

    def place(file: _File) -> tuple[float, int]:
        seen[file.label] += 1
        return (seen[file.label] - 0.5) / totals[file.label], file.label

    return sorted(files, key=place)


def _classes_in_turn(files: list[_File]) -> list[_File]:
    by_class = {}
    for file in sorted(files, key=lambda file: file.label):
        by_class.setdefault(file.label, []).append(file)
    rounds = itertools.zip_longest(*by_class.values())
    return [file for members in rounds for file in members if file is not None]
