"""Several workers, here processes that talk over the loopback."""

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

# A dead worker is noticed within this many seconds; `train`'s documentation says so.
NOTICED_WITHIN = 60

KERAS_ALONE = """
import keras
import numpy as np
import tensorflow as tf

with tf.distribute.MultiWorkerMirroredStrategy().scope():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
x = np.ones((8, 4), "float32")
data = tf.data.Dataset.from_tensor_slices((x, x[:, :2])).batch(4)
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = (
    tf.data.experimental.AutoShardPolicy.DATA
)
model.fit(data.with_options(options), epochs=1, verbose=0, shuffle=False)
"""

WITHOUT_NORMALIZATION = """
import json, sys
import keras
import numpy as np

from keras_senet import SqueezeExcite
from keras_senet.data import open_source
from keras_senet.training import Recipe, make_strategy
from keras_senet.training.datasets import make_datasets, resolve_recipe
from keras_senet.training.network import compile_model

strategy = make_strategy()
source = open_source("bundled")
recipe = resolve_recipe(Recipe.from_json(json.loads(sys.argv[1])), source)
keras.utils.set_random_seed(1)
with strategy.scope():
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            SqueezeExcite(reduction=2),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    compile_model(model, recipe, 4)
before = model.get_weights()
training, _ = make_datasets(recipe, source, strategy=strategy)
model.fit(training, epochs=2, steps_per_epoch=4, shuffle=False, verbose=0)
for a, b in zip(before, model.get_weights(), strict=True):
    assert np.abs(a - b).max() > 1e-3  # or the comparison would say nothing
np.savez(sys.argv[3], *model.get_weights())
"""

TRAIN = """
import json, sys
import numpy as np
import tensorflow as tf
from keras_senet.training import Recipe, make_strategy, train

strategy = make_strategy()
tf.config.experimental.enable_op_determinism()
recipe = Recipe.from_json(json.loads(sys.argv[1]))
model = train(
    recipe,
    sys.argv[2],
    strategy=strategy,
    resume="--resume" in sys.argv,
    checkpoint_every=1,
    verbose=0,
).model
np.savez(sys.argv[3], *model.get_weights())
"""

RECIPE = {
    "model": "se_resnet",
    "model_arguments": {
        "block": "basic",
        "blocks": [1, 1, 1, 1],
        "filters": [8, 8, 8, 8],
        "stem_filters": [8],
        "reduction": 4,
    },
    "image_size": 32,
    "epochs": 2,
    "limit": 33,
    "global_batch_size": 8,
    # So small that steps do not multiply rounding: at 0.02 the same algebra differs by
    # 2e-3 on some CPUs. Without synchronisation it differs by more than 0.1 here too.
    "learning_rate": 0.001,
    "reference_batch_size": 8,
    "synchronized_batch_norm": True,
    "seed": 3,
}


def start(program, *arguments, workers=2):
    """Starts a program on so many workers."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    processes = []
    for i in range(workers):
        given = [str(a).format(worker=i) for a in arguments]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if workers > 1:
            environment["TF_CONFIG"] = json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": i},
                }
            )
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", program, *given],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return processes


def finish(processes):
    outputs = [process.communicate(timeout=1200)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert not any(codes), "\n\n".join(map("{}: {}".format, codes, outputs))


def start_training(folder, weights, *options, workers=2, program=TRAIN, **values):
    recipe = json.dumps(RECIPE | values).replace("{", "{{").replace("}", "}}")
    arguments = (recipe, folder, weights / "{worker}.npz", *options)
    return start(program, *arguments, workers=workers)


def read(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def check_like_one_process(path, weights, **options):
    """All workers have the same bits, and one process alone nearly the same."""
    first, second = weights
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    finish(start_training(path / "run", path, workers=1, **options))
    for a, b in zip(first, read(path / "0.npz"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_keras_alone_still_needs_us():
    """If this fails, Keras has learnt it: take `Workers` out of make_strategy."""
    for process in start(KERAS_ALONE):
        output, _ = process.communicate(timeout=1200)
        assert process.returncode != 0
        assert "Attempt to convert a value (PerReplica" in output


@pytest.mark.slow
def test_without_normalization_they_end_like_one_process(tmp_path):
    options = {"program": WITHOUT_NORMALIZATION, "learning_rate": 0.5}
    finish(start_training(tmp_path / "run", tmp_path, **options))
    weights = [read(tmp_path / f"{i}.npz") for i in range(2)]
    check_like_one_process(tmp_path, weights, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on two workers: its folder, and what each of them had at the end."""
    path = tmp_path_factory.mktemp("whole")
    finish(start_training(path / "run", path))
    return path / "run", [read(path / f"{i}.npz") for i in range(2)]


@pytest.mark.slow
def test_with_synchronization_they_end_like_one_process(whole, tmp_path):
    check_like_one_process(tmp_path, whole[1])


@pytest.mark.slow
def test_without_synchronization_they_end_alike_and_the_chief_writes(tmp_path):
    folder = tmp_path / "run-{worker}"
    finish(start_training(folder, tmp_path, synchronized_batch_norm=False))
    assert (tmp_path / "run-0" / "model.keras").exists()
    assert not (tmp_path / "run-1").exists()  # only the chief writes
    first, second = (read(tmp_path / f"{i}.npz") for i in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def kill_after_a_checkpoint(folder, dies, stays):
    """Kills one process of a run; returns how long the other one lived, its words."""
    last, began = folder / "checkpoints" / "last.weights.h5", time.time()
    while not last.exists() or last.stat().st_mtime < began:
        assert stays.poll() is None, stays.communicate()[0]
        time.sleep(0.02)
    dies.kill()
    dies.communicate()
    died = time.monotonic()
    output, _ = stays.communicate(timeout=1200)
    return time.monotonic() - died, output


@pytest.mark.slow
def test_a_dead_worker_or_chief_ends_the_other_and_the_run_goes_on(whole, tmp_path):
    folder = tmp_path / "run"
    for options, dead in (((), 1), (("--resume",), 0)):
        processes = start_training(folder, tmp_path, *options)
        dies, stays = processes[dead], processes[1 - dead]
        seconds, output = kill_after_a_checkpoint(folder, dies, stays)
        print(f"Noticed after {seconds:.1f} s that {dead} is dead")
        assert stays.returncode == 1, output
        assert "ConnectionError: Another worker has stopped" in output
        assert seconds < NOTICED_WITHIN
        assert not (folder / "model.keras").exists()
    finish(start_training(folder, tmp_path, "--resume"))
    for i, expected in enumerate(whole[1]):
        for a, b in zip(read(tmp_path / f"{i}.npz"), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    histories = [path / "history.csv" for path in (folder, whole[0])]
    assert histories[0].read_text() == histories[1].read_text()
