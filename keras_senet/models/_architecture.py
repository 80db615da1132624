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

    A field with the mark `layer` sets that argument of `SqueezeExcite`. A field with
    the mark `unseen` changes no weight's shape, so the caller must give it for a file
    without a row.

    Example:

    >>> row = keras_senet.models.Architecture(reduction=8, se_stages=(4, 5))
    >>> row.has_se(2), row.has_se(5)
    (False, True)
    """

    se: bool = option(
        True, "Whether the network has SE. False builds the plain network."
    )
    reduction: int = option(
        16, "The paper's r: SE squeezes C channels to C / r values.", layer="reduction"
    )
    squeeze: Literal["avg", "max", "none"] = option(
        "avg",
        "How SE pools each channel to one value. Without pooling, SE computes a gate "
        "for each position.",
        layer="squeeze",
        unseen=True,
    )
    gate: str | Callable[..., Any] | dict[str, Any] = option(
        "sigmoid",
        "Activation of the gate: a name of `keras.activations`, or a function.",
        layer="gate",
        unseen=True,
    )
    se_bias: bool = option(
        True, "Whether SE's convolutions have biases.", layer="use_bias"
    )
    identity_start: bool = option(
        False,
        "Whether each gate starts at 1, so that SE changes nothing before training.",
        layer="identity_start",
        unseen=True,
    )
    divisor: int = option(
        1,
        "The number of squeezed values is rounded to a multiple of this number.",
        layer="divisor",
    )
    placement: Literal["standard", "pre", "post", "identity", "3x3"] = option(
        "standard",
        "Where SE acts in a residual unit (section 6.5 of the paper).",
        unseen=True,
    )
    se_stages: Literal["all"] | tuple[int, ...] = option(
        "all", 'The stages with SE: "all", or a tuple of numbers from {stages}.'
    )

    stages: ClassVar[tuple[int, ...]] = (2, 3, 4, 5)
    # Whether SE's width follows from its unit's input, not from what SE acts on.
    squeezes_by_input: ClassVar[bool] = False
    # Option of another family -> why this one does not take it.
    reasons: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self):
        check_form(**self.se_arguments())  # the messages of the layer come first
        check_options(self)
        if self.se_stages == "all":
            return
        stages = tuple(sorted(set(self.se_stages)))
        if not stages or not set(stages) <= set(self.stages):
            raise ValueError(
                f"`se_stages` must be 'all' or a tuple of stages from {self.stages}. "
                f"Received: se_stages={self.se_stages!r}"
            )
        stages = "all" if stages == self.stages else stages  # one network, one row
        object.__setattr__(self, "se_stages", stages)

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
        row = {name: getattr(self, name) for name in options_of(type(self))}
        gate = self.gate
        if not isinstance(gate, str):  # Keras would load TensorFlow to look at it
            gate = keras.activations.serialize(keras.activations.get(gate))
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in {**row, "gate": gate}.items()
        }


def check_four(name: str, numbers: tuple[int, ...], multiple: int = 1) -> None:
    """Raises unless there is a positive number, a multiple, for each stage 2 to 5."""
    if len(numbers) != 4 or min(numbers) < 1 or any(n % multiple for n in numbers):
        of = f" multiples of `group_width`, {multiple}," if multiple > 1 else ""
        raise ValueError(
            f"`{name}` must be four positive integers,{of} one for each of the stages "
            f"2 to 5. Received: {name}={numbers}"
        )
