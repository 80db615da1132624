"""How long a network takes for one image."""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import keras_senet
from keras_senet.export import open_runner


def latency(model: keras.Model, shape: tuple[int, int, int], calls: int = 50) -> float:
    """Returns the median seconds of one image of a shape: LiteRT, one thread."""
    image = np.zeros((1, *shape), "float32")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        keras_senet.export_tflite(model, file, image_size=shape[:2])
        runner = open_runner(file, threads=1)
        seconds = []
        for _ in range(calls + 5):
            start = time.perf_counter()
            runner.predict(image)
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[5:]))
