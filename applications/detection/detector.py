"""KerasHub's RetinaNet on an SE backbone: built, run, measured and exported."""

import contextlib
import io
import json
import math
from pathlib import Path

import keras
import keras_hub
import numpy as np
import tensorflow as tf

import keras_senet
from keras_senet.utils.files import atomic_path
from keras_senet.utils.pictures import save_figure

_FORMAT = "yxyx"

# The probability of each class at the start, and the deviation of the heads' kernels:
# Lin et al., Focal loss for dense object detection, section 4.1.
_PRIOR, _DEVIATION = 0.01, 0.01


def build(network: keras.Model, classes: int, *, convolutions: int = 4):
    """Returns a detector on the stages of a network that takes raw images.

    Args:
        network: An SE network without its top, of a fixed image size.
        classes: How many classes there are.
        convolutions: Layers of each of the two heads.
    """
    pyramid = keras_hub.models.RetinaNetBackbone(
        keras_senet.features(network),
        min_level=3,
        max_level=7,
        use_p5=False,
        image_shape=network.input_shape[1:],
    )
    detector = keras_hub.models.RetinaNetObjectDetector(
        pyramid,
        num_classes=classes,
        bounding_box_format=_FORMAT,
        pre_logits_num_conv_layers=convolutions,
        use_prediction_head_norm=True,
        preprocessor=None,
    )
    # KerasHub 0.32 gives the prior to the boxes instead of the classes.
    _start(detector.box_head, 0.0)
    _start(detector.classification_head, math.log(_PRIOR / (1 - _PRIOR)))
    return detector


def _start(head, bias):
    for layer in (*head.conv_layers, head.prediction_layer):
        kernel = keras.initializers.RandomNormal(stddev=_DEVIATION)
        layer.kernel.assign(kernel(layer.kernel.shape))
    head.prediction_layer.bias.assign(np.full(head.output_filters, bias))


def fit_image(image, size, method="bilinear"):
    """Resizes an image to a longer side, and pads the other one at its end.

    Returns:
        The square image, float32 by default, and the factor its pixels were resized by.
    """
    sides = tf.cast(tf.shape(image)[-3:-1], "float32")
    factor = tf.cast(size, "float32") / tf.reduce_max(sides)
    wanted = tf.clip_by_value(tf.cast(tf.round(sides * factor), "int32"), 1, size)
    image = tf.image.resize(image, wanted, method, antialias=True)
    return tf.image.pad_to_bounding_box(image, 0, 0, size, size), factor


def decode(detector, outputs, images, *, threshold: float, most: int = 100) -> dict:
    """Returns the boxes of a detector's outputs, after non-maximum suppression a class.

    Args:
        detector: A RetinaNet.
        outputs: What it returns for `images`.
        images: (N, size, size, 3).
        threshold: The lowest score of a box.
        most: The most boxes of an image.

    Returns:
        "boxes" (N, most, 4) in pixels: top, left, bottom, right; "scores" and
        "labels", (N, most); "count", how many of them there are, (N,).
    """
    size = images.shape[1]
    anchors = tf.concat(list(detector.anchor_generator(images).values()), 0)
    boxes = keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors=anchors,
        boxes_delta=tf.cast(outputs["bbox_regression"], "float32"),
        encoded_format="center_xywh",
        anchor_format=detector.anchor_generator.bounding_box_format,
        box_format=_FORMAT,
        image_shape=(size, size, 3),
    )
    boxes, scores, labels, count = tf.image.combined_non_max_suppression(
        tf.clip_by_value(boxes, 0, float(size))[:, :, None],
        tf.sigmoid(tf.cast(outputs["cls_logits"], "float32")),
        max_output_size_per_class=most,
        max_total_size=most,
        iou_threshold=0.5,
        score_threshold=threshold,
        clip_boxes=False,
    )
    labels = tf.cast(labels, "int64")
    return {"boxes": boxes, "scores": scores, "labels": labels, "count": count}


def detect(detector, data, *, batch_size: int, threshold: float = 0.01, limit=None):
    """Yields (entry, found) of each image; boxes in the image's own pixels.

    Args:
        detector: A RetinaNet.
        data: An `Annotated`.
        batch_size: How many images go through it at a time.
        threshold: The lowest score of a box.
        limit: How many images.
    """
    size = detector.input_shape[1]

    @tf.function
    def run(images):
        images = tf.ensure_shape(images, (None, size, size, 3))
        outputs = detector(images, training=False)
        return decode(detector, outputs, images, threshold=threshold)

    def prepare(entry):
        image, factor = fit_image(entry["image"], size)
        return entry, image, factor

    dataset = data.read().take(-1 if limit is None else limit)
    dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    batch = []

    def flush():
        found = run(np.stack([image for _, image, _ in batch]))
        found = {name: value.numpy() for name, value in found.items()}
        for i, (entry, _, factor) in enumerate(batch):
            kept = slice(found["count"][i])
            own = {name: found[name][i, kept] for name in ("scores", "labels")}
            yield entry, {"boxes": found["boxes"][i, kept] / factor, **own}
        batch.clear()

    for item in dataset.prefetch(2).as_numpy_iterator():
        batch.append(item)
        if len(batch) == batch_size:
            yield from flush()
    if batch:
        yield from flush()


