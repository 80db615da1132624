"""A model on its way to .tflite files: what they have in common is made once."""

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_senet.card import takes_raw_images
from keras_senet.export._convert import convert
from keras_senet.export._flatbuffer import (
    Operation,
    graph_operations,
    open_flatbuffer,
    read_tflite,
    shorten_names,
    write_flatbuffer,
)
from keras_senet.export._frozen import frozen_function
from keras_senet.export._gates import gate_operations
from keras_senet.export._header import MEMBER, append_to_file, describe
from keras_senet.export._interpreting import tensor_ranges
from keras_senet.export._metadata import LABELS, add_metadata
from keras_senet.export._mixed import quantize_mixed
from keras_senet.export.saved_model import check_labels
from keras_senet.version import __version__


class Conversion:
    """Converts a model, to one .tflite file or several.

    Args:
        model: A functional or sequential model.
        images: For int8 files: representative images as batches of one.
        labels: Class names.
        image_size: Height and width, for a model that leaves them open.
        batch_size: A fixed batch size.
        fold: Whether the model is folded first.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        images: list[np.ndarray] | None = None,
        labels: Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        batch_size: int | None = None,
        fold: bool = True,
    ):
        self.model = model
        self.function = frozen_function(
            model, image_size=image_size, batch_size=batch_size, fold=fold
        )
        self.labels = check_labels(labels, self.function)
        self.images = images
        if images is not None:
            self.images = _batches(images, self.function.inputs[0].shape[0])

    @functools.cached_property
    def float32(self) -> bytes:
        """The file without quantisation."""
        return convert(self.function, None)

    @functools.cached_property
    def operations(self) -> list[Operation]:
        """The operations of the file without quantisation."""
        return graph_operations(open_flatbuffer(self.float32))

    @functools.cached_property
    def gates(self) -> list[str]:
        """The names of the operations that make and apply the gates."""
        return gate_operations(open_flatbuffer(self.float32))

    @functools.cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each tensor over the images."""
        ranges = tensor_ranges(self.float32, self.images)
        if takes_raw_images(self.model):
            # So that a pixel is a step of the input.
            graph = open_flatbuffer(self.float32).subgraphs[0]
            ranges[graph.tensors[graph.inputs[0]].name.decode()] = (0.0, 255.0)
        return ranges

    def convert(self, quantization: str | None, io_type: str = "float32") -> bytes:
        """Returns the bytes of a file, without metadata, as `export_tflite` says."""
        if quantization == "int8_float_gates":
            return self.mixed(floats=self._known_gates(), io_type=io_type)
        if quantization == "int8_int16_gates":
            return self.mixed(int16=self._known_gates(), io_type=io_type)
        if quantization is None:
            return self.float32
        data = convert(self.function, quantization, self.images, io_type)
        dead = read_tflite(data).dead
        if dead:
            # On values without a range LiteRT's XNNPACK delegate ends the process.
            why = f"with values that never leave zero, such as {_layer(dead[0])!r},"
            return self.mixed(io_type=io_type, why=why)
        return data

    def mixed(
        self,
        *,
        floats: Collection[str] = (),
        int16: Collection[str] = (),
        io_type: str = "float32",
        why: str = "with other operations",
    ) -> bytes:
        """Returns the bytes of an int8 file with named operations in other types."""
        return quantize_mixed(
            self.float32,
            self.ranges,
            floats=floats,
            int16=int16,
            io_type=io_type,
            why=why,
        )

    def _known_gates(self) -> list[str]:
        if not self.gates:
            raise ValueError(
                "A quantization of gates needs a model with squeeze-and-excitation. "
                f"Received: {self.model.name}, in which no map is multiplied by a gate "
                "made from it. Use quantization='int8'."
            )
        return self.gates

    def write(self, data: bytes, path: Path) -> None:
        """Writes a file with its metadata, labels and header."""
        flatbuffer = open_flatbuffer(data)
        add_metadata(
            flatbuffer,
            name=self.model.name,
            description=f"Image classifier, exported by keras_senet {__version__}.",
            labels=self.labels,
            normalization=_normalization(self.model),
        )
        shorten_names(flatbuffer)
        path.write_bytes(write_flatbuffer(flatbuffer))
        texts = {MEMBER: describe(self.model, self.labels)}
        if self.labels is not None:
            # One a line.
            lines = (" ".join(label.splitlines()) for label in self.labels)
            texts[LABELS] = "\n".join(lines) + "\n"
        append_to_file(texts, path)


def _batches(images: list[np.ndarray], size: int | None) -> list[np.ndarray]:
    """Returns the images in batches of a fixed size, the last one filled up."""
    if size in (None, 1):
        return images
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return [np.concatenate([*part, *[part[-1]] * (size - len(part))]) for part in parts]


def _layer(name: str) -> str:
    """The first of the names that the converter joins for a fused operation."""
    return name.split(";")[0]


def _normalization(model: keras.Model) -> tuple[list[float], list[float]] | None:
    if takes_raw_images(model):
        return [0.0], [1.0]
    record = getattr(model, "preprocessing", None)
    if record is None or record.channel_order != "RGB":
        return None
    return [255 * m for m in record.mean], [255 * s for s in record.std]
