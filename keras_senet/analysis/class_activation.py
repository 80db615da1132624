"""Where on an image a network finds a class."""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from keras_senet.analysis._probe import Replay, path_name
from keras_senet.layers import SqueezeExcite
from keras_senet.utils import graph
from keras_senet.utils.errors import check_known
from keras_senet.utils.gradient import gradient
from keras_senet.utils.labelled import read_images

_SQUASHING = (keras.activations.softmax, keras.activations.sigmoid)
# What comes behind the last map of a network that still has rows and columns.
_NOT_LAST = ("Pooling", "ZeroPadding", "Dropout")


def class_activation(
    model: keras.Model,
    images,
    class_index: int | Sequence[int] | None = None,
    layer: str | None = None,
    *,
    by: Literal["gradients", "gates"] = "gradients",
    training: bool = False,
    batch_size: int = 32,
) -> np.ndarray:
    """Returns which parts of an image support a class: Grad-CAM, or CAM with gates.

    The result is a weighted sum over the channels of a feature map M. Negative values
    become 0. The sum is resized to the image and divided by its largest value. Let y be
    the score of the class before the softmax or sigmoid. The weight of channel k is

    - "gradients": the mean of dy / dM_k over the positions (Selvaraju et al.,
      [Grad-CAM](https://arxiv.org/abs/1610.02391)). This works for each classifier and
      each map.
    - "gates": the weight of k in the classifier, multiplied by the gate of k in the
      last SE layer. M is the input of that layer if its output is the last map, else
      the last map. This needs no gradient. It works for networks whose last map goes
      through a mean to one dense layer (Zhou et al.,
      [CAM](https://arxiv.org/abs/1512.04150)).

    Args:
        model: A functional classifier; it may contain nested models.
        images: As the model takes them: an array, or batches of images.
        class_index: The class, one for all images or one for each; by default the class
            with the highest score in each image. A network with one output has the
            classes 0 and 1; the output is the score of 1.
        layer: Name of the layer whose output is M, with or without the names of the
            models that it is nested in. By default the last map before the pooling.
        by: How the weights are computed.
        training: Whether the layers run as in training: batch normalization with the
            statistics of the images, and dropout. The model does not change.
        batch_size: Number of images in one step, for arrays.

    Returns:
        Values from 0 to 1, `(images, height, width)`, float32; all 0 if no part of the
        image supports the class.

    Raises:
        ValueError: If the model is no classifier, has no such layer or class, or `by`
            does not work for it.

    Example:

    >>> where = keras_senet.analysis.class_activation(model, images)
    >>> picture = keras_senet.analysis.overlay(images[0], where[0])
    """
    graph.check_one_input(model)
    if by not in ("gradients", "gates"):
        raise ValueError(f"`by` must be 'gradients' or 'gates'. Received: by={by!r}")
    batches = list(read_images(images, batch_size, name="images"))
    count = sum(map(len, batches))
    per_image = np.ndim(class_index) > 0
    if per_image and len(class_index) != count:
        raise ValueError(
            "`class_index` must be one class, or one for each image. Received: "
            f"{len(class_index)} classes for {count} images"
        )
    run, found, start = _Run(model, layer, by), [], 0
    for batch in batches:
        if batch.ndim != len(model.inputs[0].shape):
            raise ValueError(
                f"`images` must be a batch of the shape {model.input_shape}. "
                f"Received: images of shape {batch.shape}"
            )
        stop = start + len(batch)
        chosen = class_index[start:stop] if per_image else class_index
        found.append(run.activation(batch, chosen, training))
        start = stop
    return np.concatenate(found)


