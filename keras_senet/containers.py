"""How the files of models carry a header, JSON that other readers leave alone.

.weights.h5   the attribute "keras_senet" of the root
.keras        the member "keras_senet.json" of the zip archive
.tflite       the same member of a zip archive behind the flatbuffer
SavedModel    the file assets.extra/keras_senet.json
hub folder    config.json
.onnx         the metadata property "keras_senet"
OpenVINO      the entry "keras_senet" of the .xml file's rt_info
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

from keras_senet.utils.errors import damaged
from keras_senet.utils.files import (
    ImplausibleArchive,
    parse_json,
    read_json,
    write_json,
)

KEY = "keras_senet"
MEMBER = "keras_senet.json"
FOLDER = "assets.extra"  # TensorFlow leaves it to the users of a SavedModel.
# In a folder of `save_pretrained` and in a .keras file.
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
RUN_MODEL = "model.keras"  # in the folder of a training run
# Of files for other runtimes, by the names of their kinds; a SavedModel is a folder.
SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
# Of all files that are models, and what a folder of each kind holds.
ENDINGS = {"keras": ".keras", "weights": ".weights.h5", **SUFFIXES}
_FOLDERS = {"pretrained": CONFIG, "run": RUN_MODEL, "saved_model": "saved_model.pb"}
*_most, _last = ENDINGS.values()
MODELS = (  # for messages
    "a run folder, a folder of save_pretrained, a SavedModel folder, or a "
    f"{', '.join(_most)} or {_last} file"
)


def kind_of(path: str | os.PathLike) -> str | None:
    """Returns the kind of a model: of a folder by what it holds, of a file by its name.

    That is a key of `ENDINGS`, "pretrained" (a folder of `save_pretrained`), "run",
    "saved_model", or None for anything else.
    """
    path = Path(path)
    if path.is_dir():
        kinds = (kind for kind, name in _FOLDERS.items() if (path / name).is_file())
    else:
        kinds = (k for k, ending in ENDINGS.items() if path.name.endswith(ending))
    return next(kinds, None)


def write_header(path: str | os.PathLike | BinaryIO, header: Mapping[str, Any]) -> None:
    """Adds a header to an existing file or folder; arguments as of `Card.write`."""
    name = Path(str(path))
    text = json.dumps(header, ensure_ascii=False, indent=1) + "\n"
    is_folder = not isinstance(path, io.IOBase) and name.is_dir()
    if is_folder and (name / CONFIG).is_file():
        config = {**read_json(name / CONFIG), **header}
        write_json(name / CONFIG, config, overwrite=True)
    elif is_folder:
        folder = name / FOLDER
        folder.mkdir(exist_ok=True)
        (folder / MEMBER).write_text(text, encoding="utf-8")
    elif name.name.endswith(".h5"):
        import h5py

        with h5py.File(path, "r+") as file:
            file.attrs[KEY] = json.dumps(header)
    elif name.suffix == ".onnx":
        import onnx

        model = onnx.load(path)
        others = {prop.key: prop.value for prop in model.metadata_props}
        onnx.helper.set_model_props(model, {**others, KEY: text})
        onnx.save(model, path)
    elif name.suffix == ".xml":
        tree = ElementTree.parse(path)
        facts = tree.find("rt_info")
        if facts is None:
            facts = ElementTree.SubElement(tree.getroot(), "rt_info")
        for old in facts.findall(KEY):
            facts.remove(old)
        ElementTree.SubElement(facts, KEY, value=json.dumps(header))
        tree.write(path, "utf-8", xml_declaration=True)
    else:
        # Not compressed: phone libraries map a .tflite file into memory.
        with zipfile.ZipFile(path, "a") as archive:
            if MEMBER in archive.namelist():
                raise ValueError(
                    "The file must have no card yet. Received: "
                    f"{str(path)!r}, which has one. Save or export the model again."
                )
            archive.writestr(MEMBER, text)


def read_header(path: Path) -> str | bytes | Mapping[str, Any] | None:
    """Returns the JSON that a file carries, as text or read; arguments as `Card.read`.

    It may hold more than the card: what else was written with it.
    """
    try:
        return _read_header(path)
    except (ValueError, ImportError):
        raise
    # A broken file can raise anything in the libraries that read it.
    except Exception as error:
        if getattr(error, "errno", None):  # no such file, or none that one may read
            raise
        raise damaged(path, error) from None


def _read_header(path):
    if path.is_dir():
        files = (path / FOLDER / MEMBER, path / CONFIG)
        file = next((file for file in files if file.is_file()), None)
        return None if file is None else read_json(file)
    if path.suffix == ".onnx":
        import onnx

        model = onnx.load(path, load_external_data=False)
        return next((p.value for p in model.metadata_props if p.key == KEY), None)
    if path.suffix == ".xml":
        found = ElementTree.parse(path).find(f"rt_info/{KEY}")
        return None if found is None else found.get("value")
    if zipfile.is_zipfile(path):
        return _read_archive(path)
    with path.open("rb") as file:
        is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
    if is_hdf5:
        import h5py

        with h5py.File(path, "r") as file:
            return h5_header(file)
    if MEMBER.encode() in path.read_bytes():
        raise ValueError(
            f"The file must end with its header. Received: {str(path)!r}, which is "
            "damaged or truncated."
        )
    return None


def h5_header(file: Any) -> str | None:
    """Returns the header that an open HDF5 file carries."""
    if KEY not in file.attrs:
        return None
    if file.attrs.get_id(KEY).shape != ():
        raise ValueError(f"The header of {file.filename!r} is not text.")
    return file.attrs[KEY]


def _read_archive(path):
    with zipfile.ZipFile(path) as archive:
        members = set(archive.namelist())
        if MEMBER in members:
            return small_member(archive, MEMBER, path)
        if CONFIG not in members:
            return None
        # A network that Keras alone saved: the card is in its configuration.
        model = as_object(small_member(archive, CONFIG, path), path)
        config = model.get("config")
        return config.get("card") if isinstance(config, dict) else None


def small_member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """Returns a member of a file that is an archive; ImplausibleArchive above 16 MB."""
    with archive.open(name) as member:
        content = member.read(2**24 + 1)
    if len(content) > 2**24:
        raise ImplausibleArchive(
            f"{str(path)!r} is not opened: its {name} is larger than 16 MB."
        )
    return content


def as_object(header: str | bytes | Mapping, path: str | os.PathLike) -> Mapping:
    """Returns a header, read or as text, as a JSON object.

    Raises:
        ValueError: If it is none.
    """
    what = f"The header of {str(path)!r}"
    if not isinstance(header, Mapping):
        header = parse_json(header, what, None)
    if not isinstance(header, Mapping):
        raise ValueError(f"{what} is not a JSON object.")
    return header
