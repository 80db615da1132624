"""SavedModel: one folder that TensorFlow serves without keras_senet or Keras."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_senet.card import Preprocessing
from keras_senet.containers import FOLDER
from keras_senet.data.augmentation import to_grey
from keras_senet.export import decoding
from keras_senet.preprocessing import PLAIN, find_preprocessing
from keras_senet.tracing import Frozen, freeze
from keras_senet.utils.errors import as_integer, check_counts
from keras_senet.utils.files import atomic_path
from keras_senet.views import view_images

DEFAULT, CLASSIFY, CLASSIFY_BYTES = "serving_default", "classify", "classify_bytes"


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | str | None = None,
    top: int = 5,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    version: int | None = None,
    fold: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a model as a SavedModel for inference.

    | signature | takes | returns |
    |---|---|---|
    | "serving_default" | `images` | the outputs by the names of the output layers |
    | "classify" | `images` | `classes`, `scores`, `indices` |
    | "classify_bytes" | `image_bytes` | `classes`, `scores`, `indices` |

    `images` is a float32 batch `(N, height, width, channels)` in the form that the
    model takes (raw values of 0..255 if the model normalizes images itself).
    `image_bytes` are JPEG, PNG, GIF, BMP or WebP files `(N,)` of any size up to 50
    megapixels; the graph decodes, resizes, crops and normalizes them. `classes` are the
    names of the `top` highest scores, `scores` their values and `indices` their
    numbers, each `(N, top)`, the best first.

    A model with several inputs takes them under their own names, without characters
    that TensorFlow does not allow. If the model is not an image classifier, or its
    normalization is unknown, some signatures are missing; `assets.extra/README.md` in
    the folder says which and why. Labels and preprocessing are in
    `assets.extra/keras_senet.json`.

    The weights are constants of the graph. A model of mixed precision is written in
    float32. The folder gets its name only when it is complete.

    Args:
        model: A functional or sequential model.
        path: The folder to write.
        labels: Class names in the order of the classes. `None` uses those of the
            model's card, else the numbers.
        preprocessing: How an encoded image becomes the model's input: a record or the
            name of a preset. `None` uses the model's own. If the model does not
            normalize images itself, the SavedModel does it with this record.
        top: The largest number of classes that "classify" and "classify_bytes" return.
        image_size: Height and width, for a model that leaves them open. `None` leaves
            them open.
        batch_size: A fixed batch size. `None` leaves it open.
        version: Writes the folder `path/version`, as TensorFlow Serving needs it.
        fold: Whether batch normalization and SE are folded first, see
            `keras_senet.fold`. The header describes the model as it was given.
        overwrite: Whether an existing folder is replaced.

    Returns:
        The path of the folder.

    Raises:
        ValueError: If the path exists, a size or number is not positive, the number of
            labels differs from the number of classes, or the model cannot be written.

    Example:

    >>> keras_senet.export_saved_model(model, "served", labels=names)
    >>> served = tf.saved_model.load("served").signatures["classify_bytes"]
    >>> served(image_bytes=tf.constant([open("cat.jpg", "rb").read()]))["classes"]
    """
    path = Path(path)
    top = as_integer("top", top)
    if version is not None:
        check_counts(version=version)
        path = path / str(version)
    if preprocessing is not None:
        preprocessing = find_preprocessing(preprocessing)
    with atomic_path(path, overwrite=overwrite, what="SavedModel") as temporary:
        frozen = freeze(model, labels, image_size, batch_size, fold)
        if preprocessing is not None:
            card = dataclasses.replace(
                frozen.card,
                preprocessing=preprocessing,
                normalises=bool(frozen.card.normalises),
            )
            frozen = dataclasses.replace(frozen, card=card)
        served = _serve(frozen, top)
        write_saved_model(frozen, temporary, served.signatures)
        others = {"encoded_images": served.encoded} if served.encoded else {}
        frozen.card.write(temporary, **others)
        readme = temporary / FOLDER / "README.md"
        readme.write_text(_readme(frozen.name, served), "utf-8")
    return path


