"""Shows whether a written file computes the same as its model."""

import dataclasses
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_senet.card import Card, Preprocessing
from keras_senet.containers import as_object, read_header
from keras_senet.opening import open_model
from keras_senet.preprocessing import preprocess_input
from keras_senet.runners import Runner
from keras_senet.surgery.fold import inference_form
from keras_senet.utils.errors import is_integer, require
from keras_senet.utils.labelled import without_column
from keras_senet.utils.records import Measured

# Largest difference of a probability, or relative error where the outputs are not
# probabilities.
TOLERANCES = {None: 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "dynamic": 1e-1}
# An int8 file: the accuracy it may lose, and the share of other top classes. With
# labels the accuracy decides; the share then only tells another network apart. Outputs
# that are not compared by their classes may have the relative error.
INT8_ACCURACY_LOSS = 0.01
INT8_DISAGREEMENT = 0.05
INT8_DISAGREEMENT_WITH_LABELS = 0.15
INT8_RELATIVE_ERROR = 0.1

_WARM_UP = 3
_BYTES_IMAGES = 32


class VerificationError(ValueError):
    """A file does not compute the same as its model.

    Example:

    >>> path = keras_senet.export_tflite(model, "model.tflite", quantization="float16")
    >>> try:
    ...     keras_senet.verify(model, path, images, tolerance=0.0, strict=True)
    ... except keras_senet.export.VerificationError as error:
    ...     print("The file differs.")
    The file differs.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification(Measured):
    """What `verify` measured.

    Attributes:
        file: The path of the file.
        kind: "saved_model", "tflite", "onnx", "openvino" or "keras".
        quantization: As in `export_tflite` or `export_openvino`.
        precision: For OpenVINO: the type that it computed in, as in `open_model`.
        images: Number of images compared.
        outputs: "probabilities" if the model's card says so, else "values", such as
            logits.
        max_difference: Largest absolute difference of an output value.
        mean_difference: Mean absolute difference.
        relative_error: max|file - model| / max|model|, over all outputs.
        agreement: Share of the images with the same top class.
        model_accuracy: Top-1 accuracy of the model, if labels were given.
        file_accuracy: Top-1 accuracy of the file, if labels were given.
        size_bytes: Size of the file.
        model_latency: Median seconds for one image; `None` if not measured.
        file_latency: Median seconds for one image; `None` if not measured.
        bytes_difference: Largest difference of a score between the model and the
            file's "classify_bytes", which got the images as PNG files (relative if the
            outputs are values); `None` if the file has no such signature.
        criterion: The measure that decided: "max_difference", "relative_error",
            "accuracy_loss", "disagreement" or "bytes_difference".
        measured: Its value. The relative error of an int8 file is that of the outputs
            that are not compared by their classes.
        tolerance: The largest value that passes.
        passed: Whether all outputs are finite and `measured` is at most `tolerance`.

    Example:

    >>> path = keras_senet.export_tflite(model, "model.tflite")
    >>> report = keras_senet.verify(model, path, images)
    >>> report.kind, report.criterion, report.passed
    ('tflite', 'max_difference', True)
    """

    file: str
    kind: str
    quantization: str | None
    precision: str | None
    images: int
    outputs: str
    max_difference: float
    mean_difference: float
    relative_error: float
    agreement: float
    model_accuracy: float | None
    file_accuracy: float | None
    size_bytes: int
    model_latency: float | None
    file_latency: float | None
    bytes_difference: float | None
    criterion: str
    measured: float
    tolerance: float
    passed: bool

    def summary(self) -> str:
        """Returns the verdict in one line."""
        if not np.isfinite(self.max_difference):
            return (
                f"{self.file} or its model returns values that are not finite on "
                f"{self.images} images"
            )
        verdict = "agrees with" if self.passed else "differs from"
        return (
            f"{self.file} {verdict} its model on {self.images} images: "
            f"{self.criterion.replace('_', ' ')} {self.measured:.3g}, tolerance "
            f"{self.tolerance:.3g}; the top class agrees for {self.agreement:.2%}"
        )

    def raise_if_failed(self) -> None:
        """Raises a VerificationError with the summary unless it passed."""
        if not self.passed:
            raise VerificationError(self.summary())


def verify(
    model: keras.Model,
    file: str | os.PathLike | Runner,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    tolerance: float | None = None,
    threads: int | None = None,
    latency_runs: int = 20,
    strict: bool = False,
) -> Verification:
    """Runs a model and a file of it on the same images and compares the outputs.

    The model computes in float32. For float files, the largest difference of a
    probability must be within the tolerance (for outputs that are not probabilities,
    the relative error). The default tolerances are: float32 1e-4, float16 1e-2,
    bfloat16 5e-2, dynamic range 0.1. An int8 file may lose 1 point of accuracy and
    change the top class of 15 % of the images; without labels, of 5 %. This is for the
    first output `(N, classes)` with at least two classes. Other outputs of int8 files
    may have a relative error of 0.1.

    Args:
        model: The model that was exported.
        file: The path of the SavedModel folder, .tflite, .onnx, .xml or .keras file; or
            what `open_model` returned, such as an OpenVINO file in bfloat16.
        images: Real images `(N, height, width, channels)` as the model takes them.
        labels: Their classes as integers, `(N,)` or `(N, 1)`.
        tolerance: Largest difference of a probability or largest relative error that
            passes, instead of the default.
        threads: Threads of its interpreter, see `open_model`.
        latency_runs: How many times the latency of one image is measured with each; the
            two take turns. 0 measures no latency.
        strict: Whether a failure raises a VerificationError.

    Raises:
        ValueError: If there are no images, or they fit neither.
        VerificationError: If `strict` is set and the verification fails. Nothing is
            removed.

    Example:

    >>> keras_senet.export_tflite(model, "model.tflite")
    >>> report = keras_senet.verify(model, "model.tflite", images, labels)
    >>> report.passed
    True
    """
    require(is_integer(latency_runs), "be an integer from 0", latency_runs=latency_runs)
    reference = open_model(inference_form(model, folded=False))
    images = np.asarray(images, "float32")
    candidate = open_model(file, threads=threads)
    labels = _check_labels(labels, len(images))
    expected = _as_dict(reference.predict(images))
    actual = _as_dict(candidate.predict(images))
    card = Card.of(model)
    measured = _compare(expected, actual, labels, card)
    probabilities = card.outputs in ("softmax", "sigmoid")
    measured["outputs"] = "probabilities" if probabilities else "values"
    measured["bytes_difference"] = _bytes_difference(
        reference, candidate, images, probabilities
    )
    measured["model_latency"], measured["file_latency"] = (
        latencies([reference, candidate], images[:1], latency_runs)
        if latency_runs
        else (None, None)
    )
    if candidate.quantization == "int8" and tolerance is None:
        checks = _int8_checks(expected, actual, labels)
    else:
        kind = candidate.quantization
        kind = "bfloat16" if candidate.precision == "bfloat16" else kind
        checks = _checks(kind, measured, tolerance)
    report = _judge(candidate, measured, len(images), checks)
    if strict:
        report.raise_if_failed()
    return report


def _check_labels(labels, count: int) -> np.ndarray | None:
    if labels is None:
        return None
    labels = without_column(labels)
    if labels.shape != (count,):
        raise ValueError(
            "`labels` must hold one class for each image. Received: labels of shape "
            f"{labels.shape} for {count} images"
        )
    return labels


def _as_dict(outputs) -> dict[str, np.ndarray]:
    return outputs if isinstance(outputs, dict) else {"": outputs}


def _compare(expected: dict, actual: dict, labels, card: Card) -> dict:
    shapes, found = _shapes(expected), _shapes(actual)
    if shapes != found:
        raise VerificationError(
            f"The file must have the model's outputs, {shapes}. Received: a file with "
            f"{found}. It was written from another model."
        )
    differences = [_difference(expected[name], actual[name]) for name in expected]
    name = (_class_output(expected) or list(expected))[0]
    one = expected[name].shape[-1] == 1 and not card.binary
    if expected[name].ndim != 2 or one:
        labels = None  # nothing says which values are which class
    model_top, file_top = map(card.predicted, (expected[name], actual[name]))
    return {
        "max_difference": float(np.max([d.max() for d in differences])),
        "mean_difference": float(
            np.concatenate([d.ravel() for d in differences]).mean()
        ),
        "relative_error": _relative_error(expected, actual, expected),
        "agreement": float(np.mean(model_top == file_top)),
        "model_accuracy": _accuracy(model_top, labels),
        "file_accuracy": _accuracy(file_top, labels),
    }


def _class_output(outputs: dict[str, np.ndarray]) -> list[str]:
    """Returns the name of the first output `(N, classes)`, or none."""
    shapes = {name: value.shape for name, value in outputs.items()}
    return [n for n, shape in shapes.items() if len(shape) == 2 and shape[1] > 1][:1]


def _relative_error(expected: dict, actual: dict, names: Iterable[str]) -> float:
    """Returns the largest relative error of the named outputs."""
    errors = [
        _difference(expected[name], actual[name]).max()
        / (float(np.abs(expected[name]).max()) or 1.0)
        for name in names
    ]
    return float(np.max(errors))


def _difference(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # inf - inf is nan, and fails later
        return np.abs(expected.astype("float64") - actual)


def _shapes(outputs: dict[str, np.ndarray]) -> str:
    return ", ".join(
        f"{name} {outputs[name].shape}".strip() for name in sorted(outputs)
    )


def _accuracy(top: np.ndarray, labels: np.ndarray | None) -> float | None:
    return None if labels is None else float(np.mean(top == labels))


def latencies(runners: Sequence[Runner], image: np.ndarray, runs: int) -> list[float]:
    """Returns the median seconds that each needs for one image; they take turns."""
    seconds: list[list[float]] = [[] for _ in runners]
    for run in range(_WARM_UP + runs):
        for runner, times in zip(runners, seconds, strict=True):
            start = time.perf_counter()
            runner.predict(image)
            if run >= _WARM_UP:
                times.append(time.perf_counter() - start)
    return [float(np.median(times)) for times in seconds]


def _judge(candidate, measured, images, checks) -> Verification:
    # Not finite compares as False, so it never passes.
    failed = [name for name, (value, limit) in checks.items() if not value <= limit]
    finite = np.isfinite(measured["max_difference"])
    criterion = failed[0] if failed else next(iter(checks))
    value, limit = checks[criterion]
    return Verification(
        file=candidate.name,
        kind=candidate.kind,
        quantization=candidate.quantization,
        precision=candidate.precision,
        images=images,
        size_bytes=candidate.size_bytes,
        criterion=criterion,
        measured=value,
        tolerance=limit,
        passed=bool(finite and not failed),
        **measured,
    )


def _checks(quantization, measured, tolerance) -> dict[str, tuple[float, float]]:
    """Returns what decides: the measured value and the largest that passes, by name."""
    probabilities = measured["outputs"] == "probabilities"
    name = "max_difference" if probabilities else "relative_error"
    limit = TOLERANCES[quantization] if tolerance is None else tolerance
    checks = {name: (measured[name], limit)}
    if measured["bytes_difference"] is not None:
        checks["bytes_difference"] = (measured["bytes_difference"], limit)
    return checks


def _int8_checks(expected, actual, labels) -> dict[str, tuple[float, float]]:
    """Returns what decides for an int8 file.

    Images are counted and then divided: 1 - 0.95 is more than 0.05.
    """
    checks = {}
    classes = _class_output(expected)
    for name in classes:
        limit = INT8_DISAGREEMENT
        model_top, file_top = expected[name].argmax(-1), actual[name].argmax(-1)
        if labels is not None:
            right, kept = (np.count_nonzero(t == labels) for t in (model_top, file_top))
            checks["accuracy_loss"] = ((right - kept) / len(labels), INT8_ACCURACY_LOSS)
            limit = INT8_DISAGREEMENT_WITH_LABELS
        others = np.count_nonzero(model_top != file_top)
        checks["disagreement"] = (others / len(model_top), limit)
    others = [name for name in expected if name not in classes]
    if others:
        error = _relative_error(expected, actual, others)
        checks["relative_error"] = (error, INT8_RELATIVE_ERROR)
    return checks


def _bytes_difference(reference, candidate, images, probabilities) -> float | None:
    """Returns the largest difference of a score that `classify_bytes` returns.

    The images go in as PNG files, so large that resizing leaves them as they are and
    cropping has to find them. Where they are no raw images of the signature's size,
    noise takes their place.

    It is relative to the largest score where scores are no probabilities, and None
    where the file has no such signature.
    """
    signature = candidate.signature("classify_bytes")
    if signature is None:
        return None
    header = read_header(Path(candidate.name)) or {}
    facts = as_object(header, candidate.name).get("encoded_images")
    if facts is None:
        return None
    record = Preprocessing.from_json(facts["preprocessing"])
    pictures = _pictures(images, facts, candidate.input_shape[0])
    given = pictures.astype("float32")
    if not facts["raw"]:
        given = preprocess_input(given, "channels_last", preset=record)
    expected = reference.predict(given)
    found = signature(image_bytes=_png_files(pictures, record))
    scores, indices = found["scores"].numpy(), found["indices"].numpy()
    named = np.take_along_axis(expected, indices, axis=1)
    best = -np.sort(-expected, axis=1)[:, : scores.shape[1]]
    difference = max(np.abs(scores - named).max(), np.abs(scores - best).max())
    scale = 1.0 if probabilities else np.abs(expected).max() or 1.0
    return float(difference / scale)


def _pictures(images, facts, batch_size):
    shape = tuple(facts["shape"])
    pictures = np.clip(np.rint(images[:_BYTES_IMAGES]), 0, 255)
    if not facts["raw"] or images.shape[1:] != shape:
        pictures = np.random.default_rng(0).integers(0, 256, (8, *shape))
    count = batch_size or len(pictures)
    return np.resize(pictures, (count, *shape)).astype("uint8")


def _png_files(pictures, record):
    import tensorflow as tf

    from keras_senet.data.augmentation import covered_box

    margins, size = [(0, 0)], pictures.shape[1:3]
    box = covered_box(size, record.crop_fraction)
    for margin in np.subtract(box, size).tolist():
        before = int(np.rint(margin / 2))
        margins.append((before, margin - before))
    padded = np.pad(pictures, [*margins, (0, 0)], mode="edge")
    return tf.stack([tf.io.encode_png(picture) for picture in padded])
