"""image-classifiers' legacy .h5 files (qubvel/classification_models, `senet.py`).

Layers are auto-named; sorted by the number in their names they are in the order in
which its code creates them, whatever order the file has: conv1, bn1, conv2, bn2, conv3,
bn3, [shortcut conv, bn], SE reduce, SE expand. A grouped convolution is one small
convolution for each group, whose kernels are concatenated on the last axis. The
weights are the Caffe release's, trained with a stem pool in ceil mode.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_senet.weights.layouts._resnet import Arrays, describe_resnet

_LAYER = re.compile(r"(?:.*/)?(conv2d|batch_normalization|dense)(?:_v1)?(?:_(\d+))?")
_PREACTIVATED = re.compile(r"stage\d_unit\d+_(conv|bn|sc)\d*")


def matches(arrays: Arrays) -> bool:
    layers = _layers(arrays)
    if any(_PREACTIVATED.fullmatch(layer) for layer in layers):
        return True
    kinds = [m.group(1) for m in map(_LAYER.fullmatch, layers) if m]
    # SE makes convolutions with bias: more of them than normalisations.
    return len(kinds) == len(layers) and (
        kinds.count("conv2d") > kinds.count("batch_normalization") > 0
    )


def read(arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
    layers = _layers(arrays)
    if any(_PREACTIVATED.fullmatch(layer) for layer in layers):
        raise ValueError(
            "image-classifiers' (SE-)ResNet-18 to 152 with named layers are "
            "pre-activation networks with raw 0..255 input, which this package does "
            "not build. Use weights='legacy_in1k' for SE-ResNet-18 and 34."
        )
    created = [(_LAYER.fullmatch(layer), layers[layer]) for layer in layers]
    created.sort(key=lambda pair: int(pair[0][2] or 0))
    convs, norms, dense = (
        [variables for match, variables in created if match[1] == kind]
        for kind in ("conv2d", "batch_normalization", "dense")
    )
    try:
        named = dict(_name(iter(convs), iter(norms)))
    except (StopIteration, RuntimeError, KeyError):
        raise ValueError(
            "The layers must be those of a network of image-classifiers. Received: in "
            f"another order, {len(convs)} convolutions and {len(norms)} normalizations."
        ) from None
    if dense:
        named["predictions"] = dense[-1]
    arrays = {f"{n}/{k}": array for n, v in named.items() for k, array in v.items()}
    row = describe_resnet(arrays, stem_pool="ceil")
    row["stride_on"] = "1x1" if row["cardinality"] == 1 else "3x3"
    return arrays, row


def _layers(arrays):
    layers: dict[str, dict[str, np.ndarray]] = {}
    for path, array in arrays.items():
        layer, _, variable = path.rpartition("/")
        layers.setdefault(layer, {})[variable] = array
    return layers


def _name(convs: Iterator[dict], norms: Iterator[dict]) -> Iterator[tuple[str, dict]]:
    def normed(name, conv):
        return (f"{name}_conv", conv), (f"{name}_bn", next(norms))

    first = next(convs)
    if first["kernel"].shape[0] == 7:
        yield from normed("conv1", first)
    else:
        for i, conv in enumerate((first, next(convs), next(convs)), 1):
            yield from normed(f"conv1_{i}", conv)
    stage, block = 1, 0
    for reduce in convs:
        unit = [reduce, _grouped(reduce, convs), next(convs)]
        block += 1
        squeeze, projection = next(convs), None
        if "bias" not in squeeze:
            # Every stage begins with a projection, and only there is one.
            projection, squeeze = squeeze, next(convs)
            stage, block = stage + 1, 1
        prefix = f"conv{stage}_block{block}"
        for i, conv in enumerate(unit, 1):
            yield from normed(f"{prefix}_{i}", conv)
        if projection is not None:
            yield from normed(f"{prefix}_0", projection)
        yield f"{prefix}_se/reduce", squeeze
        yield f"{prefix}_se/expand", next(convs)


def _grouped(reduce: dict, convs: Iterator[dict]) -> dict:
    """The next convolution, put together from its groups."""
    parts = [next(convs)["kernel"]]
    groups, rest = divmod(reduce["kernel"].shape[3], parts[0].shape[2])
    parts += [next(convs)["kernel"] for _ in range(groups - 1)]
    if rest or any(part.shape != parts[0].shape for part in parts):
        raise KeyError("groups of other shapes")
    return {"kernel": np.concatenate(parts, axis=-1)}
