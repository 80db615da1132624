"""Files appear under their final name only when they are whole."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike, *, overwrite: bool = False, what: str = "file"
) -> Iterator[Path]:
    """Yields a path beside `path` to write to, and renames it when all went well.

    The temporary path has the same name (and so the same suffix) as the final one
    and lies in a hidden folder beside it. It may become a file or a folder. When
    the block raises, what was written is removed and `path` is left as it was. A
    file takes the place of a file only, a folder that of a folder.

    Args:
        path: The final path.
        overwrite: Whether an existing `path` is replaced.
        what: What is written, for the error message ("SavedModel", "file").

    Raises:
        ValueError: If `path` exists and `overwrite` is False, or it is a folder and a
            file was written, or the other way round.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise ValueError(
            f"The {what} must not exist yet. Received: {str(path)!r}, which exists. "
            "Choose another path or remove it first."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = folder / path.name
        yield temporary
        _check_kind(temporary, path, what)
        _replace(temporary, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_kind(source: Path, target: Path, what: str) -> None:
    if target.exists() and source.is_dir() != target.is_dir():
        kinds = ("folder", "file") if source.is_dir() else ("file", "folder")
        raise ValueError(
            f"The {what} must replace a {kinds[0]}. Received: {str(target)!r}, which "
            f"is a {kinds[1]}. Choose another path or remove it first."
        )


def _replace(source: Path, target: Path) -> None:
    if not target.is_dir():
        os.replace(source, target)
        return
    # A folder cannot be replaced in one step: set the old one aside, then rename.
    aside = source.with_name(f"{source.name}.replaced")
    try:
        target.rename(aside)
        os.replace(source, target)
    except BaseException:
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise


def write_json(
    path: str | os.PathLike, value: object, *, overwrite: bool = False
) -> None:
    """Writes JSON text; `overwrite` and errors as of `atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as file:
        file.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def parse_json(content: str | bytes, what: str, deepest: int | None = 32) -> object:
    """Returns the value of a JSON text that anybody may have written.

    Args:
        content: The text.
        what: What it is, the beginning of a message.
        deepest: How deep it may be nested; None is any depth.

    Raises:
        ValueError: If it is no JSON, or nested deeper.
    """
    try:
        value = json.loads(content)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{what} is not JSON: {error}") from None
    if deepest is not None:
        check_depth(value, what, deepest)
    return value


def check_depth(value: object, what: str, deepest: int = 32) -> None:
    """Raises ValueError for a JSON value that is nested deeper."""
    level = [value]
    for _ in range(deepest + 1):
        level = [
            item
            for part in level
            if isinstance(part, Mapping | list | tuple)
            for item in (part.values() if isinstance(part, Mapping) else part)
        ]
    if level:
        raise ValueError(f"{what} is nested more than {deepest} deep.")


def read_json(path: str | os.PathLike) -> object:
    """Returns the value of a JSON file that anybody may have written.

    Raises:
        ValueError: If it is no JSON, or more than any of ours.
        OSError: If it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(2**24 + 1)
    if len(content) > 2**24:
        raise ValueError(f"{str(path)!r} is larger than 16 MB.")
    return parse_json(content.removeprefix(b"\xef\xbb\xbf"), repr(str(path)))


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plausible_size(path: str | os.PathLike) -> int:
    """Returns how many bytes the contents of a file of weights may claim to have.

    Weights hardly become smaller by compression. 64 MiB and 64 times the file leave
    room for any honest one, and no network here has 4 GiB.
    """
    return min(2**32, 2**26 + 64 * Path(path).stat().st_size)


class ImplausibleArchive(ValueError):
    """A zip archive that claims to hold more than it can."""


def check_archive(path: str | os.PathLike) -> None:
    """Raises ImplausibleArchive for a zip archive that claims more than it can hold.

    A member never unpacks to more than it says.
    """
    with zipfile.ZipFile(path) as archive:
        claimed = sum(member.file_size for member in archive.infolist())
    if claimed > plausible_size(path):
        raise ImplausibleArchive(
            f"{str(path)!r} is not opened: it claims to unpack to {claimed} bytes, "
            f"which a file of {Path(path).stat().st_size} bytes cannot hold."
        )
