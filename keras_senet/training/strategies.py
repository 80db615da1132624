"""Where a training runs: one device, several of one machine, or several machines."""

import functools
import math

import keras
import tensorflow as tf

from keras_senet.training.multi_worker import Workers
from keras_senet.training.network import batch_normalizations


def make_strategy() -> tf.distribute.Strategy:
    """Returns a strategy over all visible GPUs, or over the CPU without one.

    If the environment variable TF_CONFIG names several workers, the strategy includes
    all of them; then call this function before TensorFlow does anything else. Otherwise
    several devices get a MirroredStrategy, and one device a OneDeviceStrategy. To try
    several devices on any machine, split its CPU with
    `tf.config.set_logical_device_configuration`: each part gets a copy of the model.

    Example:

    >>> with keras_senet.training.make_strategy().scope():
    ...     network = keras_senet.SEResNet20(weights=None)
    """
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
    workers = cluster.as_dict()
    if sum(len(workers.get(job, ())) for job in ("chief", "worker")) > 1:
        return Workers()
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:  # Where gradients can be accumulated.
        return tf.distribute.OneDeviceStrategy(devices[0].name)
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def on_all_devices(function):
    """Has JAX share each batch out over all devices while a function runs.

    A distribution of `keras.distribution` that is set already stays.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        others = keras.backend.backend() != "jax" or keras.distribution.distribution()
        if others or len(keras.distribution.list_devices()) == 1:
            return function(*args, **kwargs)
        with keras.distribution.DataParallel().scope():
            return function(*args, **kwargs)

    return wrapper


def count_devices(strategy: tf.distribute.Strategy | None) -> int:
    """Returns how many devices share a batch."""
    distribution = keras.distribution.distribution()
    if distribution is not None:
        mesh = distribution.device_mesh
        return mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    return strategy.num_replicas_in_sync if strategy else 1


def is_multi_worker(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether several machines train together."""
    resolver = strategy and strategy.cluster_resolver
    return bool(resolver and resolver.task_type)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes what a training leaves behind."""
    if not is_multi_worker(strategy):
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def average_statistics(model: keras.Model) -> None:
    """Gives all copies of a model the mean of their batch normalizations' statistics.

    Each copy has followed the images that it saw. Copies whose statistics are
    synchronised have the same ones already.
    """
    if keras.backend.backend() == "jax":  # Its statistics are the whole batch's.
        return
    strategy = model.distribute_strategy
    layers = [v for v in batch_normalizations(model) if not v.synchronized]
    if strategy.num_replicas_in_sync == 1 or not layers:
        return
    variables = [v for n in layers for v in (n.moving_mean, n.moving_variance)]

    @tf.function
    def average():
        context = tf.distribute.get_replica_context()
        values = [tf.identity(variable.value) for variable in variables]
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)

    strategy.run(average)


def evaluation_batch_sizes(images: int, batch_size: int, replicas: int) -> list[int]:
    """Returns the sizes of an evaluation's batches on several copies of the model.

    They go to the copies in turn, about `batch_size` images to all of them. None is
    empty, which TensorFlow's fused convolutions cannot take on a CPU, and all copies
    have as many.

    Raises:
        ValueError: If there are fewer images than copies.
    """
    if images < replicas:
        raise ValueError(
            f"The evaluation needs at least one image for each of the {replicas} "
            f"devices. Received: {images} images"
        )
    # With one image at a time there may be fewer images than batches.
    steps = math.ceil(images / (max(2, batch_size // replicas) * replicas))
    size, larger = divmod(images, steps * replicas)
    return [size + 1] * larger + [size] * (steps * replicas - larger)
