"""How long a network takes for one image."""

import statistics

import keras
import numpy as np

import keras_senet
from keras_senet.benchmark import in_turn
from keras_senet.utils.files import temporary_folder


def latency(model: keras.Model, shape: tuple[int, int, int]) -> float:
    """Returns the median seconds of one image of a shape: LiteRT, one thread."""
    image = np.zeros((1, *shape), "float32")
    with temporary_folder() as folder:
        file = folder / "model.tflite"
        keras_senet.export_tflite(model, file, image_size=shape[:2])
        runner = keras_senet.open_model(file, threads=1)
        (seconds,) = in_turn({"": lambda: runner.predict(image)}, rounds=9).values()
    return statistics.median(seconds)
