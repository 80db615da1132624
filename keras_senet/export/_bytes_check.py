"""Whether a SavedModel gives for image files the scores that its model gives."""

from pathlib import Path

import numpy as np

from keras_senet.export._header import read_encoded
from keras_senet.export.scores import are_probabilities
from keras_senet.preprocessing import preprocess_input
from keras_senet.weights import Preprocessing

_IMAGES = 32


def bytes_difference(reference, candidate, images: np.ndarray) -> float | None:
    """Returns the largest difference of a score that `classify_bytes` returns.

    The images go in as PNG files, so large that resizing leaves them as they are and
    cropping has to find them. Where they are no raw images of the signature's size,
    noise takes their place.

    Args:
        reference: The runner of the model.
        candidate: The runner of its file.
        images: Images `(N, height, width, channels)` as the model takes them.

    Returns:
        The difference, relative to the largest score where scores are no
        probabilities; `None` where the file has no such signature.
    """
    signature = getattr(candidate, "signature", lambda name: None)("classify_bytes")
    facts = None if signature is None else read_encoded(Path(candidate.name))
    if facts is None:
        return None
    record = Preprocessing.from_json(facts["preprocessing"])
    pictures = _pictures(images, facts, candidate.input_shape[0])
    given = pictures.astype("float32")
    if not facts["raw"]:
        given = preprocess_input(given, "channels_last", preset=record)
    expected = reference.predict(given)
    found = signature(image_bytes=_png_files(pictures, record))
    scores, indices = found["scores"].numpy(), found["indices"].numpy()
    named = np.take_along_axis(expected, indices, axis=1)
    best = -np.sort(-expected, axis=1)[:, : scores.shape[1]]
    difference = max(np.abs(scores - named).max(), np.abs(scores - best).max())
    scale = 1.0 if are_probabilities(expected) else np.abs(expected).max() or 1.0
    return float(difference / scale)


def _pictures(images, facts, batch_size):
    shape = tuple(facts["shape"])
    pictures = np.clip(np.rint(images[:_IMAGES]), 0, 255)
    if not facts["raw"] or images.shape[1:] != shape:
        pictures = np.random.default_rng(0).integers(0, 256, (8, *shape))
    count = batch_size or len(pictures)
    return np.resize(pictures, (count, *shape)).astype("uint8")


def _png_files(pictures, record):
    import tensorflow as tf

    margins = [(0, 0)]
    for side in pictures.shape[1:3]:
        margin = int(side / record.crop_fraction + 1e-6) - side
        before = int(np.rint(margin / 2))
        margins.append((before, margin - before))
    padded = np.pad(pictures, [*margins, (0, 0)], mode="edge")
    return tf.stack([tf.io.encode_png(picture) for picture in padded])
