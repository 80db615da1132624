"""Pruning: what goes is what should, and what stays computes what it did."""

import keras
import numpy as np
import pytest
from conformance import cases
from keras import layers

import keras_senet
from keras_senet.surgery.prune import POINTWISE, find_channels, is_matrix

# Case -> the widths of its prunable groups.
WIDTHS = {
    "resnet_basic": [8, 8, 16, 16],
    "resnet_bottleneck": [64, 8, 8, 8, 8, 16, 16, 16, 16],  # with the stem
    "small": [16, 32, 64],
    "small_preactivated": [16, 16, 16, 32, 32, 64, 64],  # with the stem
    "vgg": [32, 32],
    "mobilenet": [8, 16, 32, 32, 64, 64, *[128] * 6, 256, 256],
}


@pytest.fixture(autouse=True)
def _clear():
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


@pytest.fixture
def make(randomize):
    def build(name, **kwargs):
        # A softmax of large scores would hide differences.
        return randomize(cases.build(name, classifier_activation=None, **kwargs))

    return build


def images_of(model, count=3):
    size = model.input_shape[1:]
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (count, *size)).astype("float32")


def silence(model, share=0.5):
    """Makes every second free channel exactly zero; returns how many there are."""
    channels = find_channels(model)
    dead = {s: np.arange(s.size) % 2 == 0 for s in channels.free()}
    for call in channels.net.calls:
        layer, space = call.layer, channels.behind(call)
        if space not in dead or not layer.weights:
            continue
        if is_matrix(layer):
            for v in layer.weights:
                v.assign(np.where(dead[space], 0, np.asarray(v)))
        elif isinstance(layer, layers.BatchNormalization):
            for v in (layer.beta, layer.moving_mean):
                v.assign(np.where(dead[space], 0, np.asarray(v)))
    return sum(int(d.sum()) for d in dead.values())


@pytest.mark.parametrize(
    ("name", "importance"),
    [
        ("resnet_basic", "gates"),
        ("resnet_bottleneck", "both"),
        ("small_preactivated", "weights"),
        ("vgg", "outgoing"),
        ("mobilenet", "both"),
    ],
)
def test_all_kept_is_the_identity(make, name, importance):
    model = make(name)
    x = images_of(model)
    same = keras_senet.prune(model, x, keep=1.0, importance=importance)
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(same(x)))
    assert same.count_params() == model.count_params()
    assert not {id(v) for v in same.variables} & {id(v) for v in model.variables}


