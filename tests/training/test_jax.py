"""`train` on JAX: several devices, checkpoints, and what comes after it."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import dataclasses, json, os, signal, sys
import keras
import numpy as np
import keras_senet
from keras_senet.training import Recipe, TrainingStopped, train

devices = keras.distribution.list_devices()
assert len(devices) == 2
filters = {"filters": (8, 8, 8, 8), "stem_filters": (8,), "reduction": 4}
recipe = Recipe(
    model="se_resnet",
    model_arguments={"block": "basic", "blocks": (1, 1, 1, 1), **filters},
    data="bundled",
    image_size=32,
    limit=67,
    epochs=2,
    global_batch_size=16,
    learning_rate=0.05,
    ema_momentum=0.5,
    augmentation="flip",
)
folder = sys.argv[1]


class Stop(keras.callbacks.Callback):
    batches = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.batches += 1
        if self.batches == 6:  # in the second epoch
            os.kill(os.getpid(), signal.SIGTERM)


stopped = False
try:
    train(recipe, folder + "/two", callbacks=[Stop()], verbose=0)
except TrainingStopped:
    stopped = True
two = train(recipe, folder + "/two", resume=True, verbose=0)
with keras.distribution.DataParallel(devices=devices[:1]).scope():
    one = train(recipe, folder + "/one", verbose=0)
images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype("float32")
model = two.model
expected = model.predict(images, verbose=0)
model.save(folder + "/again.keras")  # with the optimizer's averages
folded = keras_senet.fold(model)
for network in (model, folded, model):
    found = network.predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
# The averages and the weights are apart under a scale of the loss, too.
changes = {"dtype_policy": "mixed_float16", "epochs": 1}
half = train(dataclasses.replace(recipe, **changes), folder + "/half", verbose=0)
half.model.predict(images, verbose=0)
half.model.save(folder + "/half.keras")
said = ""
try:
    train(dataclasses.replace(recipe, linear_probe=True), folder + "/probe")
except ValueError as error:
    said = str(error)
print(json.dumps({
    "two": two.history,
    "one": one.history,
    "stopped": stopped,
    "said": said,
}))
"""


@pytest.mark.slow
def test_training_on_jax(tmp_path):
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT, str(tmp_path)],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2 "
            "--xla_backend_optimization_level=0",  # compiles faster
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    one, two = found["one"], found["two"]
    assert found["stopped"]
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
    assert two["loss"][1] < two["loss"][0]
    assert found["said"].startswith(
        "`linear_probe` does not work with the backend 'jax'"
    )
