"""The architecture row: every value that decides which function a network computes.

A row is a typed record. A family extends `Architecture` with fields of its own. The
fields are the only list of what there is: signatures, documentation, checks and the
rows in files are made from them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import keras

from keras_senet.layers.squeeze_excite import check_form
from keras_senet.models._records import check_options, option, options_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What all families share: where SE is and what it looks like.

    A field's mark `layer` is the argument of `SqueezeExcite` that it is. One with the
    mark `unseen` changes no weight's shape, and so has to be told to a file without a
    row.
    """

    se: bool = option(True, "Whether the network has SE; without it is the plain host.")
    reduction: int = option(16, "The paper's r.", layer="reduction")
    squeeze: Literal["avg", "max", "none"] = option(
        "avg",
        "How SE makes one value of each channel; or not at all, with a gate for each "
        "position.",
        layer="squeeze",
        unseen=True,
    )
    gate: str | Callable[..., Any] | dict[str, Any] = option(
        "sigmoid", "The gate's activation, any of Keras'.", layer="gate", unseen=True
    )
    se_bias: bool = option(
        True, "Whether SE's convolutions have biases.", layer="use_bias"
    )
    identity_start: bool = option(
        False,
        "Whether SE starts as the exact identity.",
        layer="identity_start",
        unseen=True,
    )
    divisor: int = option(
        1, "SE's width is rounded to a multiple of this.", layer="divisor"
    )
    placement: Literal["standard", "pre", "post", "identity", "3x3"] = option(
        "standard", "Where SE acts in a residual unit (section 6.5).", unseen=True
    )
    se_stages: Literal["all"] | tuple[int, ...] = option(
        "all", 'The stages with SE: "all", or some of {stages}.'
    )

    stages: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)
    # Option of another family -> why this one does not take it.
    reasons: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self):
        check_form(**self.se_arguments())  # the layer's own messages first
        check_options(self)
        if self.se_stages != "all" and not (
            self.se_stages and set(self.se_stages) <= set(self.stages)
        ):
            raise ValueError(
                f"`se_stages` must be 'all' or some of the stages {self.stages}, as a "
                f"tuple. Received: se_stages={self.se_stages!r}"
            )

    def has_se(self, stage: int) -> bool:
        """Whether the blocks of a stage have SE."""
        return self.se and (self.se_stages == "all" or stage in self.se_stages)

    def se_arguments(self) -> dict[str, Any]:
        """Returns the arguments of the row's `SqueezeExcite` layers."""
        return {
            entry.marks["layer"]: getattr(self, name)
            for name, entry in options_of(type(self)).items()
            if "layer" in entry.marks
        }

    def to_json(self) -> dict[str, Any]:
        """Returns the row as a dictionary of JSON values."""
        return _to_json({name: getattr(self, name) for name in options_of(type(self))})


def _to_json(values: Mapping[str, Any]) -> dict[str, Any]:
    row = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    if "gate" in row:
        row["gate"] = keras.activations.serialize(keras.activations.get(row["gate"]))
    return row


def resolve(
    architecture: type[Architecture],
    constructor: str,
    *,
    table: Mapping[str, Any],
    fixed: Mapping[str, Any],
    explicit: Mapping[str, Any],
    from_file: Mapping[str, Any] | None,
) -> Architecture:
    """Makes the row of a network out of what the caller, the file and the table say.

    Args:
        architecture: The family's row type.
        constructor: The constructor's name, for messages.
        table: What each field is where nothing else says it.
        fixed: Fields that make the network what it is.
        explicit: Arguments of the caller that are not None.
        from_file: The row of a weights file; `{}` for a file that carries none, and
            None where there is no file.

    Raises:
        ValueError: If an argument makes no sense here, contradicts the file, or is
            needed because the file has no row.
    """
    options = options_of(architecture)
    for name in sorted(set(fixed) & set(explicit)):
        if options[name].check(explicit[name]) != options[name].check(fixed[name]):
            raise TypeError(
                f"{constructor} has a fixed `{name}`, {fixed[name]!r}. "
                f"Received: {name}={explicit[name]!r}"
            )
    row = architecture(**{**table, **explicit})  # a bad value is a bad value first
    if from_file is None:
        return row
    explicit = {name: getattr(row, name) for name in explicit}
    if not from_file:
        _require_row(options, constructor, {**fixed, **explicit})
        return row
    strange = sorted(set(from_file) - set(options))
    if strange:
        raise ValueError(
            f"The weights file must hold a network of {constructor}'s family. "
            f"Received a file whose architecture also has {', '.join(strange)}."
        )
    row = architecture(**{**table, **from_file})
    stored = row.to_json()
    differences = [
        f"{name} is {stored[name]!r} in the file and {value!r} {where}"
        for given, where in ((explicit, "in the call"), (fixed, f"in {constructor}"))
        for name, value in _to_json(given).items()
        if stored[name] != value
    ]
    if differences:
        raise ValueError(
            "The arguments must agree with the architecture of the weights file. "
            f"Received: {'; '.join(differences)}. Leave the arguments out to get the "
            "file's network, or use the constructor that the file was made with."
        )
    return row


def _require_row(options, constructor, known):
    missing = [
        name
        for name, entry in options.items()
        if entry.marks.get("unseen") and len(entry.choices) != 1 and name not in known
    ]
    if missing and known.get("se") is not False:
        raise ValueError(
            "A weights file without an architecture row needs the architecture in the "
            f"call. {constructor} also needs: {', '.join(missing)}. Files that "
            "keras_senet writes carry the row."
        )
