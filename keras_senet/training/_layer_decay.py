"""Learning rates that fall from the classifier towards the first layer."""

import keras

from keras_senet.utils import graph
from keras_senet.weights.assign import HEADS


def learning_rate_factors(model: keras.Model, decay: float) -> dict[str, float]:
    """Returns each weight's share of the learning rate, by `variable.path`.

    The classifier has the whole rate, and each stage before it `decay` times the rate
    of the next one. A stage is all layers whose maps have one size.

    Args:
        model: A network of `keras_senet.models`.
        decay: Above 0, at most 1.
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
    return {path: decay ** places[size] for path, size in sizes.items()}


def make_decayed_optimizer(
    model: keras.Model,
    *,
    learning_rate: float,
    decay_steps: int,
    layer_decay: float,
    weight_decay: float,
) -> keras.optimizers.MultiOptimizer:
    """Returns AdamW whose rate depends on the layer and falls to zero as a cosine.

    It is one AdamW for each rate. A rate scales the whole update: a factor on the
    gradient would have no effect, since Adam divides by the gradient's size.

    Args:
        model: The network; its layers are frozen as they will be trained.
        learning_rate: Of the classifier, at the start.
        decay_steps: Steps after which the rate is zero.
        layer_decay: See `learning_rate_factors`.
        weight_decay: Of kernels only, as Keras' AdamW has it.
    """
    factors = learning_rate_factors(model, layer_decay)
    others = [v for v in model.trainable_variables if not v.name.endswith("kernel")]
    optimizers = {}
    for factor in sorted({factors[v.path] for v in model.trainable_variables}):
        schedule = keras.optimizers.schedules.CosineDecay(
            factor * learning_rate, decay_steps
        )
        optimizers[factor] = keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
        optimizers[factor].exclude_from_weight_decay(var_list=others)
    return keras.optimizers.MultiOptimizer(lambda v: optimizers[factors[v.path]])
