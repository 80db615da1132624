"""How far a quantised file's layers are from those of the float32 file."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from keras_senet.export._flatbuffer import Operation
from keras_senet.export._interpreting import tensor_values


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
