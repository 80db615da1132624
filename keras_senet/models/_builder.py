"""The frame that every constructor shares: input, top, pooling, weights."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_senet import weights as weights_room
from keras_senet.models._architecture import Architecture, resolve
from keras_senet.models._blocks import Blocks
from keras_senet.models._docs import constructor_docstring
from keras_senet.weights import Preprocessing

# The architecture arguments that every constructor has in its signature.
ARCHITECTURE_ARGUMENTS = (
    "se",
    "reduction",
    "squeeze",
    "gate",
    "se_bias",
    "identity_start",
    "placement",
    "se_stages",
    "stride_on",
    "stem",
    "stem_pool",
    "shortcut",
    "divisor",
)


def pooled_head(b: Blocks, x, classes: int, options: "Options"):
    """Global average pooling, dropout, one dense layer."""
    x = layers.GlobalAveragePooling2D(data_format=b.data_format, name="avg_pool")(x)
    if options.dropout_rate:
        x = layers.Dropout(options.dropout_rate, name="dropout")(x)
    return predictions(x, classes, options)


def predictions(x, classes: int, options: "Options"):
    """The classifier; it stays in float32 under mixed precision."""
    return layers.Dense(
        classes,
        activation=options.classifier_activation,
        dtype=full_precision(),
        name="predictions",
    )(x)


def full_precision():
    compute = keras.config.dtype_policy().compute_dtype
    return keras.backend.result_type(compute, "float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """What distinguishes one family's networks from another's.

    Attributes:
        architecture: The type of its rows.
        network: Makes the last feature map from the input.
        head: Makes the class scores from the last feature map.
        image_size: Default height and width, pixels.
        min_size: Smallest height and width, pixels.
        classes: Default number of classes.
        epsilon: Of batch normalisation.
        momentum: Of batch normalisation.
        dropout_rate: Default rate before the classifier.
        flattens: Whether the head needs a fixed image size.
        dilates: Whether `output_stride` can be chosen.
        drops_paths: Whether there are residual branches for `drop_path_rate`.
        preprocessing: The normalisation where no checkpoint fixes one.
    """

    architecture: type[Architecture]
    network: Callable
    head: Callable = pooled_head
    image_size: int = 224
    min_size: int = 32
    classes: int = 1000
    epsilon: float = 1e-5
    momentum: float = 0.9
    dropout_rate: float = 0.0
    flattens: bool = False
    dilates: bool = False
    drops_paths: bool = True
    preprocessing: Preprocessing = dataclasses.field(default_factory=Preprocessing)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The constructor's arguments that are not architecture."""

    include_top: bool
    input_tensor: Any
    input_shape: tuple | None
    pooling: str | None
    classes: int | None
    classifier_activation: Any
    name: str
    dropout_rate: float
    drop_path_rate: float
    include_preprocessing: Any
    output_stride: int | None
    data_format: str


def constructor(
    family: Family,
    name: str,
    network: str,
    module: str,
    *,
    fixed: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    arguments: tuple[str, ...] = (),
    dropout_rate: float | None = None,
) -> Callable[..., keras.Model]:
    """Makes a constructor in the manner of keras.applications: one row of a table.

    Args:
        family: The network's family.
        name: The constructor's name, "SEResNet50".
        network: The registry's name of it, "se_resnet50".
        module: The module it is defined in.
        fixed: Fields of the architecture row that make this network what it is.
        defaults: Fields whose default differs from the family's; arguments still.
        arguments: Fields that are arguments beside `ARCHITECTURE_ARGUMENTS`.
        dropout_rate: Default rate before the classifier, where not the family's.
    """
    fixed, defaults = fixed or {}, defaults or {}
    default_weights = weights_room.default_weights(network)
    default_rate = family.dropout_rate if dropout_rate is None else dropout_rate

    def build(
        include_top=True,
        weights=default_weights,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=None,
        classifier_activation="softmax",
        name=network,
        *,
        dropout_rate=default_rate,
        drop_path_rate=0.0,
        include_preprocessing=False,
        output_stride=None,
        data_format=None,
        **architecture,
    ):
        for argument in architecture:
            if argument not in (*ARCHITECTURE_ARGUMENTS, *arguments):
                family.architecture.check_argument(argument, build.__name__)
                raise TypeError(
                    f"{build.__name__}() has a fixed {argument!r}. Use the generic "
                    "constructor of its family."
                )
        options = Options(
            include_top=include_top,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            dropout_rate=dropout_rate,
            drop_path_rate=drop_path_rate,
            include_preprocessing=include_preprocessing,
            output_stride=output_stride,
            data_format=data_format or keras.config.image_data_format(),
        )
        explicit = {k: v for k, v in architecture.items() if v is not None}
        checkpoint = weights_room.open_checkpoint(weights, network)
        row = resolve(
            family.architecture,
            build.__name__,
            fixed=fixed,
            defaults=defaults,
            explicit=explicit,
            from_file=None if checkpoint is None else checkpoint.architecture,
        )
        model = _assemble(family, row, options, checkpoint)
        model.constructor = network
        return model

    build.__name__ = build.__qualname__ = name
    build.__module__ = module
    build.network, build.family = network, family
    build.__signature__ = _signature(build, arguments)
    build.__doc__ = constructor_docstring(name, network, family, {**defaults, **fixed})
    return build


def _signature(build, arguments):
    """The signature with every architecture argument spelled out."""
    signature = inspect.signature(build)
    *named, _ = signature.parameters.values()
    positional = [p for p in named if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in named if p.kind is p.KEYWORD_ONLY]
    rows = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in (*ARCHITECTURE_ARGUMENTS, *arguments)
    ]
    return signature.replace(parameters=[*positional, *rows, *keywords])


