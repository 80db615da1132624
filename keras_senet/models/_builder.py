"""The frame that every constructor shares: input, top, pooling, weights."""

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers

from keras_senet import preprocessing
from keras_senet import weights as weights_room
from keras_senet.card import Card, Preprocessing, outputs_of, takes_raw_images
from keras_senet.layers.squeeze_excite import RATIOS, as_reduction
from keras_senet.models._architecture import Architecture, resolve
from keras_senet.models._blocks import Blocks
from keras_senet.models._input import Options, check_fit, image_input, normalise
from keras_senet.models._records import options_of
from keras_senet.network import Network
from keras_senet.utils.errors import nearest


def pooled_head(b: Blocks, x, classes: int, options: Options):
    """Global average pooling, dropout, one dense layer."""
    x = layers.GlobalAveragePooling2D(data_format=b.data_format, name="avg_pool")(x)
    if options.dropout_rate:
        x = layers.Dropout(options.dropout_rate, name="dropout")(x)
    return predictions(x, classes, options)


def predictions(x, classes: int, options: Options):
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

    It takes the options of `Options`, where the network is to be built, what all
    families share of the architecture row, and `arguments`.

    Args:
        family: The network's family.
        name: The constructor's name, "SEResNet50".
        network: The registry's name of it, "se_resnet50".
        module: The module it is defined in.
        fixed: Fields of the architecture row that make this network what it is.
        defaults: Fields whose default differs from the family's; arguments still.
        arguments: The family's own fields that are arguments. The others are fixed.
        dropout_rate: Default rate before the classifier, where not the family's.
    """
    row = {**(defaults or {}), **(fixed or {})}
    table = dict(options_of(family.architecture))
    for field, default in row.items():
        table[field] = dataclasses.replace(table[field], default=default)
    shared = options_of(Architecture)
    fixed = {
        field: entry.default
        for field, entry in table.items()
        if field not in shared and field not in arguments
    }
    defaults = {field: value for field, value in row.items() if field not in fixed}
    frame_defaults = {
        "weights": weights_room.default_weights(network),
        "name": network,
        "dropout_rate": family.dropout_rate if dropout_rate is None else dropout_rate,
    }
    frame = dict(options_of(Options))
    for field, default in frame_defaults.items():
        frame[field] = dataclasses.replace(frame[field], default=default)

    def build(*args, **kwargs):
        given = _given(build, {*table, *frame}, args, kwargs)
        options = Options(
            **{n: given.get(n, entry.default) for n, entry in frame.items()}
        )
        explicit = {n: v for n, v in given.items() if n in table and v is not None}
        rows = {"fixed": fixed, "defaults": defaults, "explicit": explicit}
        # Bad arguments are found before anything is fetched.
        check_fit(family, options)
        row = resolve(family.architecture, build.__name__, **rows, from_file=None)
        checkpoint = weights_room.open_checkpoint(options.weights, network)
        if checkpoint is not None:
            from_file = checkpoint.card.architecture
            if checkpoint.fresh:  # a plain host's file leaves SE's form to the caller
                from_file = {**explicit, **from_file}
            row = resolve(
                family.architecture, build.__name__, **rows, from_file=from_file
            )
        return _assemble(family, network, row, options, checkpoint)

    build.__name__ = build.__qualname__ = name
    build.__module__ = module
    build.network, build.family = network, family
    build.options = tuple(
        entry
        for field, entry in table.items()
        if field not in fixed and len(entry.choices) != 1
    )
    build.__signature__ = _signature(family, build.options, frame.values())
    build.__doc__ = _docstring(build, row)
    return build


def _signature(family, architecture, frame):
    """The positional options, the architecture's, and the others of the frame."""
    shown = {
        "drop_path_rate": family.drops_paths,
        "output_stride": family.dilates,
    }
    positional = [entry for entry in frame if "positional" in entry.marks]
    others = [e for e in frame if e not in positional and shown.get(e.name, True)]
    kinds = inspect.Parameter
    return inspect.Signature(
        [
            *(e.parameter(kinds.POSITIONAL_OR_KEYWORD, e.default) for e in positional),
            # None is the checkpoint's value.
            *(e.parameter(kinds.KEYWORD_ONLY, None) for e in architecture),
            *(e.parameter(kinds.KEYWORD_ONLY, e.default) for e in others),
        ],
        return_annotation=keras.Model,
    )


_DOC = """\
{name}, or its plain host with `se=False`.

{paper}

The arguments up to `name` are those of `keras.applications`. An architecture argument
that is None is the checkpoint's value, else the default.

Args:
{arguments}

Returns:
    A functional `keras.Model` that keeps what is known about it, the values above
    among it, in its `card`.

Raises:
    ValueError: If an argument is out of range, makes no sense in this family, or
        contradicts the checkpoint.
"""


def _docstring(build, row):
    family, network = build.family, build.network
    about = ", ".join(f"{key} {value}" for key, value in row.items())
    facts = {
        "network": network,
        "size": family.image_size,
        "min_size": family.min_size,
        "classes": family.classes,
        "stages": family.architecture.stages,
    }
    documented = {e.name: e.describe(**facts) for e in options_of(Options).values()}
    for entry in build.options:
        documented[entry.name] = entry.describe(entry.default, **facts)
    return _DOC.format(
        name=build.__name__,
        paper=textwrap.fill(
            f"Hu et al., arXiv 1709.01507.{f' Its row: {about}.' if about else ''}", 88
        ),
        arguments="\n".join(documented[n] for n in build.__signature__.parameters),
    )


def _given(build, known, args, kwargs):
    """What the caller says, by name.

    An option that the network has but no choice of may be said: it is checked later.
    """
    parameters = build.__signature__.parameters
    hidden = {n: v for n, v in kwargs.items() if n in known and n not in parameters}
    for name, value in kwargs.items():
        if name not in known:
            raise _unexpected(build, name, value)
    try:
        shown = {n: v for n, v in kwargs.items() if n not in hidden}
        given = build.__signature__.bind(*args, **shown).arguments
    except TypeError as error:
        raise TypeError(f"{build.__name__}(): {error}") from None
    return {**given, **hidden}


def _unexpected(build, name, value):
    """The error for an argument that a constructor does not know."""
    constructor, reasons = build.__name__, build.family.architecture.reasons
    if name in reasons:
        return ValueError(f"{constructor} takes no `{name}`: {reasons[name]}")
    default = build.__signature__.parameters["weights"].default
    elsewhere = {
        "num_classes": f"classes={value!r}",
        "pretrained": f"weights={default if value else None!r}",
        **({name: as_reduction(value)} if name in RATIOS else {}),
    }
    if value and default is None:
        elsewhere["pretrained"] = (
            f"`weights` and a name of keras_senet.list_weights({build.network!r})"
        )
    if name in elsewhere:
        return TypeError(f"{constructor} takes no `{name}`. Use {elsewhere[name]}.")
    return TypeError(
        f"{constructor}() got an unexpected keyword argument {name!r}."
        f"{nearest(name, build.__signature__.parameters)}"
    )


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
    stored = None if checkpoint is None else checkpoint.card.classes
    return options.classes or stored or family.classes