def write_saved_model(
    frozen: Frozen, folder: Path, signatures: dict | None = None
) -> None:
    """Writes a frozen model as a SavedModel.

    Args:
        frozen: The model.
        folder: The folder to write.
        signatures: Functions by name. `None` is the model's as "serving_default".
    """
    module = tf.Module()
    module.serve = frozen.function
    signatures = signatures or {DEFAULT: frozen.function}
    tf.saved_model.save(module, str(folder), signatures)
    if not frozen.weights:
        return
    path = folder / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    with path.open("wb") as file:
        for part in _parts(proto, _NODES, frozen.weights):
            file.write(part)
    # It would be that of the file with zeros.
    (folder / "fingerprint.pb").unlink(missing_ok=True)


# Where a SavedModel has the operations of its functions.
_NODES = ("meta_graphs", "graph_def", "library", "function", "node_def")


def _parts(message, path: Sequence[str], weights: Mapping[str, np.ndarray]) -> list:
    """Returns the parts of a serialised message, the weights as they lie in memory.

    Protocol buffers may have their fields in any order: those of the path, which leads
    to the operations, are the last.
    """
    if not path:
        return _operation(message, weights.get(message.name))
    name, *rest = path
    inner = getattr(message, name)
    inner = [inner] if hasattr(inner, "DESCRIPTOR") else list(inner)
    parts = []
    for one in inner:
        parts += _field(message.DESCRIPTOR, name, _parts(one, rest, weights))
    message.ClearField(name)
    return [message.SerializeToString(), *parts]


def _operation(node, array: np.ndarray | None) -> list:
    """Returns the parts of an operation; an array takes the place of its constant."""
    if array is None:
        return [node.SerializeToString()]
    tensor = node.attr["value"].tensor
    head = type(tensor)(dtype=tensor.dtype, tensor_shape=tensor.tensor_shape)
    content = np.ascontiguousarray(array).reshape(-1).view("uint8").data
    del node.attr["value"]
    attribute = node.DESCRIPTOR.fields_by_name["attr"].message_type
    value = attribute.fields_by_name["value"].message_type
    parts = _field(head.DESCRIPTOR, "tensor_content", [content])
    parts = _field(value, "tensor", [head.SerializeToString(), *parts])
    parts = _field(attribute, "key", [b"value"]) + _field(attribute, "value", parts)
    return [node.SerializeToString(), *_field(node.DESCRIPTOR, "attr", parts)]


def _field(descriptor, name: str, parts: list) -> list:
    """Returns the parts of a field that is a message or bytes."""
    number = descriptor.fields_by_name[name].number
    return [_varint(number << 3 | 2), _varint(sum(map(len, parts))), *parts]


def _varint(number: int) -> bytes:
    digits = []
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Served:
    """The signatures of a SavedModel.

    Attributes:
        signatures: Concrete functions by name.
        missing: Why a signature is not among them, by its name.
        encoded: What `classify_bytes` makes of an encoded image, as JSON values: its
            shape, whether it stays raw, and the preprocessing.
    """

    signatures: dict[str, Callable]
    missing: dict[str, str]
    encoded: dict | None = None


def _serve(frozen: Frozen, top: int) -> _Served:
    """Makes the signatures that a model allows; each returns the `top` best classes."""
    signatures = {DEFAULT: frozen.function}
    reason = _no_classifier(frozen)
    if reason:
        missing = {CLASSIFY: reason, CLASSIFY_BYTES: reason}
        return _Served(signatures=signatures, missing=missing)
    (images,) = frozen.inputs
    classify = _classifier(frozen, top)
    signatures[CLASSIFY] = _traced(classify, images)
    card = frozen.card
    try:
        view = view_images(card, frozen.name)
        if card.normalises is None:
            raise ValueError(
                "Nothing says whether the model normalizes pictures itself. Pass "
                "`preprocessing`."
            )
    except ValueError as error:
        missing = {CLASSIFY_BYTES: str(error)}
        return _Served(signatures=signatures, missing=missing)
    shape = (*view.image_size, view.channels)

    def fit(image):
        return view.fit(to_grey(image) if view.channels == 1 else image)

    def classify_bytes(image_bytes):
        pictures = decoding.decode_images(image_bytes, fit, shape)
        return classify(tf.cast(view.normalise(pictures), images.dtype))

    strings = tf.TensorSpec(images.shape[:1], tf.string, name="image_bytes")
    signatures[CLASSIFY_BYTES] = _traced(classify_bytes, strings)
    encoded = {
        "shape": list(shape),
        "raw": view.normalisation is None,
        "preprocessing": (card.preprocessing or PLAIN).to_json(),
    }
    return _Served(signatures=signatures, missing={}, encoded=encoded)


