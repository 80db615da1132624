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
    # Whether SE's width follows from its unit's input, not from what SE acts on.
    squeezes_by_input: ClassVar[bool] = False
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
        row = {name: getattr(self, name) for name in options_of(type(self))}
        gate = self.gate
        if not isinstance(gate, str):  # Keras would load TensorFlow to look at it
            gate = keras.activations.serialize(keras.activations.get(gate))
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in {**row, "gate": gate}.items()
        }
