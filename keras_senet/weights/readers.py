"""Weight files of all formats -> named arrays. Nothing that is read runs code."""

import dataclasses
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_senet.card import KEY, MEMBER, Card

# The largest file of any network here is 0.5 GB; a compressed or sparse array that
# claims to be much larger would only fill the memory.
_MAX_BYTES = 4 * 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawFile:
    """What a file holds, under its own names.

    Attributes:
        arrays: Name -> array, in the file's order.
        format: "weights.h5", "keras", "safetensors", "pth" or "legacy_h5".
        card: Of a file of ours, else None.
    """

    arrays: dict[str, np.ndarray] = dataclasses.field(repr=False)
    format: str
    card: Card | None = None


def read_file(path: str | os.PathLike) -> RawFile:
    """Reads a weight file; its content says which format it is, not its name.

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
        raw = read(path)
    except _Unreadable as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from None
    except (OSError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read, it may be truncated or damaged: "
            f"{_line(error)}"
        ) from None
    if not raw.arrays:
        raise ValueError(f"{str(path)!r} holds no weights.")
    return raw


class _Unreadable(Exception):
    """Why a file is not read, as the end of a sentence."""


def _reader(path: Path) -> Callable[[Path], RawFile]:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise ValueError(f"{str(path)!r} is empty.")
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_h5
    if start.startswith(b"PK\x03\x04"):
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


def _read_h5(path: Path) -> RawFile:
    with h5py.File(path, "r") as file:
        return _read_h5_file(file, path)


def _read_h5_file(file: h5py.File, path: Path) -> RawFile:
    if "layers" in file or "_layer_checkpoint_dependencies" in file:
        header = file.attrs.get(KEY)
        card = None if header is None else Card.parse(header, path)
        arrays = dict(_keras3_arrays(file))
        return RawFile(arrays=arrays, format="weights.h5", card=card)
    group = file.get("model_weights", file)
    if not _names(group, "layer_names"):
        raise _Unreadable("it is an HDF5 file, but not of Keras' weights")
    return RawFile(arrays=dict(_legacy_arrays(group)), format="legacy_h5")


def _keras3_arrays(file: h5py.File) -> Iterator[tuple[str, np.ndarray]]:
    """Keras 3 names groups after classes; each "vars" has the layer's name."""

    def walk(group, names):
        for key in group:
            child = _child(group, key)
            if not isinstance(child, h5py.Group) or key in ("vars", "seed_generator"):
                continue
            own = child["vars"].attrs.get("name") if "vars" in child else None
            path = names if own is None else [*names, own]
            if own is not None:
                arrays = [
                    _array(child["vars"], k) for k in sorted(child["vars"], key=int)
                ]
                for name, array in zip(_variables(key, arrays), arrays, strict=True):
                    yield "/".join([*path, name]), array
            yield from walk(child, path)

    group = "layers" if "layers" in file else "_layer_checkpoint_dependencies"
    yield from walk(file[group], [])


def _variables(group: str, arrays: list[np.ndarray]) -> list[str]:
    """The names of a layer's variables, which the file does not give."""
    if group.startswith("batch_normalization"):
        names = ["gamma", "beta", "moving_mean", "moving_variance"]
        # Inception's normalisations have no scale.
        return names if len(arrays) == 4 else names[1 : 1 + len(arrays)]
    names = ["kernel", "bias"]
    if len(arrays) > len(names):
        return [str(i) for i in range(len(arrays))]
    return names[: len(arrays)]


def _legacy_arrays(group: h5py.Group) -> Iterator[tuple[str, np.ndarray]]:
    """Layers in the file's order, as "LAYER/VARIABLE"."""
    for layer in _names(group, "layer_names"):
        weights = _child(group, layer)
        for name in _names(weights, "weight_names"):
            # "conv2d_1/kernel:0", "conv2d_1_2/kernel:0" or "conv2d_1/conv2d_1/kernel".
            short = name.rpartition("/")[2].partition(":")[0]
            yield f"{layer}/{short}", _array(weights, name)


