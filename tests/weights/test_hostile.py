"""Files from strangers: what they claim is compared with what they can hold."""

import io
import json
import struct
import warnings
import zipfile

import h5py
import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_senet
from keras_senet.card import Card
from keras_senet.containers import KEY
from keras_senet.utils.files import check_archive
from keras_senet.weights import read_checkpoint, save_model, save_weights
from keras_senet.weights.readers import read_file

ROW = {"blocks": [1, 1, 1, 1], "filters": [4, 8, 8, 16]}

pytestmark = pytest.mark.faults("a stranger's weights or header")


def refused(read, path, match):
    """One line that names the file, whatever the file holds."""
    with pytest.raises(ValueError, match=match) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text and len(text) < 600 + len(str(path))


def variables(file, layer="dense"):
    group = file.create_group(f"layers/{layer}/vars")
    group.attrs["name"] = layer
    return group


def weights(path, header, **arrays):
    """A .weights.h5 file of arrays with a header of ours."""
    with h5py.File(path, "w") as file:
        for layer, array in (arrays or {"dense": np.ones((3, 2), "f4")}).items():
            variables(file, layer)["0"] = array
        if header is not None:
            file.attrs[KEY] = header
    return path


def safetensors(path, kind, shape, size):
    header = {"a": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    return path


# --- HDF5


@pytest.mark.parametrize("link", ["external", "soft"])
@pytest.mark.parametrize("place", ["layers", "layers/dense", "layers/dense/vars"])
def test_links_are_followed_nowhere(link, place, tmp_path):
    path, other = tmp_path / "a.weights.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        variables(file)["0"] = np.ones(3)
    with h5py.File(path, "w") as file:
        variables(file.create_group("mine"))["0"] = np.ones(3)
        links = {
            "external": h5py.ExternalLink(str(other), place),
            "soft": h5py.SoftLink(f"/mine/{place}"),
        }
        file[place] = links[link]
    refused(read_file, path, "links, which are not followed")


def test_legacy_weights_behind_a_link(tmp_path):
    path, other = tmp_path / "a.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"a"]
        group.create_group("a").attrs["weight_names"] = [b"a/kernel:0"]
        group["a/a/kernel:0"] = np.ones(2, "f4")
    with h5py.File(path, "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(other), "model_weights")
    refused(read_file, path, "links, which are not followed")


def test_groups_linked_twice_are_not_visited_twice(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers")
        # 2^18 paths: enough to be seen, few enough to end where they are followed.
        for _ in range(18):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
    refused(read_file, path, "twice")


def test_groups_that_hold_themselves(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers")
        group["again"] = group
    refused(read_file, path, "twice")


def test_groups_nested_deep(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("layers" + "/a" * 200)
    refused(read_file, path, "nested more than")


def test_arrays_of_a_fill_value_count_together(tmp_path):
    """Each alone is under the limit; together they are 20 times the file's."""
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        group = variables(file)
        for i in range(40):
            group.create_dataset(str(i), (2**23,), "f4", fillvalue=1)
    refused(read_file, path, "more than is left")


def test_a_chunk_larger_than_its_array(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        variables(file).create_dataset(
            "0", (4,), "f4", maxshape=(None,), chunks=(2**27,), compression="gzip"
        )
    refused(read_file, path, "more than is left")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda group: group.attrs.__setitem__("name", 3),
        lambda group: group.attrs.__setitem__("name", np.ones(4)),
        lambda group: group.attrs.__setitem__("name", [b"a", b"b"]),
        lambda group: group.create_group("1"),
        lambda group: group.__setitem__("7", np.ones(2)),
        lambda group: group.create_dataset("1", data=h5py.Empty("f4")),
    ],
)
def test_variables_of_other_kinds(spoil, tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        group = variables(file)
        group["0"] = np.ones(3, "f4")
        spoil(group)
    refused(read_file, path, "is not a text|no array of|not numbered")


@pytest.mark.parametrize(
    "names", [3, [1, 2], [b"missing"], [b""], [b"a/../../b"], [b"\xff\xfe"]]
)
def test_lists_of_names_of_other_kinds(names, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = names
    refused(read_file, path, "cannot be read")


@pytest.mark.parametrize("header", [3, np.ones(3), [b"{}", b"{}"], b"\xff\xff"])
def test_a_header_that_is_no_text(header, tmp_path):
    path = weights(tmp_path / "a.weights.h5", header)
    refused(read_file, path, "header")
    refused(Card.read, path, "header")


# --- What is declared, against what is there


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blocks", [10**6, 1, 1, 1]),
        ("blocks", [3, 4, 6, 3]),
        ("filters", [10**8] * 4),
        ("stem_filters", [10**8]),
        ("width", 10**9),
        ("cardinality", 10**9),
    ],
)
def test_a_header_of_a_network_larger_than_the_file(field, value, tmp_path):
    header = json.dumps({"format": 2, "architecture": {**ROW, field: value}})
    arrays = {name: np.ones((3, 2), "f4") for name in "abcdef"}
    path = weights(tmp_path / "a.weights.h5", header, **arrays)
    refused(read_checkpoint, path, f"`{field}` in the header")


def test_arrays_without_values(tmp_path):
    header = json.dumps({"format": 2, "architecture": ROW})
    empty = np.ones((3, 0), "f4")
    path = weights(tmp_path / "a.weights.h5", header, dense=empty)
    refused(read_checkpoint, path, "arrays without values")


@pytest.mark.parametrize("se", [True, False])
def test_honest_files_of_narrow_networks_are_read(se, tiny, tmp_path):
    model = tiny(**({} if se else {"reduction": 1}))
    path = save_weights(model, tmp_path / "mine.weights.h5")
    assert read_checkpoint(path).card.architecture == model.architecture


# --- Archives


def bomb(path, member, **others):
    """A small archive with a member of 128 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in others.items():
            archive.writestr(name.replace("_", "."), content)
        with archive.open(member, "w") as file:
            for _ in range(128):
                file.write(bytes(2**20))
    assert path.stat().st_size < 2**18
    return path


@pytest.mark.parametrize("member", ["model.weights.h5", "config.json"])
def test_archives_that_unpack_to_more_than_they_can_hold(member, tmp_path):
    path = bomb(tmp_path / "a.keras", member, metadata_json="{}")
    refused(read_file, path, "claims to unpack to 134217")
    refused(keras_senet.open_model, path, "claims to unpack to 134217")


def test_a_torch_archive_that_unpacks_to_more_than_it_can_hold(tmp_path):
    path = bomb(tmp_path / "a.pth", "archive/data.pkl")
    refused(read_file, path, "claims to unpack to 134217")


def test_honest_archives_are_let_through(tiny, tmp_path):
    check_archive(save_model(tiny(), tmp_path / "mine.keras"))


def rewritten(whole, path, members=()):
    """A .keras file with other members; None leaves one out."""
    members = dict(members)
    with (
        zipfile.ZipFile(whole) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            content = members.get(name, source.read(name))
            if content is not None:
                target.writestr(name, content)
    return path


def test_a_compressed_archive_is_read(tiny, tmp_path):
    whole = save_model(tiny(), tmp_path / "whole.keras")
    path = rewritten(whole, tmp_path / "b.keras")
    assert list(read_file(path).arrays) == list(read_file(whole).arrays)


@pytest.mark.parametrize(
    "config", ["[" * 100_000, "[]", "3", '{"config": 1}', '{"class_name": []}', "null"]
)
def test_a_configuration_of_other_types(config, tiny, tmp_path):
    whole = save_model(tiny(), tmp_path / "whole.keras")
    path = rewritten(whole, tmp_path / "b.keras", {"config.json": config})
    refused(keras_senet.open_model, path, "Received")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    layers = keras.layers
    model = keras.Sequential([keras.Input((4, 4)), layers.LSTM(7), layers.Dense(8)])
    path = tmp_path_factory.mktemp("dense") / "whole.keras"
    model.save(path)
    return path


@pytest.mark.parametrize("content", [None, b""])
def test_a_model_without_its_weights(dense, content, tmp_path):
    """Its layers were said to be unknown."""
    path = rewritten(dense, tmp_path / "a.keras", {"model.weights.h5": content})
    for read in (keras_senet.open_model, read_file):
        refused(read, path, r"its model\.weights\.h5 is missing or empty")


@pytest.mark.parametrize("weights", ["own", b"no HDF5"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"units": 7', '"units": 30000'),  # times itself
        ('"units": 8', '"units": 50000000'),
        ('"units": 8', '"units": 1' + 400 * "0"),
    ],
)
def test_layers_larger_than_their_file(old, new, weights, dense, tmp_path):
    with zipfile.ZipFile(dense) as archive:
        config = archive.read("config.json").decode()
    members = {"config.json": config.replace(old, new)}
    assert members["config.json"] != config
    if weights != "own":
        members["model.weights.h5"] = weights
    path = rewritten(dense, tmp_path / "a.keras", members)
    refused(keras_senet.open_model, path, "its layers claim to have more than")


def test_a_configuration_larger_than_any(dense, tmp_path):
    with zipfile.ZipFile(dense) as archive:
        config = archive.read("config.json")
    members = {"config.json": config + b" " * 2**24}
    path = rewritten(dense, tmp_path / "a.keras", members)
    refused(keras_senet.open_model, path, r"config\.json is larger than 16 MB")


def test_arrays_of_a_fill_value_in_a_model_count_together(dense, tmp_path):
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        group = variables(content)
        for i in range(40):
            group.create_dataset(str(i), (2**23,), "f4", fillvalue=1)
            group[f"again {i}"] = group[str(i)]  # counts once
    members = {"model.weights.h5": file.getvalue()}
    path = rewritten(dense, tmp_path / "a.keras", members)
    refused(keras_senet.open_model, path, "more than is left")


def test_groups_of_a_model_nested_deep(dense, tmp_path):
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        content.create_group("layers" + "/a" * 200)
    members = {"model.weights.h5": file.getvalue()}
    path = rewritten(dense, tmp_path / "a.keras", members)
    refused(keras_senet.open_model, path, "nested more than")


def test_a_model_and_its_weights_may_be_nested_alike(tmp_path):
    """The limit of the weights alone was half of the other."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for _ in range(20):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, model(inputs))
    model.save(tmp_path / "a.keras")
    assert keras_senet.open_model(tmp_path / "a.keras").card
    assert len(read_file(tmp_path / "a.keras").arrays) == 2


# --- safetensors and torch


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "BOOL"])
def test_safetensors_of_other_types(kind, tmp_path):
    path = safetensors(tmp_path / "a.safetensors", kind, [2, 2], 4)
    refused(read_file, path, f"has the type {kind}")


@pytest.mark.parametrize(
    "make",
    [
        lambda torch: torch.eye(3).to_sparse(),
        lambda torch: torch.ones(1).as_strided((5 * 10**9,), (0,)),
        lambda torch: torch.ones(2, dtype=torch.complex64),
        lambda torch: torch.empty(10**9, device="meta"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_torch_tensors_that_are_no_arrays(make, zipped, tmp_path):
    torch = pytest.importorskip("torch")
    path, state = tmp_path / "a.pth", {"state_dict": {"a": make(torch)}}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert path.stat().st_size < 2**14
    refused(read_file, path, "sparse|claims to have|no real values")


# bytearray(2**40), by protocol 2.
ASKS = b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + bytes(5) + b"\x01\x85R."
INNOCENT = b"\x80\x02}."


@pytest.mark.parametrize(
    ("members", "before"),
    [
        ([], ASKS),
        ([("a/data.pkl", ASKS)], b""),
        ([("a/data.pkl", ASKS), ("a/data.pkl", INNOCENT)], b""),
        ([("a/DATA.PKL", ASKS), ("a/data.pkl", INNOCENT)], b""),
        ([("a/data.pkl", INNOCENT)], ASKS),  # torch does not see the archive
    ],
)
def test_a_pickle_that_asks_for_memory(members, before, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(before)
    for name, content in members:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")  # of two members with one name
            archive.writestr(name, content)
    refused(read_file, path, "such a file is not loaded")


# --- Headers


@pytest.mark.parametrize(
    "value", [[], {}, "1", 1.5, -1, 10**30, True, [[]], {"a": {"b": []}}]
)
def test_records_of_other_types(value):
    for field in ("mean", "image_size", "channel_order", "interpolation", "std"):
        record = {"preprocessing": {field: value}, "format": 2}
        refused(lambda path, r=record: Card.parse(r, path), "here", f"`{field}`")


@pytest.mark.parametrize("field", ["labels", "preset"])
def test_halves_of_characters_are_no_text(field):
    value = ["\ud800", "b"] if field == "labels" else "\udc80"
    header = json.dumps({"format": 2, field: value})
    refused(lambda path: Card.parse(header, path), "here", f"`{field}`")


def test_a_header_nested_deep():
    deep = {}
    for _ in range(5000):
        deep = {"a": deep}
    header = {"format": 2, "architecture": deep}
    refused(lambda path: Card.parse(header, path), "here", "nested more than")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted(Card(preset="a").to_json())) | st.just("architecture")
RECORD = st.sampled_from(sorted(keras_senet.Preprocessing().to_json()))


@hypothesis.given(fields=st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_header_is_a_card_or_one_line(fields):
    """Of a card that is read, what is written is read as the same card."""
    try:
        card = Card.parse({**fields, "format": 2}, "here")
    except ValueError as error:
        assert "'here'" in str(error) and len(str(error)) < 600
    else:
        assert Card.parse(json.dumps(card.to_json()), "here") == card


@hypothesis.given(record=st.dictionaries(RECORD, JSON, max_size=3))
def test_any_record_is_one_or_one_line(record):
    try:
        made = keras_senet.Preprocessing.from_json(record)
    except ValueError as error:
        assert len(str(error)) < 600
    else:
        assert keras_senet.Preprocessing.from_json(made.to_json()) == made


@hypothesis.given(row=st.dictionaries(st.sampled_from(sorted(ROW)), JSON, max_size=2))
def test_any_architecture_of_a_file_is_read_or_one_line(row, tmp_path):
    header = json.dumps({"format": 2, "architecture": row})
    path = weights(tmp_path / "a.weights.h5", header)
    try:
        read_checkpoint(path)
    except ValueError as error:
        assert str(path) in str(error)
