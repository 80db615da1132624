"""A recipe's learning rate and optimizer, made of Keras' own."""

import keras

from keras_senet.training.recipes import Recipe


def make_schedule(
    recipe: Recipe, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule | float:
    """Returns the learning rate over the steps of a training.

    Args:
        recipe: The recipe; its learning rate is scaled to its global batch size.
        steps_per_epoch: Steps that one pass over the training images takes, each of
            the recipe's `step_batch_size` images.

    Returns:
        A Keras schedule, or a number where the rate is constant or a callback lowers
        it ("plateau").
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
    if recipe.schedule == "step":
        # Keras keeps a value up to and including its boundary.
        boundaries = [round(at * steps) - 1 for at in recipe.step_at]
        values = [peak * recipe.step_factor**i for i in range(len(boundaries) + 1)]
        if not boundaries:
            return peak
        return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)
    return peak


def make_optimizer(
    recipe: Recipe, steps_per_epoch: int, model: keras.Model
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe, and puts the recipe's `l2` on the model.

    Args:
        recipe: The recipe.
        steps_per_epoch: Steps that one pass over the training images takes, each of
            the recipe's `step_batch_size` images.
        model: The built model that will be trained.
    """
    rate = make_schedule(recipe, steps_per_epoch)
    decay = recipe.weight_decay or None
    common = _accumulation_and_average(recipe)
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(
            rate, weight_decay=recipe.weight_decay, **common
        )
    else:
        optimizer = keras.optimizers.SGD(
            rate, recipe.momentum, recipe.nesterov, weight_decay=decay, **common
        )
    kernels, others = _kernels(model)
    if decay:
        optimizer.exclude_from_weight_decay(var_list=others)
    for kernel in kernels:
        # Keras' penalty l * sum(w^2) has the gradient 2 l w.
        kernel.regularizer = keras.regularizers.L2(recipe.l2 / 2) if recipe.l2 else None
    return optimizer


def _accumulation_and_average(recipe):
    steps = recipe.accumulation_steps
    values = {"gradient_accumulation_steps": steps} if steps > 1 else {}
    if recipe.ema_momentum is not None:
        # Keras averages after each part of a batch, not only after each update.
        values |= {"use_ema": True, "ema_momentum": recipe.ema_momentum ** (1 / steps)}
    return values


def _kernels(model):
    """The trainable kernels, and the other trainable variables."""
    kernels = [v for v in model.trainable_variables if v.name.endswith("kernel")]
    others = [v for v in model.trainable_variables if not v.name.endswith("kernel")]
    return kernels, others
