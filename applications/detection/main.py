"""Trains, measures, draws and exports a detector on an SE backbone.

    python applications/detection/main.py runs/detector --data runs/scenes

README.md in this folder describes its inputs and outputs.
"""

import dataclasses
import os
import sys

import tyro

try:
    import detector
except ImportError as error:
    sys.exit(f"error: {error}. Install: python -m pip install '.[detection]'")
import tensorflow as tf
from running import Program

from keras_senet.utils.files import write_json

# Of a box that augmentation cut, the share that must be left for it to be learned.
_LEFT = 0.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection(Program):
    """Trains a detector; called again, it resumes an interrupted run.

    Attributes:
        convolutions: Number of layers in each head.
        most_boxes: The largest number of boxes per image in training.
    """

    convolutions: int = 4
    most_boxes: int = 100

    def run(self) -> None:
        if self.image_size < 128 or self.image_size % 128:
            raise ValueError(
                "`image_size` must be a multiple of 128, the stride of the last level. "
                f"Received: image_size={self.image_size}"
            )
        train, test = self.open()
        names = test.class_names
        model = self.fit(
            self.run_folder / "detector.keras",
            train,
            lambda network: detector.build(
                network, len(names), convolutions=self.convolutions
            ),
            self._examples(train),
        )
        size, limit = self.batch_size, self.images(test)
        figures = detector.mean_average_precision(
            detector.detect(model, test, batch_size=size, limit=limit), names
        )
        write_json(self.run_folder / "results.json", figures, overwrite=True)
        print(", ".join(f"{name} {100 * value:.1f}" for name, value in figures.items()))
        shown = detector.detect(model, test, batch_size=size, limit=12)
        detector.draw(shown, names, self.run_folder / "detections.png")
        if not (self.run_folder / "saved_model").exists():
            detector.export(model, names, self.run_folder / "saved_model")
        print(f"Written to {self.run_folder}")

    def _examples(self, data):
        images = self.images(data)
        dataset = data.read().take(images)
        dataset = dataset.shuffle(min(images, 1000), seed=self.seed)
        return dataset.map(self._augment, num_parallel_calls=tf.data.AUTOTUNE)

    def _augment(self, entry):
        """Returns an image, zoomed, shifted and flipped at random, with its boxes."""
        size, most = self.image_size, self.most_boxes
        kept = ~entry["crowd"]
        boxes = tf.boolean_mask(entry["boxes"], kept)
        labels = tf.boolean_mask(entry["labels"], kept)
        side = tf.cast(tf.round(tf.random.uniform((), 0.7, 1.4) * size), "int32")
        image, factor = detector.fit_image(entry["image"], side)
        # The window is moved over a larger image, a smaller one within the window.
        space = tf.random.uniform((2,)) * tf.cast(side - size, "float32")
        start = tf.cast(tf.round(space), "int32")
        inside, outside = tf.maximum(start, 0), tf.maximum(-start, 0)
        end = inside + tf.minimum(side, size)
        image = image[inside[0] : end[0], inside[1] : end[1]]
        image = tf.image.pad_to_bounding_box(image, outside[0], outside[1], size, size)
        boxes = boxes * factor - tf.tile(tf.cast(start, "float32"), [2])
        cut = tf.clip_by_value(boxes, 0, float(size))
        areas = [tf.reduce_prod(one[:, 2:] - one[:, :2], -1) for one in (cut, boxes)]
        good = (areas[0] >= _LEFT * areas[1]) & (areas[0] > 1)
        boxes, labels = (tf.boolean_mask(one, good)[:most] for one in (cut, labels))
        if tf.random.uniform(()) < 0.5:
            image = image[:, ::-1]
            top, left, bottom, right = tf.unstack(boxes, axis=-1)
            boxes = tf.stack([top, size - right, bottom, size - left], -1)
        empty = most - tf.shape(labels)[0]
        boxes = tf.pad(boxes, [(0, empty), (0, 0)], constant_values=-1)
        labels = tf.pad(labels, [(0, empty)], constant_values=-1)
        return (
            tf.ensure_shape(image, (size, size, 3)),
            {
                "boxes": tf.ensure_shape(boxes, (most, 4)),
                "labels": tf.ensure_shape(labels, (most,)),
            },
        )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Detection).run()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