def overlay(image: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Draws the result of `class_activation` over an image.

    Args:
        image: `(height, width, 1 or 3)`, or without the last axis. Values of 0..255
            stay; others are spread over that range.
        activation: `(height, width)`, 0 to 1.

    Returns:
        uint8 `(height, width, 3)`.

    Example:

    >>> where = keras_senet.analysis.class_activation(model, images)
    >>> keras_senet.analysis.overlay(images[0], where[0]).shape
    (28, 28, 3)
    """
    from matplotlib import colormaps

    image = as_picture(image).astype("float32")
    colours = 255 * colormaps["inferno"](activation)[..., :3]
    share = 0.15 + 0.5 * activation[..., None]
    return np.clip((1 - share) * image + share * colours, 0, 255).astype("uint8")


def as_picture(image: np.ndarray) -> np.ndarray:
    """Returns what can be shown of an image that a network takes, see `overlay`."""
    image = np.asarray(image, "float32")
    image = image[..., None] if image.ndim == 2 else image
    low, high = image.min(), image.max()
    if low < 0 or high > 255 or high <= 1:
        image = (image - low) / max(high - low, 1e-6) * 255
    return np.broadcast_to(image, (*image.shape[:2], 3)).astype("uint8")


class _Run(Replay):
    """Runs a classifier, with one of its maps in hand."""

    def __init__(self, model, layer, by):
        super().__init__(model, "activation")
        self._by = by
        self._end, self._scores = self._find_scores()
        self._target = self._find_map() if layer is None else self._named(layer)
        tensor = self._target[-1].outputs[0]
        if len(self._target[-1].outputs) != 1 or len(tensor.shape) != 4:
            raise ValueError(
                "`layer` must have one output of shape (batch, height, width, "
                f"channels). Received: layer={layer!r}, whose output has the shape "
                f"{tuple(tensor.shape)}"
            )
        owner = self._target[-2].layer if len(self._target) > 1 else model
        own = getattr(self._target[-1].layer, "data_format", None)
        self._first = (own or graph.data_format(owner)) == "channels_first"
        if by == "gates":
            channels = tensor.shape[1 if self._first else 3]
            self._weights = self._class_weights(channels)
            self._gate = self._last_gate(channels)

    def _find_scores(self):
        """Where the scores are made, and what does it without softmax or sigmoid."""
        path = self._makes((), self.replayed.outputs[0])
        shape = self.replayed.output_shape
        if not isinstance(shape, tuple) or len(shape) != 2 or path is None:
            raise ValueError(
                "`model` must be a classifier with one output (batch, classes). "
                f"Received: {self.replayed.name!r} with the output {shape}"
            )
        while type(path[-1].layer) in (layers.Reshape, layers.Flatten):
            path = self._makes(path[:-1], path[-1].inputs[0]) or path[:-1]
        layer = path[-1].layer
        squashes = type(layer).__name__ in ("Softmax", "Sigmoid")  # of keras.ops
        if squashes or type(layer) in (layers.Activation, layers.Softmax):
            return path, lambda x, *args, **kwargs: x
        if getattr(layer, "activation", None) not in _SQUASHING:
            return path, layer
        linear = type(layer).from_config({**layer.get_config(), "activation": "linear"})
        linear.build(path[-1].inputs[0].shape)
        linear.set_weights(layer.get_weights())
        return path, linear

    def _makes(self, before, tensor):
        """The path of the call that makes a tensor, in nested models too."""
        model = before[-1].layer if before else self.replayed
        call = self._graphs[id(model)].maker(tensor)
        if call is None:
            return None
        path = (*before, call)
        if id(call.layer) not in self._graphs:
            return path
        return self._makes(path, call.layer.outputs[0])

    def _find_map(self, before=()):
        """The last map that all paths go through, looked for in nested models first."""
        model = before[-1].layer if before else self.replayed
        for call in reversed(list(self._graphs[id(model)].cuts())):
            path, shape = (*before, call), call.outputs[0].shape
            if id(call.layer) in self._graphs:
                found = self._find_map(path)
                if found is not None:
                    return found
            elif any(word in type(call.layer).__name__ for word in _NOT_LAST):
                continue
            elif len(shape) == 4 and (1, 1) not in (shape[1:3], shape[2:]):
                return path
        if before:
            return None
        raise ValueError(
            "`model` must have a feature map (batch, height, width, channels) that all "
            f"paths pass. Received: {model.name!r}, which has none. Give a layer with "
            "`layer`."
        )

    def _named(self, layer):
        names = {path_name(path): path for path in self.paths}
        names = {path[-1].layer.name: path for path in self.paths} | names
        check_known(layer, names, "`layer` must name a layer that the model calls")
        path = names[layer]
        if id(path[-1].layer) in self._graphs:
            return self._makes(path, path[-1].layer.outputs[0]) or path
        return path

    def _class_weights(self, channels):
        """The classifier's kernel, (channels, classes)."""
        behind = self.paths[self.paths.index(self._target) + 1 :]
        weighted = [p[-1].layer for p in behind if getattr(p[-1].layer, "weights", ())]
        averages = not any("Max" in type(p[-1].layer).__name__ for p in behind)
        kinds = (layers.Dense, layers.Conv2D)
        if averages and len(weighted) == 1 and isinstance(weighted[0], kinds):
            kernel = ops.convert_to_numpy(weighted[0].kernel).astype("float32")
            if kernel.size == channels * kernel.shape[-1]:
                return kernel.reshape(channels, -1)
        raise ValueError(
            "by='gates' needs global average pooling and one dense layer after the "
            f"map. Received: {self.replayed.name!r}, in which something else follows "
            f"{path_name(self._target)!r}. Use by='gradients'."
        )

    def _last_gate(self, channels):
        for path in reversed(self.paths):
            layer = path[-1].layer
            if isinstance(layer, SqueezeExcite) and layer.expand.filters == channels:
                return path
        raise ValueError(
            f"by='gates' needs a SqueezeExcite layer for the {channels} channels of "
            f"{path_name(self._target)!r}. Received: {self.replayed.name!r}, which has "
            "none. Use by='gradients'."
        )

    def call(self, inputs, given=None, training=None):
        """Returns the scores, the map and the gate; `given` takes the map's place."""
        seen = {}

        def map_of(*args, **kwargs):
            layer = self._target[-1].layer
            seen["map"] = layer(*args, **kwargs) if given is None else given
            return seen["map"]

        def excite(inputs):
            layer = self._gate[-1].layer
            x = ops.cast(inputs, layer.compute_dtype)
            seen["gate"] = layer.excitation(x)
            seen["map"] = x if self._gate == self._target else seen.get("map")
            return x * seen["gate"]

        changes = {self._end: self._scores, self._target: map_of}
        if self._by == "gates":
            changes[self._gate] = excite
        scores = self.replay(inputs, changes)
        return ops.cast(scores, "float32"), seen["map"], seen.get("gate")

    def activation(self, images, class_index, training):
        """Returns the activation of one batch; a class, one for each image, or None."""
        images = ops.convert_to_tensor(images)
        channels, positions = (1, (2, 3)) if self._first else (3, (1, 2))
        # What batch normalization and dropout note in training is forgotten.
        with keras.StatelessScope():
            scores, maps, gates = self(images, training=training)
            chosen = self._choose(ops.convert_to_numpy(scores), class_index)
            if self._by == "gates":
                weights = ops.expand_dims(chosen @ self._weights.T, positions)
                weights = ops.multiply(ops.cast(gates, "float32"), weights)
            else:
                chosen = ops.convert_to_tensor(chosen)
                weights = gradient(
                    lambda x: ops.sum(chosen * self(images, x, training=training)[0]),
                    maps,
                )
                if weights is None:
                    raise ValueError(
                        "`layer` must lead to the scores. Received: "
                        f"{path_name(self._target)!r}, which does not."
                    )
                weights = ops.mean(
                    ops.cast(weights, "float32"), positions, keepdims=True
                )
            found = ops.sum(weights * ops.cast(maps, "float32"), channels)
        rows = 2 if graph.data_format(self.replayed) == "channels_first" else 1
        found = ops.image.resize(
            ops.relu(found)[..., None],
            images.shape[rows : rows + 2],
            data_format="channels_last",
        )
        found = ops.convert_to_numpy(found)[..., 0]
        largest = found.max((1, 2), keepdims=True)
        return found / np.where(largest > 0, largest, 1)

    def _choose(self, scores, class_index):
        """What the scores are multiplied with: 1 for the class, or -1 for class 0."""
        units = scores.shape[1]
        classes = max(units, 2)
        best = scores.argmax(-1) if units > 1 else (scores[:, 0] > 0).astype(int)
        index = np.asarray(best if class_index is None else class_index)
        index = np.broadcast_to(index, len(scores))
        if index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= classes:
            raise ValueError(
                f"`class_index` must be classes of the model, 0 to {classes - 1}. "
                f"Received: class_index={class_index!r}"
            )
        if units == 1:
            return 2.0 * index[:, None].astype("float32") - 1
        return np.eye(units, dtype="float32")[index]
