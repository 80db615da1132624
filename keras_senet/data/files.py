"""Image files as a source: finding them, checking them, holding some out."""

import collections
import functools
import hashlib
import itertools
import os
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_senet.data.decoding import Window, crop, decode_jpeg
from keras_senet.data.images import (
    ACCEPTED,
    EXPLAINED,
    ImageHeader,
    check_image,
    is_image_file,
    read_image,
)
from keras_senet.data.source import Part, Reader, Source, held_out_count, turns
from keras_senet.utils.files import sha256

# In lower case; a folder's own may differ.
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "validation", "valid")
# Beside what begins with a dot, and folders that begin with two underscores.
_HIDDEN = ("thumbs.db", "desktop.ini")
_MARK_BYTES = 4096

# A class, or a row over the classes.
Label = int | tuple[float, ...]
Listed = Mapping[str, list[tuple[Path, Label]]]


class ImageFile(NamedTuple):
    """An image file that can be read, as far as its header tells."""

    path: Path
    label: Label
    mark: tuple[int, bytes]
    header: ImageHeader


def subfolders(folder: Path) -> list[Path]:
    """Returns the folders in a folder, without hidden ones and links that lead up."""
    within = os.path.realpath(folder)
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_dir()
        and not _is_hidden(entry)
        and not (entry.is_symlink() and _holds(os.path.realpath(entry), [within]))
    )


def split_folders(root: Path) -> dict[str, Path]:
    """Returns the folders that are named as splits, "train" first; none without it.

    Raises:
        ValueError: If there are more of them than splits.
    """
    named = {folder.name.casefold(): folder for folder in subfolders(root)}
    train = [named[name] for name in TRAIN_NAMES if name in named]
    test = [named[name] for name in TEST_NAMES if name in named] if train else []
    if len(train) > 1 or len(test) > 2:
        raise ValueError(
            f"The folder {str(root)!r} must have one folder for training and at most "
            "two held-out ones. Received: "
            f"{', '.join(folder.name for folder in train + test)}. Remove some."
        )
    return dict(zip(("train", "test", "validation"), train + test, strict=False))


def _is_hidden(entry: os.DirEntry | Path) -> bool:
    """Whether a file or folder is a program's and not the user's."""
    if entry.name.startswith("__"):
        return os.path.isdir(entry)
    name = entry.name.casefold()
    return name.startswith(".") or name in _HIDDEN or name.endswith(EXPLAINED)


