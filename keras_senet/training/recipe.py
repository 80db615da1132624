"""A recipe: every value that decides how a network is trained, as a typed record."""

import dataclasses
import itertools
import json
import math
import operator
import os
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from keras_senet.utils.errors import nearest, require, short
from keras_senet.utils.networks import known_networks

# Numbers with their limits, which `_checked` reads.
Count = Annotated[int, "at least 1"]
CountFromZero = Annotated[int, "at least 0"]
Side = Annotated[int, "at least 1 and at most 8192"]
FromZero = Annotated[float, "at least 0"]
AboveZero = Annotated[float, "above 0"]
Within = Annotated[float, "above 0 and below 1"]
BelowOne = Annotated[float, "at least 0 and below 1"]
UpToOne = Annotated[float, "at least 0 and at most 1"]
Fraction = Annotated[float, "above 0 and at most 1"]
Alpha = Annotated[float, "0, or at least 0.2 and at most 1"]


class ModelArguments(typing.TypedDict, total=False):
    """The architecture arguments of the constructors; each takes some of them.

    They stand here too so that a recipe's options are known without Keras.
    """

    se: bool
    reduction: int
    squeeze: str
    gate: str
    se_bias: bool
    identity_start: bool
    placement: str
    se_stages: tuple[int, ...] | Literal["all"]
    stride_on: str
    stem: str
    stem_pool: str
    shortcut: str
    anti_alias: bool
    divisor: int
    preactivation: bool
    block: str
    blocks: tuple[int, ...]
    filters: tuple[int, ...]
    stem_filters: tuple[int, ...]
    branch_relu: bool
    cardinality: int
    width: int
    half_reduce: bool
    group_width: int
    padding: str
    alpha: float
    batch_norm: bool
    fused: bool


