"""The architecture row: every value that decides which function a network computes.

A row is a typed record. A family extends `Architecture` with fields of its own; the
fields a family has are the arguments its constructors take.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from keras_senet.layers import SqueezeExcite
from keras_senet.utils.errors import nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What all families share: where SE is and what it looks like.

    Attributes:
        se: Whether the network has SE at all; without it is the plain host.
        reduction: The paper's r.
        squeeze: "avg", "max" or "none".
        gate: The gate's activation.
        se_bias: Whether SE's convolutions have biases.
        identity_start: Whether SE starts as the exact identity.
        divisor: SE's width is rounded to a multiple of this.
        placement: Where SE acts in a residual unit (section 6.5 of the paper).
        se_stages: "all" or the numbers of the stages with SE.
    """

    se: bool = True
    reduction: int = 16
    squeeze: str = "avg"
    gate: Any = "sigmoid"
    se_bias: bool = True
    identity_start: bool = False
    divisor: int = 1
    placement: str = "standard"
    se_stages: str | tuple[int, ...] = "all"

    stages: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)
    # Field -> accepted values, and argument -> why this family does not take it.
    choices: ClassVar[Mapping[str, tuple]] = {
        "placement": ("standard", "pre", "post", "identity", "3x3"),
    }
    reasons: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
            elif field.type is bool and not isinstance(value, bool):
                raise ValueError(
                    f"`{field.name}` must be True or False. "
                    f"Received: {field.name}={value!r}"
                )
        for name, accepted in self.choices.items():
            value = getattr(self, name)
            if value not in accepted:
                reason = f" {self.reasons[name]}" if name in self.reasons else ""
                raise ValueError(
                    f"`{name}` must be one of {', '.join(map(repr, accepted))}. "
                    f"Received: {name}={value!r}.{reason}"
                )
        self._check_stages()
        # The layer knows what its arguments may be.
        SqueezeExcite(
            self.reduction,
            divisor=self.divisor,
            squeeze=self.squeeze,
            gate=self.gate,
            identity_start=self.identity_start,
            name="se",
        )

    def _check_stages(self):
        if self.se_stages == "all":
            return
        known = set(self.stages)
        given = self.se_stages
        if not isinstance(given, tuple) or not given or not known.issuperset(given):
            raise ValueError(
                f"`se_stages` must be 'all' or some of the stages {self.stages}, as a "
                f"tuple. Received: se_stages={given!r}"
            )

    def has_se(self, stage: int) -> bool:
        """Whether the blocks of a stage have SE."""
        return self.se and (self.se_stages == "all" or stage in self.se_stages)

    def to_json(self) -> dict[str, Any]:
        """Returns the row as a dictionary of JSON values."""
        return _to_json(dataclasses.asdict(self))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the row's fields."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def check_argument(cls, name: str, constructor: str) -> None:
        """Raises for an argument that this family has no place for."""
        if name in cls.names():
            return
        if name in cls.reasons:
            raise ValueError(f"{constructor} takes no `{name}`: {cls.reasons[name]}")
        raise TypeError(
            f"{constructor}() got an unexpected keyword argument {name!r}."
            f"{nearest(name, cls.names())}"
        )


def _to_json(values: Mapping[str, Any]) -> dict[str, Any]:
    row = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    if "gate" in row:
        row["gate"] = keras.activations.serialize(keras.activations.get(row["gate"]))
    return row


def resolve(
    architecture: type[Architecture],
    constructor: str,
    *,
    fixed: Mapping[str, Any],
    defaults: Mapping[str, Any],
    explicit: Mapping[str, Any],
    from_file: Mapping[str, Any] | None,
) -> Architecture:
    """Makes the row of a network out of what the caller, the file and the table say.

    Args:
        architecture: The family's row type.
        constructor: The constructor's name, for messages.
        fixed: Fields that are the constructor's own and no argument.
        defaults: Fields whose default differs from the family's.
        explicit: Arguments of the caller that are not None.
        from_file: The row of a weights file; `{}` for a file that carries none, and
            None where there is no file.

    Raises:
        ValueError: If an argument makes no sense here, contradicts the file, or is
            needed because the file has no row.
    """
    for name in explicit:
        architecture.check_argument(name, constructor)
    table = {**defaults, **fixed}
    if not from_file:
        if from_file is not None:
            _require_row(architecture, constructor, explicit)
        return architecture(**{**table, **explicit})
    strange = sorted(set(from_file) - set(architecture.names()))
    if strange:
        raise ValueError(
            f"The weights file must hold a network of {constructor}'s family. "
            f"Received a file whose architecture also has {', '.join(strange)}."
        )
    architecture(**{**table, **explicit})  # a bad value is a bad value first
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


# Weights of the same shapes compute something else when one of these differs.
_UNSEEN = (
    "squeeze",
    "gate",
    "identity_start",
    "placement",
    "stride_on",
    "stem_pool",
)


def _require_row(architecture, constructor, explicit):
    missing = [n for n in _UNSEEN if n in architecture.names() and n not in explicit]
    if missing and explicit.get("se") is not False:
        raise ValueError(
            "A weights file without an architecture row needs the architecture in the "
            f"call. {constructor} also needs: {', '.join(missing)}. Files that "
            "keras_senet writes carry the row."
        )
