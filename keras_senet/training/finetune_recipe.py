"""Every value that decides how a trained network is fitted to other classes."""

import dataclasses
import json
import typing
from typing import Any, Literal

from keras_senet.models import CONSTRUCTORS
from keras_senet.training._fields import Interval, as_type, check_range
from keras_senet.training._model_arguments import ModelArguments, model_arguments_of
from keras_senet.utils.errors import nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneRecipe:
    """How a trained network is fitted to other classes.

    It gets a new classifier, which is trained alone first (phase 1); then all layers
    are, at a lower rate (phase 2). In both the rate falls to zero as a cosine.

    Attributes:
        model: The network, a name of `keras_senet.list_models()`; None is the one that
            `weights` names.
        weights: A preset, a file, or a folder of `save_pretrained` or of a run. None is
            a network without training, to compare with.
        model_arguments: Architecture arguments of the network's constructor, where
            `weights` does not tell them.
        train_split: The split that is trained on, or a slice: "train[:90%]".
        validation_split: The split or slice that each epoch is evaluated on.
        held_out: Share of each class that becomes "test" where the data has no part
            for it. Which images these are follows from their names.
        on_error: What an image that cannot be read does: "skip" with one warning that
            counts them, or "raise" an error.
        image_size: Height and width in pixels; None is the network's own.
        augmentation: As in `Recipe`.
        global_batch_size: Images of one update of the weights.
        head_epochs: Epochs of phase 1; 0 leaves it out.
        head_learning_rate: Its learning rate.
        epochs: Epochs of phase 2; 0 leaves it out.
        learning_rate: Its learning rate, of the classifier.
        layer_decay: Each stage of the network has this share of the next one's rate
            in phase 2; 1 is the same rate for all.
        weight_decay: Of kernels, as Keras' AdamW has it.
        freeze_batch_norm: Whether batch normalisation keeps its statistics, scale and
            shift in phase 2 too; without, it adapts to images of other statistics.
        class_weights: Whether rare classes count more, so that all count the same.
        label_smoothing: Share of the target that is spread over all classes.
        patience: Epochs without a lower validation loss that end a phase; the weights
            are then those of its best epoch. None trains to the end and keeps the last.
        seed: Of the classifier, shuffling and augmentation.
    """

    model: str | None = None
    weights: str | None = "imagenet"
    model_arguments: ModelArguments = dataclasses.field(default_factory=dict)
    train_split: str = "train"
    validation_split: str = "test"
    held_out: float = 0.2
    on_error: Literal["raise", "skip"] = "skip"
    image_size: int | None = None
    augmentation: Literal["none", "flip", "cifar", "imagenet", "mobile"] = "flip"
    global_batch_size: int = 32
    head_epochs: int = 5
    head_learning_rate: float = 1e-3
    epochs: int = 15
    learning_rate: float = 1e-4
    layer_decay: float = 0.7
    weight_decay: float = 0.01
    freeze_batch_norm: bool = True
    class_weights: bool = True
    label_smoothing: float = 0.0
    patience: int | None = 5
    seed: int = 0

    def __post_init__(self):
        for name, annotation in typing.get_type_hints(type(self)).items():
            value = as_type(name, getattr(self, name), annotation)
            object.__setattr__(self, name, value)
        for name, limits in _RANGES.items():
            check_range(name, getattr(self, name), limits)
        if self.model is not None and self.model not in CONSTRUCTORS:
            raise ValueError(
                "`model` must be a network of keras_senet.list_models(). "
                f"Received: model={self.model!r}.{nearest(self.model, CONSTRUCTORS)}"
            )
        if self.model is None and self.weights in (None, "imagenet"):
            raise ValueError(
                "`model` must name the network, since the weights do not. Received: "
                f"model=None, weights={self.weights!r}"
            )
        self._check_model_arguments()
        if self.head_epochs + self.epochs == 0:
            raise ValueError(
                "`head_epochs` and `epochs` must not both be 0. Received: "
                "head_epochs=0, epochs=0"
            )

    def _check_model_arguments(self):
        if self.model_arguments and self.model is None:
            raise ValueError(
                "`model_arguments` belong to a `model`. Received: model=None, "
                f"model_arguments={self.model_arguments!r}"
            )
        for name in self.model_arguments:
            known = model_arguments_of(self.model)
            if name not in known:
                raise ValueError(
                    f"`model_arguments` must be architecture arguments of {self.model}."
                    f" Received: {name!r}.{nearest(name, known)}"
                )

    def to_json(self) -> dict[str, Any]:
        """Returns the recipe as a dictionary of JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


_INF = float("inf")

# Field -> the interval of its values.
_RANGES = {
    "held_out": Interval(0, 1, includes_low=False),
    "image_size": Interval(1, _INF),
    "global_batch_size": Interval(1, _INF),
    "head_epochs": Interval(0, _INF),
    "head_learning_rate": Interval(0, _INF, includes_low=False),
    "epochs": Interval(0, _INF),
    "learning_rate": Interval(0, _INF, includes_low=False),
    "layer_decay": Interval(0, 1, includes_low=False, includes_high=True),
    "weight_decay": Interval(0, _INF),
    "label_smoothing": Interval(0, 1),
    "patience": Interval(1, _INF),
    "seed": Interval(0, 2**31),
}
