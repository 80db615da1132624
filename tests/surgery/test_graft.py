import json
import pathlib

import keras
import make_graft_places
import numpy as np
import pytest
from conformance import cases
from keras import layers

import keras_senet
from keras_senet.export import open_runner
from keras_senet.surgery import places

TESTS = pathlib.Path(__file__).parents[1]
GOLDEN = json.loads((TESTS / "goldens" / "surgery" / "graft_places.json").read_text())
QUICK = ("EfficientNetV2B0", "InceptionV3", "MobileNetV2", "ResNet50", "VGG16")


@pytest.fixture(autouse=True)
def _clear():
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


def values(model):
    """An input for a model, of a size that is small where it is open."""
    rng = np.random.default_rng(0)
    made = [
        rng.random([2, *(n or 8 for n in x.shape[1:])], dtype="float32")
        for x in model.inputs
    ]
    return made if len(made) > 1 else made[0]


def equal(a, b, x):
    for left, right in zip(
        keras.tree.flatten(a(x)), keras.tree.flatten(b(x)), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


def se_names(model):
    return [x.name for x in model.layers if isinstance(x, keras_senet.SqueezeExcite)]


def residual(channels=8, shape=(6, 6, 8)):
    x = inputs = keras.Input(shape)
    y = layers.Conv2D(channels, 3, padding="same", activation="relu", name="c1")(x)
    y = layers.Conv2D(channels, 3, padding="same", name="c2")(y)
    y = layers.BatchNormalization(name="bn")(y)
    y = layers.Dropout(0.2, name="drop")(y)
    x = layers.Add(name="unit_add")([x, y])
    return keras.Model(inputs, x, name="residual")


def randomised(model):
    rng = np.random.default_rng(1)
    for v in model.weights:
        v.assign(rng.uniform(0.1, 0.4, v.shape))
    return model


@pytest.mark.parametrize("name", QUICK)
def test_places_are_the_goldens(name):
    assert make_graft_places.record(make_graft_places.build(name)) == GOLDEN[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in GOLDEN if n not in QUICK])
def test_places_are_the_goldens_everywhere(name):
    assert make_graft_places.record(make_graft_places.build(name)) == GOLDEN[name]


def test_golden_is_complete():
    assert sorted(GOLDEN) == sorted(make_graft_places.networks())
    expected = {
        "InceptionV3": 11,
        "InceptionResNetV2": 40,
        "MobileNet": 13,
        "VGG16": 13,
        "ResNet50": 16,
    }
    assert {name: GOLDEN[name]["count"] for name in expected} == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in GOLDEN if GOLDEN[n]["count"]])
def test_every_application_keeps_its_output(name):
    model = make_graft_places.build(name)
    x = values(model)[:1]
    equal(model, keras_senet.graft(model), x)


@pytest.mark.slow
def test_mobilenet_keeps_its_output_compiled():
    model = make_graft_places.build("MobileNetV2")
    grafted = keras_senet.graft(model, reduction=8)
    x = values(model)[:1]
    equal(model, grafted, x)
    a, b = model.predict(x, verbose=0), grafted.predict(x, verbose=0)
    assert np.max(np.abs(a - b)) <= 1e-5 * np.max(np.abs(a))
    assert len(se_names(grafted)) == 10
    assert "block_2_se" in se_names(grafted)


# RegNetY's SE has another place and width.
@pytest.mark.parametrize("name", [n for n in cases.SOME if n != "regnet"])
def test_own_host_becomes_the_zoos_network(name):
    host = cases.build(name, se=False)
    network = cases.build(name, identity_start=True)
    grafted = keras_senet.graft(host, reduction=4)
    assert [(v.path, v.shape) for v in grafted.weights] == [
        (v.path, v.shape) for v in network.weights
    ]
    assert [x.get_config() for x in grafted.layers] == [
        x.get_config() for x in network.layers
    ]
    assert grafted.architecture == network.architecture
    equal(host, grafted, values(host))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in cases.FULL if "RegNet" not in n])
