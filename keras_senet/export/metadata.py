"""The standard metadata of a .tflite file, which phone libraries read.

A flatbuffer of the schema that tflite-support published and MediaPipe keeps
(metadata_schema.fbs, version 1.1.0, https://github.com/google-ai-edge/mediapipe),
as a buffer of the file under the name TFLITE_METADATA; the label file that it names
lies in a zip archive at the file's end. The packages that hold the schema's own classes
are retired or far larger than this one, so its tables are written here by the places of
their fields.
"""

from collections.abc import Callable, Mapping, Sequence

import flatbuffers
import numpy as np

from keras_senet.card import Card
from keras_senet.utils.flatbuffer import schema
from keras_senet.version import __version__

LABELS = "labels.txt"

_NAME = "TFLITE_METADATA"
_MARK = b"M001"
_PARSER_VERSION = "1.0.0"

# Enumerations and unions of the schema.
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_IMAGE = 2  # ContentProperties.ImageProperties
_NORMALIZATION = 1  # ProcessUnitOptions.NormalizationOptions
_COLOR_SPACE = {3: 1, 1: 2}  # ColorSpaceType by channels: RGB, GRAYSCALE


def add_metadata(model, name: str, card: Card) -> None:
    """Adds the metadata of an image classifier to a .tflite file's contents.

    The input is described as an image where it has four axes and 1 or 3 channels, with
    what an app does to a pixel 0..255 where the metadata can say that: (pixel - mean) /
    deviation. A single output is called "scores", several have the names of the file's
    signature. The classifier's labels are said to be in the file `labels.txt`.

    Args:
        model: The schema's `ModelT` of the file; it is changed.
        name: Name of the network.
        card: Its card.
    """
    normalization = _normalization(card)
    description = f"Image classifier, exported by keras_senet {__version__}."
    graph = model.subgraphs[0]
    writer = _Writer()
    inputs = [
        _input(writer, graph.tensors[index], normalization) for index in graph.inputs
    ]
    names = _output_names(model)
    classifier = _classifier(names, [graph.tensors[i] for i in graph.outputs], card)
    outputs = [
        _output(writer, name, name == classifier, card.labels is not None)
        for name in names
    ]
    subgraph = writer.table({2: writer.tables(inputs), 3: writer.tables(outputs)})
    root = {
        0: writer.text(name),
        1: writer.text(description),
        3: writer.tables([subgraph]),
        7: writer.text(_PARSER_VERSION),
    }
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(writer.finish(writer.table(root)), "uint8")
    entry = schema().MetadataT()
    entry.name, entry.buffer = _NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]


def _normalization(card: Card) -> tuple[list[float], list[float]] | None:
    """Mean and deviation of each channel or of all, in units of pixels."""
    record = card.preprocessing
    if card.normalises:
        return [0.0], [1.0]
    if record is None or record.channel_order != "RGB":
        return None
    return [255 * m for m in record.mean], [255 * s for s in record.std]


def _input(writer: "_Writer", tensor, normalization) -> int:
    """TensorMetadata: name 0, description 1, content 3, process_units 4, stats 5."""
    # An open size is written as 1 and told by the signature.
    shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    is_image = len(shape) == 4 and shape[3] in _COLOR_SPACE
    fields = {0: writer.text("image" if is_image else tensor.name.decode())}
    if is_image:
        fields[3] = _image_content(writer, shape)
    if is_image and normalization is not None:
        means, deviations = normalization
        text = "Pixels 0 to 255, red, green, blue or grey, normalised as said here."
        fields[1] = writer.text(text)
        options = {0: writer.floats(means), 1: writer.floats(deviations)}
        unit = {0: ("b", _NORMALIZATION), 1: writer.table(options)}
        fields[4] = writer.tables([writer.table(unit)])
        ends = [
            [(pixel - m) / d for m, d in zip(means, deviations, strict=True)]
            for pixel in (255, 0)
        ]
        stats = dict(enumerate(map(writer.floats, ends)))  # largest, smallest
        fields[5] = writer.table(stats)
    return writer.table(fields)


def _image_content(writer: "_Writer", shape) -> int:
    """Content of ImageProperties: color_space 0, default_size 1 (width, height)."""
    _, height, width, channels = (int(length) for length in shape)
    fields = {0: ("b", _COLOR_SPACE[channels])}
    if height > 0 and width > 0:
        fields[1] = writer.table({0: ("I", width), 1: ("I", height)})
    return writer.table({0: ("b", _IMAGE), 1: writer.table(fields)})


def _output_names(model) -> list[str]:
    outputs = model.subgraphs[0].outputs
    if len(outputs) == 1:
        return ["scores"]
    entries = model.signatureDefs[0].outputs
    names = {entry.tensorIndex: entry.name.decode() for entry in entries}
    return [names[index] for index in outputs]


def _classifier(names: Sequence[str], tensors: Sequence, card: Card) -> str | None:
    """Returns the name of the output with a score for each class, where that is clear.

    Of several outputs it is the only one of so many values, or that called "scores".
    """
    if len(names) == 1 and card.labels is None:
        return names[0]
    count = card.classes if card.labels is None else len(card.labels)
    fitting = [
        name
        for name, tensor in zip(names, tensors, strict=True)
        if len(tensor.shape) == 2 and int(tensor.shape[-1]) == count
    ]
    if "scores" in fitting:
        return "scores"
    return fitting[0] if len(fitting) == 1 else None


def _output(writer: "_Writer", name: str, is_classifier: bool, labelled: bool) -> int:
    """TensorMetadata: name 0, description 1, associated_files 6."""
    fields = {0: writer.text(name)}
    if is_classifier:
        fields[1] = writer.text("One score for each class.")
    if is_classifier and labelled:
        file = {
            0: writer.text(LABELS),
            1: writer.text("Class names in the order of the scores."),
            2: ("b", _AXIS_LABELS),
        }
        fields[6] = writer.tables([writer.table(file)])
    return writer.table(fields)


class _Writer:
    """Writes tables by the places of their fields, inner ones first."""

    def __init__(self):
        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        return self._builder.CreateString(value)

    def floats(self, values: Sequence[float]) -> int:
        return self._vector(values, self._builder.PrependFloat32)

    def tables(self, offsets: Sequence[int]) -> int:
        return self._vector(offsets, self._builder.PrependUOffsetTRelative)

    def _vector(self, values: Sequence, prepend: Callable) -> int:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            prepend(value)
        return self._builder.EndVector()

    def table(self, fields: Mapping[int, int | tuple[str, int]]) -> int:
        """Writes a table: place -> what lies elsewhere, or ("b" or "I", a number)."""
        builder = self._builder
        builder.StartObject(max(fields) + 1)
        for place, value in fields.items():
            if isinstance(value, int):
                builder.PrependUOffsetTRelativeSlot(place, value, 0)
            elif value[0] == "b":
                builder.PrependByteSlot(place, value[1], 0)
            else:
                builder.PrependUint32Slot(place, value[1], 0)
        return builder.EndObject()

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, file_identifier=_MARK)
        return bytes(self._builder.Output())
