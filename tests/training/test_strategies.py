"""Where a training runs."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from keras_senet.training import Recipe, train, trainer
from keras_senet.training.run_folder import RunFolder
from keras_senet.training.strategies import evaluation_batch_sizes, make_strategy


@pytest.mark.parametrize(
    ("images", "batch_size", "replicas"),
    [(1000, 128, 4), (33, 8, 2), (9, 128, 4), (4, 128, 4), (5, 4, 4), (7, 1, 2)],
)
def test_every_copy_has_images_in_every_step(images, batch_size, replicas):
    sizes = evaluation_batch_sizes(images, batch_size, replicas)
    assert sum(sizes) == images
    assert len(sizes) % replicas == 0
    assert 1 <= min(sizes) <= max(sizes) <= max(2, batch_size // replicas)
    assert max(sizes) - min(sizes) <= 1


def test_too_few_images():
    with pytest.raises(ValueError, match="3 images"):
        evaluation_batch_sizes(3, 128, 4)


def test_one_device_here():
    assert make_strategy().num_replicas_in_sync == 1


def test_all_gpus_and_no_cpu(monkeypatch):
    known = {"GPU": ["/gpu:0", "/gpu:1"], "CPU": ["/cpu:0"]}
    devices = {kind: [SimpleNamespace(name=n) for n in v] for kind, v in known.items()}
    monkeypatch.setattr(tf.config, "list_logical_devices", devices.get)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", list)
    assert make_strategy() == ["/gpu:0", "/gpu:1"]


SCRIPT = """
import sys
import keras
import numpy as np
import tensorflow as tf

replicas, path = int(sys.argv[1]), sys.argv[2]
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * replicas,
)
from keras_senet import SqueezeExcite
from keras_senet.data import open_source
from keras_senet.training import Recipe, make_strategy
from keras_senet.training.datasets import make_datasets, resolve_recipe
from keras_senet.training.network import compile_model
from keras_senet.training.strategies import average_statistics

recipe = Recipe(
    model="se_resnet20", epochs=2, global_batch_size=16, limit=64, l2=1e-3, seed=3
)
source = open_source("bundled")
recipe = resolve_recipe(recipe, source)
keras.utils.set_random_seed(recipe.seed)
strategy = make_strategy()
assert strategy.num_replicas_in_sync == replicas
with strategy.scope():
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            SqueezeExcite(reduction=2),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    compile_model(model, recipe, 4)
training, validation = make_datasets(recipe, source, strategy=strategy)
history = model.fit(
    training,
    validation_data=validation,
    epochs=2,
    steps_per_epoch=4,
    shuffle=False,
    verbose=0,
).history
np.savez(path, **{name: np.array(values) for name, values in history.items()})

# Each copy of the statistics has another value, the number of its device.
with strategy.scope():
    other = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
mean = other.layers[0].moving_mean

@tf.function
def differ():
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    mean.assign(tf.fill([4], tf.cast(number, "float32")))

strategy.run(differ)
average_statistics(other)
for copy in strategy.experimental_local_results(mean.value):
    assert set(copy.numpy()) == {(replicas - 1) / 2}
"""


def test_two_devices_train_as_one(tmp_path):
    """One process a strategy: several in one process disturb each other."""
    paths = [tmp_path / "1.npz", tmp_path / "2.npz"]
    processes = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(i), str(path)])
        for i, path in enumerate(paths, 1)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    one, two = map(np.load, paths)
    assert {"loss", "val_loss", "accuracy", "val_accuracy"} <= set(one.files)
    for name in one.files:
        np.testing.assert_allclose(two[name], one[name], atol=1e-3, err_msg=name)
    assert one["loss"][1] < one["loss"][0]


def test_a_training_in_another_scope_is_refused(tmp_path):
    other = tf.distribute.OneDeviceStrategy("CPU:0")
    recipe = Recipe(model="se_resnet20", data="bundled")
    with other.scope(), pytest.raises(ValueError, match="scope of another one"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_who_is_not_the_chief_writes_into_a_folder_that_vanishes(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "is_chief", lambda strategy: False)
    run = RunFolder(tmp_path / "run")
    with trainer._written_folder(run, None, resume=False) as folder:
        own = folder.path
        assert own.is_dir()
        assert own != run.path
    assert not own.exists()
    assert not run.path.exists()