def test_own_full_host_becomes_the_zoos_network(name):
    host = cases.build(name, se=False)
    network = cases.build(name, identity_start=True)
    grafted = keras_senet.graft(host)
    assert [(v.path, v.shape) for v in grafted.weights] == [
        (v.path, v.shape) for v in network.weights
    ]


def test_original_is_untouched():
    model = randomised(residual())
    config, weights = model.get_config(), model.get_weights()
    grafted = keras_senet.graft(model)
    for v in grafted.weights:
        v.assign(v + 1)
    assert model.get_config() == config
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not {id(x) for x in model.layers} & {id(x) for x in grafted.layers}


def test_se_stands_before_stochastic_depth():
    (place,) = places(residual())
    assert (place.layer, place.name, place.rule) == ("bn", "unit_se", "residual")


def test_se_learns_from_the_start():
    grafted = keras_senet.graft(randomised(residual()), reduction=4)
    se = grafted.get_layer("unit_se")
    before = se.get_weights()
    grafted.compile(keras.optimizers.Adam(0.01), "mse")
    x = values(grafted)
    for _ in range(2):
        grafted.train_on_batch(x, x)
    for a, b in zip(before, se.get_weights(), strict=True):
        assert np.any(a != b)


@pytest.mark.parametrize(
    "after",
    [["c1"], "c[1]", lambda layer: layer.name == "c1"],
    ids=["names", "pattern", "predicate"],
)
def test_after_names_pattern_or_predicate(after):
    model = randomised(residual())
    grafted = keras_senet.graft(model, after, squeeze_filters=2)
    assert se_names(grafted) == ["c1_se"]
    assert grafted.get_layer("c1_se").squeeze_filters == 2
    equal(model, grafted, values(model))


def branching():
    """Two inputs and outputs, a shared layer, arguments in calls, a bare operation."""
    a, b = keras.Input((6, 6, 4), name="a"), keras.Input((6, 6, 4), name="b")
    shared = layers.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    norm = layers.BatchNormalization(name="norm")
    x, y = norm(shared(a), training=False), shared(b)
    total = keras.ops.maximum(x, y)
    pooled = layers.GlobalAveragePooling2D(name="pool")(total)
    outputs = {"score": layers.Dense(2, name="score")(pooled), "map": total}
    return keras.Model({"a": a, "b": b}, outputs)


def test_shared_layers_several_inputs_and_outputs_and_call_arguments():
    model = randomised(branching())
    grafted = keras_senet.graft(model, ["shared"])
    assert se_names(grafted) == ["shared_se"]  # one, called twice
    x, y = values(model)
    given = {"a": x, "b": y}
    for training in (False, True):
        old, new = model(given, training=training), grafted(given, training=training)
        assert set(new) == {"score", "map"}
        for key in old:
            np.testing.assert_array_equal(np.asarray(old[key]), np.asarray(new[key]))
    assert len([x for x in grafted.layers if x.name == "shared"]) == 1


def test_nested_models_are_grafted(tmp_path):
    inputs = keras.Input((6, 6, 8))
    x = layers.Rescaling(0.5)(inputs)
    x = residual()(x)
    model = randomised(keras.Model(inputs, layers.Flatten()(x)))
    grafted = keras_senet.graft(model)
    assert se_names(grafted.get_layer("residual")) == ["unit_se"]
    equal(model, grafted, values(model))
    grafted.save(tmp_path / "nested.keras")
    equal(model, keras.models.load_model(tmp_path / "nested.keras"), values(model))


def test_masks_survive():
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="words")(words)
    y = layers.Conv1D(4, 3, padding="same", activation="relu", name="conv")(
        layers.Embedding(9, 4, name="letters")(words)
    )
    x = layers.LSTM(3, name="lstm")(x)
    y = layers.GlobalMaxPooling1D(name="pool")(y)
    model = keras.Model(words, layers.Concatenate(name="both")([x, y]))
    batch = np.array([[3, 2, 0, 0, 0], [1, 2, 3, 4, 5]], "int32")
    equal(model, keras_senet.graft(model, ["conv"]), batch)


