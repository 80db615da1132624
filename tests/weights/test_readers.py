"""Formats: what is whole is read, what is broken or hostile gives one line."""

import argparse
import builtins
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from keras_senet.weights import read_checkpoint, save_model, save_weights
from keras_senet.weights.readers import read_file

GOLDEN = Path(__file__).parent / "golden"


def one_line(path, match, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        read_file(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "format", "first"),
    [
        ("timm_modern_deep.safetensors", "safetensors", "conv1.0.weight"),
        ("image_classifiers_grouped.h5", "legacy_h5", None),
    ],
)
def test_formats_are_recognised_by_content(name, format, first, tmp_path):
    path = tmp_path / "no_ending"
    path.write_bytes((GOLDEN / name).read_bytes())
    raw = read_file(path)
    assert (raw.format, raw.card) == (format, None)
    assert first is None or first in raw.arrays
    assert all(array.dtype.kind in "fi" for array in raw.arrays.values())


@pytest.mark.parametrize(
    "wrapper",
    [
        *(None, "state_dict", "model_state_dict", "model", "net"),
        *("state_dict_ema", "model_ema"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_torch_formats(wrapper, zipped, tmp_path):
    torch = pytest.importorskip("torch")
    state = {"a.weight": torch.arange(6.0).reshape(2, 3).half(), "n": torch.tensor(3)}
    content = state if wrapper is None else {wrapper: state, "epoch": 5}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    arrays = read_file(path).arrays
    np.testing.assert_array_equal(arrays["a.weight"], [[0, 1, 2], [3, 4, 5]])
    assert arrays["a.weight"].dtype == "float32"


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [False, True])
def test_pickle_that_runs_code_is_refused(zipped, tmp_path):
    torch = pytest.importorskip("torch")
    touched = tmp_path / "touched"
    path = tmp_path / "bomb.pth"
    torch.save(
        {"state_dict": Bomb(touched)}, path, _use_new_zipfile_serialization=zipped
    )
    one_line(path, "more than weights, or is damaged; such a file is not loaded")
    assert not touched.exists()


def test_bare_pickle_is_refused(tmp_path):
    pytest.importorskip("torch")
    touched = tmp_path / "touched"
    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps(Bomb(touched)))
    one_line(path, "not loaded")
    assert not touched.exists()


def test_torch_file_without_weights(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    one_line(tmp_path / "list.pth", "holds a list and no state_dict")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    one_line(tmp_path / "none.pth", "net, state_dict_ema, model_ema. Its keys: 'epoch'")
    # The keys are the file's own, and those of weights under another one are named.
    torch.save({"model": {"depth": 3}, "params": {"a": torch.ones(1)}}, tmp_path / "p")
    one_line(tmp_path / "p", "no weights are at its top or .* keys: 'model', 'params'")


@pytest.mark.parametrize("zipped", [False, True])
def test_torch_checkpoints_of_trainers(zipped, tmp_path):
    """With the command line, the optimizer, and weights not under the first key."""
    torch = pytest.importorskip("torch")
    content = {
        "model": {"name": "seresnet50"},
        "state_dict": {"net": {"a": torch.ones(2)}, "step": torch.tensor(3)},
        "optimizer": {"state": {0: {"momentum": torch.zeros(2)}}},
        "args": argparse.Namespace(lr=0.1, model="seresnet50"),
    }
    path = tmp_path / "last.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert list(read_file(path).arrays) == ["a"]


@pytest.mark.parametrize(
    ("package", "name", "remedy"),
    [
        ("torch", "timm_legacy_bottleneck.pth", "pip install torch"),
        ("safetensors", "timm_modern_deep.safetensors", "pip install safetensors"),
    ],
)
def test_missing_package_says_how_to_install_it(package, name, remedy, monkeypatch):
    imported = builtins.__import__

    def refuse(module, *args, **kwargs):
        if module.partition(".")[0] == package:
            raise ImportError(module)
        return imported(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    one_line(GOLDEN / name, remedy, ImportError)


@pytest.fixture
def files(tiny, tmp_path):
    """One whole file of each format, by ending."""
    model = tiny()
    found = {
        "weights.h5": save_weights(model, tmp_path / "whole.weights.h5"),
        "keras": save_model(model, tmp_path / "whole.keras"),
    }
    for name in (
        "timm_modern_deep.safetensors",
        "timm_legacy_bottleneck.pth",
        "image_classifiers_grouped.h5",
    ):
        found[name.partition(".")[2]] = GOLDEN / name
    return found


def test_truncated_files(files, tmp_path):
    for ending, whole in files.items():
        if ending == "pth":
            pytest.importorskip("torch")
        content = whole.read_bytes()
        for share in (0.02, 0.5, 0.98):
            path = tmp_path / f"cut_{share}.{ending}"
            path.write_bytes(content[: int(len(content) * share)])
            one_line(path, "cannot be read|must be a")


def test_empty_missing_and_other_files(tmp_path):
    path = tmp_path / "empty.pth"
    path.touch()
    one_line(path, "is empty")
    one_line(tmp_path / "nothing.h5", "no weights file", FileNotFoundError)
    one_line(tmp_path, "no weights file", FileNotFoundError)
    text = tmp_path / "notes.txt"
    text.write_text("not weights at all, but text")
    one_line(text, "must be a .weights.h5")


def test_h5_of_something_else(tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)
    one_line(path, "not of Keras' weights")


def test_h5_links_are_not_followed(tmp_path):
    path, secret = tmp_path / "a.weights.h5", tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones(3)
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "dense"
        group["0"] = h5py.ExternalLink(str(secret), "x")
    one_line(path, "links, which are not followed")


def test_h5_of_external_or_virtual_storage(tmp_path):
    path, raw = tmp_path / "a.weights.h5", tmp_path / "raw"
    raw.write_bytes(bytes(12))
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "dense"
        group.create_dataset("0", (3,), "f4", external=[(str(raw), 0, 12)])
    one_line(path, "no array of the file's own")


def test_claims_larger_than_any_network(tmp_path, monkeypatch):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "dense"
        group.create_dataset("0", (2**20, 2**20), "f4", chunks=(1, 1024))
    one_line(path, "claims to have 4398046511104 bytes")


def test_zip_that_climbs_out_writes_nothing(tiny, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = save_model(tiny(), folder / "slip.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../escaped.txt", "x")
        archive.writestr("/tmp/../escaped.txt", "x")
    assert read_checkpoint(path).card.classes == 5
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]
    assert [p.name for p in folder.iterdir()] == ["slip.keras"]


def test_keras_file_is_never_deserialised(tiny, tmp_path):
    """A configuration that names a class to import is data and stays data."""
    whole, path = save_model(tiny(), tmp_path / "whole.keras"), tmp_path / "evil.keras"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                content = b'{"module": "os", "class_name": "system", "config": {}}'
            target.writestr(name, content)
    assert read_checkpoint(path).card.classes == 5


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"readme.txt": b"x"}, "neither a .keras nor a .pth"),
        ({"config.json": b"{}"}, r"its model\.weights\.h5 is missing or empty"),
        ({"config.json": b"{}", "model.weights.h5": b"junk"}, "cannot be read"),
    ],
)
def test_zip_of_something_else(members, message, tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    one_line(path, message)


def test_names_cut_up_for_hdf5s_limit(tmp_path):
    path = tmp_path / "long.h5"
    with h5py.File(path, "w") as file:
        for i, names in enumerate((["conv2d_1", "conv2d_2"], ["dense_1"])):
            file.attrs[f"layer_names{i}"] = np.asarray([n.encode() for n in names])
            for name in names:
                group = file.create_group(name)
                group.attrs["weight_names"] = np.asarray([f"{name}/kernel:0".encode()])
                group[f"{name}/kernel:0"] = np.ones(2, "float32")
    assert list(read_file(path).arrays) == [
        "conv2d_1/kernel",
        "conv2d_2/kernel",
        "dense_1/kernel",
    ]


def test_arrays_of_other_types_are_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "dense"
        group["0"] = np.asarray([b"text"])
    one_line(path, "has the type")


def test_unknown_layout_names_what_it_saw(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "other.safetensors"
    save_file({"blocks.0.attn.qkv": np.ones(2, "float32")}, path)
    with pytest.raises(ValueError, match=r"known layout.*blocks\.0\.attn\.qkv"):
        read_checkpoint(path)


def test_half_precision_is_read_as_float32(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "half.safetensors"
    save_file({"a": np.ones(2, "float16"), "n": np.ones(2, "int64")}, path)
    arrays = read_file(path).arrays
    assert (arrays["a"].dtype, arrays["n"].dtype) == ("float32", "int64")


def test_large_file_with_names_of_any_length(tmp_path):
    """As tf_keras writes them: many short names beside many bytes of weights."""
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        names = [f"layer_{i}" for i in range(1000)]
        file.attrs["layer_names"] = names
        for name in names:
            file.create_group(name).attrs["weight_names"] = np.zeros(0, "S1")
        file[names[0]].attrs["weight_names"] = ["w/kernel:0"]
        file[names[0]].create_dataset("w/kernel:0", data=np.ones((1500, 1000), "f4"))
    assert path.stat().st_size * len(names) > 2**32
    assert list(read_file(path).arrays) == ["layer_0/kernel"]
