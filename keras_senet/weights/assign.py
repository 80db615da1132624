"""Total, two-sided assignment: nothing missing, nothing left over."""

import warnings
from collections.abc import Mapping, Sequence

import keras
import numpy as np

# Variables of the classifiers; MobileNet's is a convolution.
HEADS = ("predictions/", "conv_preds/")


def assign(
    model: keras.Model, arrays: Mapping[str, np.ndarray], fresh: Sequence[str] = ()
) -> list[str]:
    """Gives every weight of a model its array, and every array its weight.

    The classifier stays as it is where the arrays' has another number of classes; a
    warning says so.

    A kernel that reads an RGB image also fits a model with one channel or four: for
    one, its three slices are summed (the response to a grey image stays); for four,
    they are repeated in turn and scaled by 3/4 (the response's size stays).

    Args:
        model: A built model.
        arrays: `variable.path` -> array. Every one must have its place.
        fresh: Parts of paths of variables that may stay as they are, because no array
            is there for them ("_se/").

    Returns:
        The paths of the variables that stayed as they were.

    Raises:
        ValueError: If something is missing, left over, or of another shape. The model
            is then unchanged.
    """
    variables = {v.path: v for v in model.variables if is_weight(v)}
    kept = _replaced_head(variables, arrays)
    kept += [p for p in variables if p not in arrays and any(f in p for f in fresh)]
    wanted = {path: v for path, v in variables.items() if path not in kept}
    given = {path: a for path, a in arrays.items() if path not in kept}
    adapted = {
        path: _adapt(given[path], tuple(v.shape))
        for path, v in wanted.items()
        if path in given
    }
    _check(wanted, given, adapted)
    for path, variable in wanted.items():
        variable.assign(adapted[path])
    heads = [path for path in kept if path.startswith(HEADS)]
    if heads:
        classes = arrays[heads[0]].shape[-1]
        warnings.warn(
            f"The checkpoint's classifier has {classes} classes, the model's "
            f"{variables[heads[0]].shape[-1]}. So {', '.join(heads)} start untrained.",
            stacklevel=3,
        )
    return kept


def is_weight(variable) -> bool:
    """Whether a variable is in checkpoints."""
    # The state of a dropout's generator is no weight and in no checkpoint.
    return "seed_generator" not in variable.path


def _replaced_head(variables, arrays):
    heads = [p for p in variables if p.startswith(HEADS) and p in arrays]
    if not any(arrays[p].shape[-1] != variables[p].shape[-1] for p in heads):
        return []
    if any(arrays[p].shape[:-1] != tuple(variables[p].shape[:-1]) for p in heads):
        return []
    return heads


def _adapt(array, shape):
    """Fits a kernel over RGB to one channel or four."""
    array = np.asarray(array)
    if array.ndim != 4 or array.shape[2] != 3 or shape == array.shape:
        return array
    if shape == (*array.shape[:2], 1, array.shape[3]):
        return array.sum(2, keepdims=True, dtype=array.dtype)
    if shape == (*array.shape[:2], 4, array.shape[3]):
        return array[:, :, [0, 1, 2, 0]] * array.dtype.type(3 / 4)
    return array


def _check(wanted, given, adapted):
    missing = [path for path in wanted if path not in given]
    left_over = [path for path in given if path not in wanted]
    shapes = [
        f"{path} is {given[path].shape} in the checkpoint and "
        f"{tuple(wanted[path].shape)} in the model"
        for path in adapted
        if adapted[path].shape != tuple(wanted[path].shape)
    ]
    problems = [
        f"{what} ({len(items)}): {_first(items)}"
        for what, items in (
            ("the checkpoint lacks", missing),
            ("the model lacks", left_over),
            ("other shapes", shapes),
        )
        if items
    ]
    if problems:
        raise ValueError(
            "All weights of the checkpoint and of the model must match. Received: "
            f"{'; '.join(problems)}."
        )


def _first(items):
    more = f", and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more