def test_normalization_keeps_its_statistics():
    inputs = keras.Input((6, 6, 8))
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).random((4, 6, 6, 8)))
    x = layers.Conv2D(8, 1, activation="relu", name="c")(norm(inputs))
    model = keras.Model(inputs, x)
    equal(model, keras_senet.graft(model), values(model))


@pytest.mark.parametrize("name", ["resnet_bottleneck", "mobilenet"])
def test_channels_first_host_becomes_the_zoos_network(name):
    form = {"data_format": "channels_first", "input_shape": (3, 32, 32)}
    host = randomised(cases.build(name, se=False, **form))
    network = cases.build(name, identity_start=True, **form)
    grafted = keras_senet.graft(host, reduction=4)
    assert [x.get_config() for x in grafted.layers] == [
        x.get_config() for x in network.layers
    ]
    assert grafted.get_layer(se_names(grafted)[0]).data_format == "channels_first"
    equal(host, grafted, values(host))


def test_mixed_precision_host():
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = randomised(residual())
    finally:
        keras.config.set_dtype_policy(policy)
    grafted = keras_senet.graft(model)
    se = grafted.get_layer("unit_se")
    assert (se.compute_dtype, se.reduce.kernel.dtype) == ("bfloat16", "float32")
    equal(model, grafted, values(model))


def test_names_that_are_taken_are_numbered():
    inputs = keras.Input((6, 6, 8))
    x = layers.Conv2D(8, 1, activation="relu", name="c")(inputs)
    x = layers.Conv2D(8, 1, activation="relu", name="c_se")(x)
    model = randomised(keras.Model(inputs, x))
    grafted = keras_senet.graft(model, ["c", "c_se"])
    assert se_names(grafted) == ["c_se_1", "c_se_se"]
    equal(model, grafted, values(model))


def test_places_of_one_name_are_numbered_and_share_nothing():
    x = inputs = keras.Input((6, 6, 8))
    for i, name in enumerate(("u_add", "u_out")):
        y = layers.Conv2D(8, 3, padding="same", name=f"c{i}")(x)
        x = layers.Add(name=name)([x, y])
    model = randomised(keras.Model(inputs, x))
    assert [place.name for place in places(model)] == ["u_se", "u_se_1"]
    grafted = keras_senet.graft(model, reduction=4)
    assert se_names(grafted) == ["u_se", "u_se_1"]
    assert grafted.count_params() == model.count_params() + 2 * (8 * 2 + 2 + 2 * 8 + 8)
    equal(model, grafted, values(model))


def test_gates_are_skipped():
    grafted = keras_senet.graft(residual())
    (place,) = places(grafted)
    assert "gate already" in place.skipped
    with pytest.raises(ValueError, match=r"1 places were skipped.*`after`"):
        keras_senet.graft(grafted)


def test_saved_and_loaded(tmp_path):
    model = randomised(residual())
    keras_senet.graft(model).save(tmp_path / "m.keras")
    equal(model, keras.models.load_model(tmp_path / "m.keras"), values(model))


def test_exported(tmp_path):
    model = keras_senet.graft(randomised(residual()))
    x = values(model)
    expected = np.asarray(model(x))
    keras_senet.export_saved_model(model, tmp_path / "saved")
    keras_senet.export_tflite(model, tmp_path / "m.tflite")
    for path in ("saved", "m.tflite"):
        result = open_runner(tmp_path / path).predict(x)
        assert np.max(np.abs(result - expected)) <= 1e-5 * np.max(np.abs(expected))


