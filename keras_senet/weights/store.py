"""A preset -> a verified file on this machine."""

import contextlib
import functools
import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import keras

from keras_senet.utils.files import sha256, write_json
from keras_senet.weights import repository
from keras_senet.weights.presets import File, Preset
from keras_senet.weights.shipped import shipped_folder

_CHUNK = 2**20
_TIMEOUT = 30
_TRIES = 5
MIRROR = "KERAS_SENET_WEIGHTS_MIRROR"
_HUB = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/main/(.+)")


class _Transient(Exception):
    """A download that broke off and can be taken up again."""


class _WrongContent(OSError):
    """A download that is not the file: its hash is another, or its format."""


def cache_folder() -> Path:
    """Returns the folder of downloaded weights, inside Keras' own cache."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home).expanduser() / "models" / "keras_senet"


def fetch(preset: Preset) -> Path:
    """Returns a preset's file, fetched if need be and always verified.

    The formats are tried in the record's order. `KERAS_SENET_WEIGHTS_MIRROR`, a URL or
    a folder with the files under the names of the records, replaces the publishers.
    Where huggingface_hub is installed, files of the hub lie in its cache.

    Raises:
        OSError: If no file can be had; its one line says why.
    """
    for file in preset.files:
        if not file.url:
            return fetch_anywhere(file)
        path = cache_folder() / file.name
        if is_intact(path, file):
            return path
    problems = []
    for file in preset.files:
        try:
            return fetch_anywhere(file)
        except OSError as error:
            problems.append(str(error))
            if _is_for_hub(file) and repository.is_offline():
                break
    raise OSError(
        f"The weights {preset.name!r} cannot be downloaded: {'; '.join(problems)}. If "
        f"you have the file, use weights=PATH. To use a mirror, set {MIRROR}."
    )


def fetch_anywhere(file: File) -> Path:
    """Returns one file, verified: of the package, of the hub's cache, or of Keras'.

    Raises:
        OSError: If it cannot be had; its one line says why.
    """
    if not file.url:
        path = shipped_folder() / file.name
        if is_intact(path, file):
            return path
        raise OSError(
            f"{str(path)!r}, a part of keras_senet, is missing or damaged. "
            "Install the package again: pip install --force-reinstall ."
        )
    if _is_for_hub(file):
        name, path = _HUB.fullmatch(file.url).groups()
        return repository.Repository(name=name).fetch(path)
    return fetch_file(file)


def _is_for_hub(file):
    """Whether huggingface_hub has the file to fetch."""
    on_hub = not os.environ.get(MIRROR) and _HUB.fullmatch(file.url)
    return bool(on_hub) and repository.is_installed()


def fetch_file(file: File, folder: Path | None = None) -> Path:
    """Returns one file of the cache, by default Keras', fetched if need be.

    Raises:
        OSError: If it cannot be fetched or is not the file of the record.
    """
    folder = cache_folder() if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.name
    with _lock(folder / f".{file.name}.lock"):
        if is_intact(path, file):
            return path
        if path.is_file():
            known = _expected_hash(path, file)[1] is not None
            what = "is damaged" if known else "has no known hash"
            _say(f"{path} {what} and is downloaded again")
        part = folder / f".{file.name}.part"
        try:
            _obtain(file, part)
            _verify(part, file, path)
        except _WrongContent:
            part.unlink(missing_ok=True)
            raise
        _record_hash(part, path, file)
        os.replace(part, path)
    return path


def is_intact(path: Path, file: File) -> bool:
    """Whether a file is there and is the record's, or the one first fetched."""
    kind, expected = _expected_hash(path, file)
    there = expected is not None and path.is_file()
    return there and _hash(path, kind).startswith(expected)


def _expected_hash(path, file):
    """The kind and the value of the record's hash, or that of the first download."""
    if file.md5 and not file.sha256:
        return "MD5", file.md5
    return "SHA-256", file.sha256 or _first_hash(path)


def _first_hash(path):
    """The SHA-256 of the first download, where no publisher gave one, or None."""
    try:
        first = json.loads(_sidecar(path).read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return first if re.fullmatch("[0-9a-f]{64}", str(first)) else None


def _hash(path, kind):
    if kind == "SHA-256":
        return sha256(path)
    # The publisher's choice; it guards against damage, not against forgery.
    md5 = functools.partial(hashlib.md5, usedforsecurity=False)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, md5).hexdigest()