def mean_average_precision(detections, class_names) -> dict[str, float]:
    """Returns COCO's figures of what `detect` yields, by pycocotools.

    Returns:
        "AP" over overlaps of 0.5 to 0.95, "AP50", "AP75", and "AR100", the recall of
        100 boxes an image. A crowd's box counts neither for nor against.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, truth, found = [], [], []
    for number, (entry, boxes) in enumerate(detections, 1):
        images.append({"id": number})
        for box, label, crowd in zip(
            entry["boxes"], entry["labels"], entry["crowd"], strict=True
        ):
            own = _coco(number, box, label)
            truth.append({**own, "id": len(truth) + 1, "iscrowd": int(crowd)})
        for box, label, score in zip(
            boxes["boxes"], boxes["labels"], boxes["scores"], strict=True
        ):
            found.append({**_coco(number, box, label), "score": float(score)})
    names = ("AP", "AP50", "AP75", "AR100")
    if all(box["iscrowd"] for box in truth):
        raise ValueError(
            f"The images that are measured must have boxes. Received: {len(images)} "
            "images without any. Use more of them (--limit)."
        )
    if not found:
        return dict.fromkeys(names, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": i, "name": name} for i, name in enumerate(class_names)]
        coco.dataset = {
            "images": images,
            "annotations": truth,
            "categories": categories,
        }
        coco.createIndex()
        measured = COCOeval(coco, coco.loadRes(found), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return {
        n: float(measured.stats[i]) for n, i in zip(names, (0, 1, 2, 8), strict=True)
    }


def _coco(image, box, label):
    top, left, bottom, right = map(float, box)
    sides = [left, top, right - left, bottom - top]
    area = sides[2] * sides[3]
    return {"image_id": image, "category_id": int(label), "bbox": sides, "area": area}


def draw(detections, class_names, path: Path, *, threshold: float = 0.3) -> None:
    """Draws images with the boxes that were found into a PNG file.

    Of boxes that overlap, whatever their classes, only the best one is drawn.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    detections = list(detections)
    rows = -(-len(detections) // 4)
    figure = Figure(figsize=(13, 3.3 * rows), layout="constrained")
    grid = figure.subplots(rows, 4, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (entry, found) in zip(grid, detections, strict=False):
        axes.imshow(entry["image"])
        best = tf.image.non_max_suppression(
            found["boxes"], found["scores"], 100, 0.4, threshold
        )
        for i in best.numpy():
            top, left, bottom, right = found["boxes"][i]
            label = found["labels"][i]
            colour = f"C{label % 10}"
            sides = right - left, bottom - top
            axes.add_patch(
                Rectangle((left, top), *sides, fill=False, color=colour, lw=1.5)
            )
            text = f"{class_names[label]} {found['scores'][i]:.0%}"
            axes.text(
                left, top, text, fontsize=7, color="white", backgroundcolor=colour
            )
    with atomic_path(path, overwrite=True) as temporary:
        save_figure(figure, temporary, dpi=80)


def export(detector, class_names, path, *, threshold: float = 0.05) -> Path:
    """Writes the whole detector as a SavedModel that TensorFlow alone loads.

    Its signature takes "images", (N, height, width, 3), uint8, of any size, and
    returns what `decode` does, with boxes in the pixels of those images. labels.json
    in the folder has the class names.

    Args:
        detector: A RetinaNet.
        class_names: One name a label.
        path: A new folder.
        threshold: The lowest score of a box.
    """
    size = detector.input_shape[1]

    def serve(images):
        images, factor = fit_image(images, size)
        images = tf.ensure_shape(images, (None, size, size, 3))
        outputs = detector(images, training=False)
        found = decode(detector, outputs, images, threshold=threshold)
        return {**found, "boxes": found["boxes"] / factor}

    archive = keras.export.ExportArchive()
    archive.track(detector)
    images = tf.TensorSpec((None, None, None, 3), "uint8", "images")
    archive.add_endpoint("serve", serve, input_signature=[images])
    with atomic_path(path, what="SavedModel") as folder:
        archive.write_out(str(folder), verbose=False)
        (folder / "labels.json").write_text(json.dumps(class_names), "utf-8")
    return Path(path)
