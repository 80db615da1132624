"""The standard metadata, read by a reader of its own: the schema's places, no names."""

import zipfile

import flatbuffers
import keras
import pytest
from flatbuffers import number_types
from flatbuffers.encode import Get
from flatbuffers.packer import uoffset

import keras_senet
from keras_senet.export import export_tflite
from keras_senet.utils.flatbuffer import open_flatbuffer


class Table:
    """A table of a flatbuffer whose fields are asked for by their places."""

    def __init__(self, data, position):
        self.table = flatbuffers.table.Table(data, position)

    @classmethod
    def root(cls, data):
        return cls(data, Get(uoffset, data, 0))

    def _place(self, field):
        offset = self.table.Offset(4 + 2 * field)
        return offset and offset + self.table.Pos

    def number(self, field, kind=number_types.Int8Flags):
        place = self._place(field)
        return self.table.Get(kind, place) if place else 0

    def text(self, field):
        place = self._place(field)
        return self.table.String(place).decode() if place else None

    def child(self, field):
        place = self._place(field)
        return Table(self.table.Bytes, self.table.Indirect(place)) if place else None

    def _vector(self, field):
        offset = self.table.Offset(4 + 2 * field)
        if not offset:
            return []
        start = self.table.Vector(offset)
        return [start + 4 * i for i in range(self.table.VectorLen(offset))]

    def children(self, field):
        places = self._vector(field)
        return [Table(self.table.Bytes, self.table.Indirect(p)) for p in places]

    def floats(self, field):
        places = self._vector(field)
        return [self.table.Get(number_types.Float32Flags, p) for p in places]


def _read(path):
    """Returns the model's table and those of its first input and output."""
    model = open_flatbuffer(path)
    (entry,) = [m for m in model.metadata if m.name == b"TFLITE_METADATA"]
    data = bytearray(model.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    root = Table.root(data)
    (graph,) = root.children(3)
    return root, graph.children(2)[0], graph.children(3)[0]


def _normalization(tensor):
    (unit,) = tensor.children(4)
    assert unit.number(0) == 1
    return unit.child(1).floats(0), unit.child(1).floats(1)


@pytest.fixture
def grey():
    inputs = keras.Input((None, None, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, x, name="grey")


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_an_app_finds_what_it_needs(model, images, tmp_path, quantization):
    labels = ["a cat", "a\ndog", "ein Käfer", "d", "e", "f", "g"]
    path = export_tflite(
        model,
        tmp_path / "a.tflite",
        quantization=quantization,
        representative_dataset=images,
        labels=labels,
    )
    root, image, scores = _read(path)
    assert root.text(0) == "tiny"
    assert keras_senet.__version__ in root.text(1)
    assert root.text(7) == "1.0.0"
    assert image.text(0) == "image"
    content = image.child(3)
    assert content.number(0) == 2
    assert content.child(1).number(0) == 1  # RGB
    size = content.child(1).child(1)
    assert [size.number(i, number_types.Uint32Flags) for i in (0, 1)] == [16, 16]
    assert _normalization(image) == ([0], [1])
    assert (image.child(5).floats(0), image.child(5).floats(1)) == ([255], [0])
    (file,) = scores.children(6)
    assert file.text(0) == "labels.txt"
    assert file.number(2) == 2
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(file.text(0)).decode().splitlines()
    assert lines == ["a cat", "a dog", *labels[2:]]


def test_width_is_not_height(tmp_path):
    inputs = keras.Input((20, 30, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    size = _read(export_tflite(model, tmp_path / "a.tflite"))[1].child(3).child(1)
    size = size.child(1)
    assert [size.number(i, number_types.Uint32Flags) for i in (0, 1)] == [30, 20]


def test_what_is_not_known_is_left_out(grey, tmp_path):
    _, image, scores = _read(export_tflite(grey, tmp_path / "a.tflite"))
    properties = image.child(3).child(1)
    assert properties.number(0) == 2  # grey
    assert properties.child(1) is None
    assert image.children(4) == []
    assert scores.children(6) == []


def test_outputs_have_their_own_names_and_one_has_the_labels(grey, tmp_path):
    """Gates beside the scores are no classes, even where there are as many of them."""
    outputs = {"gates": 2 * grey.output, "scores": grey.output}
    model = keras.Model(grey.input, {**outputs, "first": grey.output[:, :1]})
    path = export_tflite(model, tmp_path / "a.tflite", labels=["a", "b", "c", "d"])
    graph = _read(path)[0].children(3)[0]
    files = {x.text(0): len(x.children(6)) for x in graph.children(3)}
    assert files == {"gates": 0, "scores": 1, "first": 0}
    subgraph = open_flatbuffer(path).subgraphs[0]
    shapes = [subgraph.tensors[index].shape for index in subgraph.outputs]
    assert shapes[list(files).index("first")][-1] == 1


def test_only_images_are_described_as_images(grey, tmp_path):
    numbers = keras.Input((4,), name="numbers")
    both = keras.layers.Add()([grey.output, numbers])
    model = keras.Model([grey.input, numbers], both)
    model.card = keras_senet.Card(normalises=True)
    graph = _read(export_tflite(model, tmp_path / "a.tflite"))[0].children(3)[0]
    stated = {x.text(0): len(x.children(4)) for x in graph.children(2)}
    (other,) = stated.keys() - {"image"}
    assert (stated["image"], stated[other]) == (1, 0)


def test_normalisation_that_the_app_must_do(grey, tmp_path):
    """The record of a network that does not normalise, in units of pixels."""
    grey.preprocessing = keras_senet.Preprocessing(mean=(0.5,), std=(0.25,))
    image = _read(export_tflite(grey, tmp_path / "a.tflite"))[1]
    assert _normalization(image) == ([127.5], [63.75])
    assert (image.child(5).floats(0), image.child(5).floats(1)) == ([2], [-2])
    grey.preprocessing = keras_senet.Preprocessing(channel_order="BGR")
    image = _read(export_tflite(grey, tmp_path / "b.tflite"))[1]
    assert image.children(4) == []
