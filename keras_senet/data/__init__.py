"""Labelled images: the bundled set, folders and tensorflow_datasets -> tf.data."""

from keras_senet.data.arrays import open_arrays
from keras_senet.data.augmentation import resize_and_crop
from keras_senet.data.catalog import open_source
from keras_senet.data.images import is_image_file, read_image
from keras_senet.data.pipeline import batches, steps_per_epoch
from keras_senet.data.source import Source

__all__ = [
    "Source",
    "batches",
    "is_image_file",
    "open_arrays",
    "open_source",
    "read_image",
    "resize_and_crop",
    "steps_per_epoch",
]