def _traced(function: Callable, spec: tf.TensorSpec):
    """Returns the concrete function, which saving need not trace again."""
    traced = tf.function(function, input_signature=[spec], autograph=False)
    return traced.get_concrete_function()


def _no_classifier(frozen: Frozen) -> str:
    if len(frozen.inputs) != 1:
        return f"the model has {len(frozen.inputs)} inputs."
    if len(frozen.outputs) != 1:
        return f"the model has {len(frozen.outputs)} outputs."
    shape = frozen.outputs[0].shape
    if shape.rank != 2 or not shape[1]:
        return f"the model's output of shape {tuple(shape)} is not one score a class."
    return ""


def _classifier(frozen: Frozen, top: int):
    classes = frozen.outputs[0].shape[1]
    names = frozen.card.labels or [str(number) for number in range(classes)]
    count = min(top, classes)

    def classify(images):
        (scores,) = tf.nest.flatten(frozen.function(images))
        best = tf.math.top_k(scores, count)
        return {
            "classes": tf.gather(tf.constant(names), best.indices),
            "scores": best.values,
            "indices": best.indices,
        }

    return classify


def _readme(name: str, served: _Served) -> str:
    """Returns the README of a SavedModel folder."""
    lines = [f"# {name}", "", "A TensorFlow SavedModel written by keras_senet.", ""]
    lines += ["| signature | takes | returns |", "|---|---|---|"]
    for signature, function in served.signatures.items():
        takes = [_spec(spec) for spec in function.structured_input_signature[0]]
        returns = [
            _spec(output, name) for name, output in function.structured_outputs.items()
        ]
        lines.append(f"| {signature} | {', '.join(takes)} | {', '.join(returns)} |")
    for signature, reason in served.missing.items():
        lines += ["", f"There is no `{signature}`: {reason}"]
    if served.encoded:
        lines += ["", *_encoded_text(served.encoded)]
    return "\n".join(lines) + "\n"


def _spec(spec, name=None) -> str:
    return f"`{name or spec.name}` {spec.dtype.name} {tuple(spec.shape)}"


def _encoded_text(encoded: dict) -> list[str]:
    height, width, _ = encoded["shape"]
    record = Preprocessing.from_json(encoded["preprocessing"])
    return [
        "## Encoded images",
        "",
        f"`{CLASSIFY_BYTES}` takes the bytes of image files of any size. Each is "
        f"resized ({record.interpolation}, antialiased) to cover {height} x {width} "
        f"pixels divided by {record.crop_fraction:g}, and the centre of {height} x "
        f"{width} is kept. The normalisation is in the graph.",
        "",
        f"- Read: {', '.join(decoding.FORMATS)}. JPEG: grey, RGB, CMYK. PNG: all "
        "kinds, of 16 bits the upper 8. GIF: the first frame. BMP: uncompressed. "
        "Not read: animated WebP.",
        "- EXIF orientation is not applied. Transparency is ignored, and colour "
        "profiles are too.",
        f"- Refused: more than {decoding.MAX_PIXELS:,} pixels, a side more than "
        f"{decoding.MAX_ASPECT} times the other, a JPEG of more than "
        f"{decoding.MAX_SCANS} scans.",
        "- One bad image fails the whole request; the error names its index.",
    ]