def composed(name: str) -> str:
    """Returns the one form of a name with umlauts, which differs between machines.

    Of a name that is no Unicode the bytes are escaped: no text holds them.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def path_finder() -> Callable[[Path], Path]:
    """Returns a function that gives a path's names the forms that they have on disk.

    It reads each folder at most once. A path that is not there comes back as it is.
    """

    @functools.cache
    def names(folder):
        return {composed(n): n for n in os.listdir(folder)} if folder.is_dir() else {}

    def find(path):
        if os.path.lexists(path) or path == path.parent:
            return path
        folder = find(path.parent)
        return folder / names(folder).get(composed(path.name), path.name)

    return find


def find_images(
    folders: Mapping[Hashable, Path],
) -> tuple[dict[Hashable, list[Path]], dict[str, int]]:
    """Returns the image files below each folder, and counts others by their ending.

    A file that several links lead to counts where it lies, or else where the first
    link is. Links to a folder that holds one of these are not followed.
    """
    found = {key: [] for key in folders}
    others = collections.Counter()
    within = {key: os.path.realpath(folder) for key, folder in folders.items()}
    links, seen = collections.deque(), set()

    def add(key, path, real):
        if real in seen:
            return
        seen.add(real)
        if is_image_file(path):
            found[key].append(path)
        else:
            others[path.suffix.lower() or "(no ending)"] += 1

    def walk(key, folder, real):
        left = [(folder, real)]
        while left:
            folder, real = left.pop()
            if real in seen:
                continue
            seen.add(real)
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if _is_hidden(entry):
                        continue
                    path, place = folder / entry.name, os.path.join(real, entry.name)
                    if entry.is_symlink():
                        links.append((key, path))
                    elif entry.is_dir():
                        left.append((path, place))
                    elif entry.is_file():  # and no pipe, which could be waited for
                        add(key, path, place)

    for key, folder in folders.items():
        if folder.is_symlink():
            links.append((key, folder))
        else:
            walk(key, folder, within[key])
    while links:
        key, path = links.popleft()
        real = os.path.realpath(path)
        if os.path.isfile(real) or not os.path.exists(real):
            add(key, path, real)
        elif os.path.isdir(real) and (
            real == within[key] or not _holds(real, within.values())
        ):
            walk(key, path, real)
    return found, dict(others)


def _holds(folder: str, others: Iterable[str]) -> bool:
    """Whether a folder is one of the others, or one of them lies in it."""
    inside = os.path.join(folder, "")
    return any(other == folder or other.startswith(inside) for other in others)


def open_files(
    name: str,
    root: Path,
    listed: Listed,
    *,
    class_names: tuple[str, ...],
    on_error: str,
    held_out: float,
    multi_label: bool = False,
    left_out: Mapping[str, int] | None = None,
    notes: Iterable[str] = (),
) -> Source:
    """Makes a source of image files with labels; arguments as of `open_source`.

    Args:
        name: The source's, as are `class_names`, `multi_label` and the first `notes`.
        root: Of names in messages, and of those that the order follows from.
        listed: The files and labels of each split; of "train" alone some are held out.
        left_out: What `find_images` counted.

    Raises:
        ValueError: If a file cannot be read, or a class or split has no image.
    """
    files, errors = _checked(root, listed, on_error)
    notes = [*notes]
    if left_out:
        endings = sorted(left_out.items(), key=lambda pair: (-pair[1], pair[0]))
        counts = ", ".join(f"{count} {ending}" for ending, count in endings)
        notes.append(f"Files below {str(root)!r} were left out: {counts}. {ACCEPTED}")
    if errors:
        notes.append(
            f"{len(errors)} images below {str(root)!r} cannot be read and are skipped; "
            f"the first: {errors[0]}"
        )
    if not multi_label:
        present = {file.label for file in files["train"]}
        for label, folder in enumerate(class_names):
            if label not in present:
                raise ValueError(
                    f"The class folder {folder!r} of {str(root)!r} has no image that "
                    f"can be read. Add some or remove the folder. {ACCEPTED}"
                )
    if "test" not in files:
        classes = None if multi_label else class_names
        files, alone = _hold_out(root, files["train"], classes, held_out)
        notes += alone
    if multi_label:
        notes += _unmeasured(root, files, class_names)
    notes += _duplicates(root, files)
    headers = [file.header for file in itertools.chain(*files.values())]
    sizes = {header.size for header in headers}
    channels = 1 if all(header.grey for header in headers) else 3
    image_size = sizes.pop() if len(sizes) == 1 else None
    return Source(
        name=name,
        class_names=class_names,
        splits={split: len(part) for split, part in files.items()},
        channels=channels,
        image_size=image_size,
        multi_label=multi_label,
        skipped=len(errors),
        left_out=left_out or {},
        notes=tuple(notes),
        reader=_FilesReader(files, channels, image_size, multi_label),
    )


class _FilesReader(Reader):
    """Plain JPEG files go through tf.io, everything else through Pillow."""

    record_bytes = 256

    def __init__(self, files, channels, image_size, multi_label):
        self._files = files
        if not multi_label:
            self._files = {k: _in_turn(v, by_share=True) for k, v in files.items()}
        self._channels = channels
        self._image_size = image_size
        self._label_type = np.float32 if multi_label else np.int64

    def records(self, part: Part) -> tf.data.Dataset:
        files = self._files[part.split][part.start : part.stop]
        if self._label_type is np.int64:
            files = _in_turn(files)
        # Names that are no valid Unicode survive as the bytes that they are.
        paths = np.array([os.fsencode(file.path) for file in files], dtype=object)
        plain = np.array([file.header.plain_jpeg for file in files])
        labels = np.array([file.label for file in files], dtype=self._label_type)
        return tf.data.Dataset.from_tensor_slices(((paths, plain), labels))

    def first_unreadable(self) -> str | None:
        pairs = [(f.path, f.label) for f in itertools.chain(*self._files.values())]
        with ThreadPoolExecutor() as pool:
            read = pool.map(functools.partial(_read, whole=True), pairs)
            return next((str(r) for r in read if isinstance(r, Exception)), None)

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


def _read(pair: tuple[Path, Label], *, whole: bool) -> ImageFile | ValueError | OSError:
    """Reads a file's header, or all of it; an error, which names it, is returned."""
    path, label = pair
    try:
        header = check_image(path, whole=whole)
        return ImageFile(path, label, _mark(path), header)
    except (ValueError, OSError) as error:
        return error