@pytest.mark.parametrize("name", WIDTHS)
def test_channels_of_zeros_go_first_and_change_nothing(make, name, relative_error):
    model = make(name)
    assert silence(model) > 10
    x = images_of(model)
    pruned = keras_senet.prune(model, keep=0.5, importance="weights")
    assert relative_error(pruned(x), model(x)) < 1e-5
    before, after = (find_channels(m).free() for m in (model, pruned))
    assert [s.size for s in before] == WIDTHS[name]
    assert [s.size for s in after] == [s.size // 2 for s in before]
    assert pruned.count_params() < 0.8 * model.count_params()


def test_zeros_change_nothing_in_channels_first(make, relative_error):
    model = make("small", data_format="channels_first", input_shape=(3, 16, 16))
    silence(model)
    x = images_of(model)
    pruned = keras_senet.prune(model, keep=0.5, importance="weights")
    assert relative_error(pruned(x), model(x)) < 1e-5


def test_closed_gates_go_first_where_se_is_inside_the_unit(make, relative_error):
    model = make("small", placement="3x3", gate="relu")
    for layer in model.layers:
        if isinstance(layer, keras_senet.SqueezeExcite):
            channels = layer.expand.filters
            gates = np.where(
                np.arange(channels) % 2 == 0, 0.0, 1.0 + np.arange(channels) / 100
            )
            layer.expand.kernel.assign(np.zeros(layer.expand.kernel.shape))
            layer.expand.bias.assign(gates)
    x = images_of(model)
    pruned = keras_senet.prune(model, x, keep=0.5)
    assert relative_error(pruned(x), model(x)) < 1e-5
    (se, *_) = [x for x in pruned.layers if isinstance(x, keras_senet.SqueezeExcite)]
    np.testing.assert_allclose(se.expand.bias, 1.0 + np.arange(1, 16, 2) / 100)
    # By weights the closed ones are no worse than the others.
    other = keras_senet.prune(model, x, keep=0.5, importance="weights")
    assert relative_error(other(x), model(x)) > 1e-3


def unit():
    """A residual unit by hand: 1x1 to two channels, 1x1 to two, gate, sum."""
    inputs = keras.Input((2, 2, 2))
    x = layers.Conv2D(2, 1, use_bias=False, name="first")(inputs)
    x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(2, 1, use_bias=False, name="second")(x)
    x = layers.BatchNormalization(epsilon=0.0, name="bn")(x)
    x = keras_senet.SqueezeExcite(squeeze_filters=1, gate="linear", name="se")(x)
    model = keras.Model(inputs, layers.Add(name="add")([inputs, x]))
    set_ = {
        "first": [[[[1.0, 3.0], [1.0, 3.0]]]],
        "second": [[[[1.0, 0.0], [0.0, 2.0]]]],
    }
    for name, kernel in set_.items():
        model.get_layer(name).kernel.assign(kernel)
    se = model.get_layer("se")
    se.expand.kernel.assign(np.zeros(se.expand.kernel.shape))
    return model


@pytest.mark.parametrize(
    ("gates", "gains", "importance", "kept"),
    [
        ([1.0, 1.0], [1.0, 1.0], "gates", 1),  # 1 against 2
        ([1.0, 0.4], [1.0, 1.0], "gates", 0),  # 1 against 0.8
        ([1.0, 0.4], [1.0, 2.0], "gates", 1),  # 1 against 1.6
        ([1.0, 0.4], [1.0, -2.0], "gates", 1),
        ([1.0, 0.1], [1.0, 1.0], "weights", 1),  # 2 against 6
        ([1.0, 0.4], [1.0, 1.0], "both", 1),  # 2 * 1 against 6 * 0.8
        ([1.0, 0.1], [1.0, 1.0], "both", 0),  # 2 * 1 against 6 * 0.2
        ([1.0, 0.1], [1.0, 1.0], "outgoing", 1),  # 1 against 2
        ([0.1, 1.0], [1.0, 0.4], "outgoing", 0),  # 1 against 0.8
    ],
)
def test_importance_by_hand(gates, gains, importance, kept):
    model = unit()
    model.get_layer("se").expand.bias.assign(gates)
    model.get_layer("bn").gamma.assign(gains)
    x = images_of(model)
    pruned = keras_senet.prune(model, x, keep=0.5, importance=importance)
    kernel = np.asarray(pruned.get_layer("first").kernel)
    np.testing.assert_array_equal(kernel[..., 0], [[[1.0, 1.0]]] if kept == 0 else 3.0)
    assert pruned.get_layer("second").kernel.shape == (1, 1, 1, 2)
    np.testing.assert_array_equal(
        pruned.get_layer("second").kernel[0, 0, 0], [[1.0, 0.0], [0.0, 2.0]][kept]
    )


def test_the_model_and_what_it_carries(make, tmp_path):
    model = make("small", include_preprocessing=True)
    config, weights = model.get_config(), model.get_weights()
    pruned = keras_senet.prune(model, images_of(model), keep=0.3, name="narrow")
    assert model.get_config() == config
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert pruned.name == "narrow"
    assert pruned.preprocessing == model.preprocessing
    x = images_of(model)
    pruned.save(tmp_path / "narrow.keras")
    again = keras.models.load_model(tmp_path / "narrow.keras")
    np.testing.assert_allclose(pruned(x), again(x), atol=1e-6)
    counted = keras_senet.complexity(pruned)
    assert counted.multiply_adds < 0.5 * keras_senet.complexity(model).multiply_adds


@pytest.mark.slow
def test_a_pruned_network_learns(make):
    model = make("small", classes=2)
    pruned = keras_senet.prune(model, images_of(model), keep=0.5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A few steps do not repay tracing.
    pruned.compile(keras.optimizers.Adam(1e-3), loss, run_eagerly=True)
    x, y = images_of(model, 8), np.arange(8) % 2
    losses = [pruned.train_on_batch(x, y) for _ in range(4)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "data",
    [
        lambda x: x,
        lambda x: (x, np.zeros(3)),
        keras.ops.convert_to_tensor,
        lambda x: [x[:2], x[2:]],
        lambda x: [(x[:1], 0), (x[1:], 0)],
    ],
)
def test_forms_of_data(make, data):
    model = make("small")
    x = images_of(model)
    expected = keras_senet.analysis.mean_gates(model, x)
    for name, gates in keras_senet.analysis.mean_gates(model, data(x)).items():
        np.testing.assert_allclose(gates, expected[name], atol=1e-6)


def plain():
    return cases.build("small", se=False)


def only_se():
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, keras_senet.SqueezeExcite(squeeze_filters=1)(inputs))


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (plain, {"keep": 0}, "`keep` must be above 0"),
        (plain, {"keep": 1.5}, "Received: keep=1.5"),
        (plain, {"keep": "half"}, "Received: keep='half'"),
        (plain, {"importance": "gate"}, "'gates', 'weights', 'both', 'outgoing'"),
        (plain, {"data": None}, "importance='weights'"),
        (plain, {}, "has none"),
        (lambda: cases.build("small", placement="identity"), {}, "where no gate does"),
        (only_se, {}, "not connected to others by a sum"),
        (keras.Model, {}, "functional or built sequential"),
    ],
)
def test_what_cannot_be_pruned_is_said(build, options, message):
    x = np.zeros((2, 16, 16, 3), "float32")
    with pytest.raises(ValueError, match=message):
        keras_senet.prune(build(), **{"data": x, **options})


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Activation("softmax"),
        lambda: layers.Activation("sparsemax"),
        lambda: layers.Activation("glu"),
        lambda: layers.Activation(lambda x: x - keras.ops.mean(x, -1, keepdims=True)),
        lambda: layers.BatchNormalization(axis=1),
    ],
    ids=["softmax", "sparsemax", "glu", "of one's own", "axis 1"],
)
def test_what_looks_at_all_channels_and_shared_layers_keep_theirs(make):
    inputs = keras.Input((4, 4, 3))
    shared = layers.Conv2D(4, 1, name="shared")
    x = layers.Conv2D(4, 1, name="a")(inputs)
    x = layers.Conv2D(4, 1, name="b")(make()(x))
    x = layers.Conv2D(6, 1, name="free")(shared(shared(x)))
    x = layers.Conv2D(2, 1, name="out")(x)
    found = find_channels(keras.Model(inputs, x)).free()
    assert [space.size for space in found] == [6]