def _assemble(family, row, options, checkpoint):
    _check(family, options)
    classes = _classes(family, options, checkpoint)
    inputs, source = _input(family, options, checkpoint)
    blocks = Blocks(
        architecture=row,
        data_format=options.data_format,
        epsilon=family.epsilon,
        momentum=family.momentum,
        drop_path_rate=options.drop_path_rate,
        output_stride=options.output_stride or 32,
    )
    x, preprocessing = _preprocess(inputs, family, options, checkpoint)
    x = family.network(blocks, x)
    if options.include_top:
        x = family.head(blocks, x, classes, options)
    elif options.pooling:
        x = _pool(x, options)
    model = keras.Model(source, x, name=options.name)
    model.architecture = row
    model.preprocessing = preprocessing
    if checkpoint is not None:
        checkpoint.assign(model, include_top=options.include_top)
    return model


def _pool(x, options):
    pool = {
        "avg": (layers.GlobalAveragePooling2D, "avg_pool"),
        "max": (layers.GlobalMaxPooling2D, "max_pool"),
    }
    layer, name = pool[options.pooling]
    return layer(data_format=options.data_format, name=name)(x)


def _check(family, options):
    if options.pooling not in (None, "avg", "max"):
        raise ValueError(
            "`pooling` must be None, 'avg' or 'max'. "
            f"Received: pooling={options.pooling!r}"
        )
    if options.data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            "`data_format` must be 'channels_last', 'channels_first' or None. "
            f"Received: data_format={options.data_format!r}"
        )
    for name in ("dropout_rate", "drop_path_rate"):
        rate = getattr(options, name)
        if not 0 <= rate < 1:
            raise ValueError(
                f"`{name}` must be at least 0 and below 1. Received: {name}={rate!r}"
            )
    if options.drop_path_rate and not family.drops_paths:
        raise ValueError(
            "`drop_path_rate` needs residual branches, which this network does not "
            f"have. Received: drop_path_rate={options.drop_path_rate!r}"
        )
    if options.output_stride not in ((None, 8, 16, 32) if family.dilates else (None,)):
        accepted = "8, 16 or 32" if family.dilates else "None: only ResNets dilate"
        raise ValueError(
            f"`output_stride` must be {accepted}. "
            f"Received: output_stride={options.output_stride!r}"
        )


def _classes(family, options, checkpoint):
    classes = options.classes
    if classes is None:
        stored = None if checkpoint is None else checkpoint.classes
        return stored or family.classes
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(
            f"`classes` must be a positive integer. Received: classes={classes!r}"
        )
    return classes


def _input(family, options, checkpoint):
    """Returns the tensor the network starts from, and the model's inputs."""
    tensor = options.input_tensor
    if tensor is not None and keras.backend.is_keras_tensor(tensor):
        _check_shape(family, options, tuple(tensor.shape[1:]))
        sources = keras.utils.get_source_inputs(tensor)
        return tensor, sources[0] if len(sources) == 1 else sources
    if tensor is not None:
        inputs = layers.Input(tensor=tensor, name="input")
        _check_shape(family, options, tuple(inputs.shape[1:]))
        return inputs, inputs
    shape = options.input_shape
    if shape is None:
        size = family.image_size
        if checkpoint is not None and checkpoint.preprocessing is not None:
            size = checkpoint.preprocessing.image_size
        channels = getattr(checkpoint, "channels", None) or 3
        # Without a top, any image size will do.
        spatial = (size, size) if options.include_top else (None, None)
        shape = (*spatial, channels)
        if options.data_format == "channels_first":
            shape = (channels, *spatial)
    shape = _check_shape(family, options, shape)
    inputs = layers.Input(shape, name="input")
    return inputs, inputs


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
            "`input_shape` must have a known height and width with include_top=True: "
            f"the top flattens the last map. {received}"
        )
    return shape


def _preprocess(x, family, options, checkpoint):
    """Puts the normalisation of raw RGB 0..255 images into the graph, if asked to."""
    wanted = options.include_preprocessing
    if wanted is False:
        return x, None
    if wanted is True:
        stored = None if checkpoint is None else checkpoint.preprocessing
        record = stored or family.preprocessing
    elif isinstance(wanted, Preprocessing):
        record = wanted
    else:
        raise ValueError(
            "`include_preprocessing` must be True, False or a Preprocessing record. "
            f"Received: include_preprocessing={wanted!r}"
        )
    first = options.data_format == "channels_first"
    channels = x.shape[1 if first else -1]
    mean, std = (np.asarray(v, "float64") for v in (record.mean, record.std))
    if len(mean) not in (1, channels):
        raise ValueError(
            f"The preprocessing must have one mean and deviation for each of the "
            f"{channels} channels. Received: mean={record.mean}, std={record.std}"
        )
    # With all three axes given, Rescaling does not look at the global data format.
    shape = (channels, 1, 1) if first else (1, 1, channels)
    scale, offset = (
        np.broadcast_to(v, channels).reshape(shape).tolist()
        for v in (1 / (255 * std), -mean / std)
    )
    x = layers.Rescaling(scale, offset, name="preprocessing")(x)
    if record.channel_order == "BGR":
        x = _reverse_channels(x, channels, first)
    return x, record


def _reverse_channels(x, channels, first):
    """Reverses the channels with Keras' own layers: names of ops would vary."""
    # To a cropping of the other data format, the channels are a side of the image.
    other, axis = ("channels_last", 1) if first else ("channels_first", 3)
    parts = []
    for i in reversed(range(channels)):
        cropping = [(0, 0), (i, channels - 1 - i)]
        parts.append(
            layers.Cropping2D(
                cropping[::-1] if first else cropping,
                data_format=other,
                name=f"preprocessing_channel{i}",
            )(x)
        )
    return layers.Concatenate(axis, name="preprocessing_reversed")(parts)