def source_of(file: File) -> str:
    """Returns the URL or path a file is fetched from."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return file.url
    if urllib.parse.urlsplit(mirror).scheme in ("http", "https"):
        return f"{mirror.rstrip('/')}/{urllib.parse.quote(file.name)}"
    return str(Path(mirror).expanduser() / file.name)


def _obtain(file, part):
    source = source_of(file)
    if urllib.parse.urlsplit(source).scheme not in ("http", "https"):
        _copy(Path(source), part)
        return
    for attempt in range(1, _TRIES + 1):
        try:
            _download(source, part)
            return
        except _Transient as error:
            size = part.stat().st_size if part.exists() else 0
            if attempt == _TRIES:
                raise OSError(
                    f"The download of {source} stopped {attempt} times, the last time "
                    f"after {size} bytes: {error}. Try again to resume it"
                ) from None


def _copy(source, part):
    try:
        shutil.copyfile(source, part)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(f"{source} cannot be copied: {error.strerror or error}") from None


def _download(url, part):
    """Fetches a URL, from where an earlier attempt stopped if the server can."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "keras-senet", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={done}-"} if done else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            # The part is whole, or of another file: start again.
            part.unlink()
            raise _Transient("the server has no such range") from None
        if error.code >= 500:
            raise _Transient(f"HTTP {error.code}") from None
        raise OSError(f"{url} answered HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise OSError(f"{url} cannot be reached: {error.reason}") from None
    except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise _Transient(str(error) or type(error).__name__) from None
    with response:
        if response.status != 206:
            done = 0
        elif done and _first_byte(response) != done:
            part.unlink()
            raise _Transient("the server sent another range than was asked for")
        length = response.headers.get("Content-Length", "")
        # What is no number is no promise; the end of the file shows in its hash.
        total = done + int(length) if re.fullmatch("[0-9]{1,18}", length) else None
        _write(response, part, done, total, url)


def _first_byte(response):
    """Where the range begins that a server sends, or None where it does not say."""
    found = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    return found and int(found.group(1))


def _write(response, part, done, total, url):
    _say(f"Downloading {url}")
    shown = int(sys.stdout.isatty() and total is not None)
    bar = keras.utils.Progbar(total, verbose=shown, unit_name="byte")
    # Without a buffer, which on a full disk would fail once more at close.
    with _opened(part, "ab" if done else "wb", buffering=0) as writer:
        for chunk in _chunks(response):
            view = memoryview(chunk)
            try:
                while view:
                    view = view[writer.write(view) :]
            except OSError as error:
                with contextlib.suppress(OSError):
                    part.unlink()
                raise OSError(
                    f"{part.parent} cannot hold {url}: {error.strerror}"
                ) from None
            done += len(chunk)
            bar.update(done)
    if total is not None and done < total:
        raise _Transient(f"{done} of {total} bytes came")


def _chunks(response):
    """Yields what a server sends, also what came before the connection broke off."""
    try:
        yield from iter(lambda: response.read(_CHUNK), b"")
    except http.client.IncompleteRead as error:
        yield error.partial
        raise _Transient("the connection broke off") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Transient(str(error) or type(error).__name__) from None


def _opened(path, mode, **options):
    try:
        return path.open(mode, **options)
    except OSError as error:
        raise OSError(f"{path.parent} cannot be written: {error.strerror}") from None


def _verify(part, file, path):
    """Raises unless a download is the file of the record, which is to be at a path."""
    kind, expected = _expected_hash(path, file)
    if expected is None:
        if _may_be(part, file.name):
            return
        raise _WrongContent(
            f"{source_of(file)} is not a whole {Path(file.name).suffix} file, but "
            "perhaps the page of a portal or a proxy"
        )
    found = _hash(part, kind)
    if found.startswith(expected):
        return
    text = (
        f"{source_of(file)} is not the published file: its {kind} must begin with "
        f"{expected} and is {found}"
    )
    if not (file.sha256 or file.md5):
        text += (
            ". That is the hash of the first download; if the publisher has a new "
            f"file, delete {str(_sidecar(path))!r}"
        )
    raise _WrongContent(text)


def _may_be(part, name):
    """Whether a file begins as its name says, and is as long as it says itself."""
    with open(part, "rb") as reader:
        start = reader.read(8)
        if not name.endswith(".safetensors"):
            return not start.lstrip().startswith(b"<")
        length = int.from_bytes(start, "little")
        if length > part.stat().st_size:
            return False
        try:
            tensors = json.loads(reader.read(length))
            tensors.pop("__metadata__", None)
            end = max(tensor["data_offsets"][1] for tensor in tensors.values())
            return 8 + length + end == part.stat().st_size
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return False


def _record_hash(part, path, file):
    """Writes the file's SHA-256 beside it; for later, it is then the file's hash."""
    digest = sha256(part)
    trusted = not (file.sha256 or file.md5)
    if trusted and _first_hash(path) is None:
        _say(
            f"{file.name}: the publisher gives no hash, so this first download is "
            f"trusted. From now on, its SHA-256 must be {digest}"
        )
    record = {"sha256": digest, "url": source_of(file), "trusted_first": trusted}
    write_json(_sidecar(path), record, overwrite=True)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256.json")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Lets one process at a time through; the system frees it if that one dies."""
    with _opened(path, "a+b") as file:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(line):
    print(line, file=sys.stderr, flush=True)