def test_dense_over_the_width_of_channels_first_keeps_them():
    inputs = keras.Input((3, 4, 6))
    x = layers.Conv2D(6, 1, data_format="channels_first")(inputs)
    x = layers.BatchNormalization(axis=1)(layers.Dense(5)(x))
    found = find_channels(keras.Model(inputs, layers.Dense(2)(x))).free()
    assert found == []


@pytest.mark.parametrize("name", sorted(POINTWISE))
def test_pointwise_activations_are_those_of_each_value(name):
    x = np.linspace(-8, 8, 12, dtype="float32").reshape(3, 4)
    function = keras.activations.get(name)
    assert function.__name__ == name
    alone = [function(keras.ops.convert_to_tensor(x[:, i : i + 1])) for i in range(4)]
    whole = function(keras.ops.convert_to_tensor(x))
    np.testing.assert_allclose(whole, np.concatenate(alone, 1), rtol=1e-5)


def test_a_frozen_gate_stays_frozen(make):
    model = make("small")
    names = [x.name for x in model.layers if isinstance(x, keras_senet.SqueezeExcite)]
    model.get_layer(names[0]).trainable = False
    pruned = keras_senet.prune(model, keep=0.5, importance="weights")
    assert not any(v.trainable for v in pruned.get_layer(names[0]).weights)
    assert all(v.trainable for v in pruned.get_layer(names[1]).weights)


def test_squeeze_and_excitation_of_sequences_stays():
    inputs = keras.Input((16, 32))
    x = keras_senet.SqueezeExcite(4)(layers.Dense(64)(inputs))
    network = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    with pytest.raises(ValueError, match="which has none"):
        keras_senet.prune(network, keep=0.5, importance="weights")


def test_what_cannot_become_narrower_stays_whole():
    """A layer that a nested model calls too, and one with a kernel of low rank."""
    shared = keras.layers.Conv2D(8, 3, padding="same", name="shared")
    inner_input = keras.Input((8, 8, 3))
    tail = keras.layers.Flatten()(shared(inner_input))
    inner = keras.Model(inner_input, keras.layers.Dense(2)(tail), name="inner")
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, name="last")(shared(inputs))
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    outputs = keras.layers.Add()([keras.layers.Dense(2)(pooled), inner(inputs)])
    network = keras.Model(inputs, outputs)
    pruned = keras_senet.prune(network, keep=0.5, importance="weights")
    assert pruned.get_layer("shared").filters == 8
    assert pruned.get_layer("last").filters == 2

    network = keras_senet.SEResNet20(weights=None)
    first = next(x for x in network.layers if x.name == "conv1_block1_1_conv")
    first.enable_lora(2)
    pruned = keras_senet.prune(network, keep=0.5, importance="weights")
    assert pruned.get_layer("conv1_block1_1_conv").filters == 16
    assert pruned.get_layer("conv1_block2_1_conv").filters == 8
