"""The frame that every constructor shares: input, top, pooling, weights."""

import dataclasses
import inspect
import textwrap
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers

from keras_senet import preprocessing
from keras_senet import weights as weights_room
from keras_senet.card import Card, Preprocessing
from keras_senet.layers.squeeze_excite import RATIOS, as_reduction
from keras_senet.models._architecture import Architecture
from keras_senet.models._blocks import Blocks
from keras_senet.models._input import Options, check_fit, image_input, normalise
from keras_senet.models._records import Option, options_of
from keras_senet.network import Network
from keras_senet.utils.errors import nearest
from keras_senet.utils.meaning import outputs_of, takes_raw_images
from keras_senet.weights.catalogue import IMAGENET


def pooled_head(b: Blocks, x, classes: int, options: Options):
    """Global average pooling, dropout, one dense layer."""
    x = pool(x, "avg", b.data_format)
    if options.dropout_rate:
        x = layers.Dropout(options.dropout_rate, name="dropout")(x)
    return predictions(x, classes, options)


def predictions(x, classes: int, options: Options):
    """The classifier; it stays in float32 under mixed precision."""
    return layers.Dense(
        classes,
        activation=options.classifier_activation,
        dtype=head_dtype(),
        name="predictions",
    )(x)


def head_dtype():
    compute = keras.config.dtype_policy().compute_dtype
    return keras.backend.result_type(compute, "float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """What distinguishes one family's networks from another's."""

    architecture: type[Architecture]  # of its rows
    network: Callable  # makes the last feature map from the input
    head: Callable = pooled_head  # makes the class scores from that
    image_size: int = 224  # default height and width, pixels
    min_size: int = 32  # the smallest
    classes: int = 1000
    epsilon: float = 1e-5  # of batch normalization
    momentum: float = 0.9
    dropout_rate: float = 0.0  # default before the classifier
    flattens: bool = False  # the head needs a fixed image size
    dilates: bool = False  # `output_stride` can be chosen
    drops_paths: bool = True  # there are residual branches for `drop_path_rate`
    # The normalisation where no checkpoint fixes one.
    preprocessing: Preprocessing = dataclasses.field(default_factory=Preprocessing)


def preprocessing_functions(family: Family) -> tuple[Callable, Callable]:
    """Returns a family's `preprocess_input` and `decode_predictions`."""

    def preprocess_input(
        x: Any,
        data_format: str | None = None,
        *,
        preset: str | Preprocessing = family.preprocessing,
    ) -> Any:
        return preprocessing.preprocess_input(x, data_format, preset=preset)

    preprocess_input.__doc__ = preprocessing.preprocess_input.__doc__
    return preprocess_input, preprocessing.decode_predictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """What one constructor takes, and what it fixes."""

    family: Family
    name: str  # "SEResNet50"
    network: str  # "se_resnet50"
    frame: dict[str, Option]  # those of `Options`, with this network's defaults
    fields: dict[str, Option]  # those of the architecture row, in the same way
    fixed: dict[str, Any]  # values of the fields that define this network

    @property
    def architecture(self) -> tuple[Option, ...]:
        """The fields of the row that are arguments: not fixed, and with a choice."""
        free = (entry for name, entry in self.fields.items() if name not in self.fixed)
        return tuple(entry for entry in free if len(entry.choices) != 1)

    def signature(self) -> inspect.Signature:
        """The options that are positional, the architecture's, and the others."""
        shown = {
            "drop_path_rate": self.family.drops_paths,
            "output_stride": self.family.dilates,
        }
        frame = [e for e in self.frame.values() if shown.get(e.name, True)]
        positional = [e for e in frame if "positional" in e.marks]
        others = [e for e in frame if "positional" not in e.marks]
        kinds = inspect.Parameter
        return inspect.Signature(
            [
                *(e.parameter(kinds.POSITIONAL_OR_KEYWORD) for e in positional),
                # None is the checkpoint's value.
                *(e.parameter(kinds.KEYWORD_ONLY, None) for e in self.architecture),
                *(e.parameter(kinds.KEYWORD_ONLY) for e in others),
            ],
            return_annotation=keras.Model,
        )

    def docstring(self) -> str:
        """Documents the constructor from its options."""
        own = options_of(self.family.architecture)
        row = {n: e.default for n, e in self.fields.items() if e != own[n]}
        about = ", ".join(f"{name} {value}" for name, value in row.items())
        facts = {
            "network": self.network,
            "size": self.family.image_size,
            "min_size": self.family.min_size,
            "classes": self.family.classes,
            "stages": self.family.architecture.stages,
        }
        lines = {e.name: e.describe(**facts) for e in self.frame.values()}
        for entry in self.architecture:
            lines[entry.name] = entry.describe(entry.default, **facts)
        return _DOC.format(
            name=self.name,
            paper=textwrap.fill(
                "The paper of SE is Hu et al., arXiv 1709.01507."
                f"{f' This network has: {about}.' if about else ''}",
                88,
            ),
            arguments="\n".join(lines[name] for name in self.signature().parameters),
        )

    def given(self, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the caller's arguments by name; `row` checks those that are fixed."""
        signature = self.signature()
        known = {*self.fields, *self.frame}
        for name, value in kwargs.items():
            if name not in known:
                raise self._unexpected(name, value)
        shown = {n: v for n, v in kwargs.items() if n in signature.parameters}
        try:
            return {**kwargs, **signature.bind(*args, **shown).arguments}
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None

    def _unexpected(self, name, value):
        """The error for an argument that no network of the family knows."""
        reasons = self.family.architecture.reasons
        if name in reasons:
            return ValueError(f"{self.name} does not take `{name}`: {reasons[name]}")
        weights = f"weights={self.frame['weights'].default if value else None!r}"
        if value and self.frame["weights"].default is None:
            weights = f"a `weights` of keras_senet.list_weights({self.network!r})"
        elsewhere = {"num_classes": f"classes={value!r}", "pretrained": weights}
        if name in RATIOS:
            elsewhere[name] = as_reduction(value)
        if name in elsewhere:
            return TypeError(
                f"{self.name} does not take `{name}`. Use {elsewhere[name]}."
            )
        return TypeError(
            f"{self.name}() got an unexpected keyword argument {name!r}."
            f"{nearest(name, self.signature().parameters)}"
        )

    def row(
        self,
        explicit: Mapping[str, Any] | None = None,
        from_file: Mapping[str, Any] | None = None,
    ) -> Architecture:
        """Makes a network's row from the caller's arguments, the file and this table.

        Args:
            explicit: Arguments of the caller that are not None.
            from_file: The row of a weights file, or a part of it; `{}` for a file
                without a row, and None without a file.
        """
        explicit = explicit or {}
        for name in sorted(set(self.fixed) & set(explicit)):
            if self.fields[name].check(explicit[name]) != self.fixed[name]:
                raise TypeError(
                    f"In {self.name}, `{name}` must be {self.fixed[name]!r}. "
                    f"Received: {name}={explicit[name]!r}"
                )
        architecture = self.family.architecture
        table = {name: entry.default for name, entry in self.fields.items()}
        row = architecture(**{**table, **explicit})  # bad values raise here, first
        if from_file is None:
            return row
        if not from_file:
            self._check_told(explicit)
            return row
        strange = sorted(set(from_file) - set(table))
        if strange:
            raise ValueError(
                f"The weights file must hold a network of {self.name}'s family. "
                f"Received a file whose architecture also has {', '.join(strange)}."
            )
        stored = architecture(**{**table, **from_file})
        there, here = stored.to_json(), row.to_json()
        gates = (keras.activations.get(values["gate"]) for values in (there, here))
        if len(set(gates)) == 1:  # Keras has two names for some
            here["gate"] = there["gate"]
        differences = [
            f"{name} is {there[name]!r} in the file and {here[name]!r} {where}"
            for names, where in (
                (explicit, "in the call"),
                (self.fixed, f"in {self.name}"),
            )
            for name in names
            if there[name] != here[name]
        ]
        if differences:
            raise ValueError(
                "The arguments must agree with the architecture of the weights file. "
                f"Received: {'; '.join(differences)}. Leave the arguments out, or use "
                "the constructor that the file was made with."
            )
        return stored

    def _check_told(self, explicit):
        """Raises if a file without a row does not determine what is computed."""
        open_ = [e for e in self.architecture if e.name not in explicit]
        missing = [entry.name for entry in open_ if entry.marks.get("unseen")]
        if missing and explicit.get("se") is not False:
            seen = [entry.name for entry in open_ if entry.name not in missing]
            raise ValueError(
                "This weights file does not say what architecture it has, so the call "
                f"must. Give {self.name} these arguments: {', '.join(missing)}; and "
                f"these, if they are not the defaults: {', '.join(seen)}. Files that "
                "keras_senet writes say it."
            )


_DOC = """\
Builds {name}. With `se=False`, builds it without SE.

{paper}

The arguments up to `name` are those of `keras.applications`. If an architecture
argument is None, the checkpoint's value is used; without a checkpoint, the default.

Args:
{arguments}

Returns:
    A functional `keras.Model`. It takes images of shape (batch, *input_shape) and
    returns scores of shape (batch, classes); if `include_top=False`, the last feature
    map. Its attribute `card` holds what is known about it, including the values above.

Raises:
    ValueError: If an argument is out of range, is not supported by this family, or
        contradicts the checkpoint.

Example:
    >>> model = keras_senet.{name}(weights=None, classes=10)
    >>> model.output_shape
    (None, 10)
"""


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
    """Makes a constructor like those of keras.applications: one row of a table.

    It takes the options of `Options`, what all families share of the architecture row,
    and `arguments`, which are the family's own fields.

    Args:
        family: The network's family.
        name: The constructor's name, "SEResNet50".
        network: The registry's name of it, "se_resnet50".
        module: The module it is defined in.
        fixed: Fields of the row that define this network, and their values.
        defaults: Other fields whose default is not the family's.
        arguments: Of the family's own fields. The others are fixed.
        dropout_rate: Default rate before the classifier, if not the family's.
    """
    fields = _with_defaults(family.architecture, {**(defaults or {}), **(fixed or {})})
    named = {*arguments, *options_of(Architecture)}
    own = {
        "weights": "imagenet" if network in IMAGENET else None,
        "name": network,
        "dropout_rate": family.dropout_rate if dropout_rate is None else dropout_rate,
    }
    spec = Spec(
        family=family,
        name=name,
        network=network,
        frame=_with_defaults(Options, own),
        fields=fields,
        fixed={n: e.default for n, e in fields.items() if n not in named},
    )

    def build(*args, **kwargs):
        given = spec.given(args, kwargs)
        options = Options(**{n: given.get(n, e.default) for n, e in spec.frame.items()})
        explicit = {n: v for n, v in given.items() if n in fields and v is not None}
        # Bad arguments are found before anything is fetched.
        check_fit(family, options)
        row = spec.row(explicit)
        checkpoint = weights_room.open_checkpoint(options.weights, network)
        if checkpoint is not None:
            from_file = checkpoint.card.architecture
            if checkpoint.fresh:  # a plain host's file leaves SE's form to the caller
                from_file = {**explicit, **from_file}
            said = {n: explicit[n] for n in checkpoint.untold if n in explicit}
            row = spec.row(explicit, {**said, **from_file})
            if from_file and not row.se and "se" not in explicit:
                warnings.warn(
                    f"The checkpoint {str(options.weights)!r} has no SE, so the "
                    "network has none. Set se=False if you want this. To add SE to "
                    "the network and keep its weights, use keras_senet.graft.",
                    stacklevel=2,
                )
            if checkpoint.layout == "keras_senet":
                told = checkpoint.card.arguments()
                if options.classes not in (None, checkpoint.card.classes):
                    told.pop("classifier_activation", None)  # of another classifier
                told = {n: v for n, v in told.items() if n not in given}
                options = dataclasses.replace(options, **told)
        return _assemble(family, network, row, options, checkpoint)

    build.__name__ = build.__qualname__ = name
    build.__module__ = module
    build.network, build.family, build.spec = network, family, spec
    build.__signature__, build.__doc__ = spec.signature(), spec.docstring()
    return build


def _with_defaults(record, defaults):
    """The options of a record, some with other defaults."""
    options = dict(options_of(record))
    for name, default in defaults.items():
        options[name] = dataclasses.replace(options[name], default=default)
    return options


def _assemble(family, network, row, options, checkpoint):
    stored = None if checkpoint is None else checkpoint.card.classes
    classes = options.classes or stored or family.classes
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
    # Of an `input_tensor` that has layers of its own, what those take.
    seen = source if keras.backend.is_keras_tensor(source) else inputs
    x, record = normalise(inputs, family, options, checkpoint)
    if record is None and checkpoint is not None:
        record = checkpoint.card.preprocessing
    x = family.network(blocks, x)
    if options.include_top:
        x = family.head(blocks, x, classes, options)
    elif options.pooling:
        x = pool(x, options.pooling, options.data_format)
    card = Card(
        # Not of what has layers of its own before the network.
        constructor=network if source is inputs else None,
        architecture=row.to_json(),
        include_top=options.include_top,
        outputs=outputs_of(options.classifier_activation)
        if options.include_top
        else "features",
        classes=classes if options.include_top else None,
        input_shape=seen.shape[1:],
        preprocessing=record,
        normalises=options.include_preprocessing is not False,
        output_stride=options.output_stride,
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


# `pooling` -> the pool, whose name is "avg_pool" or "max_pool".
POOLS = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def pool(x, kind: str, data_format: str):
    """Global pooling."""
    return POOLS[kind](data_format=data_format, name=f"{kind}_pool")(x)
