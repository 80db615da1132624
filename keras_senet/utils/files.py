"""Files appear under their final name only when they are whole."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
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


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