# Version 0.1 fine-tuned so where its recipe does not say it.
_FINETUNED_BY_0_1 = {"linear_probe": False, "epochs": 15, "learning_rate": 1e-4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    A training has one phase, in which all layers are trained. With `head_epochs`, there
    is a first phase in which only the classifier is trained.

    Attributes:
        model: The network, a name of `keras_senet.list_models()`; None is the network
            of `weights`.
        weights: The weights at the start: a preset, a weights file, or a folder of a
            run or of `save_pretrained`; None is random. The classifier is always new.
        model_arguments: Architecture arguments of the network's constructor that do not
            follow from `weights`.
        data: "bundled", a name of tensorflow_datasets, or a folder of images.
        train_split: The training images: a split or a slice of one, "train[:90%]".
        validation_split: The split or slice for the evaluation after each epoch and
            for all choices; None is "validation" if the data has it, else "test".
            ImageNet's validation images are its "test".
        held_out: Share of each class that becomes "test" if the data has no such part;
            of all images where they have several labels each. In a folder, the names of
            the images decide which ones.
        image_size: Height and width in pixels; None is that of `weights`, else that of
            the data.
        channels: 1 or 3; None is that of `weights`, else that of the data.
        classes: Number of classes; None is that of the data. 1 turns two classes into
            one output, the probability of the second.
        limit: Use at most this many images of each split.
        linear_probe: Whether the classifier starts from a linear probe. It is fitted to
            convergence on the features of the initial network; the held-out images
            decide its regularisation. If training all layers is not better on the
            held-out images, the probe is kept.
        head_epochs: Passes over the training images at the start in which only the
            classifier is trained, or 0.
        head_learning_rate: Their highest learning rate. It falls as a cosine, and
            scales as `learning_rate` does.
        epochs: Passes over the training images in which all layers are trained. None
            counts updates instead; `keras_senet.training.recipes.updates_for` computes
            them from the number of images.
        passes: Number of passes over the training images in one epoch. After each epoch
            the network is evaluated and a checkpoint is saved.
        global_batch_size: Number of images for one update of the weights, over all
            devices and `accumulation_steps`; with `weights`, at most all images.
        accumulation_steps: Each batch is split into this many equal parts, and their
            gradients are averaged. Batch normalization sees one part at a time. A
            number above 1 works on one device only.
        optimizer: Keras' SGD or AdamW.
        learning_rate: The highest learning rate, for batches of
            `reference_batch_size`. It scales linearly: the rate used is
            learning_rate * global_batch_size / reference_batch_size.
        reference_batch_size: The batch size for `learning_rate` and
            `head_learning_rate`; None is `global_batch_size`.
        layer_decay: The learning rate of each stage is that of the next stage times
            this factor; the classifier has the full rate. 1 is the same rate for all.
        se_rate_factor: SE's learning rate is that of its stage times this factor.
            Above 1, gates that start at 1 (`identity_start`) leave it sooner.
        momentum: Momentum of SGD.
        nesterov: Whether SGD uses Nesterov momentum.
        l2: Weight decay inside the gradient, for SGD: l2 * w is added to the gradient
            of each kernel w. The reported losses include its penalty.
        weight_decay: Weight decay beside the gradient, as Keras' optimizers have it:
            each step subtracts rate * weight_decay * w from each kernel w. With
            momentum m, it is as strong as l2 = weight_decay * (1 - m). Neither form
            changes batch normalization or biases.
        se_decay: Whether either form changes SE's kernels. Without it, and with a
            `se_rate_factor` above 1, a network in a short training uses its SE more.
        schedule: How the learning rate falls: "cosine" to zero; "step" by the factor
            `step_factor` at each of `step_at`; "plateau" by the same factor when the
            validation loss stalls.
        warmup_epochs: In these first epochs of "cosine" the rate rises linearly from 0.
        step_at: Fractions of the training at which "step" lowers the rate.
        step_factor: The factor for "step" and "plateau".
        patience: Epochs without a lower validation loss before "plateau" lowers the
            rate, or before `stop_early` ends a phase; None is no limit.
        stop_early: Whether `patience` ends a phase. The phase then returns the weights
            of the epoch with the lowest validation loss, instead of the last ones.
        ema_momentum: Evaluate and save moving averages of the weights, with this
            momentum per update (such as 0.9999); None uses the weights themselves. The
            statistics of batch normalization have their own averages.
        freeze_batch_norm: Whether batch normalization keeps the statistics, scale and
            shift of `weights`. Otherwise it adapts to the new images.
        freeze_batch_norm_epochs: Number of last epochs in which batch normalization
            keeps its statistics, scale and shift, as for SENet-154 (the paper's
            appendix).
        synchronized_batch_norm: Whether batch normalization computes its statistics
            over all devices together, instead of on each device.
        class_weights: Whether rare classes have a larger weight in the loss, so that
            all classes count the same. No effect with several labels for each image.
        label_smoothing: Share of the target that is spread over all classes.
        augmentation: "flip" is horizontal, "cifar" adds a random crop after padding
            4 pixels, "imagenet" is the random resized crop with a flip, "mobile" the
            same with crops of at least a quarter of the area.
        rand_augment: Strength of RandAugment's two operations for each image, from 0
            (none) to 1.
        random_erasing: Share of the training images in which a rectangle becomes noise.
        mixup: Alpha of mixup, 0.2 to 1, or 0 for none. Together with CutMix, each batch
            gets one of the two.
        cutmix: Alpha of CutMix, 0.2 to 1, or 0 for none.
        crop_fraction: In evaluation, the share of the resized image that the centre
            crop keeps; None is that of `weights`.
        interpolation: How images are resized; None is that of `weights`.
        dropout_rate: Dropout before the classifier; None is the network's own.
        drop_path_rate: Stochastic depth of the last residual branch; less before it.
        dtype_policy: Keras' dtype policy.
        on_error: What happens if an image of a folder cannot be read: "raise" an error,
            or "skip" it and give one warning with their number.
        seed: For weights, shuffling, augmentation and dropout.

    Example:

    >>> recipe = keras_senet.training.Recipe(model="se_resnet56", data="cifar10")
    >>> recipe.peak_learning_rate
    0.1
    """

    model: str | None = None
    weights: str | None = None
    model_arguments: ModelArguments = dataclasses.field(default_factory=dict)
    data: str = "bundled"
    train_split: str = "train"
    validation_split: str | None = None
    held_out: Within = 0.2
    image_size: Side | None = None
    channels: Literal[1, 3] | None = None
    classes: Count | None = None
    limit: Count | None = None
    linear_probe: bool = False
    head_epochs: CountFromZero = 0
    head_learning_rate: AboveZero = 1e-3
    epochs: CountFromZero | None = 10
    passes: Count = 1
    global_batch_size: Count = 128
    accumulation_steps: Count = 1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: AboveZero = 0.1
    reference_batch_size: Count | None = 128
    layer_decay: Fraction = 1.0
    se_rate_factor: AboveZero = 1.0
    momentum: BelowOne = 0.9
    nesterov: bool = False
    l2: FromZero = 0.0
    weight_decay: FromZero = 0.0
    se_decay: bool = True
    schedule: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup_epochs: FromZero = 0.0
    step_at: tuple[float, ...] = (0.5, 0.75)
    step_factor: Within = 0.1
    patience: Count | None = 10
    stop_early: bool = False
    ema_momentum: Within | None = None
    freeze_batch_norm: bool = False
    freeze_batch_norm_epochs: CountFromZero = 0
    synchronized_batch_norm: bool = False
    class_weights: bool = False
    label_smoothing: BelowOne = 0.0
    augmentation: Literal["none", "flip", "cifar", "imagenet", "mobile"] = "none"
    rand_augment: UpToOne = 0.0
    random_erasing: UpToOne = 0.0
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0
    crop_fraction: Fraction | None = 1.0
    interpolation: Literal["bilinear", "bicubic"] | None = "bilinear"
    dropout_rate: BelowOne | None = None
    drop_path_rate: BelowOne = 0.0
    dtype_policy: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    on_error: Literal["raise", "skip"] = "raise"
    seed: CountFromZero = 0

    def __post_init__(self):
        hints = typing.get_type_hints(type(self), include_extras=True)
        for name, annotation in hints.items():
            value = _checked(name, getattr(self, name), annotation)
            object.__setattr__(self, name, value)
        for holds, rule in self._rules():
            if not holds:
                names = dict.fromkeys(re.findall(r"(\w+)[`=]", rule))
                received = (f"{name}={getattr(self, name)!r}" for name in names)
                raise ValueError(f"{rule}. Received: {', '.join(received)}")
        networks, arguments = known_networks(), ModelArguments.__annotations__
        if self.model is not None and self.model not in networks:
            raise ValueError(
                "`model` must be a network of keras_senet.list_models(). "
                f"Received: model={self.model!r}.{nearest(self.model, networks)}"
            )
        for name in self.model_arguments:
            if name not in arguments:  # its constructor refuses those of other networks
                raise ValueError(
                    "`model_arguments` must be architecture arguments of networks. "
                    f"Received: {name!r}.{nearest(name, arguments)}"
                )

    def _rules(self):
        """Yields what fields must be together: whether they are, and the rule."""
        epochs = math.inf if self.epochs is None else max(self.epochs, 1)
        yield (
            self.model is not None or self.weights not in (None, "imagenet"),
            "`model` must name the network, because the `weights` do not",
        )
        yield (
            self.model is not None or not self.model_arguments,
            "`model_arguments` needs a `model`",
        )
        yield (
            not self.warmup_epochs or self.schedule == "cosine",
            "`warmup_epochs` needs schedule='cosine'",
        )
        yield (
            self.linear_probe or self.head_epochs or self.epochs != 0,
            "`head_epochs` and `epochs` must not both be 0 without a `linear_probe`",
        )
        yield (
            self.warmup_epochs < epochs,
            "`warmup_epochs` must be less than `epochs`",
        )
        lowered = self.patience and not (self.stop_early or self.has_several_rates)
        yield (
            self.schedule != "plateau" or lowered,
            "schedule='plateau' needs a `patience`, stop_early=False, layer_decay=1 "
            "and se_rate_factor=1",
        )
        yield (
            all(a < b for a, b in itertools.pairwise((0, *self.step_at, 1))),
            "`step_at` must be increasing fractions of the training between 0 and 1",
        )
        late = self.freeze_batch_norm_epochs
        yield (
            late < epochs and not (late and self.freeze_batch_norm),
            "`freeze_batch_norm_epochs` must be less than `epochs` and needs "
            "freeze_batch_norm=False: batch normalization must learn first",
        )
        yield (
            # Keras' optimizer of several rates wants the gradients of all its weights.
            not (late and self.has_several_rates),
            "`freeze_batch_norm_epochs` needs layer_decay=1 and se_rate_factor=1",
        )
        yield (
            self.global_batch_size % self.accumulation_steps == 0,
            "`global_batch_size` must be a multiple of `accumulation_steps`",
        )
        yield (
            not self.l2 or self.optimizer == "sgd",
            "`l2` needs optimizer='sgd': AdamW would rescale it. Use `weight_decay`",
        )

    @property
    def phases(self) -> tuple["Phase", ...]:
        """What is trained one after the other, each by a recipe of one phase."""
        phases = []
        if self.head_epochs:
            head = dataclasses.replace(
                self,
                epochs=self.head_epochs,
                head_epochs=0,
                learning_rate=self.head_learning_rate,
                layer_decay=1.0,
                se_rate_factor=1.0,
                schedule="cosine",
                warmup_epochs=0.0,
                freeze_batch_norm_epochs=0,
            )
            phases.append(Phase(1, "new classifier", head))
        if self.epochs != 0:
            everything = dataclasses.replace(self, head_epochs=0)
            phases.append(Phase(2, "all layers", everything))
        return tuple(phases)

    @property
    def has_several_rates(self) -> bool:
        """Whether layers differ in their learning rates."""
        return (self.layer_decay, self.se_rate_factor) != (1, 1)

    @property
    def step_batch_size(self) -> int:
        """Images that go through the network at a time, over all devices together."""
        return self.global_batch_size // self.accumulation_steps

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate scaled to the global batch size."""
        reference = self.reference_batch_size or self.global_batch_size
        return self.learning_rate * self.global_batch_size / reference

    def smoke(self) -> "Recipe":
        """Returns the recipe shrunk to seconds, on the bundled data."""
        if self.model is None:
            raise ValueError(
                "`smoke` needs the recipe's `model`. Received: model=None. Set it."
            )
        from keras_senet.models import CONSTRUCTORS  # not before: it loads Keras

        least = CONSTRUCTORS[self.model].family.min_size
        epochs = 2 if self.epochs is None else self.epochs
        own = 28  # What the bundled images have.
        return dataclasses.replace(
            self,
            data="bundled",
            train_split="train",
            validation_split="test",
            image_size=max(least, min(self.image_size or own, 32)),
            classes=None,
            limit=64,
            head_epochs=min(self.head_epochs, 1),
            epochs=min(epochs, 2) if self.head_epochs else 2,
            passes=1,
            global_batch_size=16,
            accumulation_steps=min(self.accumulation_steps, 2),
            freeze_batch_norm_epochs=min(self.freeze_batch_norm_epochs, 1),
            warmup_epochs=self.warmup_epochs * 2 / max(epochs, 2),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the recipe as a dictionary of JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Makes a recipe of JSON values; fields left out have their defaults.

        Raises:
            ValueError: If a key is unknown, a value has the wrong type or is out of
                its range, or there is no model.
        """
        if not isinstance(values, Mapping):
            raise ValueError(
                f"A recipe must be a JSON object. Received: {short(values)}"
            )
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                raise ValueError(
                    f"Unknown key {key!r} in a recipe.{nearest(key, names)} The keys "
                    f"are: {', '.join(names)}"
                )
        if "model" not in values and "weights" not in values:
            raise ValueError("A recipe must name its `model`. Received none.")
        if "head_epochs" in values and "optimizer" not in values:
            cls = FinetuneRecipe
            values = {**_FINETUNED_BY_0_1, **values}
        return cls(**values)


class Phase(NamedTuple):
    """A part of a training in which the same layers learn.

    Attributes:
        number: 1, only the classifier; 2, all layers.
        title: The same in words.
        recipe: Its epochs, rates and schedule.
    """

    number: int
    title: str
    recipe: Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(Recipe):
    """A recipe with the defaults for fine-tuning.

    The classifier starts from a linear probe, then all layers are trained.

    Example:

    >>> recipe = keras_senet.training.FinetuneRecipe(
    ...     model="se_resnet20", weights="cifar10"
    ... )
    >>> recipe.linear_probe
    True
    """

    weights: str | None = "imagenet"
    linear_probe: bool = True
    epochs: CountFromZero | None = None
    global_batch_size: Count = 32
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: AboveZero = 5e-4
    reference_batch_size: Count | None = None
    layer_decay: Fraction = 0.7
    weight_decay: FromZero = 0.01
    patience: Count | None = 5
    stop_early: bool = True
    freeze_batch_norm: bool = True
    class_weights: bool = True
    augmentation: Literal["none", "flip", "cifar", "imagenet", "mobile"] = "flip"
    crop_fraction: Fraction | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    on_error: Literal["raise", "skip"] = "skip"


def filled(recipe: Recipe, **values: Any) -> Recipe:
    """Returns a recipe with values for those of these fields that are None."""
    missing = {k: v for k, v in values.items() if getattr(recipe, k) is None}
    return dataclasses.replace(recipe, **missing)


_TYPES = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "True or False",
    tuple: "a sequence of numbers",
    dict: "a mapping of names to values",
}
_COMPARISONS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}


def _checked(name, value, annotation):
    """Returns the value of a field as its type, or raises a ValueError.

    A whole number is a number, NumPy's are Python's, a path is a string, and a list
    does for a tuple, as in JSON.
    """
    value = _plain(value)
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = typing.get_args(annotation) if union else (annotation,)
    may_be_none = type(None) in options
    if value is None and may_be_none:
        return None
    kind, limits = options[0], ""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        wanted = " or ".join(map(repr, arguments))
        fits = any(type(value) is type(c) and value == c for c in arguments)
    else:
        if typing.get_origin(kind) is Annotated:
            kind, limits = arguments
        kind = dict if typing.is_typeddict(kind) else typing.get_origin(kind) or kind
        wanted = _TYPES[kind]
        if kind is float and type(value) is int and abs(value) < 2**31:
            value = float(value)
        fits = type(value) is kind
        if fits and kind is tuple:
            fits = all(type(item) in (int, float) for item in value)
    if not fits:
        raise ValueError(
            f"`{name}` must be {wanted}{' or None' * may_be_none}. "
            f"Received: {name}={short(value)}"
        )
    if value != 0 or not limits.startswith("0, or"):
        for words, end in re.findall(r"(at least|above|at most|below) (\S+)", limits):
            within = _COMPARISONS[words](value, float(end))
            require(within, f"be {limits}", **{name: value})
    # Counters are of 32 bits.
    if isinstance(value, int | float) and not abs(value) < 2**31:
        raise ValueError(
            f"`{name}` must be below 2147483648. Received: {name}={short(value)}"
        )
    return value


def _plain(value):
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return _plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value