def test_a_layer_names_itself():
    model = residual()
    layer = next(x for x in model.layers if isinstance(x, layers.Conv2D))
    grafted = keras_senet.graft(model, after=layer)
    assert [b.name for b in _blocks(grafted)] == [f"{layer.name}_se"]


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_of_a_split_is_skipped(part):
    inputs = keras.Input((8, 8, 4))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1)(inputs))
    parts = keras.ops.split(x, 2, -1)
    model = keras.Model(inputs, layers.Add()([inputs, parts[part]]))
    (place,) = places(model)
    assert place.skipped == "it is not a map that a layer makes"


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("make", "after", "message"),
    [
        (Subclassed, None, "functional or a built sequential.*SqueezeExcite to"),
        (lambda: keras.Sequential([keras.Input((3,)), layers.Dense(2)]), None, "place"),
        (residual, ["drops"], "Did you mean 'drop'"),
        (residual, "conv.*", "match the whole name"),
        (residual, "conv[", r"must be a regular expression\..*re\.escape"),
        (branching, ["pool"], "one output of 3 to 5 axes.*'pool'"),
        (residual, lambda layer: False, "must have a place"),
        (residual, 3, "names of layers or a function. Received: after=3"),
    ],
)
def test_what_cannot_be_grafted_is_said(make, after, message):
    with pytest.raises(ValueError, match=message):
        keras_senet.graft(make(), after)


def test_ungraft_is_the_inverse():
    model = randomised(residual())
    plain = keras_senet.ungraft(keras_senet.graft(model))
    assert plain.get_config() == model.get_config()
    equal(model, plain, values(model))


def test_ungraft_leaves_live_gates():
    network = cases.build("resnet_bottleneck", identity_start=True)
    names = se_names(network)
    live = network.get_layer(names[0])
    live.expand.kernel.assign(live.expand.kernel + 0.1)
    constant = network.get_layer(names[1])
    constant.expand.bias.assign(constant.expand.bias + 1.0)
    plain = keras_senet.ungraft(network)
    assert se_names(plain) == names[:2]
    equal(network, plain, values(network))
    with pytest.raises(ValueError, match="depends on the input"):
        keras_senet.ungraft(network, names[:1])
    with pytest.raises(ValueError, match="is not 1"):
        keras_senet.ungraft(network, names[1:2])
    with pytest.raises(ValueError, match="Did you mean"):
        keras_senet.ungraft(network, [names[0] + "x"])
    only = keras_senet.ungraft(network, names[2:3])
    assert se_names(only) == [n for n in names if n != names[2]]


def twins():
    """Two nested models whose SE layers have one name."""
    x = inputs = keras.Input((6, 6, 8))
    for name in ("left", "right"):
        x = keras_senet.graft(residual(), name=name)(x)
    return randomised(keras.Model(inputs, x))


@pytest.mark.parametrize("layers", [None, "unit_se", ["unit_se"]])
def test_ungraft_finds_layers_of_one_name_in_several_models(layers):
    model = twins()
    for name in ("left", "right"):
        for weight in model.get_layer(name).get_layer("unit_se").expand.weights:
            weight.assign(weight * 0)
    plain = keras_senet.ungraft(model, layers)
    assert [se_names(plain.get_layer(name)) for name in ("left", "right")] == [[], []]
    equal(model, plain, values(model))


def test_ungraft_leaves_a_live_gate_whose_name_another_has():
    model = twins()
    for weight in model.get_layer("right").get_layer("unit_se").expand.weights:
        weight.assign(weight * 0)
    with pytest.raises(ValueError, match="'unit_se', whose gate depends on the input"):
        keras_senet.ungraft(model, "unit_se")
    plain = keras_senet.ungraft(model)
    assert se_names(plain.get_layer("left")) == ["unit_se"]
    assert se_names(plain.get_layer("right")) == []


def test_frozen_se_stays_frozen():
    network = cases.build("resnet_bottleneck", identity_start=True)
    first, *rest = se_names(network)
    network.get_layer(first).trainable = False
    plain = keras_senet.ungraft(network, rest)
    assert not any(v.trainable for v in plain.get_layer(first).weights)


