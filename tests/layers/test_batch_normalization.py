"""The fused kernels against Keras' formulas in float64."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_senet.layers import BatchNormalization, SqueezeExcite

tf = pytest.importorskip("tensorflow")


def block(normalization, dtype, *, shape=(7, 6, 32), **kwargs):
    """Convolution, batch normalization, SE, sum and ReLU, with drawn weights."""
    x = inputs = keras.Input(shape, dtype=dtype)
    x = keras.layers.Conv2D(32, 1, use_bias=False, dtype=dtype, name="conv")(x)
    x = normalization(momentum=0.9, epsilon=1e-5, dtype=dtype, name="bn")(x)
    x = SqueezeExcite(4, dtype=dtype, name="se", **kwargs)(x)
    x = keras.layers.Add(dtype=dtype)([inputs, x])
    model = keras.Model(inputs, keras.layers.Activation("relu", dtype=dtype)(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        values = rng.normal(0, 0.3, weight.shape)
        weight.assign(abs(values) + 0.5 if "variance" in weight.name else values)
    return model


def step(model, x, d):
    """One training step's outputs, gradients and new moving statistics."""
    x = tf.Variable(x, dtype=model.input.dtype)
    with tf.GradientTape() as tape:
        y = model(x, training=True)
    variables = [v.value for v in model.trainable_variables]
    gradients = tape.gradient(y, [x, *variables], tf.cast(d, y.dtype))
    moving = [v.value for v in model.non_trainable_variables]
    return [np.asarray(v, "float64") for v in (y, *gradients, *moving)]


def relative_error(a, b):
    return abs(a - b).max() / abs(b).max()


@pytest.fixture
def maps(rng=None):
    rng = np.random.default_rng(1)
    return rng.normal(1, 2, (4, 7, 6, 32)), rng.normal(size=(4, 7, 6, 32))


@pytest.mark.parametrize("identity_start", [False, True])
def test_block_is_that_of_float64(maps, identity_start):
    fused = block(BatchNormalization, "float32", identity_start=identity_start)
    exact = block(
        keras.layers.BatchNormalization, "float64", identity_start=identity_start
    )
    values, expected = step(fused, *maps), step(exact, *maps)
    assert len(values) == 11
    for value, other in zip(values, expected, strict=True):
        assert relative_error(value, other) < 2e-6


def test_compiled_block_is_that_of_float64(maps):
    fused = block(BatchNormalization, "float32")
    exact = block(keras.layers.BatchNormalization, "float64")
    compiled = tf.function(lambda x: fused(x, training=True))
    value = compiled(maps[0].astype("float32"))
    assert relative_error(value.numpy(), exact(maps[0], training=True).numpy()) < 2e-6


