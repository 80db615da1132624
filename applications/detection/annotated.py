"""Images with boxes: a folder in COCO's form, or a tensorflow_datasets name."""

import collections
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_senet.data.files import path_finder
from keras_senet.utils.errors import nearest


@dataclasses.dataclass(frozen=True)
class Annotated:
    """Images of one split, with the boxes of what is on them.

    Attributes:
        name: What it was opened by.
        class_names: One name a label.
        images: How many there are.
        counts: What was left out or changed, and how often.
        read: Returns a tf.data dataset of dictionaries, one an image, always in the
            same order: "image" uint8 (H, W, 3), "boxes" float32 (N, 4) in pixels, top,
            left, bottom, right; "labels" int64 (N,); "crowd" bool (N,): boxes that
            stand for many and are neither learned nor measured.
        records: Of a COCO folder what was read of each image, with the masks.
    """

    name: str
    class_names: tuple[str, ...]
    images: int
    counts: Mapping[str, int]
    read: Callable[[], tf.data.Dataset]
    records: tuple["Record", ...] = ()

    def __str__(self):
        counts = "".join(f"; {count:,} {what}" for what, count in self.counts.items())
        return f"{self.name}: {self.images:,} images{counts}"


@dataclasses.dataclass
class Record:
    """One image of a COCO folder."""

    path: Path
    size: tuple[int, int]
    boxes: list = dataclasses.field(default_factory=list)
    labels: list = dataclasses.field(default_factory=list)
    crowd: list = dataclasses.field(default_factory=list)
    masks: list = dataclasses.field(default_factory=list)


def open_annotated(data: str, split: str, data_dir=None) -> Annotated:
    """Opens a split of a folder in COCO's form, or of a tensorflow_datasets name.

    Raises:
        ValueError: If it is neither, or has no such split or nothing to learn from.
        OSError: If a file cannot be read.
    """
    if Path(data).is_dir():
        return _open_coco(Path(data), split)
    return _open_tfds(data, split, data_dir)


def _open_coco(folder, split):
    forms = {
        folder / "annotations" / f"instances_{split}.json": folder / split,
        folder / split / "_annotations.coco.json": folder / split,
    }
    file = next((path for path in forms if path.is_file()), None)
    if file is None:
        raise ValueError(
            "A folder in COCO's form has annotations/instances_SPLIT.json, or "
            "SPLIT/_annotations.coco.json, and the images in SPLIT/. Received: "
            f"{str(folder)!r}, which has none for the split {split!r}."
        )
    find = path_finder()
    try:
        content = json.loads(file.read_text("utf-8"))
        ids = sorted((entry["id"], entry["name"]) for entry in content["categories"])
        images = {
            entry["id"]: Record(
                find(forms[file] / entry["file_name"]),
                (entry["height"], entry["width"]),
            )
            for entry in content["images"]
        }
        annotations = content["annotations"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "Annotations are COCO's JSON, with images, annotations and categories. "
            f"Received: {str(file)!r}: {type(error).__name__}: {error}"
        ) from error
    counts = collections.Counter()
    labels = {number: label for label, (number, _) in enumerate(ids)}
    for annotation in annotations:
        _add(annotation, images, labels, counts)
    missing = [key for key, record in images.items() if not record.path.is_file()]
    counts["images missing"] = len(missing)
    records = tuple(v for key, v in images.items() if key not in set(missing))
    if not any(record.boxes for record in records):
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        raise ValueError(
            "There must be an image with a box of a known class. Received: "
            f"{str(file)!r}, with {len(records)} images. {said}"
        )
    counts["images without boxes"] = sum(not record.boxes for record in records)
    counts["boxes"] = sum(len(record.boxes) for record in records)
    return Annotated(
        name=f"{folder}, {split}",
        class_names=tuple(name for _, name in ids),
        images=len(records),
        counts={what: count for what, count in counts.items() if count},
        read=lambda: _read_records(records),
        records=records,
    )


