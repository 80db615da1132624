"""Whatever a recipe, a folder, a table, an image or a file is: read, or one line."""

import io
import json
import logging
import os
import tempfile
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import flatbuffers
import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from keras_senet.card import Card
from keras_senet.data import open_source, read_image
from keras_senet.data.files import find_images, subfolders
from keras_senet.data.images import FORMATS, check_image
from keras_senet.data.tables import find_tables, open_tables
from keras_senet.opening import open_model
from keras_senet.training.recipe import Recipe
from keras_senet.training.recipes import RECIPES, load_recipe
from keras_senet.utils.flatbuffer import (
    open_flatbuffer,
    read_tflite,
    schema,
    write_flatbuffer,
)
from keras_senet.weights.readers import read_file

GOLDEN = Path(__file__).parent / "weights" / "golden"


def read_or_one_line(read, name):
    """Returns what is read, or None where one line with the name says why not."""
    try:
        return read()
    except (ValueError, OSError, ImportError) as error:  # of what torch would read
        text = str(error)
        assert name in text and "\n" not in text
        assert len(text) < 1000
        return None


@st.composite
def damaged(draw, whole):
    """Bytes of a file that was cut, and in which some were changed."""
    content = bytearray(whole)
    # Where the structure is: at the beginning, the end, and anywhere.
    most = len(whole) - 1
    places = st.integers(0, min(most, 200)) | st.integers(max(0, most - 200), most)
    for _ in range(draw(st.integers(0, 5))):
        content[draw(places | st.integers(0, most))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.just(None) | st.integers(0, most))])


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
FIELD = st.sampled_from(sorted(RECIPES["quickstart"].to_json()))


@pytest.mark.faults("any recipe")
@hypothesis.given(changes=st.dictionaries(FIELD, VALUE, max_size=3))
def test_any_recipe(changes):
    made = None
    try:
        made = Recipe.from_json({**RECIPES["quickstart"].to_json(), **changes})
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    if made is not None:
        assert Recipe.from_json(made.to_json()) == made


@pytest.mark.faults("any recipe")
@hypothesis.given(data=st.data())
def test_any_recipe_file(data, tmp_path):
    path = tmp_path / "recipe.json"
    whole = json.dumps(RECIPES["quickstart"].to_json()).encode()
    path.write_bytes(data.draw(damaged(whole) | st.binary(max_size=60)))
    read_or_one_line(lambda: load_recipe(path), str(path))


