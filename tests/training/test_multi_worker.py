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
import sys
import keras
import numpy as np
import tensorflow as tf

if sys.argv[1] == "ours":
    from keras_senet.training import make_strategy

    strategy = make_strategy()
else:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
x = np.ones((8, 4), "float32")
data = tf.data.Dataset.from_tensor_slices((x, x[:, :2])).batch(4)
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = (
    tf.data.experimental.AutoShardPolicy.DATA
)
model.fit(data.with_options(options), epochs=1, verbose=0, shuffle=False)
print("trained")
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
    "learning_rate": 0.02,
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
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs


def start_training(folder, weights, *options, workers=2, **values):
    recipe = json.dumps(RECIPE | values).replace("{", "{{").replace("}", "}}")
    arguments = (recipe, folder, weights / "{worker}.npz", *options)
    return start(TRAIN, *arguments, workers=workers)


def read(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


@pytest.mark.slow
def test_keras_alone_still_needs_us():
    """If this fails, Keras has learnt it: take `Workers` out of make_strategy."""
    processes = start(KERAS_ALONE, "keras")
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode != 0
        assert "Attempt to convert a value (PerReplica" in output
    assert [o.endswith("trained\n") for o in finish(start(KERAS_ALONE, "ours"))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on two workers: its folder, and what each of them had at the end."""
    path = tmp_path_factory.mktemp("whole")
    finish(start_training(path / "run", path))
    return path / "run", [read(path / f"{i}.npz") for i in range(2)]


@pytest.mark.slow
def test_both_workers_end_alike_and_like_one_process(whole, tmp_path):
    _, (first, second) = whole
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    finish(start_training(tmp_path / "run", tmp_path, workers=1))
    one = read(tmp_path / "0.npz")
    for a, b in zip(first, one, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_without_synchronization_both_workers_end_alike(tmp_path):
    finish(start_training(tmp_path / "run", tmp_path, synchronized_batch_norm=False))
    first, second = (read(tmp_path / f"{i}.npz") for i in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_dead_worker_ends_the_others_and_the_run_goes_on(whole, tmp_path):
    folder = tmp_path / "run"
    chief, other = start_training(folder, tmp_path)
    last = folder / "checkpoints" / "last.weights.h5"
    while not last.exists():
        assert chief.poll() is None, chief.communicate()[0]
        time.sleep(0.05)
    other.kill()
    other.communicate()
    died = time.monotonic()
    output, _ = chief.communicate(timeout=400)
    assert time.monotonic() - died < NOTICED_WITHIN
    assert chief.returncode == 1
    assert "ConnectionError: Another worker has gone" in output
    assert not (folder / "model.keras").exists()
    finish(start_training(folder, tmp_path, "--resume"))
    for i, expected in enumerate(whole[1]):
        for a, b in zip(read(tmp_path / f"{i}.npz"), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert (folder / "history.csv").read_text() == (
        whole[0] / "history.csv"
    ).read_text()