def _names(group: h5py.Group, key: str) -> list[str]:
    """Reads a list of names, which Keras cuts up where HDF5's limit of 64 kB is."""
    parts = [group.attrs[key]] if key in group.attrs else []
    while f"{key}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{key}{len(parts)}"])
    names = [name for part in parts for name in part]
    return [n.decode() if isinstance(n, bytes) else str(n) for n in names]


def _child(group: h5py.Group, key: str):
    link = group.get(key, getlink=True)
    if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
        raise _Unreadable("it holds links, which are not followed")
    return group[key]


def _array(group: h5py.Group, key: str) -> np.ndarray:
    *folders, last = key.split("/")
    for folder in folders:
        group = _child(group, folder)
    dataset = _child(group, last)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise _Unreadable(f"{key} is no array of the file's own")
    if dataset.nbytes > _MAX_BYTES:
        raise _Unreadable(f"{key} claims to have {dataset.nbytes} bytes")
    return _numeric(key, np.asarray(dataset))


def _numeric(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise _Unreadable(f"{name} has the type {array.dtype}")
    return array


def _read_zip(path: Path) -> RawFile:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if "config.json" not in names:
            if any(name.endswith("/data.pkl") for name in names):
                return _read_torch(path)
            raise _Unreadable("it is a zip file, but neither a .keras nor a .pth")
        if "model.weights.h5" not in names:
            raise _Unreadable("it is a .keras file without model.weights.h5")
        info = archive.getinfo("model.weights.h5")
        if info.file_size > _MAX_BYTES:
            raise _Unreadable(f"its weights claim to have {info.file_size} bytes")
        card = Card.read(path)
        if MEMBER not in names and card is not None and card.architecture is None:
            card = None  # Keras saved a network of other people's.
        # The members are read in place, so that no name in the archive is ever a path.
        with archive.open(info) as member, h5py.File(member, "r") as file:
            raw = _read_h5_file(file, path)
    return dataclasses.replace(raw, format="keras", card=card or raw.card)


def _read_safetensors(path: Path) -> RawFile:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ImportError(
            f"{str(path)!r} needs the package safetensors: pip install safetensors"
        ) from None
    try:
        with safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            card = None if text is None else Card.parse(text, path)
            # In bfloat16 NumPy needs ml_dtypes, which comes with Keras' backends.
            arrays = {
                name: _float32(name, file.get_tensor(name))
                for name in file.keys()  # noqa: SIM118
            }
    except (SafetensorError, TypeError) as error:
        raise _Unreadable(f"truncated or damaged: {_line(error)}") from None
    return RawFile(arrays=arrays, format="safetensors", card=card)


def _float32(name, array):
    array = _numeric(name, array) if array.dtype.kind != "V" else array
    return array.astype("float32") if array.dtype.kind in "fV" else array


def _read_torch(path: Path) -> RawFile:
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{str(path)!r} is a torch file and needs the package torch: pip install "
            "torch (its CPU build will do). Where the same weights exist as "
            ".safetensors or .h5, those need no torch."
        ) from None
    try:
        with warnings.catch_warnings():
            # It warns of pickles that it then refuses.
            warnings.simplefilter("ignore")
            # weights_only is an unpickler that builds tensors and runs nothing.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Its message goes on about how to load the file all the same.
        raise _Unreadable(
            "it holds more than weights, or is damaged; such a file is not loaded: "
            f"{_reason(error)}"
        ) from None
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise _Unreadable(f"truncated or damaged: {_line(error)}") from None
    return RawFile(arrays=dict(_torch_arrays(content)), format="pth")


def _torch_arrays(content: Any) -> Iterator[tuple[str, np.ndarray]]:
    for wrapper in ("state_dict", "model", "state_dict_ema"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise _Unreadable(f"it holds a {type(content).__name__} and no state_dict")
    for name, tensor in content.items():
        if hasattr(tensor, "detach"):
            yield str(name), tensor.detach().cpu().float().numpy()


def _reason(error):
    text = str(error)
    for mark in ("Unsupported global:", "Unsupported class", "Unsupported operand"):
        if mark in text:
            return text[text.index(mark) :].splitlines()[0].split(" was not ")[0]
    return "not torch's format"


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
