"""The frame that every constructor shares: input, top, pooling, weights."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers

from keras_senet import preprocessing
from keras_senet import weights as weights_room
from keras_senet.card import Card, Preprocessing, outputs_of, takes_raw_images
from keras_senet.models._architecture import Architecture, resolve
from keras_senet.models._blocks import Blocks
from keras_senet.models._docs import constructor_docstring
from keras_senet.models._input import check_options, image_input, normalise
from keras_senet.network import Network

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


def preprocessing_functions(family: Family) -> tuple[Callable, Callable]:
    """Returns a family's `preprocess_input` and `decode_predictions`."""

    def preprocess_input(x, data_format=None, *, preset=family.preprocessing):
        return preprocessing.preprocess_input(x, data_format, preset=preset)

    def decode_predictions(preds, top=5, *, preset=None, labels=None):
        return preprocessing.decode_predictions(
            preds, top, preset=preset, labels=labels
        )

    preprocess_input.__doc__ = preprocessing.preprocess_input.__doc__
    decode_predictions.__doc__ = preprocessing.decode_predictions.__doc__
    return preprocess_input, decode_predictions


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
    fused: bool


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
        fused=True,
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
            fused=fused,
        )
        explicit = {k: v for k, v in architecture.items() if v is not None}
        table = {"fixed": fixed, "defaults": defaults, "explicit": explicit}
        # Bad arguments are found before anything is fetched.
        check_options(family, options)
        row = resolve(family.architecture, build.__name__, **table, from_file=None)
        checkpoint = weights_room.open_checkpoint(weights, network)
        if checkpoint is not None:
            from_file = checkpoint.card.architecture
            if checkpoint.fresh:  # a plain host's file leaves SE's form to the caller
                from_file = {**explicit, **from_file}
            row = resolve(
                family.architecture, build.__name__, **table, from_file=from_file
            )
        return _assemble(family, network, row, options, checkpoint)

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


def _assemble(family, network, row, options, checkpoint):
    classes = _classes(family, options, checkpoint)
    inputs, source = image_input(family, options, checkpoint)
    blocks = Blocks(
        architecture=row,
        data_format=options.data_format,
        epsilon=family.epsilon,
        momentum=family.momentum,
        drop_path_rate=options.drop_path_rate,
        output_stride=options.output_stride or 32,
        fused=options.fused,
    )
    x, record = normalise(inputs, family, options, checkpoint)
    if record is None and checkpoint is not None:
        record = checkpoint.card.preprocessing
    x = family.network(blocks, x)
    if options.include_top:
        x = family.head(blocks, x, classes, options)
    elif options.pooling:
        x = _pool(x, options)
    card = Card(
        constructor=network,
        architecture=row.to_json(),
        include_top=options.include_top,
        outputs=outputs_of(options.classifier_activation)
        if options.include_top
        else "features",
        classes=classes if options.include_top else None,
        input_shape=inputs.shape[1:],
        preprocessing=record,
        normalises=options.include_preprocessing is not False,
    )
    model = Network(source, x, name=options.name, card=card)
    if takes_raw_images(model):  # an `input_tensor` may be normalised already
        model.card = card = dataclasses.replace(card, normalises=True)
    if checkpoint is not None:
        checkpoint.assign(model, include_top=options.include_top)
        known = checkpoint.card
        model.card = dataclasses.replace(
            card,
            labels=known.labels if known.classes == card.classes else None,
            preset=known.preset,
            licence=known.licence,
        )
    return model


def _pool(x, options):
    pool = {
        "avg": (layers.GlobalAveragePooling2D, "avg_pool"),
        "max": (layers.GlobalMaxPooling2D, "max_pool"),
    }
    layer, name = pool[options.pooling]
    return layer(data_format=options.data_format, name=name)(x)


def _classes(family, options, checkpoint):
    classes = options.classes
    if classes is None:
        stored = None if checkpoint is None else checkpoint.card.classes
        return stored or family.classes
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(
            f"`classes` must be a positive integer. Received: classes={classes!r}"
        )
    return classes
