"""What comes before the network: its options, the input, the image's normalisation."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers, ops

from keras_senet.layers.squeeze_excite import as_activation
from keras_senet.models._records import check_options, option
from keras_senet.preprocessing import along
from keras_senet.utils import graph
from keras_senet.weights import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of every constructor that are not architecture.

    Those with the mark `positional` are the arguments of `keras.applications`.
    """

    include_top: bool = option(
        True, "Whether the network includes the classifier.", positional=True
    )
    weights: str | os.PathLike[str] | None = option(
        None,
        "None, a tag or preset (`keras_senet.list_weights({network!r})`), a path to a "
        'weights file, or "hf://user/model" on the Hugging Face hub. None gives random '
        "weights. A file determines the architecture of the network.",
        positional=True,
        remedy="Use None for random weights, or a name of keras_senet.list_weights().",
    )
    input_tensor: Any = option(
        None, "A tensor to use as the network's input.", positional=True
    )
    input_shape: tuple[int | None, ...] | None = option(
        None,
        "Shape of one image. By default the checkpoint's, or {size} x {size} pixels "
        "and 3 channels; any size if `include_top=False`. Height and width are at "
        "least {min_size} pixels, or None.",
        positional=True,
        remedy="Use (height, width, channels), for example (224, 224, 3).",
    )
    pooling: Literal["avg", "max"] | None = option(
        None,
        "Pooling after the last feature map if `include_top=False`.",
        positional=True,
    )
    classes: int | None = option(
        None,
        "Number of classes. By default the checkpoint's, or {classes}.",
        positional=True,
    )
    classifier_activation: str | Callable[..., Any] | None = option(
        "softmax",
        "Activation of the classifier. None returns the logits.",
        positional=True,
    )
    name: str | None = option(None, "The model's name.", positional=True)
    dropout_rate: float = option(0.0, "Dropout rate before the classifier.")
    drop_path_rate: float = option(
        0.0,
        "Stochastic depth: the probability that the last residual branch is dropped. "
        "Earlier branches have lower rates.",
    )
    include_preprocessing: bool | Preprocessing = option(
        False,
        "Whether the network takes raw RGB images with values from 0 to 255. True adds "
        "the checkpoint's normalization to the graph; a `Preprocessing` record adds "
        "that normalization.",
    )
    output_stride: Literal[8, 16, 32] | None = option(
        None,
        "Stride of the last feature map. With 8 or 16, the last stages use dilated "
        "convolutions instead of strides. None is 32.",
    )
    data_format: Literal["channels_last", "channels_first"] | None = option(
        None, "Order of the axes of images and feature maps. None is Keras' setting."
    )
    fused: bool = option(
        True,
        "Whether batch normalization, and the gradient of the SE that follows it, use "
        "TensorFlow's fused kernels. They are faster and equal up to rounding, but "
        "have no second derivatives of SE. In training, the gradient with respect to "
        "the tensor between the two layers is None. False uses Keras' own operations, "
        "as other backends always do.",
    )

    def __post_init__(self):
        check_options(self)
        as_activation("classifier_activation", self.classifier_activation)
        for name in ("dropout_rate", "drop_path_rate"):
            if not 0 <= (rate := getattr(self, name)) < 1:
                raise ValueError(
                    f"`{name}` must be at least 0 and below 1. Received: {name}={rate}"
                )
        if self.data_format is None:
            data_format = keras.config.image_data_format()
            object.__setattr__(self, "data_format", data_format)


def check_fit(family, options: Options) -> None:
    """Raises a ValueError for an option that a family's networks cannot have."""
    if options.drop_path_rate and not family.drops_paths:
        raise ValueError(
            "`drop_path_rate` needs residual branches, and this network has none. "
            f"Received: drop_path_rate={options.drop_path_rate!r}"
        )
    if options.output_stride is not None and not family.dilates:
        raise ValueError(
            "`output_stride` must be None: only ResNets and RegNets for large images "
            f"can dilate. Received: output_stride={options.output_stride!r}"
        )
    if options.input_tensor is None and options.input_shape is not None:
        _check_shape(family, options, options.input_shape)


