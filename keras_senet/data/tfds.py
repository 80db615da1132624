"""Any image classification set of tensorflow_datasets as a source."""

import os
import re
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_senet.data.decoding import Window, decode_image
from keras_senet.data.source import Part, Reader, Source
from keras_senet.utils.errors import nearest

# Mean and standard deviation a channel of the training images: of the first two
# computed from them, of ImageNet those that everybody uses (torchvision).
STATISTICS = {
    "cifar10": ((0.491400, 0.482158, 0.446531), (0.247032, 0.243485, 0.261588)),
    "fashion_mnist": ((0.286041,), (0.353024,)),
    "imagenet2012": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def open_tfds(
    name: str, *, data_dir: str | os.PathLike | None = None, held_out: float = 0.2
) -> Source:
    """Opens a tensorflow_datasets name; see `keras_senet.data.open_source`."""
    builder = _builder(name, data_dir)
    keys = _keys(name, builder)
    _prepare(name, builder)
    reader = _TfdsReader(builder, keys, held_out)
    *size, channels = reader.shape
    mean, std = STATISTICS.get(builder.name, (None, None))
    return Source(
        name=name,
        class_names=tuple(builder.info.features[keys[1]].names),
        splits={
            split: builder.info.splits[whole].num_examples
            for split, whole in reader.wholes.items()
        },
        channels=channels,
        image_size=None if None in size else tuple(size),
        mean=mean,
        std=std,
        reader=reader,
    )


class _TfdsReader(Reader):
    """Records are encoded images, as the data set stores them, in files of many."""

    def __init__(self, builder, keys, held_out):
        self._builder = builder
        self._keys = keys
        self._decoders = {keys[0]: tfds.decode.SkipDecoding()}
        *size, channels = builder.info.features[keys[0]].shape
        self.shape = (*size, 1 if channels == 1 else 3)
        self.wholes = self._choose_wholes(held_out)
        first = builder.info.splits[next(iter(self.wholes.values()))]
        self.record_bytes = max(1, first.num_bytes // max(1, first.num_examples))

    def records(self, part: Part) -> tf.data.Dataset:
        return self._read(self._instruction(part))

    def reordered(self, part: Part, seed: tf.Tensor) -> tf.data.Dataset | None:
        info = self._builder.info
        pieces = info.splits[self._instruction(part)].file_instructions
        if len(pieces) == 1:
            return None
        files = tf.data.Dataset.from_tensor_slices(
            (
                [str(piece.filename) for piece in pieces],
                np.array([piece.skip for piece in pieces], np.int64),
                np.array([piece.take for piece in pieces], np.int64),
            )
        )

        def read(path, skip, take):
            return tf.data.TFRecordDataset(path).skip(skip).take(take)

        def parsed(example):
            features = info.features
            return self._pair(
                features.deserialize_example(example, decoders=self._decoders)
            )

        parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
        examples = files.shuffle(len(pieces), seed=seed).interleave(
            read, cycle_length=16, block_length=16, **parallel
        )
        return examples.map(parsed, **parallel)

    def decode(self, record: tf.Tensor, window: Window | None = None) -> tf.Tensor:
        *size, channels = self.shape if window is None else (None, None, self.shape[-1])
        image = decode_image(record, channels=channels, window=window)
        return tf.ensure_shape(image, (*size, channels))

    def _choose_wholes(self, held_out: float) -> dict[str, str]:
        """Returns our split -> tfds split; what is not there is cut from "train"."""
        splits = self._builder.info.splits
        # ImageNet's test split has the label -1 everywhere.
        labelled = [
            name
            for name in ("test", "validation")
            if name in splits and all(y >= 0 for _, y in self._read(name).take(1))
        ]
        parts = {"train": "train"} if "train" in splits else {}
        if labelled:
            return parts | {"test": labelled[0]} | {name: name for name in labelled[1:]}
        if not parts:
            raise ValueError(
                "A tensorflow_datasets set must have a labelled split named train, "
                f"test or validation. Received: {self._builder.name!r}, whose splits "
                f"are {sorted(splits)}."
            )
        percent = min(99, max(1, round(100 * (1 - held_out))))
        return {"train": f"train[:{percent}%]", "test": f"train[{percent}%:]"}

    def _instruction(self, part: Part) -> str:
        """Returns what tensorflow_datasets calls a part."""
        splits, whole = self._builder.info.splits, self.wholes[part.split]
        if part.images == splits[whole].num_examples:
            return whole
        name, is_slice, _ = whole.partition("[")
        first = 0
        if is_slice and part.split == "test":
            first = splits[self.wholes["train"]].num_examples
        return f"{name}[{first + part.start}:{first + part.stop}]"

    def _read(self, part: str) -> tf.data.Dataset:
        examples = self._builder.as_dataset(
            split=part,
            decoders=self._decoders,
            read_config=tfds.ReadConfig(try_autocache=False),
        )
        return examples.map(self._pair)

    def _pair(self, example: dict) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = (example[key] for key in self._keys)
        return image, tf.cast(label, tf.int64)


def _builder(name, data_dir):
    if not hasattr(tfds, "builder"):
        raise ImportError(_why_broken())
    root = os.environ.get("KERAS_SENET_DATA")
    folder = Path(root, "tfds").expanduser() if root else None
    if not data_dir and folder and folder.is_dir():
        data_dir = folder
    try:
        return tfds.builder(name, data_dir=data_dir)
    # What it raises for a wrong name, configuration or version differs.
    except (ValueError, AssertionError, ImportError) as error:
        known = ["bundled", *tfds.list_builders(with_community_datasets=False)]
        if re.split("[/:]", name)[0] in known:
            raise ValueError(
                f"tensorflow_datasets cannot open {name!r}: {_first_line(error)}"
            ) from error
        raise ValueError(
            "Data must be 'bundled', a folder of images or a tensorflow_datasets "
            f"name. Received: {name!r}, which is none of them."
            f"{nearest(name, known)} To name a folder, write it as ./FOLDER."
        ) from None


def _why_broken():
    """What keeps tensorflow_datasets from working, which its import does not raise."""
    try:
        import tensorflow_datasets.public_api  # noqa: F401
    except Exception as error:  # protobuf's own is of no kind that one could name
        reason = _first_line(error)
    else:
        reason = "its import failed"
    return (
        f"tensorflow_datasets does not work here: {reason} With TensorFlow 2.19 or "
        "older, run python -m pip install 'tensorflow-metadata<1.21'."
    )


def _prepare(name, builder):
    try:
        builder.download_and_prepare()
    # Whatever a data set's own script may raise, the user needs the same line.
    except Exception as error:
        by_hand = (builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split()
        reason = " ".join([_first_line(error), *by_hand])
        raise OSError(
            f"tensorflow_datasets cannot download or prepare {name!r} in "
            f"{str(builder.data_dir)!r}: {reason}"
        ) from error
    if builder.info.file_format is not tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            "A tensorflow_datasets set must be stored as tfrecord. Received: "
            f"{name!r} in {str(builder.data_dir)!r}, which is stored as "
            f"{builder.info.file_format.value}. Prepare it again, or use another "
            "`data_dir`."
        )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".split("\n")[0]


def _keys(name, builder):
    """Returns the names of the image and the label among the features."""
    features = dict(builder.info.features.items())
    # Some sets have a third key: places365_small's is the name of the file.
    keys = (builder.info.supervised_keys or ("image", "label"))[:2]
    image, label = map(features.get, keys)
    is_image = isinstance(image, tfds.features.Image)
    if not is_image or not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(
            "A tensorflow_datasets set must have images with one class label each. "
            f"Received: {name!r}, whose features are {sorted(features)}."
        )
    return keys
