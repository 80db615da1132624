"""A recipe's learning rate and optimizer, made of Keras' own."""

import dataclasses

import keras

from keras_senet.layers import SqueezeExcite
from keras_senet.training.recipe import Recipe
from keras_senet.utils import graph
from keras_senet.weights.assign import HEADS

# The name of the optimizer with the recipe's own rate, where there are several.
_CLASSIFIER = "classifier"


def make_schedule(
    recipe: Recipe, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule | float:
    """Returns the learning rate over the steps of a training.

    It is a number where it is constant or a callback lowers it ("plateau"). A step is
    of the recipe's `step_batch_size` images.
    """
    peak = recipe.peak_learning_rate
    steps = recipe.epochs * steps_per_epoch
    if recipe.schedule == "cosine":
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
        return keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else peak,
            decay_steps=max(steps - warmup, 1),
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )
    if recipe.schedule == "step" and recipe.step_at:
        # Keras keeps a value up to and including its boundary.
        boundaries = [round(at * steps) - 1 for at in recipe.step_at]
        values = [peak * recipe.step_factor**i for i in range(len(boundaries) + 1)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)
    return peak


def make_optimizer(
    recipe: Recipe, steps_per_epoch: int, model: keras.Model
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe, and puts the recipe's `l2` on the model.

    The layers of the model are frozen as they will be in the training. Where layers
    differ in their rates it is one optimizer for each rate. A rate scales the whole
    update: a factor on the gradient would have no effect, as Adam divides by its size.
    """
    exempt = [] if recipe.se_decay else [v.path for v in _se_variables(model)]
    others = []  # what has no weight decay
    for variable in model.trainable_variables:
        if variable.name.endswith("kernel") and variable.path not in exempt:
            # Keras' penalty l * sum(w^2) has the gradient 2 l w.
            penalty = keras.regularizers.L2(recipe.l2 / 2) if recipe.l2 else None
            variable.regularizer = penalty
        else:
            others.append(variable)
    if not recipe.has_several_rates:
        return _optimizer(recipe, steps_per_epoch, others)
    factors = learning_rate_factors(model, recipe.layer_decay, recipe.se_rate_factor)
    optimizers = {}
    for factor in sorted({factors[v.path] for v in model.trainable_variables}):
        scaled = dataclasses.replace(
            recipe, learning_rate=factor * recipe.learning_rate
        )
        name = _CLASSIFIER if factor == 1 else None
        optimizers[factor] = _optimizer(scaled, steps_per_epoch, others, name)
    return keras.optimizers.MultiOptimizer(lambda v: optimizers[factors[v.path]])


def check_keras(recipe: Recipe) -> None:
    """Raises if this Keras, or its backend, does not train by a recipe with data files.

    Raises:
        ImportError: If it is too old for layers that differ in their rates.
        ValueError: If the backend does not do what the recipe asks for.
    """
    backend = keras.backend.backend()
    special = ("linear_probe", "freeze_batch_norm_epochs")
    others = [name for name in special if getattr(recipe, name)]
    if backend not in ("tensorflow", "jax") or (backend == "jax" and others):
        what = " and ".join(f"`{name}`" for name in others) or "keras_senet.training"
        raise ValueError(
            f"{what} does not work with the backend {backend!r}. Set "
            "KERAS_BACKEND=tensorflow, or use `fit_arrays`, which works with all."
        )
    check_rates(recipe)


def check_rates(recipe: Recipe) -> None:
    """Raises an ImportError if Keras is too old for the rates of a recipe."""
    differ = any(phase.recipe.has_several_rates for phase in recipe.phases)
    if differ and not hasattr(keras.optimizers, "MultiOptimizer"):
        raise ImportError(
            "A `layer_decay` or `se_rate_factor` other than 1 needs Keras 3.15 or "
            f"later. This is Keras {keras.__version__}. Update it with python -m pip "
            "install -U keras, or set both to 1 (--layer-decay 1 --se-rate-factor 1)."
        )


def classifier_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Returns the learning rate of the classifier, the one that a recipe names."""
    # Under mixed_float16 Keras puts one around it that scales the loss.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    several = {o.name: o for o in getattr(optimizer, "optimizers", ())}
    rate = several.get(_CLASSIFIER, optimizer).learning_rate
    # Of a variable there may be a copy on each device.
    return float(keras.ops.convert_to_numpy(rate))


def learning_rate_factors(
    model: keras.Model, decay: float = 1.0, se_factor: float = 1.0
) -> dict[str, float]:
    """Returns each weight's share of the learning rate, by `variable.path`.

    The classifier has the whole rate, and each stage before it `decay` times the rate
    of the next one. A stage is all layers whose maps have one size.
    """
    # Any size does where the model takes all of them.
    shape = tuple(
        256 if n is None and i else n for i, n in enumerate(model.inputs[0].shape)
    )
    shapes = graph.shapes(model, [shape])
    sizes = {}
    for call in graph.calls(model):
        output = shapes[id(call.outputs[0])]
        for variable in call.layer.weights:
            # Axis 2 is one of the image's, wherever the channels are.
            size = output[2] if len(output) == 4 else 0
            sizes[variable.path] = -1 if variable.path.startswith(HEADS) else size
    places = {size: place for place, size in enumerate(sorted(set(sizes.values())))}
    factors = {path: decay ** places[size] for path, size in sizes.items()}
    for variable in _se_variables(model):
        factors[variable.path] *= se_factor
    return factors


def _optimizer(recipe, steps_per_epoch, without_decay, name=None):
    rate, steps = make_schedule(recipe, steps_per_epoch), recipe.accumulation_steps
    common = {"name": name} if name else {}
    if steps > 1:
        common["gradient_accumulation_steps"] = steps
    if recipe.ema_momentum is not None:
        # Keras averages after each part of a batch, not only after each update.
        common |= {"use_ema": True, "ema_momentum": recipe.ema_momentum ** (1 / steps)}
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(
            rate, weight_decay=recipe.weight_decay, **common
        )
    else:
        decay = recipe.weight_decay or None
        optimizer = keras.optimizers.SGD(
            rate, recipe.momentum, recipe.nesterov, weight_decay=decay, **common
        )
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_list=without_decay)
    return optimizer


def _se_variables(model):
    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    return [variable for block in blocks for variable in block.weights]
