"""What a file of weights claims to hold, compared with its size before it is read."""

import contextlib
import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_senet.containers import CONFIG, WEIGHTS, small_member
from keras_senet.utils.errors import short
from keras_senet.utils.files import (
    ImplausibleArchive,
    check_archive,
    parse_json,
    plausible_size,
)

# Groups in groups; each model within another is two.
MOST_DEPTH = 64
# What layers of Keras call the sizes of their arrays.
_WIDTHS = {
    *("units", "filters", "depth_multiplier", "input_dim", "output_dim"),
    *("num_heads", "key_dim", "value_dim"),
}


class Unreadable(Exception):
    """Why a file is not read, as the end of a sentence."""


class Budget:
    """How many bytes the arrays of a file may still claim to have."""

    def __init__(self, path: Path):
        self.size, self.left = path.stat().st_size, plausible_size(path)

    def take(self, name: str, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise Unreadable(
                f"{short(name)} claims to have {size} bytes, more than is left "
                f"of what a file of {self.size} bytes can hold"
            )

    def take_dataset(self, name: str, dataset: h5py.Dataset) -> None:
        """Takes the bytes of an HDF5 array, of which a chunk is unpacked as a whole."""
        chunk = np.prod(dataset.chunks or (0,), dtype="float64")
        claimed = max(dataset.nbytes, int(chunk * dataset.dtype.itemsize))
        self.take(name, claimed)


@contextlib.contextmanager
def open_weights(archive: zipfile.ZipFile) -> Iterator[h5py.File]:
    """Opens the HDF5 file in a .keras file.

    It is read in place, so that no name in the archive is ever a path.

    Raises:
        Unreadable: If there is none.
    """
    info = {member.filename: member for member in archive.infolist()}.get(WEIGHTS)
    if info is None or not info.file_size:
        raise Unreadable(f"its {WEIGHTS} is missing or empty")
    with archive.open(info) as member:
        if info.compress_type != zipfile.ZIP_STORED:
            # In a compressed file each step back starts again from the beginning.
            member = io.BytesIO(member.read())
        with h5py.File(member, "r") as file:
            yield file


def check_keras_file(path: Path) -> None:
    """Refuses a .keras file whose arrays or layers claim more than it can hold.

    Raises:
        ImplausibleArchive: If they do, or it has no arrays.
        zipfile.BadZipFile: If it is no archive; what else is wrong Keras says.
    """
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        if CONFIG not in archive.namelist():
            return
        content = small_member(archive, CONFIG, path)
        try:
            _check_widths(content, _count_values(archive, path))
        except Unreadable as error:
            raise ImplausibleArchive(f"{str(path)!r} is not opened: {error}.") from None


def _count_values(archive: zipfile.ZipFile, path: Path) -> int:
    """How many values its arrays have; 0 where the file is none, as Keras will say."""
    budget, values = Budget(path), 0
    try:
        with open_weights(archive) as file:
            for name, dataset in _datasets(file):
                budget.take_dataset(name, dataset)
                values += dataset.size
    except (OSError, RuntimeError, LookupError, TypeError, ValueError):
        return 0
    return values


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the arrays of a file, each once, and none behind a link out of it."""
    left, seen = [(file, 0)], {file}
    while left:
        group, depth = left.pop()
        if depth > MOST_DEPTH:
            raise Unreadable(f"its groups are nested more than {MOST_DEPTH} deep")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            if item in seen:
                continue
            seen.add(item)
            if isinstance(item, h5py.Group):
                left.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset) and item.shape is not None:
                yield name, item


def _check_widths(content: bytes, values: int) -> None:
    """Compares a configuration's layers with the number of values in the file.

    A layer has about as many as its width times that of the one before, or fewer.
    """
    try:
        config = parse_json(content, CONFIG, None)
    except ValueError:
        return  # Keras says so
    most = 2**26 + 64 * values
    if sum(a * b for a, b in itertools.pairwise([1, *_widths(config)])) > most:
        raise Unreadable(
            f"its layers claim to have more than {most} weights, and it holds {values}"
        )


def _widths(config: Any) -> Iterator[int]:
    left = [config]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += reversed(part)
        elif isinstance(part, dict):
            left += reversed(part.values())
            for name, value in part.items():
                if name in _WIDTHS and isinstance(value, int) and value > 0:
                    # From each unit of a recurrent layer there is a way to each.
                    yield from [value] * (1 + ("recurrent_initializer" in part))