def test_inference_uses_the_moving_statistics(maps):
    fused = block(BatchNormalization, "float32")
    exact = block(keras.layers.BatchNormalization, "float64")
    before = [w.numpy() for w in fused.weights]
    assert relative_error(fused(maps[0]).numpy(), exact(maps[0]).numpy()) < 2e-6
    for weight, value in zip(fused.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_frozen_layer_normalises_by_the_moving_statistics(maps):
    fused = block(BatchNormalization, "float32")
    fused.get_layer("bn").trainable = False
    expected = fused(maps[0], training=False).numpy()
    np.testing.assert_allclose(fused(maps[0], training=True), expected, rtol=1e-6)


@pytest.mark.parametrize("frozen", ["se", "bn", "conv"])
def test_frozen_parts_leave_the_other_gradients_alone(maps, frozen):
    models = [
        block(BatchNormalization, "float32"),
        block(keras.layers.BatchNormalization, "float64"),
    ]
    for model in models:
        model.get_layer(frozen).trainable = False
    for value, other in zip(*(step(m, *maps) for m in models), strict=True):
        assert relative_error(value, other) < 2e-6


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_as_near_as_keras(maps, policy):
    rng = np.random.default_rng(2)
    x = rng.normal(1, 2, (8, 5, 5, 16)).astype("float32")
    outputs = {}
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        layer = kind(dtype=policy)
        outputs[kind] = layer(x, training=True)
        assert outputs[kind].dtype == layer.compute_dtype
        np.testing.assert_allclose(
            layer.moving_mean, 0.01 * x.mean((0, 1, 2)), rtol=2e-2
        )
    a, b = (keras.ops.cast(y, "float32").numpy() for y in outputs.values())
    assert relative_error(a, b) < 2e-2


@pytest.mark.parametrize(
    "kwargs, shape",
    [
        ({"axis": 1}, (4, 8, 5, 6)),
        ({"axis": -1}, (4, 5, 8)),
        ({"center": False, "scale": False}, (4, 5, 6, 8)),
        ({"dtype": "float64"}, (4, 5, 6, 8)),
        ({"renorm": True}, (4, 5, 6, 8)),
    ],
)
def test_every_form_is_keras_own(kwargs, shape):
    if not kwargs.keys() <= {*keras.layers.BatchNormalization().get_config(), "dtype"}:
        pytest.skip(f"this Keras knows no {kwargs}")
    x = np.random.default_rng(3).normal(1, 2, shape)
    ours = BatchNormalization(**kwargs)
    theirs = keras.layers.BatchNormalization(**kwargs)
    for training in (True, False):
        a, b = (
            keras.ops.convert_to_numpy(f(x, training=training)) for f in (ours, theirs)
        )
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_xla_gives_the_same_step(maps):
    models = [block(BatchNormalization, "float32") for _ in range(2)]
    x, d = (a.astype("float32") for a in maps)
    losses = []
    for model, jit in zip(models, (False, True), strict=True):
        model.compile("sgd", "mse", jit_compile=jit)
        losses.append([model.train_on_batch(x, d) for _ in range(3)])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.slow
def test_block_runs_on_copies_of_the_model(maps):
    code = """
import numpy as np, keras, tensorflow as tf
from keras_senet.layers import BatchNormalization, SqueezeExcite
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
def losses(strategy):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = keras.Sequential([
            keras.Input((4, 4, 8)), BatchNormalization(), SqueezeExcite(2),
            keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    half = np.random.default_rng(0).normal(size=(4, 4, 4, 8)).astype("float32")
    x = np.concatenate([half, half])  # both copies see the same statistics
    history = model.fit(x, x[:, 0, 0, :1], batch_size=8, epochs=3, shuffle=False,
                        verbose=0)
    return history.history["loss"]
one = losses(tf.distribute.get_strategy())
two = losses(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
np.testing.assert_allclose(one, two, rtol=1e-5)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_gradient_of_both_together_is_that_of_each_alone():
    # Of 60 draws one has rounding errors of 2.2e-6, the median is 0.5e-6.
    keras.utils.set_random_seed(0)
    x = tf.random.normal((2, 6, 6, 16), mean=1.0)
    normalization, se = BatchNormalization(), SqueezeExcite(4)
    normalization.build(x.shape)
    gamma, beta = (tf.Variable(tf.random.normal((16,))) for _ in range(2))
    normalization.gamma.assign(gamma)
    normalization.beta.assign(beta)
    weights = [v.value for v in normalization.trainable_variables]
    gradients = {}
    for name in ("together", "alone"):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = normalization(x, training=True)
            if name == "alone":
                del y._keras_senet_normalized
            z = se(y)
        targets = [x, *weights, *(v.value for v in se.trainable_variables)]
        gradients[name] = tape.gradient(z, targets, tf.cos(z))
    for a, b in zip(*gradients.values(), strict=True):
        assert relative_error(a.numpy(), b.numpy()) < 2e-6


@pytest.mark.parametrize("fused", [True, False])
def test_only_unfused_there_is_a_gradient_for_what_lies_between(maps, fused):
    normalization = BatchNormalization() if fused else keras.layers.BatchNormalization()
    x = tf.constant(maps[0], "float32")
    with tf.GradientTape() as tape:
        y = normalization(x, training=True)
        tape.watch(y)
        z = SqueezeExcite(4)(y)
    assert (tape.gradient(z, y) is None) == fused


def test_maps_of_unknown_size_have_the_same_gradient(maps):
    x, d = (tf.constant(a, "float32") for a in maps)
    gradients = []
    for shape in ((7, 6, 32), (None, None, 32)):
        model = block(BatchNormalization, "float32", shape=shape)

        @tf.function
        def gradient(x, model=model):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = model(x, training=True)
            return tape.gradient(y, x, d)

        spec = tf.TensorSpec((None, *shape), tf.float32)
        gradients.append(gradient.get_concrete_function(spec)(x).numpy())
    assert relative_error(*gradients) < 2e-6


@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_only_one_cpu_goes_through_xla_and_image_by_image(monkeypatch, maps, device):
    """Elsewhere the gradient is the same, by TensorFlow's own kernels."""
    devices = [tf.config.LogicalDevice(f"/{d}:0", d) for d in {"CPU", device}]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: devices)

    def gradient_of(normalization):
        model = block(normalization, "float32")

        @tf.function
        def gradient(x):
            with tf.GradientTape() as tape:
                y = model(x, training=True)
            return tape.gradient(y, model.get_layer("conv").kernel.value, tf.cos(y))

        return gradient.get_concrete_function(tf.TensorSpec(maps[0].shape, tf.float32))

    fused, keras_own = map(
        gradient_of, (BatchNormalization, keras.layers.BatchNormalization)
    )
    kinds = {op.type for op in fused.graph.get_operations()}
    assert ("PartitionedCall" in kinds) == (device == "CPU")
    assert any("While" in kind for kind in kinds) == (device == "CPU")
    x = tf.constant(maps[0], "float32")
    assert relative_error(fused(x).numpy(), keras_own(x).numpy()) < 1e-5


