"""What is known about a network beside its weights.

A card is JSON in every file that this package writes; containers.py says where.
"""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from keras_senet.containers import as_object, read_header, write_header
from keras_senet.utils.errors import checked_labels, short
from keras_senet.utils.files import check_depth
from keras_senet.version import __version__

# The command line lists checkpoints, which have cards, without Keras and NumPy.
if TYPE_CHECKING:
    import keras
    import numpy as np

FORMAT = 2  # 1: version 0.1

OUTPUTS = ("softmax", "sigmoid", "logits", "features")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes a network's input.

    The short side is resized to `image_size / crop_fraction` pixels. The centre of
    `image_size` pixels is kept. The channels are put in `channel_order`. A value x from
    0 to 255 becomes `(x / 255 - mean) / std`.

    Attributes:
        mean: Mean of each channel in `channel_order`, or one for all; from 0 to 1.
        std: Standard deviation of each channel, in the same form and unit.
        channel_order: Order of the channels that the network takes; images are RGB.
        image_size: Height and width of the input, pixels.
        crop_fraction: Share of the resized short side that the centre crop keeps.
        interpolation: "bicubic" or "bilinear", with antialiasing.

    Example:

    >>> record = keras_senet.Preprocessing(
    ...     mean=(0.5,), std=(0.25,), image_size=224, crop_fraction=0.875
    ... )
    >>> record.interpolation
    'bicubic'
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: str = "RGB"
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self):
        _check(self, _RECORD_TYPES)
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                "`mean` and `std` must have one value for each channel, and `std` must "
                f"be positive. Received: mean={self.mean}, std={self.std}"
            )

    def scale_and_offset(self) -> tuple[list[float], list[float]]:
        """Returns a and b of the same normalisation written as a * x + b."""
        scale = [1 / (255 * std) for std in self.std]
        offset = [-m / s for m, s in zip(self.mean, self.std, strict=True)]
        return scale, offset

    def to_json(self) -> dict[str, Any]:
        """Returns the record as a dictionary of JSON values."""
        return _json_fields(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Preprocessing":
        """Makes the record from `to_json`'s dictionary.

        Raises:
            ValueError: If it has other fields than this record, or values of another
                type.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(record, Mapping) or set(record) - known:
            raise ValueError(
                "The preprocessing may only have the fields "
                f"{', '.join(sorted(known))}. Received: {short(record)}"
            )
        return cls(**record)


def _check(record, types) -> None:
    """Makes a record's fields plain; raises if one has a value of another type."""
    for name, (is_one, what) in types.items():
        value = _plain(getattr(record, name))
        if not is_one(value):
            raise ValueError(
                f"`{name}` of the {type(record).__name__.lower()} must be {what}. "
                f"Received: {name}={short(value)}"
            )
        object.__setattr__(record, name, value)


def _plain(value):
    """NumPy's numbers as Python's, which are JSON; lists of any kind as tuples."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, Iterable) or isinstance(value, str | Mapping | Set):
        return value
    return tuple(map(_plain, value))


def _json_fields(record) -> dict[str, Any]:
    fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    for name, value in fields.items():
        if isinstance(value, Row | Preprocessing):
            fields[name] = value.to_json()
        elif isinstance(value, tuple):
            fields[name] = list(value)
    return fields


class Row(Mapping):
    """An architecture row: JSON values by name, `row["blocks"]` or `row.blocks`.

    As attributes, lists are tuples.
    """

    def __init__(self, values: Mapping[str, Any]):
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"The architecture row has no field {name!r}.")
        value = self._values[name]
        return tuple(value) if isinstance(value, list) else value

    def __iter__(self):
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Row({self._values})"

    def __hash__(self) -> int:
        return hash(json.dumps(self._values, sort_keys=True))

    def to_json(self) -> dict[str, Any]:
        """Returns the row as a dictionary of JSON values."""
        return dict(self._values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What is known about a network beside its weights; None is unknown.

    Attributes:
        constructor: The name of the network, "se_resnet50"; None if no constructor of
            this package made it.
        architecture: Its architecture row.
        include_top: Whether it has the classifier.
        outputs: What it returns: "softmax" (probabilities that sum to 1), "sigmoid"
            (an independent probability for each output), "logits" (softmax turns them
            into probabilities) or "features".
        classes: Number of outputs of the classifier.
        labels: Names of the outputs, in their order.
        input_shape: Shape of one image, without the batch axis.
        preprocessing: How images are prepared.
        normalises: Whether the network itself normalizes raw images (0 to 255).
        output_stride: Stride of the last feature map, where the constructor was told.
        preset: The preset of its weights, for example "se_resnet20.cifar10".
        licence: SPDX identifier of the weights' licence.
        version: The version of this package that wrote the card.

    Example:

    >>> model.card.constructor, model.card.outputs, model.card.classes
    ('se_resnet20', 'softmax', 10)
    """

    constructor: str | None = None
    architecture: Row | None = None
    include_top: bool | None = None
    outputs: str | None = None
    classes: int | None = None
    labels: tuple[str, ...] | None = None
    input_shape: tuple[int | None, ...] | None = None
    preprocessing: Preprocessing | None = None
    normalises: bool | None = None
    output_stride: int | None = None
    preset: str | None = None
    licence: str | None = None
    version: str = __version__

    def __post_init__(self):
        known = {n: t for n, t in _TYPES.items() if getattr(self, n) is not None}
        _check(self, known)
        if "architecture" in known:
            object.__setattr__(self, "architecture", Row(self.architecture))
        sides = filter(None, self.input_shape or ())
        if self.constructor and max(sides, default=0) > _MAX_SIZE:
            raise ValueError(
                f"The `input_shape` of a network must have sides of at most {_MAX_SIZE}"
                f" pixels. Received: input_shape={self.input_shape}"
            )
        if None not in (self.labels, self.classes) and len(self.labels) != self.classes:
            raise ValueError(
                f"`labels` must name the {self.classes} classes of the model. "
                f"Received: {len(self.labels)} labels"
            )

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several of the classes."""
        return self.outputs == "sigmoid" and self.classes != 1

    @property
    def binary(self) -> bool:
        """Whether one output is the probability of the one class there is."""
        return self.outputs == "sigmoid" and self.classes == 1

    def scores(self, outputs: "np.ndarray") -> "np.ndarray":
        """Returns the network's outputs as probabilities.

        Args:
            outputs: `(batch, classes)`.

        Raises:
            ValueError: If the outputs are features or one logit, or nothing says what
                they are.
        """
        import numpy as np

        if self.outputs in ("softmax", "sigmoid"):
            return np.asarray(outputs)
        if self.outputs == "logits" and np.shape(outputs)[-1] > 1:
            shifted = np.asarray(outputs, "float64")
            shifted = np.exp(shifted - shifted.max(-1, keepdims=True))
            return (shifted / shifted.sum(-1, keepdims=True)).astype("float32")
        raise ValueError(
            "The card must say what the outputs mean: 'softmax', 'sigmoid' or "
            "'logits' of several classes. Received: "
            f"outputs={self.outputs!r}, {np.shape(outputs)[-1]} outputs. Set it with "
            "`model.card = keras_senet.Card(outputs=...)`, or give the model a softmax "
            "or sigmoid as its last activation."
        )

    def predicted(self, outputs: "np.ndarray") -> "np.ndarray":
        """Returns the class of each row of outputs (..., classes).

        Of a single probability it is 1 above one half, else 0.
        """
        if self.outputs == "sigmoid" and outputs.shape[-1] == 1:
            return (outputs[..., 0] > 0.5).astype(int)
        return outputs.argmax(-1)

    def check_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of the outputs for some data, if its classes are these.

        Without names in the card there is nothing to compare. Names that only one side
        knows are taken for other words for the same classes.

        Args:
            names: The data's, as many as the network's; for one output also two, of
                which the second one is that output's.

        Raises:
            ValueError: If a name that both know has different places, or they share
                no name.
        """
        names = tuple(names[1:] if self.binary and len(names) == 2 else names)
        mine = self.labels
        if mine is None or len(mine) != len(names):
            return names
        triples = zip(range(len(mine)), mine, names, strict=True)
        differing = [triple for triple in triples if triple[1] != triple[2]]
        moved = [triple for triple in differing if triple[1] in names]
        numbers = tuple(map(str, range(len(mine))))  # what has no names is numbered
        if len(differing) == len(mine) and numbers not in (mine, names):
            moved = moved or differing
        if moved:
            place, own, theirs = moved[0]
            raise ValueError(
                "The model and the data must have the same classes in the same order. "
                f"Received: class {place} is {own!r} in the model and {theirs!r} in "
                "the data. Name and number the classes of the data as in the model."
            )
        return names

    def arguments(self) -> dict[str, str | int | None]:
        """Returns what a constructor must be told beside the row, if not its defaults.

        That is `classifier_activation` and `output_stride`.
        """
        activations = {"sigmoid": "sigmoid", "logits": None}
        found: dict[str, str | int | None] = {}
        if self.outputs in activations:
            found["classifier_activation"] = activations[self.outputs]
        if self.output_stride is not None:
            found["output_stride"] = self.output_stride
        return found

    def named(self, labels: Sequence[str] | None, widths: Iterable[int]) -> "Card":
        """Returns the card with class names; raises a ValueError if they do not fit.

        Args:
            labels: The names. `None` leaves the card as it is.
            widths: The sizes of the last axes of the model's outputs.
        """
        if labels is None:
            return self
        labels, widths = checked_labels(labels), list(widths)
        if len(labels) not in widths:
            raise ValueError(
                "There must be one label for each class. Received: "
                f"{len(labels)} labels for a model with "
                f"{' and '.join(map(str, widths))} classes."
            )
        return dataclasses.replace(self, labels=labels)

    def input_range(self) -> tuple[float, float] | None:
        """Returns the input's values of black and white, or None if nothing tells."""
        if self.normalises:
            return 0.0, 255.0
        if self.preprocessing is None:
            return None
        pairs = list(zip(*self.preprocessing.scale_and_offset(), strict=True))
        return min(b for _, b in pairs), max(255 * a + b for a, b in pairs)

    @classmethod
    def of(cls, model: "keras.Model") -> "Card":
        """Returns a model's own card, completed and corrected by what its graph shows.

        The graph does not show the labels or the preprocessing of images.
        """
        from keras_senet.utils.meaning import takes_raw_images

        is_network, seen = hasattr(model, "checked_card"), cls.seen(model)
        card = model.checked_card() if is_network else getattr(model, "card", None)
        if not isinstance(card, cls):
            return seen
        card = card.completed(seen)._corrected(seen)
        if card.preprocessing is not None and card.normalises is None:
            card = dataclasses.replace(card, normalises=takes_raw_images(model))
        return card

    @classmethod
    def seen(cls, model: "keras.Model") -> "Card":
        """Returns what a model's graph shows, whatever card it carries."""
        from keras_senet.utils.meaning import outputs_of_model, takes_raw_images

        raw = takes_raw_images(model)
        fields: dict[str, Any] = {"normalises": True if raw else None}
        record = getattr(model, "preprocessing", None)
        if isinstance(record, Preprocessing):  # set by a user: others apply it
            fields = {"normalises": raw, "preprocessing": record}
        try:
            inputs, outputs = model.input_shape, model.output_shape
        except (AttributeError, ValueError):  # a model that was never called
            return cls(**fields)
        if isinstance(inputs, tuple):
            fields["input_shape"] = inputs[1:]
        if isinstance(outputs, tuple) and len(outputs) == 2 and outputs[-1]:
            fields["classes"] = outputs[-1]
            fields["outputs"] = outputs_of_model(model)
            # One linear unit may as well be a regression.
            if fields["outputs"] == "logits" and outputs[-1] == 1:
                fields["outputs"] = None
        return cls(**fields)

    def completed(self, seen: "Card") -> "Card":
        """Returns the card with the fields of another one where its own are None.

        A network of features has no number of classes.
        """
        names = {field.name for field in dataclasses.fields(self)}
        names -= {"classes"} if self.outputs == "features" else set()
        known = {n: getattr(seen, n) for n in names if getattr(self, n) is None}
        return dataclasses.replace(self, **known)

    def _corrected(self, seen: "Card") -> "Card":
        """Returns the card without what contradicts the graph, which users change.

        Other outputs than the card's are those of another head, and have other names.
        """
        names = {"input_shape"}
        if self.outputs != "features":
            names |= {"classes", "outputs"}
        shown = {name: getattr(seen, name) for name in names}
        wrong = {n: v for n, v in shown.items() if v not in (None, getattr(self, n))}
        if "classes" in wrong:
            wrong |= {"labels": None, "preset": None}
        return dataclasses.replace(self, **wrong)

    def to_json(self) -> dict[str, Any]:
        """Returns the card as a dictionary of JSON values."""
        return {"format": FORMAT, **_json_fields(self)}

    @classmethod
    def parse(
        cls, header: str | bytes | Mapping[str, Any], path: str | os.PathLike
    ) -> "Card":
        """Reads a card from JSON text or from its dictionary.

        Fields of other programs are ignored.

        Args:
            header: The dictionary that `to_json` returns, or its JSON text.
            path: The file with the card, for messages.

        Raises:
            ValueError: If it is not a card, has a later format, or a field has a value
                of another type.
        """
        header, what = as_object(header, path), f"The header of {str(path)!r}"
        check_depth(header, what)
        if not _is_int(header.get("format")):
            raise ValueError(f"{what} has no format number.")
        if header["format"] > FORMAT:
            raise ValueError(
                f"{str(path)!r} has the format {header['format']} of keras_senet "
                f"{short(header.get('version'))}. This is version {__version__}, which "
                f"reads formats up to {FORMAT}. Upgrade keras-senet."
            )
        fields = {name: header[name] for name in _TYPES if header.get(name) is not None}
        # Older files were written with a record only where the network normalises.
        if "normalises" not in fields and "constructor" in fields:
            fields["normalises"] = "preprocessing" in fields
        try:
            if "preprocessing" in fields:
                record = Preprocessing.from_json(fields["preprocessing"])
                if header["format"] == 1 and fields.get("normalises"):
                    record = _in_the_networks_order(record)
                fields["preprocessing"] = record
            return cls(**fields)
        except ValueError as error:
            raise ValueError(
                f"{what} was not written by keras_senet: {error}"
            ) from None

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Card | None":
        """Returns the card in a file or folder, or None if there is none.

        Args:
            path: A .weights.h5, .keras, .tflite or .onnx file, OpenVINO's .xml file, a
                SavedModel folder or a folder of `save_pretrained`.

        Raises:
            ValueError: If the file is damaged or its card cannot be read.
            FileNotFoundError: If there is no such file.
        """
        path = Path(path)
        header = read_header(path)
        return None if header is None else cls.parse(header, path)

    def write(self, path: str | os.PathLike | BinaryIO, **others: Any) -> None:
        """Adds the card to an existing file or folder of a kind that `read` supports.

        Args:
            path: The file or folder. Its other contents stay. Also a binary file in
                memory whose `str` is a name.
            **others: More fields for the JSON text. `parse` ignores them.

        Raises:
            ValueError: If a .keras or .tflite file has a card already.
        """
        write_header(path, {**self.to_json(), **others})


def _in_the_networks_order(record):
    """Mends a record of version 0.1, whose networks reversed what was normalised."""
    if record.channel_order == "RGB":
        return record
    return dataclasses.replace(record, mean=record.mean[::-1], std=record.std[::-1])


# More pixels a side than any image has that a network is given.
_MAX_SIZE = 2**16


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value):
    # Halves of characters can be written to no file.
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _is_size(value):
    return _is_int(value) and 0 < value <= _MAX_SIZE