def _checked(root, listed, on_error):
    """Returns the readable files in a fixed order, and what is wrong with the others.

    Every file's header is read, or all of it where unreadable ones are skipped.
    """
    files, errors = {}, []
    checked = functools.partial(_read, whole=on_error == "skip")
    with ThreadPoolExecutor() as pool:
        for split, pairs in listed.items():
            files[split], wrong = [], []
            for result in pool.map(checked, _in_fixed_order(root, pairs)):
                if isinstance(result, ImageFile):
                    files[split].append(result)
                elif on_error == "raise":
                    raise result
                else:
                    wrong.append(str(result))
            if not files[split]:
                first = f"The first error: {wrong[0]}" if wrong else "It has none."
                raise ValueError(
                    f"{split!r} of {str(root)!r} must have an image that can be read. "
                    f"{first}"
                )
            errors += wrong
    return files, errors


def _mark(path: Path) -> tuple[int, bytes]:
    """Returns what two files with the same bytes have in common, quickly."""
    with open(path, "rb") as file:
        first = file.read(_MARK_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _MARK_BYTES))
        return size, hashlib.md5(first + file.read(), usedforsecurity=False).digest()


def _in_fixed_order(root, pairs):
    """Returns the files in an order that looks random, by their names alone."""

    def key(pair):
        name = composed(Path(os.path.relpath(pair[0], root)).as_posix())
        return hashlib.sha256(os.fsencode(name)).digest()

    return sorted(pairs, key=key)


def _hold_out(root, files, class_names, share):
    """Splits off the first images, of each class where there are classes; notes."""
    groups = collections.defaultdict(list)
    for file in files:
        groups["" if class_names is None else class_names[file.label]].append(file)
    train, test = [], []
    for _, members in sorted(groups.items()):
        count = held_out_count(share, len(members))
        test += members[:count]
        train += members[count:]
    alone = sorted(name for name, members in groups.items() if len(members) == 1)
    if not test:
        raise ValueError(
            f"The folder {str(root)!r} has only one image in each class, so no image "
            "can be held out. Add images or a test/ folder."
        )
    note = (
        f"These classes of {str(root)!r} have only one image, which is used for "
        f"training and never for testing: {', '.join(alone)}."
    )
    return {"train": train, "test": test}, [note] if alone else []


def _unmeasured(root, files, class_names) -> Iterator[str]:
    """Yields, for each held-out part, the labels that none of its images has."""
    for split in files.keys() - {"train"}:
        has = np.any([file.label for file in files[split]], axis=0)
        if without := [
            name for name, any_ in zip(class_names, has, strict=True) if not any_
        ]:
            yield (
                f"No image of {split!r} in {str(root)!r} has these labels, so nothing "
                f"is measured for them: {', '.join(without)}. Add images with them."
            )


def _duplicates(root: Path, files: Mapping[str, list[ImageFile]]) -> Iterator[str]:
    """Yields, for each held-out part, what it shares with the training images."""
    by_mark = collections.defaultdict(list)
    for file in files["train"]:
        by_mark[file.mark].append(file)
    for split, part in files.items():
        if split == "train":
            continue
        pairs = []
        for file in part:
            own = sha256(file.path) if file.mark in by_mark else None
            same = (f for f in by_mark[file.mark] if own and sha256(f.path) == own)
            pairs += [(file, other) for other in itertools.islice(same, 1)]
        if pairs:
            file, other = (os.path.relpath(f.path, root) for f in pairs[0])
            yield (
                f"{len(pairs)} images of {split!r} in {str(root)!r} are also trained "
                f"on, byte for byte, the first {file!r} as {other!r}: what is measured "
                "on them says nothing about new images."
            )


def _in_turn(files: list[ImageFile], *, by_share: bool = False) -> list[ImageFile]:
    """Orders files by the turns of their classes."""
    labels = [file.label for file in files]
    order = np.lexsort((labels, turns(labels, by_share=by_share)))
    return [files[i] for i in order]
