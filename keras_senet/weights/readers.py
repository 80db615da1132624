"""Weight files of all formats -> named arrays. Nothing that is read runs code."""

import argparse
import dataclasses
import mmap
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_senet.card import Card
from keras_senet.containers import CONFIG, KEY, h5_header, read_header
from keras_senet.utils.errors import damaged, first_line, short
from keras_senet.utils.files import ImplausibleArchive, check_archive
from keras_senet.weights.claims import MOST_DEPTH, Budget, Unreadable, open_weights

_ZIP = b"PK\x03\x04"

# What trainers put a network's weights under; averages are second choice.
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net"),
    *("state_dict_ema", "model_ema"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawFile:
    """What a file holds, under its own names."""

    arrays: dict[str, np.ndarray] = dataclasses.field(repr=False)  # in its order
    format: str  # "weights.h5", "keras", "safetensors", "pth" or "legacy_h5"
    card: Card | None = None  # of a file of ours


def read_file(path: str | os.PathLike) -> RawFile:
    """Reads a weight file; its content says which format it is, not its name.

    What the file claims to hold is compared with its size before anything is read.

    Args:
        path: A .weights.h5, .keras, .safetensors, .pth, .pth.tar or legacy .h5.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of these formats, or broken.
        ImportError: If the format needs a package that is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {str(path)!r}.")
    read = _reader(path)
    try:
        arrays, format, header = read(path)
    except (ImportError, ImplausibleArchive):
        raise
    except Unreadable as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from None
    # A broken file can raise anything in the libraries that read it.
    except Exception as error:
        raise damaged(path, error) from None
    if not arrays:
        raise ValueError(f"{str(path)!r} has no weights.")
    outer = read_header(path) if format == "keras" else None
    # Keras may have saved another's network, whose card has no row.
    if isinstance(outer, Mapping) and not outer.get("architecture"):
        outer = None
    header = header if outer is None else outer
    card = None if header is None else Card.parse(header, path)
    return RawFile(arrays=arrays, format=format, card=card)


# A file's arrays, its format, and its header before it is parsed.
_Content = tuple[dict[str, np.ndarray], str, Any]


def _reader(path: Path) -> Callable[[Path], _Content]:
    start = _start(path)
    if not start:
        raise ValueError(f"{str(path)!r} is empty.")
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_h5
    if start.startswith(_ZIP):
        return _read_zip
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**27:
        return _read_safetensors
    # Pickle protocol 2 to 5, or a tar archive: the formats of torch before 1.6.
    if start[0] == 0x80 or str(path).endswith((".pth", ".pth.tar", ".pt")):
        return _read_torch
    raise ValueError(
        "`weights` must be a .weights.h5, .keras, .safetensors, .pth or legacy .h5 "
        f"file. Received: {str(path)!r}, which begins with {start[:8]!r}."
    )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _read_h5(path: Path) -> _Content:
    with h5py.File(path, "r") as file:
        return _read_h5_file(file, path)


def _read_h5_file(file: h5py.File, path: Path) -> _Content:
    for key in ("layers", "_layer_checkpoint_dependencies"):
        if key in file.keys():  # noqa: SIM118  `in file` follows links
            datasets = _keras3_datasets(_descend(file, key))
            arrays = _read_datasets(datasets, path)
            return arrays, "weights.h5", h5_header(file)
    group = file
    if "model_weights" in file.keys():  # noqa: SIM118
        group = _descend(file, "model_weights")
    if not _names(group, "layer_names"):
        raise Unreadable("it is an HDF5 file, but not of Keras' weights")
    return _read_datasets(_legacy_datasets(group), path), "legacy_h5", None


def _keras3_datasets(root: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Keras 3 names groups after classes; each "vars" has the layer's name."""
    seen = {root}

    def walk(group, names, depth):
        if depth > MOST_DEPTH:
            raise Unreadable(f"its groups are nested more than {MOST_DEPTH} deep")
        for key in group:
            if key in ("vars", "seed_generator"):
                continue
            child = _descend(group, key)
            if not isinstance(child, h5py.Group):
                continue
            if child in seen:
                raise Unreadable(f"it holds the group {short(child.name)} twice")
            seen.add(child)
            path = names
            if "vars" in child.keys():  # noqa: SIM118
                variables = _descend(child, "vars")
                own = _name(variables)
                if own is not None:
                    path = [*names, own]
                    for name, n in _variables(key, variables):
                        yield "/".join([*path, name]), _descend(variables, n)
            yield from walk(child, path, depth + 1)

    return walk(root, [], 0)


def _name(variables: h5py.Group) -> str | None:
    if "name" not in variables.attrs:
        return None
    is_scalar = variables.attrs.get_id("name").shape == ()
    name = variables.attrs["name"] if is_scalar else None
    if not isinstance(name, str):
        raise Unreadable(f"the name of {short(variables.name)} is not a text")
    return name


def _variables(kind: str, variables: h5py.Group) -> Iterable[tuple[str, str]]:
    """Names of a layer's variables, which the file does not give, and their keys."""
    keys = [str(i) for i in range(len(variables))]
    if set(variables) != set(keys):
        raise Unreadable(
            f"the variables in {short(variables.name)} are not numbered from 0"
        )
    names = ["kernel", "bias"]
    if kind.startswith("batch_normalization"):
        names = ["gamma", "beta", "moving_mean", "moving_variance"]
        # Inception's normalisations have no scale.
        names = names if len(keys) == 4 else names[1:]
    return zip(names if len(keys) <= len(names) else keys, keys, strict=False)


def _legacy_datasets(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Layers in the file's order, as "LAYER/VARIABLE"."""
    for layer in _names(group, "layer_names"):
        weights = _descend(group, layer)
        for name in _names(weights, "weight_names"):
            # "conv2d_1/kernel:0", "conv2d_1_2/kernel:0" or "conv2d_1/conv2d_1/kernel".
            short = name.rpartition("/")[2].partition(":")[0]
            yield f"{layer}/{short}", _descend(weights, name)


def _names(group: h5py.Group, key: str) -> list[str]:
    """Reads a list of names, which Keras cuts up where HDF5's limit of 64 kB is."""
    keys = [key] if key in group.attrs else []
    while f"{key}{len(keys)}" in group.attrs:
        keys.append(f"{key}{len(keys)}")
    names = []
    for part in keys:
        attribute = group.attrs.get_id(part)
        count, kind = int(np.prod(attribute.shape)), attribute.dtype.kind
        # Texts of any length lie elsewhere in the file, and all of them may be one.
        shared = kind == "O" and count * _longest_text(group.file) > 2**32
        if count and (kind not in "SO" or shared):
            raise Unreadable(f"{key} of {short(group.name)} is no list of texts")
        names += np.ravel(group.attrs[part]).tolist() if count else []
    return [n.decode() if isinstance(n, bytes) else str(n) for n in names]


def _longest_text(file: h5py.File) -> int:
    """The bytes that one text of any length has at most: those of its heap."""
    size = file.id.get_filesize()
    if size < 2**20 or not os.path.isfile(file.filename):
        return size
    with (
        open(file.filename, "rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        # A collection's signature, version and reserved bytes, then its size.
        heaps = re.finditer(rb"GCOL\x01\0\0\0(.{8})", content, re.DOTALL)
        sizes = [int.from_bytes(heap.group(1), "little") for heap in heaps]
    return min(size, max(sizes, default=0))


def _descend(group: h5py.Group, path: str):
    """What is under a path in a group, along links to the file's own objects only."""
    for part in path.split("/"):
        link = part.encode("utf-8", "surrogateescape")
        if not isinstance(group, h5py.Group) or not group.id.links.exists(link):
            raise Unreadable(f"it has no {short(path)}")
        if group.id.links.get_info(link).type != h5py.h5l.TYPE_HARD:
            raise Unreadable("it holds links, which are not followed")
        group = group[part]
    return group


def _read_datasets(
    datasets: Iterable[tuple[str, Any]], path: Path
) -> dict[str, np.ndarray]:
    datasets, budget = list(datasets), Budget(path)
    for name, dataset in datasets:
        own = isinstance(dataset, h5py.Dataset)
        if not own or dataset.external or dataset.is_virtual or dataset.shape is None:
            raise Unreadable(f"{short(name)} is no array of the file's own")
        if dataset.dtype.kind not in "fiu":
            raise Unreadable(f"{short(name)} has the type {dataset.dtype}")
        budget.take_dataset(name, dataset)
    return {name: np.asarray(dataset) for name, dataset in datasets}


def _read_zip(path: Path) -> _Content:
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if CONFIG not in names:
            if any(name.endswith("/data.pkl") for name in names):
                return _read_torch(path)
            raise Unreadable("it is a zip file, but neither a .keras nor a .pth")
        with open_weights(archive) as file:
            arrays, _, header = _read_h5_file(file, path)
    return arrays, "keras", header


# In bfloat16 NumPy needs ml_dtypes, which comes with Keras' backends.
_SAFETENSORS = {"F64", "F32", "F16", "BF16"}
_SAFETENSORS |= {f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)}


def _read_safetensors(path: Path) -> _Content:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ImportError(
            f"{str(path)!r} needs the package safetensors: pip install safetensors"
        ) from None
    try:
        with safe_open(path, "numpy") as file:
            header = (file.metadata() or {}).get(KEY)
            names = list(file.keys())  # all of them, before one is read
            for name in names:
                kind = file.get_slice(name).get_dtype()
                if kind not in _SAFETENSORS:
                    raise Unreadable(f"{short(name)} has the type {kind}")
            arrays = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise Unreadable(f"truncated or damaged: {first_line(error)[:200]}") from None
    for name, array in arrays.items():
        if array.dtype.kind in "fV":
            arrays[name] = array.astype("float32")
    return arrays, "safetensors", header


def _read_torch(path: Path) -> _Content:
    _check_pickle(path)
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{str(path)!r} needs the package torch: pip install torch (the CPU build "
            "is enough). A .safetensors or .h5 file of the same weights does not."
        ) from None
    try:
        # What trainers keep of their command line has values and no code.
        known = torch.serialization.safe_globals([argparse.Namespace])
        with warnings.catch_warnings(), known:
            # It warns of pickles that it then refuses.
            warnings.simplefilter("ignore")
            # weights_only is an unpickler that builds tensors and runs nothing.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Its message goes on about how to load the file all the same.
        raise Unreadable(
            "it holds more than weights, or is damaged; such a file is not loaded: "
            f"{_reason(error)}"
        ) from None
    tensors, budget = list(_torch_tensors(content)), Budget(path)
    for name, tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise Unreadable(f"{short(name)} is sparse or quantized, not an array")
        if tensor.is_complex() or tensor.device.type != "cpu":
            raise Unreadable(f"{short(name)} has no real values")
        budget.take(name, 4 * tensor.numel())
    arrays = {name: tensor.detach().float().numpy() for name, tensor in tensors}
    return arrays, "pth", None


def _check_pickle(path: Path) -> None:
    """Refuses a pickle that has torch's unpickler fill memory of any size.

    Of two members with one name torch may read either, and capitals are no difference.
    """
    if _start(path).startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            found = any(
                b"bytearray" in archive.read(info)
                for info in archive.infolist()
                if info.filename.lower().endswith("data.pkl")
            )
    else:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            found = content.find(b"bytearray") >= 0
    if found:
        raise Unreadable("it holds more than weights; such a file is not loaded")


def _torch_tensors(content: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(content, dict):
        raise Unreadable(f"it holds a {type(content).__name__} and no state_dict")
    found = _state(content)
    if found is None:
        keys = ", ".join(short(str(key)) for key in list(content)[:10]) or "none"
        raise Unreadable(
            "no weights are at its top or under one of the keys "
            f"{', '.join(_WRAPPERS)}. Its keys: {keys}"
        )
    for name, tensor in found.items():
        if hasattr(tensor, "detach"):
            if not isinstance(name, str):
                raise Unreadable(f"an array's name is a {type(name).__name__}")
            yield name, tensor


def _state(content: Any, depth: int = 3) -> dict | None:
    """The network's weights in a checkpoint, whose wrappers may hold others."""
    if not isinstance(content, dict):
        return None
    for wrapper in _WRAPPERS if depth else ():
        found = _state(content.get(wrapper), depth - 1)
        if found is not None:
            return found
    has_weights = any(hasattr(value, "detach") for value in content.values())
    return content if has_weights else None


def _reason(error):
    text = str(error)
    for mark in ("Unsupported global:", "Unsupported class", "Unsupported operand"):
        if mark in text:
            return text[text.index(mark) :].splitlines()[0].split(" was not ")[0]
    return "not torch's format"