def _add(annotation, images, labels, counts):
    """Adds an annotation to its image, or counts why it is left out."""
    try:
        record = images.get(annotation["image_id"])
        label = labels.get(annotation["category_id"])
        left, top, width, height = map(float, annotation["bbox"])
        box = np.array([top, left, top + height, left + width])
    except (KeyError, TypeError, ValueError):
        counts["boxes that are no four numbers left out"] += 1
        return
    if record is None:
        counts["boxes of unknown images left out"] += 1
        return
    if label is None:
        counts["boxes of unknown classes left out"] += 1
        return
    clipped = np.clip(box, 0, np.tile(record.size, 2))
    # A comparison with nan is false.
    if not (np.all(clipped[2:] - clipped[:2] > 0) and np.isfinite(box).all()):
        counts["boxes of no area or outside the image left out"] += 1
        return
    if np.abs(clipped - box).max() > 1:  # a pixel is rounding
        counts["boxes cut at the image's edge"] += 1
    record.boxes.append(clipped)
    record.labels.append(label)
    record.crowd.append(bool(annotation.get("iscrowd")))
    record.masks.append(annotation.get("segmentation"))
    counts["boxes of crowds not learned"] += record.crowd[-1]


def _read_records(records):
    lengths = [len(record.boxes) for record in records]

    def ragged(name, dtype, *shape):
        parts = [np.reshape(getattr(r, name), (-1, *shape)) for r in records]
        values = tf.constant(np.concatenate(parts).astype(dtype))
        return tf.RaggedTensor.from_row_lengths(values, lengths)

    def decode(entry):
        image = tf.io.decode_image(
            tf.io.read_file(entry.pop("path")), channels=3, expand_animations=False
        )
        return {"image": tf.ensure_shape(image, (None, None, 3)), **entry}

    entries = tf.data.Dataset.from_tensor_slices(
        {
            "path": [str(record.path) for record in records],
            "boxes": ragged("boxes", "float32", 4),
            "labels": ragged("labels", "int64"),
            "crowd": ragged("crowd", "bool"),
        }
    )
    return entries.map(decode, num_parallel_calls=tf.data.AUTOTUNE)


def _open_tfds(name, split, data_dir):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError, ImportError) as error:
        known = tfds.list_builders(with_community_datasets=False)
        raise ValueError(
            "Data must be a folder in COCO's form or a tensorflow_datasets name. "
            f"Received: {name!r}, which is neither.{nearest(name, known)}"
        ) from error
    features = builder.info.features
    found = [
        (key, inner)
        for key, feature in features.items()
        if (inner := _of_boxes(getattr(feature, "feature", None)))
    ]
    if "image" not in features or not found:
        raise ValueError(
            "A tensorflow_datasets set for detection has an image and a sequence of a "
            f"box and a class each. Received: {name!r}, with {sorted(features)}."
        )
    key, (box, label) = found[0]
    try:
        builder.download_and_prepare()
    # Whatever a data set's own script may raise, the user needs the same line.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise OSError(
            f"tensorflow_datasets cannot prepare {name!r}: {reason}"
        ) from error
    if split not in builder.info.splits:
        raise ValueError(
            f"`split` must be one of {sorted(builder.info.splits)} for {name!r}. "
            f"Received: {split!r}"
        )

    def convert(example):
        objects = example[key]
        sides = tf.cast(tf.shape(example["image"])[:2], "float32")
        boxes = tf.clip_by_value(objects[box], 0, 1) * tf.tile(sides, [2])
        kept = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], -1) & (objects[label] >= 0)
        crowd = tf.zeros_like(kept)
        for flag in ("is_crowd", "is_difficult"):
            crowd |= tf.cast(objects.get(flag, crowd), "bool")
        parts = {"boxes": boxes, "labels": objects[label], "crowd": crowd}
        return {
            "image": example["image"],
            **{part: tf.boolean_mask(value, kept) for part, value in parts.items()},
        }

    return Annotated(
        name=f"{name}, {split}",
        class_names=tuple(features[key].feature[label].names),
        images=builder.info.splits[split].num_examples,
        counts={},
        read=lambda: builder.as_dataset(split=split).map(convert),
    )


def _of_boxes(features):
    """The names of the box and of the class among the features of an object."""
    import tensorflow_datasets as tfds

    kinds = tfds.features.BBoxFeature, tfds.features.ClassLabel
    entries = dict(features.items()) if hasattr(features, "items") else {}
    names = [
        next((name for name in entries if isinstance(entries[name], kind)), None)
        for kind in kinds
    ]
    # VOC's objects have a pose, a class too; COCO's and VOC's call theirs "label".
    names[1] = "label" if "label" in entries else names[1]
    return names if None not in names else None