def _is_number(value):
    return isinstance(value, int | float) and abs(value) < 2**53  # NaN is none


def _of(kind):
    return lambda value: isinstance(value, kind)


def _list_of(is_one):
    return lambda value: isinstance(value, tuple) and all(map(is_one, value))


def _one_of(*values):
    return lambda value: value in values, " or ".join(map(repr, values))


# What a field may be, once it is plain: whether it is one, and that in words.
_TEXT = (_is_text, "a text")
_OBJECT = (_of(Mapping), "an object")
_FLAG = (_of(bool), "true or false")
_NUMBERS = (_list_of(_is_number), "a list of numbers")

_RECORD_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "mean": _NUMBERS,
    "std": _NUMBERS,
    "channel_order": _one_of("RGB", "BGR"),
    "image_size": (_is_size, f"an integer from 1 to {_MAX_SIZE}"),
    "crop_fraction": (
        lambda v: _is_number(v) and 0 < v <= 1,
        "a number above 0 and at most 1",
    ),
    "interpolation": _one_of("bicubic", "bilinear"),
}

_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "constructor": _TEXT,
    "architecture": _OBJECT,
    "include_top": _FLAG,
    "outputs": _one_of(*OUTPUTS),
    "classes": (lambda v: _is_int(v) and v > 0, "a positive integer"),
    "labels": (_list_of(_is_text), "a list of texts"),
    "input_shape": (
        _list_of(lambda n: n is None or (_is_int(n) and n > 0)),
        "a list of positive integers or None",
    ),
    "preprocessing": (_of(Preprocessing), "a keras_senet.Preprocessing"),
    "normalises": _FLAG,
    "output_stride": _one_of(8, 16, 32),
    "preset": _TEXT,
    "licence": _TEXT,
    "version": _TEXT,
}