def test_config_survives():
    layer = BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn")
    config = keras.layers.serialize(layer)
    assert config["registered_name"] == "keras_senet>BatchNormalization"
    again = keras.layers.deserialize(config)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("writer", [True, False])
def test_weights_files_are_those_of_keras_layers(tmp_path, writer):
    """Keras names the groups of its files by class."""
    models = {
        fused: block(
            BatchNormalization if fused else keras.layers.BatchNormalization, "float32"
        )
        for fused in (True, False)
    }
    for weight in models[writer].weights:
        weight.assign(weight + 1.0)
    models[writer].save_weights(tmp_path / "model.weights.h5")
    models[not writer].load_weights(tmp_path / "model.weights.h5")
    for a, b in zip(*(m.weights for m in models.values()), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    "count, image, turns",
    [
        (8, (4, 4, 16), 1),
        (6, (4, 4, 16), 3),  # in twos, of which there are three
        (5, (4, 4, 16), 5),
        (8, (64, 64, 32), 8),  # one image fills what there is of a cache
        (8, (64, 64, 8), 2),
        (0, (4, 4, 16), 0),
    ],
)
def test_small_maps_are_summed_in_few_turns(monkeypatch, count, image, turns):
    from keras_senet.layers import _tensorflow as kernels

    monkeypatch.setattr(kernels, "_on_one_cpu", lambda: True)
    calls, mean = [], kernels._mean
    monkeypatch.setattr(kernels, "_mean", lambda x: calls.append(1) or mean(x))
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, count, *image)).astype("float32")
    found = kernels._means_with_product(tf.constant(x), tf.constant(y))
    assert len(calls) == 2 * turns
    for means, product in zip(found, (x, x.astype("float64") * y), strict=True):
        expected = product.mean((1, 2), keepdims=True)
        np.testing.assert_allclose(means, expected, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA")
@pytest.mark.parametrize("shape", [(8, 32, 32), (6, 8, 8)])
def test_a_step_that_xla_compiles_is_the_same(shape):
    """SE takes sums of some images at a time; XLA took their number for one."""
    results = []
    x = np.random.default_rng(0).normal(size=(*shape, 3)).astype("float32")
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        inputs = keras.Input(x.shape[1:])
        y = keras.layers.Conv2D(64, 3)(inputs)
        y = BatchNormalization()(y)
        y = SqueezeExcite(4)(y)
        y = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(y))
        model = keras.Model(inputs, y)
        model.compile("sgd", "mse", jit_compile=jit_compile)
        model.train_on_batch(x, np.ones((len(x), 2)))
        results.append(model.get_weights())
    for plain, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(plain, compiled, atol=1e-4)


