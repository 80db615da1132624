"""The fewest float operations with which an int8 file keeps its accuracy."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from keras_senet.data import Source
from keras_senet.export.quantize import calibration_images, tensor_values
from keras_senet.export.tflite import Conversion, check_arguments
from keras_senet.opening import open_model
from keras_senet.tracing import Frozen, freeze
from keras_senet.utils.errors import check_counts
from keras_senet.utils.files import atomic_path, temporary_folder
from keras_senet.utils.flatbuffer import Operation
from keras_senet.utils.labelled import without_column
from keras_senet.utils.records import Measured

# Images on which the layers are compared: their errors hardly differ between images.
LAYER_IMAGES = 16


@dataclasses.dataclass(frozen=True)
class Step:
    """One conversion: how many operations were in float, and its top-1 accuracy."""

    float_operations: int
    accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Measured):
    """What `search_int8` found.

    Attributes:
        file: The path of the file that was written.
        images: Number of labelled images.
        float_accuracy: Top-1 accuracy of the float32 file on them.
        accuracy: Top-1 accuracy of the file.
        float_operations: Names of the operations that it computes in float.
        operations: Number of all operations.
        steps: The conversions, in their order.

    Example:

    >>> found = keras_senet.export.search_int8(
    ...     model, "model.tflite", images, labels, representative_dataset=[images]
    ... )
    >>> found.images
    16
    """

    file: str
    images: int
    float_accuracy: float
    accuracy: float
    float_operations: tuple[str, ...]
    operations: int
    steps: tuple[Step, ...]

    def summary(self) -> str:
        """Returns the outcome in one line."""
        loss = 100 * (self.float_accuracy - self.accuracy)
        count = len(self.float_operations)
        return (
            f"{self.file}: {count} of {self.operations} operations "
            f"in float, {loss:.2f} points below float32's {self.float_accuracy:.2%} on "
            f"{self.images} images, after {len(self.steps)} conversions"
        )


def search_int8(
    model: keras.Model,
    path: str | os.PathLike,
    images: np.ndarray,
    targets: np.ndarray,
    *,
    representative_dataset: Source | str | os.PathLike | Iterable,
    representative_limit: int = 256,
    max_accuracy_loss: float = 0.5,
    max_conversions: int = 10,
    io_type: str = "float32",
    labels: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    fold: bool = True,
    overwrite: bool = False,
) -> Search:
    """Writes an int8 file with as few float operations as its accuracy needs.

    The operations are ranked by the error that each one adds, measured layer by layer.
    A bisection finds how many of them, from the largest error on, must be in float. If
    plain int8 is good enough, none is.

    Args:
        model: A functional or sequential classifier.
        path: The file to write; its name ends in ".tflite".
        images: Images `(N, height, width, channels)` in the form that the model takes,
            for measuring the accuracy. Use other images for a final report.
        targets: Their classes as integers, `(N,)` or `(N, 1)`.
        representative_dataset: As for `export_tflite`.
        representative_limit: The largest number of these images to use.
        max_accuracy_loss: How many percentage points of top-1 accuracy the file may
            lose, compared with float32.
        max_conversions: The largest number of files to try.
        io_type: The type of the file's input and output, as for `export_tflite`.
        labels: Class names in the order of the classes.
        image_size: Height and width, for a model that leaves them open.
        batch_size: A fixed batch size. `None` leaves it open.
        fold: Whether batch normalization and SE are folded first.
        overwrite: Whether an existing file is replaced.

    Raises:
        ValueError: If an argument is out of its range, LiteRT's quantizer is needed but
            not installed, or none of the files is good enough.

    Example:

    >>> found = keras_senet.export.search_int8(
    ...     model, "model.tflite", images, labels, representative_dataset=[images]
    ... )
    >>> print(found.summary())
    """
    check_arguments(path, "int8", io_type)
    targets = without_column(targets)
    _check(images, targets, max_accuracy_loss, max_conversions)
    with atomic_path(path, overwrite=overwrite, what="TFLite file") as temporary:
        frozen = freeze(model, labels, image_size, batch_size, fold)
        check_classifier(frozen)
        calibration = calibration_images(
            frozen, representative_dataset, limit=representative_limit
        )
        conversion = Conversion(frozen, calibration)
        tried = _Tried(conversion, io_type, images, targets)
        chosen = _bisect(tried, max_accuracy_loss, max_conversions)
        if chosen is None:
            raise ValueError(
                f"None of {len(tried.right)} files lost at most {max_accuracy_loss:g} "
                f"points of accuracy. The best file lost {min(tried.losses()):.2f}. "
                "Allow a larger loss or more conversions, or use "
                "quantization='float16'."
            )
        conversion.write(tried.files[chosen], temporary)
    return Search(
        file=str(path),
        images=len(images),
        float_accuracy=tried.whole / len(images),
        accuracy=tried.right[chosen] / len(images),
        float_operations=tuple(tried.ranking[:chosen]) if chosen else (),
        operations=len(conversion.operations),
        steps=tuple(Step(n, right / len(images)) for n, right in tried.right.items()),
    )


def check_classifier(frozen: Frozen) -> None:
    """Raises a ValueError unless a model has one output that says one class."""
    shapes = [tuple(output.shape) for output in frozen.outputs]
    named = len(shapes) == 1 and len(shapes[0]) == 2
    if not named or (shapes[0][1] == 1 and not frozen.card.binary):
        raise ValueError(
            "The model must be a classifier with one output of shape (N, classes); a "
            "single output must be a probability ('sigmoid'). Received: a model with "
            f"the outputs {shapes}, outputs={frozen.card.outputs!r}"
        )


def _check(images, targets, max_accuracy_loss, max_conversions) -> None:
    if len(images) == 0 or np.shape(targets) != (len(images),):
        raise ValueError(
            "`targets` must hold one class for each image. Received: "
            f"{len(images)} images and targets of shape {np.shape(targets)}"
        )
    if not 0 <= max_accuracy_loss <= 100:
        raise ValueError(
            "`max_accuracy_loss` must be from 0 to 100 percentage points. Received: "
            f"max_accuracy_loss={max_accuracy_loss!r}"
        )
    check_counts(max_conversions=max_conversions)


class _Tried:
    """The files that were tried, by how many operations they compute in float.

    Accuracies are compared as numbers of images: 0.95 - 0.9 is more than 0.05.
    """

    def __init__(self, conversion: Conversion, io_type: str, images, targets):
        self.conversion, self.io_type = conversion, io_type
        self.images, self.targets = images, targets
        self.whole = self._right(conversion.float32)
        self.files: dict[int, bytes] = {}
        self.right: dict[int, int] = {}
        self.ranking: list[str] = []

    def loss(self, count: int) -> float:
        """Converts with so many operations in float; returns the points lost."""
        floats = self.ranking[:count]
        data = self.conversion.convert("int8", self.io_type, floats)
        self.files[count] = data
        self.right[count] = self._right(data)
        return self.losses()[-1]

    def losses(self) -> list[float]:
        """Returns the points of accuracy that each file lost, the last one's last."""
        lost = [self.whole - right for right in self.right.values()]
        return [100 * images / len(self.images) for images in lost]

    def rank(self) -> None:
        """Ranks the operations by the error that they add in the plain int8 file."""
        errors = layer_errors(
            self.conversion.float32,
            self.files[0],
            self.conversion.images[:LAYER_IMAGES],
        )
        added = added_errors(self.conversion.operations, errors)
        self.ranking = sorted(added, key=added.get, reverse=True)

    def _right(self, data: bytes) -> int:
        """Returns how many images a file names right."""
        with temporary_folder() as folder:
            path = folder / "model.tflite"
            path.write_bytes(data)
            scores = open_model(path).predict(self.images)
        predicted = self.conversion.frozen.card.predicted(scores)
        return int(np.count_nonzero(predicted == self.targets))


