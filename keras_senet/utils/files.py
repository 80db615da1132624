"""Files appear under their final name only when they are whole."""

import contextlib
import csv
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from keras_senet.utils.names import in_csv

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Whose a folder is that `locked_folder` locks.
HOLDER = ".running"


class DiskFull(OSError):
    """A file that could not be written because there is no room for it."""


@contextlib.contextmanager
def disk_full_explained(path: str | os.PathLike) -> Iterator[None]:
    """Makes any library's error a one-line `DiskFull` where a path has no room."""
    try:
        yield
    except DiskFull as error:
        # Of what `atomic_path` has for the path while it is written.
        place = os.path.join(os.path.dirname(path), "")
        hidden = re.escape(f"{place}.{os.path.basename(path)}.") + r"\w{8}[/\\]"
        raise DiskFull(re.sub(hidden, lambda _: place, str(error))) from error
    except Exception as error:
        full = _full_disk(error)
        if full is None:
            raise
        raise DiskFull(f"{str(path)!r} could not be written: {full}.") from error


def _full_disk(error: BaseException | None) -> str | None:
    """Returns what the system says of a full disk in an error or behind it."""
    while error is not None:
        for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            text = os.strerror(number)
            if getattr(error, "errno", None) == number or text in str(error):
                return text
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike,
    *,
    overwrite: bool = False,
    what: str = "file",
) -> Iterator[Path]:
    """Yields a path beside `path` to write to, and renames it when all went well.

    The temporary path has the same name (and so the same suffix) as the final one
    and lies in a hidden folder beside it. It may become a file or a folder. When
    the block raises, what was written is removed and `path` is left as it was. A
    file takes the place of a file only, a folder that of a folder.

    What a killed process left beside `path` is removed first; where it was killed
    between the two steps in which a folder is replaced, the new one takes its place.

    Args:
        path: The final path.
        overwrite: Whether an existing `path` is replaced.
        what: What is written, for the error message ("SavedModel", "file").

    Raises:
        ValueError: If `path` exists and `overwrite` is False, or it is a folder and a
            file was written, or the other way round.
        DiskFull: If there is no room.
    """
    path = Path(path)
    _clear_leftovers(path)
    if path.exists() and not overwrite:
        raise ValueError(
            f"The {what} must not exist yet. Received: {str(path)!r}, which exists. "
            "Choose another path or remove it first."
        )
    with disk_full_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _own_folder(f".{path.name}.", path.parent) as folder:
            temporary = folder / path.name
            yield temporary
            _check_kind(temporary, path, what)
            _replace(temporary, path)


@contextlib.contextmanager
def atomic_openvino(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields where to write OpenVINO's .xml file, and its .bin file beside it.

    As `atomic_path`, for two files: there is never an .xml file with the weights of
    another one beside it.
    """
    weights = path.with_suffix(".bin")
    if weights.exists() and not overwrite:
        raise ValueError(
            f"The file of weights must not exist yet. Received: {str(path)!r}, but "
            f"{str(weights)!r} exists. Choose another path or remove the file."
        )
    with atomic_path(path, overwrite=overwrite, what="OpenVINO file") as temporary:
        yield temporary
        if path.is_file():
            path.unlink()
        os.replace(temporary.with_suffix(".bin"), weights)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yields a new folder where the system has temporary files, and removes it.

    What killed processes left there is removed first.
    """
    place = Path(tempfile.gettempdir())
    for folder in _nobodys("keras-senet-", place):
        shutil.rmtree(folder, ignore_errors=True)
    with _own_folder("keras-senet-", place) as folder:
        yield folder


@contextlib.contextmanager
def _locked(folder: str | os.PathLike) -> Iterator[None]:
    """Has the system's lock of a folder; it ends with the process, killed or not.

    Raises a BlockingIOError if another one has it, and another OSError if there is no
    such folder, or its file system has no locks.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _own_folder(prefix: str, place: Path) -> Iterator[Path]:
    """Yields a new folder, locked, and removes it."""
    with contextlib.ExitStack() as lock:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
            try:
                lock.enter_context(_locked(folder))
            except (BlockingIOError, FileNotFoundError):
                continue  # Another process took it for a leftover.
            except OSError:
                pass  # a file system without locks
            if folder.exists():
                break
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _nobodys(prefix: str, place: Path) -> Iterator[Path]:
    """Yields the folders of `_own_folder` that killed processes left, each locked."""
    kind = re.compile(re.escape(prefix) + "[a-z0-9_]{8}")
    try:
        found = [e.path for e in os.scandir(place) if kind.fullmatch(e.name)]
    except OSError:
        return
    for folder in found if fcntl else ():
        with contextlib.suppress(OSError), _locked(folder):
            yield Path(folder)


def _clear_leftovers(path: Path) -> None:
    """Ends what killed processes began to write with `atomic_path`."""
    names = {path.name, f"{path.name}.replaced"}
    for folder in _nobodys(f".{path.name}.", path.parent):
        with contextlib.suppress(OSError):
            if not {e.name for e in folder.iterdir()} <= names:
                continue
            # It was about to be renamed, so it is whole.
            if (folder / f"{path.name}.replaced").exists() and not path.exists():
                for name in sorted(names):
                    if (folder / name).exists() and not path.exists():
                        os.replace(folder / name, path)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked_folder(folder: str | os.PathLike, what: str) -> Iterator[None]:
    """Keeps others that call this out of an existing folder while the block runs.

    The file `HOLDER` in it says whose it is. Raises a BlockingIOError if another
    process is in it, or another thread; `what` is the folder, for the message.
    """
    holder = Path(folder) / HOLDER
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(_locked(folder))
        except BlockingIOError:
            try:
                name = holder.read_text("utf-8")[:200]
            except OSError:
                name = "another process"
            raise BlockingIOError(
                f"The {what} must be used by one at a time. Received: {str(folder)!r}, "
                f"which {name!r} is using. Wait until it has ended, or choose another."
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        try:
            with disk_full_explained(holder):
                name = f"process {os.getpid()} on {platform.node()}"
                holder.write_text(name, "utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)


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
        text = json.dumps(value, indent=1, ensure_ascii=False)
        file.write_text(f"{text}\n", encoding="utf-8")


def parse_json(content: str | bytes, what: str, deepest: int | None = 32) -> object:
    """Returns the value of a JSON text that anybody may have written.

    Raises a ValueError, which begins with `what` it is, if it is no JSON, or nested
    deeper than `deepest`, where that is not None.
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

    Raises a ValueError if it is no JSON, or more than any of ours.
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
    room for any honest small one, and twice the file for any of several GiB.
    """
    size = Path(path).stat().st_size
    return max(2 * size, min(2**32, 2**26 + 64 * size))


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


def write_csv(path: Path, rows: Iterable[Sequence]) -> Path:
    """Writes rows of values, the head first, replacing an older file."""
    with (
        atomic_path(path, overwrite=True) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(map(in_csv, row) for row in rows)
    return path