def test_gradients_of_a_stateless_call_are_those_of_the_variables():
    """Its weights are tensors, not variables."""
    inputs = keras.Input((6, 6, 4))
    x = BatchNormalization()(keras.layers.Conv2D(8, 3)(inputs))
    network = keras.Model(inputs, SqueezeExcite(2)(x))
    images = np.random.default_rng(0).normal(0, 1, (3, 6, 6, 4)).astype("float32")
    values = [tf.convert_to_tensor(v.value) for v in network.trainable_variables]
    others = [tf.convert_to_tensor(v.value) for v in network.non_trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs, _ = network.stateless_call(values, others, images, training=True)
        loss = tf.reduce_sum(outputs**2)
    ours = tape.gradient(loss, values)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(images, training=True) ** 2)
    variables = [v.value for v in network.trainable_variables]
    for a, b in zip(ours, tape.gradient(loss, variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_an_excitation_of_ones_own_is_used_in_training():
    class Twice(SqueezeExcite):
        def excitation(self, inputs):
            return 2 * super().excitation(inputs)

    x = tf.random.stateless_normal((2, 5, 5, 4), (1, 2))
    block = Twice(2)
    y = BatchNormalization()(x, training=True)
    expected = tf.identity(y) * block.excitation(tf.identity(y))
    np.testing.assert_allclose(block(y), expected, rtol=1e-6)


@pytest.mark.parametrize("argument", ["activation", "gate"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.layers.Dropout(0.5, seed=1),
        keras.layers.BatchNormalization,
        lambda: keras.layers.ActivityRegularization(l2=0.1),
        keras.layers.PReLU,
    ],
)
def test_a_layer_as_activation_or_gate_does_what_it_does_alone(maps, argument, make):
    """It has random states, averages, losses, or variables that `call` makes."""
    x, d = (tf.constant(m, "float32") for m in maps)
    results = []
    for kind in (BatchNormalization, keras.layers.BatchNormalization):
        keras.utils.set_random_seed(0)
        se = SqueezeExcite(4, **{argument: make()})
        x_variable, normalization = tf.Variable(x), kind()
        for _ in range(2):
            with tf.GradientTape() as tape:
                y = se(normalization(x_variable, training=True), training=True)
            weights = [v.value for v in se.trainable_variables]
            gradients = tape.gradient(y, [x_variable, *weights], d)
        states = [v.value for v in se.non_trainable_variables]
        results.append([y, *gradients, *states, *se.losses])
    for fused, own in zip(*results, strict=True):
        np.testing.assert_allclose(fused, own, rtol=1e-4, atol=1e-4)


def test_a_gate_that_draws_numbers_draws_them_anew_in_each_step(maps):
    seed = keras.random.SeedGenerator(1)

    def noisy(x):
        noise = keras.random.normal(keras.ops.shape(x), seed=seed)
        return keras.ops.sigmoid(x + noise)

    se, normalization = SqueezeExcite(4, gate=noisy), BatchNormalization()
    x = tf.constant(maps[0], "float32")
    first, second = (se(normalization(x, training=True)) for _ in range(2))
    assert abs(first - second).numpy().max() > 0.1


def test_a_gate_may_read_a_variable(maps):
    scale, x = keras.Variable(0.5), tf.constant(maps[0], "float32")
    se = SqueezeExcite(4, gate=lambda x: keras.ops.sigmoid(scale * x))
    with tf.GradientTape() as tape:
        y = se(BatchNormalization()(x, training=True))
    assert abs(tape.gradient(y, scale.value)) > 0


def test_gates_of_keras_share_the_gradient():
    x = tf.random.stateless_normal((2, 5, 5, 4), (1, 2))
    for gate in ("sigmoid", "hard_sigmoid", keras.activations.sigmoid, "softmax"):
        for activation in ("relu", "swish", None):
            y = BatchNormalization()(x, training=True)
            with tf.GradientTape() as tape:
                tape.watch(y)
                z = SqueezeExcite(2, gate=gate, activation=activation)(y)
            assert tape.gradient(z, y) is None  # it goes to what made y


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("fused", [True, False])
def test_a_second_derivative_is_right_or_an_error(maps, fused, compiled):
    kind = BatchNormalization if fused else keras.layers.BatchNormalization
    model, x = block(kind, "float32"), tf.Variable(maps[0], dtype="float32")

    def penalty():
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                y = tf.reduce_sum(model(x, training=True) ** 3)
            first = inner.gradient(y, x)
            value = tf.reduce_sum(first**2)
        return outer.gradient(value, x)

    run = tf.function(penalty) if compiled else penalty
    if fused:
        with pytest.raises(NotImplementedError, match="fused=False"):
            run()
    else:
        assert np.isfinite(run()).all()


def test_a_tape_that_persists_or_another_one_around_it_changes_nothing(maps):
    model, x = (
        block(BatchNormalization, "float32"),
        tf.Variable(maps[0], dtype="float32"),
    )
    run = tf.function(lambda: model(x, training=True))
    weights = [v.value for v in model.trainable_variables]
    for call in (run, run.python_function):
        with tf.GradientTape() as plain:
            y = call()
        expected = plain.gradient(y, [x, *weights])
        with tf.GradientTape(), tf.GradientTape(persistent=True) as tape:
            y = call()
        for a, b in zip(tape.gradient(y, [x, *weights]), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
