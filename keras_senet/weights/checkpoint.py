"""A checkpoint that has been read, in our names."""

import dataclasses
import warnings
from pathlib import Path

import keras
import numpy as np

from keras_senet.card import Card
from keras_senet.weights.assign import HEADS, assign, is_weight

# The kernels that read the image, of the families by layer name.
_STEMS = (
    "conv0_conv/kernel",
    "conv1_conv/kernel",
    "conv1_1_conv/kernel",
    "conv1/kernel",
    "block1_conv1/kernel",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Named arrays and what is known about them.

    Attributes:
        arrays: "LAYER/VARIABLE", the `variable.path` in a built model -> array.
        card: What is known about the network. Its `architecture` is empty if neither
            the file nor the preset describes it, and incomplete if the arrays show only
            a part. `include_top` and `classes` follow from the arrays.
        path: The file.
        layout: The layout of the file.
        fresh: Parts of the paths of variables that have no array in the file.
        untold: Fields of the architecture that the arrays do not show. The caller may
            give them.
        by_order: Whether the arrays have other names than the model's variables, and
            have the same order, without those of `fresh`.

    Example:

    >>> checkpoint = keras_senet.weights.open_checkpoint("cifar10", "se_resnet20")
    >>> checkpoint.arrays["predictions/kernel"].shape
    (64, 10)
    """

    arrays: dict[str, np.ndarray] = dataclasses.field(repr=False)
    card: Card = dataclasses.field(default_factory=Card)
    path: Path | None = None
    layout: str = ""
    fresh: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    by_order: bool = False

    def __post_init__(self):
        facts = {"architecture": self.card.architecture or {}}
        if not self.by_order:  # whose names are not the model's
            kernels = (self.arrays.get(f"{head}kernel") for head in HEADS)
            head = next((kernel for kernel in kernels if kernel is not None), None)
            facts["include_top"] = head is not None
            facts["classes"] = None if head is None else int(np.prod(head.shape[-1:]))
            facts["labels"] = None if head is None else self.card.labels
        object.__setattr__(self, "card", dataclasses.replace(self.card, **facts))

    @property
    def channels(self) -> int | None:
        """Number of channels of the image; None if it is unknown."""
        if self.by_order:
            return 3  # keras.applications'
        stem = next((name for name in _STEMS if name in self.arrays), None)
        shape = () if stem is None else self.arrays[stem].shape
        return int(shape[2]) if len(shape) == 4 else None

    def assign(self, model: keras.Model, include_top: bool = True) -> list[str]:
        """Gives the model this checkpoint's weights.

        Args:
            model: A built network of the checkpoint's architecture.
            include_top: Whether the model has the classifier; without it the
                checkpoint's is left out.

        Returns:
            The paths of variables that stay untrained: a classifier with another
            number of classes (a warning says so), and SE in a host's checkpoint.

        Raises:
            ValueError: If checkpoint and model do not fit in every weight.
        """
        arrays = self.arrays
        if not include_top:
            # VGG's top is three layers deep: what the model has no place for there.
            heads = (*HEADS, "fc1/", "fc2/")
            arrays = {n: a for n, a in arrays.items() if not n.startswith(heads)}
        elif self.card.include_top is False:
            raise ValueError(
                "The checkpoint must have a classifier for include_top=True. Received: "
                f"{str(self.path)!r}, which has none. Use include_top=False."
            )
        if self.by_order:
            arrays = _renamed(arrays, model, self.fresh)
        kept = assign(model, arrays, self.fresh)
        gates = [path for path in kept if any(part in path for part in self.fresh)]
        if gates:
            warnings.warn(
                f"The checkpoint of the plain network has no SE. Its {len(gates)} "
                "weights start as the exact identity, untrained.",
                stacklevel=2,
            )
        return kept


def _renamed(arrays, model, fresh):
    """Gives arrays in a model's order the paths of its variables."""
    paths = [
        v.path
        for v in model.variables
        if is_weight(v) and not any(part in v.path for part in fresh)
    ]
    if len(paths) != len(arrays):
        raise ValueError(
            f"The checkpoint must have as many weights as the model. Received "
            f"{len(arrays)} for {len(paths)}."
        )
    return dict(zip(paths, arrays.values(), strict=True))