def _bisect(tried: _Tried, allowed: float, most: int) -> int | None:
    """Returns the smallest count that was found good enough, or None."""
    if tried.loss(0) <= allowed:
        return 0
    tried.rank()
    too_few, enough = 0, len(tried.ranking) + 1
    while enough - too_few > 1 and len(tried.right) < most:
        count = (too_few + enough) // 2
        if tried.loss(count) <= allowed:
            enough = count
        else:
            too_few = count
    return enough if enough in tried.files else None


def layer_errors(
    reference: bytes, candidate: bytes, images: Iterable[np.ndarray]
) -> dict[str, float]:
    """Returns the error of each operation's result, with what came before in it.

    It is the root of the mean squared difference over that of the mean squared value,
    over all images. Results that one of the files does not have are left out.

    Args:
        reference: The float32 file.
        candidate: The other file.
        images: Batches as the model takes them.
    """
    sums: dict[str, np.ndarray] = {}
    images = list(images)
    for expected, actual in zip(
        tensor_values(reference, images), tensor_values(candidate, images), strict=True
    ):
        for name in expected.keys() & actual.keys():
            value = expected[name].astype("float64")
            if value.shape != actual[name].shape:
                continue
            squares = [np.square(actual[name] - value).sum(), np.square(value).sum()]
            sums[name] = sums.get(name, 0) + np.array(squares)
    return {
        name: float(np.sqrt(error / value)) if value else 0.0
        for name, (error, value) in sums.items()
    }


def added_errors(
    operations: Sequence[Operation], errors: Mapping[str, float]
) -> dict[str, float]:
    """Returns by how much each operation's error exceeds that of what it takes."""
    names = {index: step.name for step in operations for index in step.outputs}
    return {
        step.name: errors[step.name]
        - max((errors.get(names.get(i, ""), 0.0) for i in step.inputs), default=0.0)
        for step in operations
        if step.name in errors
    }