def test_ungraft_of_a_plain_model_is_said():
    with pytest.raises(ValueError, match="0 SE layers"):
        keras_senet.ungraft(residual())


def test_a_family_with_another_width_of_se_is_not_described():
    """RegNetY's SE is as wide as its unit's input says, `graft`'s as its own map."""
    row = {"blocks": (1, 1, 1, 1), "filters": (8, 8, 16, 16), "group_width": 8}
    plain = keras_senet.RegNetY(
        **row,
        se=False,
        placement="standard",
        weights=None,
        input_shape=(32, 32, 3),
        classes=3,
    )
    grafted = keras_senet.graft(plain)
    assert (grafted.card.constructor, grafted.card.architecture) == (None, None)
    assert grafted.card.classes == 3


def test_one_relu_everywhere_gets_an_se_for_each_place(images):
    relu = layers.ReLU()
    inputs = keras.Input((8, 8, 3))
    x = relu(layers.Conv2D(8, 1)(inputs))
    x = relu(layers.Conv2D(16, 1)(x))
    model = keras.Model(inputs, relu(layers.Conv2D(16, 1)(x)))
    grafted = keras_senet.graft(model, reduction=2)
    found = [x for x in grafted.layers if isinstance(x, keras_senet.SqueezeExcite)]
    assert len(found) == 3
    x = images(2, 8, 8, 3)
    np.testing.assert_allclose(grafted(x), model(x), atol=1e-6)


def test_a_lambda_is_copied(images):
    inputs = keras.Input((8, 8, 3))
    x = layers.Lambda(lambda x: 2 * x)(inputs)
    model = keras.Model(inputs, layers.ReLU()(layers.Conv2D(8, 1)(x)))
    x = images(2, 8, 8, 3)
    grafted = keras_senet.graft(model, reduction=2)
    np.testing.assert_allclose(grafted(x), model(x), atol=1e-6)


def test_ungraft_of_a_layer_called_with_inputs_by_name(images):
    inputs = keras.Input((8, 8, 3))
    se = keras_senet.SqueezeExcite(3, identity_start=True)
    model = keras.Model(inputs, layers.Conv2D(2, 1)(se(inputs=inputs)))
    x = images(2, 8, 8, 3)
    np.testing.assert_allclose(keras_senet.ungraft(model)(x), model(x), atol=1e-6)


def _blocks(model):
    return [x for x in model.layers if isinstance(x, keras_senet.SqueezeExcite)]


def test_a_layer_says_where_its_channels_are_and_of_what_type():
    inputs = keras.Input((6, 6, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", name="last")(inputs)
    x = keras.layers.Permute((3, 1, 2))(x)
    first = {"data_format": "channels_first", "name": "first"}
    network = keras.Model(inputs, keras.layers.Conv2D(5, 1, **first)(x))
    for name in ("last", "first"):
        (block,) = _blocks(keras_senet.graft(network, after=name))
        assert block.data_format == f"channels_{name}"

    half = keras.Input((6, 6, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", dtype="mixed_float16")(half)
    network = keras.Model(half, keras.ops.relu(x))
    (block,) = _blocks(keras_senet.graft(network))
    assert block.compute_dtype == "float16"


@pytest.mark.parametrize("size", [48, 64, None])
def test_a_detour_around_a_bias_hides_no_place(size):
    network = keras_senet.SEVGG16(
        weights=None,
        se=False,
        batch_norm=False,
        include_top=False,
        data_format="channels_first",
        input_shape=(3, size, size),
    )
    blocks = _blocks(keras_senet.graft(network))
    assert len(blocks) == 13
    assert {block.data_format for block in blocks} == {"channels_first"}


def test_layers_instead_of_their_names_are_said_to_be_none():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="a")(inputs))
    for wanted in (model.layers, [1, "a"]):
        with pytest.raises(ValueError, match="`after` must name layers"):
            keras_senet.graft(model, wanted)
