"""Signatures of a SavedModel that name classes, and the card that describes them."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_senet.card import takes_raw_images
from keras_senet.data.augmentation import resize_and_crop, to_grey
from keras_senet.export import _encoded
from keras_senet.preprocessing import PLAIN, preprocess_input
from keras_senet.weights import Preprocessing

DEFAULT, CLASSIFY, CLASSIFY_BYTES = "serving_default", "classify", "classify_bytes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serving:
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


def serving(
    model: keras.Model,
    function,
    *,
    labels: list[str] | None,
    preprocessing: Preprocessing | None,
    top: int,
) -> Serving:
    """Makes the signatures that a model allows.

    Args:
        model: The model.
        function: Its frozen function.
        labels: Class names; `None` names the classes by their numbers.
        preprocessing: How an encoded image becomes the model's input. `None` is what
            the model says of itself.
        top: How many classes are returned, the best first.
    """
    signatures = {DEFAULT: function}
    reason = _no_classifier(function)
    if reason:
        missing = {CLASSIFY: reason, CLASSIFY_BYTES: reason}
        return Serving(signatures=signatures, missing=missing)
    (images,) = function.structured_input_signature[0]
    classify = _classifier(function, labels, top)
    signatures[CLASSIFY] = _traced(classify, images)
    reason = _no_pictures(model, images, preprocessing)
    if reason:
        missing = {CLASSIFY_BYTES: reason}
        return Serving(signatures=signatures, missing=missing)
    record, raw, shape = _picture(model, images, preprocessing)

    def classify_bytes(image_bytes):
        pictures = _encoded.decode_images(
            image_bytes, lambda image: _fit(image, record, shape), shape
        )
        if not raw:
            pictures = preprocess_input(pictures, "channels_last", preset=record)
        return classify(tf.cast(pictures, images.dtype))

    strings = tf.TensorSpec(images.shape[:1], tf.string, name="image_bytes")
    signatures[CLASSIFY_BYTES] = _traced(classify_bytes, strings)
    encoded = {"shape": list(shape), "raw": raw, "preprocessing": record.to_json()}
    return Serving(signatures=signatures, missing={}, encoded=encoded)


def _traced(function: Callable, spec: tf.TensorSpec):
    """Returns the concrete function, which saving need not trace again."""
    traced = tf.function(function, input_signature=[spec], autograph=False)
    return traced.get_concrete_function()


def _no_classifier(function) -> str:
    inputs = function.structured_input_signature[0]
    outputs = tf.nest.flatten(function.structured_outputs)
    if len(inputs) != 1:
        return f"the model has {len(inputs)} inputs"
    if len(outputs) != 1:
        return f"the model has {len(outputs)} outputs"
    shape = outputs[0].shape
    if shape.rank != 2 or not shape[1]:
        return f"the model's output of shape {tuple(shape)} is not one score a class"
    return ""


def _classifier(function, labels, top):
    (output,) = tf.nest.flatten(function.structured_outputs)
    classes = output.shape[1]
    names = labels or [str(number) for number in range(classes)]
    count = min(top, classes)

    def classify(images):
        (scores,) = tf.nest.flatten(function(images))
        best = tf.math.top_k(scores, count)
        return {
            "classes": tf.gather(tf.constant(names), best.indices),
            "scores": best.values,
            "indices": best.indices,
        }

    return classify


def _no_pictures(model, images, preprocessing) -> str:
    if images.shape.rank != 4 or images.shape[-1] not in (1, 3):
        return f"the model's input of shape {tuple(images.shape)} is no RGB or grey one"
    if preprocessing or getattr(model, "preprocessing", None):
        return ""
    if not takes_raw_images(model):
        return (
            "the model does not normalise raw images and nothing says how; pass "
            "`preprocessing`"
        )
    if None in images.shape[1:3]:
        return "the model takes any size; pass `image_size`"
    return ""


def _picture(model, images, preprocessing):
    """Returns the record, whether the model normalises itself, and the shape."""
    raw = takes_raw_images(model)
    record = preprocessing or getattr(model, "preprocessing", None)
    size = tuple(images.shape[1:3])
    record = record or PLAIN
    if None in size:
        size = (record.image_size,) * 2
    return record, raw, (*size, images.shape[-1])


def _fit(image, record, shape):
    if shape[-1] == 1:
        image = to_grey(image)
    return resize_and_crop(
        image,
        shape[:2],
        crop_fraction=record.crop_fraction,
        interpolation=record.interpolation,
    )


def card(name: str, served: Serving) -> str:
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
        lines += ["", f"There is no `{signature}`: {reason}."]
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
        f"- Read: {', '.join(_encoded.FORMATS)}. JPEG: grey, RGB, CMYK. PNG: all "
        "kinds, of 16 bits the upper 8. GIF: the first frame. BMP: uncompressed. "
        "Not read: animated WebP.",
        "- EXIF orientation is not applied. Transparency is ignored, and colour "
        "profiles are too.",
        f"- Refused: more than {_encoded.MAX_PIXELS:,} pixels, a side more than "
        f"{_encoded.MAX_ASPECT} times the other, a JPEG of more than "
        f"{_encoded.MAX_SCANS} scans.",
        "- One bad image fails the whole request; the error names its index.",
    ]