def picture(kind, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (9, 7, 3), "uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


PICTURES = [picture(kind) for kind in FORMATS]


@pytest.mark.faults("a damaged image")
@hypothesis.given(content=st.sampled_from(PICTURES).flatmap(damaged))
def test_any_image(content, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_or_one_line(lambda: check_image(path, whole=True), str(path))
        image = read_or_one_line(lambda: read_image(path), str(path))
    assert image is None or image.dtype == np.uint8


@pytest.mark.faults("a damaged image")
def test_what_pillow_says_of_a_broken_image_is_no_second_line(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    samples = b"\x15\x01\x03\x00\x01\x00\x00\x00"
    path = tmp_path / "a.tiff"
    path.write_bytes(picture("TIFF").replace(samples + b"\x03", samples + b"\x51"))
    with pytest.raises(ValueError, match="is not an image"):
        read_image(path)
    assert capsys.readouterr().err == ""


NAME = st.sampled_from(
    [
        "a",
        "b",
        "train",
        "test",
        "A",
        ".hidden",
        "__MACOSX",
        "é",
        "e\u0301",
        " ",
        "$\\x$",
    ]
)
FILE = st.sampled_from(["0.png", "1.JPG", "2.jfif", "3.tiff", "4.txt", "5", ".6.png"])
CONTENT = st.sampled_from([*PICTURES, b"", b"no picture"])
LINK = st.sampled_from([".", "..", "../..", "a", "../b", "b/0.png", "nowhere"])
TREE = st.recursive(
    st.dictionaries(FILE, CONTENT, max_size=4),
    lambda inner: st.dictionaries(NAME, inner | LINK, max_size=4),
    max_leaves=8,
)


def plant(folder, tree):
    folder.mkdir(exist_ok=True)
    for name, part in tree.items():
        if isinstance(part, dict):
            plant(folder / name, part)
        elif isinstance(part, str):
            (folder / name).symlink_to(part)
        else:
            (folder / name).write_bytes(part)


@pytest.mark.faults("any folder of images")
@hypothesis.given(tree=TREE, on_error=st.sampled_from(["raise", "skip"]))
def test_any_folder(tree, on_error):
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(place, "root")
        plant(root, tree)
        classes = {folder: folder for folder in subfolders(root)}
        found, _ = find_images(classes)
        files = [os.path.realpath(p) for paths in found.values() for p in paths]
        assert len(files) == len(set(files))
        assert not [f for f in files if "/.hidden/" in f or "/__MACOSX/" in f]
        source = read_or_one_line(lambda: open_source(root, on_error=on_error), place)
        if source is not None:
            records = {
                path
                for split in source.splits
                for (path, _), _ in source.reader.records(
                    source.part(split)
                ).as_numpy_iterator()
            }
            assert len(records) == sum(source.splits.values())


CELL = st.sampled_from(
    [
        "file",
        "labels",
        "a",
        "0",
        "1",
        "a.png",
        "x;y",
        '"',
        ",",
        "\n",
        "\r",
        "\t",
        "\x00",
    ]
)


@pytest.mark.faults("any table of labels")
@hypothesis.given(cells=st.lists(CELL, max_size=20), tail=st.binary(max_size=5))
def test_any_table(cells, tail):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "labels.csv")
        path.write_bytes("".join(cells).encode() + tail)
        Path(place, "a.png").write_bytes(PICTURES[1])
        read = lambda: open_tables(  # noqa: E731
            place, find_tables(path), on_error="raise", held_out=0.2
        )
        read_or_one_line(read, place)


def tflite():
    kinds = schema()
    model = kinds.ModelT()
    model.version = 3
    tensor = kinds.TensorT()
    tensor.name, tensor.shape = b"a", [1, 2]
    code, operator, graph = kinds.OperatorCodeT(), kinds.OperatorT(), kinds.SubGraphT()
    operator.inputs, operator.outputs = [0], [0]
    graph.tensors, graph.inputs, graph.outputs = [tensor], [0], [0]
    graph.operators = [operator]
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers, model.metadata = [kinds.BufferT()], []
    return write_flatbuffer(model)


@pytest.mark.faults("a damaged .tflite file")
@hypothesis.given(content=damaged(tflite()))
def test_any_tflite_file(content, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    read_or_one_line(lambda: read_tflite(path), str(path))
    read_or_one_line(lambda: Card.read(path), str(path))


def crowded(graphs, tensors):
    """A .tflite file that uses one tensor and one graph many times."""
    kinds, builder = schema(), flatbuffers.Builder()

    def vector(start, count, part):
        start(builder, count)
        for _ in range(count):
            builder.PrependUOffsetTRelative(part)
        return builder.EndVector()

    name = builder.CreateString("a" * 100)
    kinds.TensorStart(builder)
    kinds.TensorAddName(builder, name)
    tensor = kinds.TensorEnd(builder)
    many = vector(kinds.SubGraphStartTensorsVector, tensors, tensor)
    kinds.SubGraphStart(builder)
    kinds.SubGraphAddTensors(builder, many)
    graph = kinds.SubGraphEnd(builder)
    many = vector(kinds.ModelStartSubgraphsVector, graphs, graph)
    kinds.ModelStart(builder)
    kinds.ModelAddVersion(builder, 3)
    kinds.ModelAddSubgraphs(builder, many)
    builder.Finish(kinds.ModelEnd(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.faults("a damaged .tflite file")
@pytest.mark.parametrize(("graphs", "tensors"), [(300, 300), (1, 3000)])
def test_parts_of_a_tflite_file_that_are_used_too_often(graphs, tensors):
    """As many again would fill the memory."""
    content = crowded(graphs, tensors)
    with pytest.raises(ValueError, match="damaged or truncated"):
        open_flatbuffer(content)


KERAS = []  # made once


@pytest.mark.faults("a damaged .keras file")
@hypothesis.given(data=st.data(), packed=st.booleans())
def test_any_keras_file(data, packed, tmp_path):
    path = tmp_path / "a.keras"
    if not KERAS:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        for way in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            model.save(path)
            file = io.BytesIO()
            with zipfile.ZipFile(path) as own, zipfile.ZipFile(file, "w", way) as copy:
                for name in own.namelist():
                    copy.writestr(name, own.read(name))
            KERAS.append(file.getvalue())
    path.write_bytes(data.draw(damaged(KERAS[packed])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_or_one_line(lambda: open_model(path), str(path))


ENDINGS = (".h5", ".safetensors") + ((".pth",) if find_spec("torch") else ())
FILES = [path for path in sorted(GOLDEN.iterdir()) if path.suffix in ENDINGS]


@pytest.mark.faults("a damaged file of weights")
@hypothesis.given(data=st.data())
def test_any_file_of_weights(data, tmp_path):
    golden = data.draw(st.sampled_from(FILES))
    path = tmp_path / f"a{golden.suffix}"
    path.write_bytes(data.draw(damaged(golden.read_bytes())))
    read_or_one_line(lambda: read_file(path), str(path))
