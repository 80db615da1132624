"""Trains, measures, draws and exports DeepLabV3 on an SE backbone.

    python applications/segmentation/main.py runs/segmenter --data runs/scenes

README.md in this folder describes its inputs and outputs.
"""

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import tyro

# The scenes, the reader and the training are those of detection.
sys.path.append(str(Path(__file__).parents[1] / "detection"))
try:
    import keras_hub
    from detector import fit_image
    from pycocotools import mask as coco_mask
except ImportError as error:
    sys.exit(f"error: {error}. Install: python -m pip install '.[detection]'")
import keras
import tensorflow as tf
from running import Program

import keras_senet
from keras_senet.utils.files import atomic_path, write_json
from keras_senet.utils.pictures import save_figure

# The label of pixels that are neither learned nor measured.
IGNORED = 255


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation(Program):
    """Trains a segmenter; called again, it resumes an interrupted run.

    Attributes:
        output_stride: Stride of the last map: 16, or 8 (finer, but slower).
    """

    output_stride: int = 16

    def run(self) -> None:
        if self.output_stride not in (8, 16) or self.image_size % 32:
            raise ValueError(
                "`output_stride` must be 8 or 16 and `image_size` a multiple of 32. "
                f"Received: output_stride={self.output_stride}, "
                f"image_size={self.image_size}"
            )
        train, test = self.open()
        names = ("background", *test.class_names)
        if len(names) > IGNORED:
            raise ValueError(
                f"There must be at most {IGNORED - 1} classes. Received: "
                f"{len(names) - 1}"
            )
        model = self.fit(
            self.run_folder / "segmenter.keras",
            train,
            lambda network: build(network, len(names), self.output_stride),
            self._examples(train, augment=True),
            loss=keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, ignore_class=IGNORED
            ),
            metrics=[],  # KerasHub's own does not know what is ignored.
        )
        union = keras.metrics.MeanIoU(
            len(names), sparse_y_pred=False, ignore_class=IGNORED
        )
        shown = []
        for images, labels in self._examples(test).batch(self.batch_size):
            scores = model.predict_on_batch(images)
            union.update_state(labels, scores)
            found = scores.argmax(-1)
            if len(shown) < 6:
                shown += zip(images.numpy(), labels.numpy(), found, strict=True)
        figures = {"mean IoU": float(union.result())}
        write_json(self.run_folder / "results.json", figures, overwrite=True)
        print(f"mean IoU {100 * figures['mean IoU']:.1f}")
        draw(shown[:6], names, self.run_folder / "masks.png")
        keras_senet.export_tflite(
            model, self.run_folder / "segmenter.tflite", labels=names, overwrite=True
        )
        print(f"Written to {self.run_folder}")

    def network_options(self):
        return {"output_stride": self.output_stride}

    def _examples(self, data, augment=False):
        if not data.records:
            raise ValueError(
                "Segmentation needs a folder in COCO's form, with masks. Received: "
                f"{self.data!r}"
            )
        images, size = self.images(data), self.image_size

        def example(entry, index):
            labels = tf.numpy_function(
                lambda i: label_map(data.records[i]), [index], "uint8"
            )
            image, _ = fit_image(entry["image"], size)
            labels = tf.ensure_shape(labels, (None, None))[..., None]
            # What is padded, 0, becomes 255.
            labels, _ = fit_image(labels + 1, size, "nearest")
            labels = tf.squeeze(labels - 1, -1)
            if augment and tf.random.uniform(()) < 0.5:
                image, labels = image[:, ::-1], labels[:, ::-1]
            return image, tf.ensure_shape(labels, (size, size))

        dataset = tf.data.Dataset.zip(data.read(), tf.data.Dataset.range(data.images))
        dataset = dataset.take(images)
        if augment:
            dataset = dataset.shuffle(min(images, 1000), seed=self.seed)
        return dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)


def build(network, classes, stride):
    """Returns DeepLabV3 with logits (N, size, size, classes) on a network's stages."""
    encoder = keras_hub.models.DeepLabV3Backbone(
        image_encoder=keras_senet.features(network),
        projection_filters=48,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key={8: "P3", 16: "P4"}[stride],
        upsampling_size=stride // 4,
        dilation_rates=dilation_rates(network.input_shape[1], stride),
        image_shape=network.input_shape[1:],
    )
    return keras_hub.models.DeepLabV3ImageSegmenter(
        encoder, num_classes=classes, activation=None, preprocessor=None
    )


def dilation_rates(size, stride) -> list[int]:
    """Returns the rates of the pyramid: the paper's for images of 512 pixels or more.

    On the maps of smaller images, those rates leave only the centre of a kernel.
    """
    rates = [max(1, rate * min(size, 512) // 512) for rate in (6, 12, 18)]
    return [rate * 16 // stride for rate in rates]


def label_map(record) -> np.ndarray:
    """Returns the labels of an image's pixels, uint8: 0 is none, 1 the first class.

    Pixels of a crowd, and of the box of an object without a mask, are ignored.
    """
    found = np.zeros(record.size, "uint8")
    for box, label, crowd, mask in zip(
        record.boxes, record.labels, record.crowd, record.masks, strict=True
    ):
        if isinstance(mask, list):
            mask = [polygon for polygon in mask if len(polygon) >= 6]
        if mask:
            runs = mask
            if isinstance(mask, list) or not isinstance(mask["counts"], (str, bytes)):
                runs = coco_mask.frPyObjects(mask, *record.size)
            runs = coco_mask.merge(runs) if isinstance(runs, list) else runs
            found[coco_mask.decode(runs) > 0] = IGNORED if crowd else label + 1
        else:
            top, left, bottom, right = np.round(box).astype(int)
            found[top:bottom, left:right] = IGNORED
    return found


def draw(shown, names, path):
    """Draws images, what is on them and what was found into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.3 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 3, squeeze=False)
    for row, (image, labels, found) in zip(grid, shown, strict=True):
        masked = np.where(labels == IGNORED, 0, labels)
        for axes, picture in zip(
            row, (image.astype("uint8"), masked, found), strict=True
        ):
            axes.set_axis_off()
            axes.imshow(picture, cmap="tab20", vmin=0, vmax=max(len(names) - 1, 1))
    for axes, title in zip(grid[0], ("image", "labels", "found"), strict=True):
        axes.set_title(title)
    with atomic_path(path, overwrite=True) as temporary:
        save_figure(figure, temporary, dpi=100)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(Segmentation).run()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
