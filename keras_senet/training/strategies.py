"""Where a training runs: one device, or copies of the model on several."""

import tensorflow as tf


def make_strategy() -> tf.distribute.Strategy:
    """Returns a MirroredStrategy over all visible GPUs, or over the CPU without one.

    A machine whose CPU was split by `tf.config.set_logical_device_configuration` gets
    one copy of the model on each part, so that several devices can be tried anywhere.
    """
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def evaluation_batch_size(images: int, batch_size: int, replicas: int) -> int:
    """Returns the batch size for an evaluation on several copies of the model.

    Keras needs a first batch that can be cut into equal parts; the last one may be
    smaller, even empty on some copies.

    Args:
        images: Number of images in the data set.
        batch_size: The largest batch size that is wanted.
        replicas: Number of copies of the model.

    Raises:
        ValueError: If there are fewer images than copies.
    """
    size = min(images, batch_size) // replicas * replicas
    if not size:
        raise ValueError(
            f"The evaluation needs at least one image for each of the {replicas} "
            f"devices. Received: {images} images in batches of {batch_size}"
        )
    return size
