"""What every network promises: saving, export, precision, formats, training."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conformance.cases import FEW, FULL, SLOW, SOME, TINY, build

import keras_senet
from keras_senet.export import open_runner
from keras_senet.export.search import layer_errors
from keras_senet.export.tflite import Conversion
from keras_senet.models.registry import CONSTRUCTORS
from keras_senet.tracing import freeze
from keras_senet.utils.flatbuffer import read_tflite


@pytest.fixture
def model(case, randomize):
    return randomize(build(case))


@pytest.fixture
def batch(model, images):
    return images(2, *model.input_shape[1:])


def test_config_round_trip(model, batch):
    config = json.loads(json.dumps(model.get_config()))
    copy = keras.Model.from_config(config)
    assert [v.path for v in copy.weights] == [v.path for v in model.weights]
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy(batch), model(batch))


def test_keras_file_round_trip(model, batch, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    copy = keras.models.load_model(path)
    np.testing.assert_array_equal(copy(batch), model(batch))


def test_saved_model(model, batch, tmp_path):
    keras_senet.export_saved_model(model, tmp_path / "model")
    report = keras_senet.verify(model, tmp_path / "model", batch, latency_runs=0)
    assert report.max_difference < 1e-5


# Largest difference of a score, for each 50 layers, and largest error of a layer
# relative to its values.
TFLITE = {
    None: (1e-5, 0),
    "float16": (1e-3, 5e-3),
    "dynamic": (2e-2, 0.1),
    "int8": (5e-2, 0.4),
}


@pytest.mark.parametrize("name", [*SOME, *SLOW])
def test_tflite(name, randomize, images, tmp_path):
    """Every quantisation, layer by layer, in builtin operations only.

    With a gain of 1: a deep network with He's makes other scores of any rounding, so
    that two kernels that are both right disagree as much as int8 and float32.
    """
    model = randomize(build(name), gain=1)
    batch = images(4, *model.input_shape[1:])
    samples = list(batch[:, None])
    expected = open_runner(model).predict(batch)
    depth = sum("Conv" in type(layer).__name__ for layer in model.layers)
    conversion = Conversion(freeze(model), samples)
    for quantization, (score, layer) in TFLITE.items():
        data = conversion.convert(quantization)
        path = tmp_path / f"{quantization}.tflite"
        conversion.write(data, path)
        assert read_tflite(path).foreign == ()
        found = open_runner(path).predict(batch)
        assert np.abs(found - expected).max() <= score * max(1, depth / 50), (
            quantization
        )
        errors = layer_errors(conversion.float32, data, samples[:2])
        # A squeeze to one or two values can be near zero, and then far off relatively;
        # what comes of it shows in the gates.
        errors = {n: e for n, e in errors.items() if "_se_fc1" not in n}
        assert max(errors.values()) <= layer, (
            quantization,
            max(errors, key=errors.get),
        )


_ANY_SIZE = ["resnet_bottleneck", "regnet", "shufflenet"]


@pytest.mark.parametrize("name", [*_ANY_SIZE, *SLOW])
def test_tflite_of_any_size(name, randomize, images, tmp_path):
    """One file for images of every size, where the family allows it."""
    family = CONSTRUCTORS[name].family if name in FULL else None
    shape = (None, None, 3)
    if family and family.flattens:
        with pytest.raises(
            ValueError, match="classifier flattens the last feature map"
        ):
            build(name, input_shape=shape)
        return
    model = randomize(build(name, input_shape=shape), gain=1)
    path = tmp_path / "model.tflite"
    keras_senet.export_tflite(model, path)
    runner = open_runner(path)
    assert runner.input_shape == (None, *shape)
    side = family.min_size if family else 32
    for height, width in ((side, side), (side + 17, side + 40)):
        batch = images(2, height, width, 3)
        expected = open_runner(model).predict(batch)
        np.testing.assert_allclose(runner.predict(batch), expected, atol=1e-5)


@pytest.mark.parametrize("name", [*SOME, *SLOW])
def test_mixed_precision(name, randomize, images):
    model = randomize(build(name))
    batch = images(2, *model.input_shape[1:])
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = build(name)
    finally:
        keras.config.set_dtype_policy(policy)
    mixed.set_weights(model.get_weights())
    out = mixed(batch)
    assert out.dtype == "float32"
    assert all(v.dtype == "float32" for v in mixed.weights)
    difference = np.abs(keras.ops.convert_to_numpy(out - model(batch))).max()
    assert 0 < difference < 0.2


def test_channels_first(case, model, batch, relative_error):
    rows, columns, channels = model.input_shape[1:]
    other = build(
        case, data_format="channels_first", input_shape=(channels, rows, columns)
    )
    assert [v.path for v in other.weights] == [v.path for v in model.weights]
    other.set_weights(model.get_weights())
    assert relative_error(other(np.moveaxis(batch, -1, 1)), model(batch)) < 1e-4


@pytest.mark.parametrize("name", [*SOME, *SLOW])
def test_every_weight_is_trained(name, images):
    keras.utils.set_random_seed(1)
    model = build(name)
    x = images(8, *model.input_shape[1:])
    y = np.arange(8) % model.output_shape[-1]
    optimizer = keras.optimizers.SGD(0.01)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_weights)
        missing = [
            w.path
            for w, g in zip(model.trainable_weights, gradients, strict=True)
            if g is None
        ]
        assert not missing
        optimizer.apply(gradients, model.trainable_weights)
    zero = [
        w.path
        for w, g in zip(model.trainable_weights, gradients, strict=True)
        if not np.abs(keras.ops.convert_to_numpy(g)).max() > 0
    ]
    assert not zero


MIRRORED = """
import json, sys
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
sys.path.insert(0, sys.argv[1])
from conformance.cases import build
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
results = {}
for case in sys.argv[2:]:
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = build(case)
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=False)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (8, *model.input_shape[1:])).astype("float32")
    before = model.get_weights()
    history = model.fit(x, np.arange(8) % 5, batch_size=4, epochs=1, verbose=0)
    equal = all(
        np.array_equal(*(copy.numpy() for copy in v.value.values))
        for v in model.trainable_variables
    )
    changed = sum(np.abs(a - b).max() > 0 for a, b in zip(before, model.get_weights()))
    results[case] = {
        "loss": history.history["loss"][0],
        "equal": equal,
        "unchanged": len(before) - int(changed),
        "replicas": strategy.num_replicas_in_sync,
    }
print("RESULT", json.dumps(results))
"""


def _mirrored(cases):
    """Trains each case on two logical CPUs, which only a fresh process can have."""
    tests = os.path.dirname(os.path.dirname(__file__))
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, tests, *cases],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.rsplit("RESULT", 1)[1])


@pytest.fixture(scope="session")
def mirrored_few():
    return _mirrored(FEW)


@pytest.mark.parametrize("name", [*SOME, *SLOW])
def test_mirrored_strategy(name, request):
    few = name in FEW
    results = request.getfixturevalue("mirrored_few") if few else _mirrored([name])
    result = results[name]
    assert result["replicas"] == 2
    assert np.isfinite(result["loss"])
    assert result["equal"]
    assert result["unchanged"] == 0


def test_cases_do_not_hide_each_other():
    assert not set(TINY) & set(FULL)