def image_input(family, options, checkpoint):
    """Returns the tensor the network starts from, and the model's inputs."""
    tensor = options.input_tensor
    if tensor is not None:
        if not keras.backend.is_keras_tensor(tensor):
            raise ValueError(
                "`input_tensor` must be what keras.Input or a layer returned. "
                f"Received: {type(tensor).__name__}"
            )
        shape = tuple(tensor.shape[1:])
        given = options.input_shape or shape
        if len(given) != len(shape) or any(
            side not in (None, own) for side, own in zip(given, shape, strict=True)
        ):
            raise ValueError(
                "`input_shape` must be that of `input_tensor`, or be left out. "
                f"Received: input_shape={given!r}, and a tensor of images {shape}"
            )
        _check_shape(family, options, shape)
        sources = keras.utils.get_source_inputs(tensor)
        return tensor, sources[0] if len(sources) == 1 else sources
    shape = options.input_shape or _default_shape(family, options, checkpoint)
    shape = _check_shape(family, options, shape)
    inputs = layers.Input(shape, name="input")
    return inputs, inputs


def _default_shape(family, options, checkpoint):
    """The checkpoint's image shape, else the family's; any size without a top."""
    size, channels = (family.image_size,) * 2, 3
    if checkpoint is not None:
        channels = checkpoint.channels or channels
        card = checkpoint.card
        if card.input_shape is not None:
            first = card.input_shape[-1] != channels
            size = card.input_shape[1:] if first else card.input_shape[:2]
        elif card.preprocessing is not None:
            size = (card.preprocessing.image_size,) * 2
    if not options.include_top:
        size = (None, None)
    if options.data_format == "channels_first":
        return (channels, *size)
    return (*size, channels)


def _check_shape(family, options, shape):
    first = options.data_format == "channels_first"
    axes = "(channels, height, width)" if first else "(height, width, channels)"
    received = f"Received: input_shape={shape!r}"
    if len(shape) != 3:
        raise ValueError(f"`input_shape` must be {axes}. {received}")
    shape = tuple(None if n is None else int(n) for n in shape)
    channels, sizes = (shape[0], shape[1:]) if first else (shape[2], shape[:2])
    if channels is None or channels < 1:
        raise ValueError(
            f"`input_shape` must be {axes} with a known number of channels. {received}"
        )
    if any(size is not None and size < family.min_size for size in sizes):
        raise ValueError(
            f"`input_shape` must be {axes}, at least {family.min_size} pixels high "
            f"and wide. {received} with data_format={options.data_format!r}"
        )
    if family.flattens and options.include_top and None in sizes:
        raise ValueError(
            "`input_shape` must have a known height and width with include_top=True, "
            f"because the classifier flattens the last feature map. {received}"
        )
    return shape


def normalise(x, family, options, checkpoint):
    """Puts the normalisation of raw RGB 0..255 images into the graph, if asked to."""
    wanted = options.include_preprocessing
    if wanted is False:
        return x, None
    record = wanted
    if wanted is True:
        stored = None if checkpoint is None else checkpoint.card.preprocessing
        record = stored or family.preprocessing
    axis = -3 if options.data_format == "channels_first" else -1
    if len(record.mean) not in (1, x.shape[axis]):
        raise ValueError(
            "The preprocessing must have a mean and a deviation for each of the "
            f"{x.shape[axis]} channels. Received: mean={record.mean}, std={record.std}"
        )
    if record.channel_order == "BGR":
        x = graph.named(ops.flip(x, axis), "preprocessing_reversed")
    # With all three axes given, Rescaling does not look at the global data format.
    scale, offset = along(record, axis)
    x = layers.Rescaling(scale.tolist(), offset.tolist(), name="preprocessing")(x)
    return x, record
