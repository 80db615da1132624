"""SE-ResNets: the paper's counts, its variants, and the frame that all share."""

import inspect
import sys

import keras
import numpy as np
import pytest

import keras_senet

PIXELS = {"input_shape": (32, 32, 3)}

# PAPER's table: trainable weights with biased SE, unbiased SE, and without SE.
TRAINABLE = {
    "SEResNet18": (11_778_592, None, 11_689_512),
    "SEResNet34": (21_958_868, None, 21_797_672),
    "SEResNet50": (28_088_024, 28_071_976, 25_557_032),
    "SEResNet101": (49_326_872, 49_292_328, 44_549_160),
    "SEResNet152": (66_821_848, 66_770_984, 60_192_808),
    "SEResNeXt50": (27_559_896, 27_543_848, 25_028_904),
    "SEResNeXt101": (48_955_416, 48_920_872, 44_177_704),
    "SENet154": (115_088_984, 115_038_120, 108_459_944),
}
SLOW = {"SEResNet101", "SEResNet152", "SEResNeXt101", "SENet154"}


def _marked(names):
    return [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in names]


@pytest.mark.parametrize("name", _marked(TRAINABLE))
def test_counts(name, trainable):
    constructor = getattr(keras_senet, name)
    variants = ({}, {"se_bias": False}, {"se": False})
    for kwargs, count in zip(variants, TRAINABLE[name], strict=True):
        if count is not None:
            assert trainable(constructor(weights=None, **PIXELS, **kwargs)) == count


@pytest.mark.parametrize(
    ("depth", "count"),
    [(20, 274_847), (32, 470_861), (44, 666_875), (56, 862_889), (110, 1_744_952)],
)
def test_small_counts(depth, count, trainable):
    constructor = getattr(keras_senet, f"SEResNet{depth}")
    assert trainable(constructor(weights=None)) == count


# Sections 6.1, 6.4 and 6.5; the paper counts the moving statistics and no SE biases.
@pytest.mark.parametrize(
    ("kwargs", "total"),
    [
        ({"reduction": 2}, 45_729_704),
        ({"reduction": 4}, 35_669_928),
        ({"reduction": 8}, 30_640_040),
        ({"reduction": 16}, 28_125_096),
        ({"reduction": 32}, 26_867_624),
        ({"se_stages": (2,)}, 25_634_728),
        ({"se_stages": (3,)}, 25_741_224),
        ({"se_stages": [4]}, 26_396_584),
        ({"placement": "3x3"}, 25_767_336),
        ({"se": False}, 25_610_152),
    ],
    ids=str,
)
def test_totals_of_the_ablations(kwargs, total):
    model = keras_senet.SEResNet50(weights=None, se_bias=False, **PIXELS, **kwargs)
    assert model.count_params() == total


def test_fc_sizes_of_table_1():
    model = keras_senet.SEResNet50(weights=None, **PIXELS)
    for stage, (squeeze, channels) in enumerate(
        [(16, 256), (32, 512), (64, 1024), (128, 2048)], 2
    ):
        layer = model.get_layer(f"conv{stage}_block1_se")
        assert layer.reduce.kernel.shape == (1, 1, channels, squeeze)
        assert layer.expand.kernel.shape == (1, 1, squeeze, channels)


def _tiny(**kwargs):
    return keras_senet.SEResNet(
        **{
            "blocks": (1, 2, 1, 1),
            "filters": (8, 8, 16, 16),
            "reduction": 4,
            "weights": None,
            "classes": 5,
            **PIXELS,
            **kwargs,
        }
    )


def _inputs_of(model, name):
    layer = model.get_layer(name)
    parents = [
        tensor._keras_history.operation.name
        for tensor in layer._inbound_nodes[0].input_tensors
    ]
    return parents


@pytest.mark.parametrize(
    ("placement", "source"),
    [
        ("standard", "conv3_block2_3_bn"),
        ("pre", "conv3_block1_out"),
        ("post", "conv3_block2_out"),
        ("identity", "conv3_block1_out"),
        ("3x3", "conv3_block2_2_relu"),
    ],
)
def test_placement_in_bottlenecks(placement, source):
    model = _tiny(placement=placement)
    assert _inputs_of(model, "conv3_block2_se") == [source]
    adds = _inputs_of(model, "conv3_block2_add")
    expected = {
        "standard": ["conv3_block1_out", "conv3_block2_se"],
        "identity": ["conv3_block2_se", "conv3_block2_3_bn"],
        "post": ["conv3_block1_se", "conv3_block2_3_bn"],
    }
    assert adds == expected.get(placement, ["conv3_block1_out", "conv3_block2_3_bn"])


def test_placement_on_a_projected_identity():
    model = _tiny(placement="identity")
    assert _inputs_of(model, "conv3_block1_se") == ["conv3_block1_0_bn"]


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "3x3"])
def test_se_changes_the_output_in_every_placement(
    block, placement, randomize, images, relative_error
):
    x = images(2, 32, 32, 3)
    with_se = randomize(_tiny(block=block, placement=placement))
    plain = _tiny(block=block, se=False)
    values = {v.path: v for v in with_se.variables}
    for variable in plain.variables:
        variable.assign(values[variable.path])
    assert relative_error(with_se(x), plain(x)) > 1e-3


def test_gate_and_squeeze_reach_the_layer():
    model = _tiny(gate="tanh", squeeze="max", se_bias=False, divisor=8)
    layer = model.get_layer("conv2_block1_se")
    assert layer.gate is keras.activations.tanh
    assert (layer.squeeze, layer.use_bias, layer.divisor) == ("max", False, 8)


def test_identity_start_is_the_plain_host(randomize, images):
    model = randomize(_tiny(identity_start=True))
    plain = _tiny(se=False)
    values = {v.path: v for v in model.variables}
    for variable in plain.variables:
        variable.assign(values[variable.path])
    for layer in model.layers:
        if isinstance(layer, keras_senet.SqueezeExcite):
            for weight in layer.expand.weights:
                weight.assign(keras.ops.zeros_like(weight))
    x = images(2, 32, 32, 3)
    np.testing.assert_array_equal(model(x), plain(x))


@pytest.mark.parametrize("size", [32, 33, 63, 64])
def test_ceil_pool_is_caffes(size, images):
    model = _tiny(stem_pool="ceil", input_shape=(None, None, 3), include_top=False)
    layers = ("conv1_relu", "pool1_pool")
    part = keras.Model(model.input, [model.get_layer(n).output for n in layers])
    before, after = map(keras.ops.convert_to_numpy, part(images(1, size, size, 3)))
    n = before.shape[1]
    out = -(-(n - 3) // 2) + 1
    expected = np.stack(
        [
            np.stack(
                [
                    before[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1))
                    for j in range(out)
                ]
            )
            for i in range(out)
        ]
    )
    np.testing.assert_array_equal(after[0], expected)


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize(
    "form",
    [
        {"stride_on": "1x1"},
        {"stride_on": "3x3", "shortcut": "3x3"},
        {"block": "basic"},
    ],
    ids=str,
)
def test_output_stride_samples_the_strided_network(
    output_stride, form, randomize, images, relative_error
):
    """A dilated host has the strided one's values at every second or fourth pixel."""
    kwargs = {
        "se": False,  # SE's mean is over all pixels
        "include_top": False,
        "input_shape": (64, 64, 3),
        **form,
    }
    dense = randomize(_tiny(output_stride=output_stride, **kwargs))
    coarse = _tiny(**kwargs)
    # By name: other paddings put the layers into another order.
    values = {v.path: v for v in dense.weights}
    for variable in coarse.weights:
        variable.assign(values.pop(variable.path))
    assert not values
    size = 64 // output_stride
    assert dense.output_shape[1:3] == (size, size)
    x = images(1, 64, 64, 3)
    step = 32 // output_stride
    sampled = keras.ops.convert_to_numpy(dense(x))[:, ::step, ::step]
    assert relative_error(sampled, coarse(x)) < 1e-5


def test_drop_path_and_dropout():
    model = _tiny(drop_path_rate=0.4, dropout_rate=0.3)
    rates = [
        layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)
    ]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.3])
    assert model.get_layer("conv5_block1_drop").noise_shape == (None, 1, 1, 1)


@pytest.mark.slow
def test_senet154_is_what_the_appendix_says():
    model = keras_senet.SENet154(weights=None, **PIXELS)
    kernels = {layer.name: layer for layer in model.layers}
    stem = [kernels[f"conv1_{i}_conv"] for i in (1, 2, 3)]
    assert [c.filters for c in stem] == [64, 64, 128]
    assert kernels["conv2_block1_1_conv"].filters == 128
    assert kernels["conv2_block1_2_conv"].filters == 256
    assert kernels["conv2_block1_2_conv"].groups == 64
    assert kernels["conv2_block1_0_conv"].kernel_size == (1, 1)
    assert kernels["conv3_block1_0_conv"].kernel_size == (3, 3)
    assert kernels["conv3_block1_0_conv"].strides == (2, 2)
    assert kernels["dropout"].rate == 0.2


def test_preactivated_units_end_in_a_convolution():
    model = keras_senet.SEResNet164(weights=None)
    assert _inputs_of(model, "conv1_block2_se") == ["conv1_block2_3_conv"]
    assert _inputs_of(model, "avg_pool") == ["post_relu"]
    wide = keras_senet.SEWideResNet16_8(weights=None)
    assert wide.get_layer("conv3_block2_2_conv").filters == 512


def test_signature_is_keras_applications_then_ours():
    theirs = list(inspect.signature(keras.applications.ResNet50).parameters)
    ours = inspect.signature(keras_senet.SEResNet50).parameters
    assert list(ours)[: len(theirs)] == theirs
    assert ours["name"].default == "se_resnet50"
    rest = list(ours.values())[len(theirs) :]
    assert all(p.kind is p.KEYWORD_ONLY for p in rest)
    assert keras_senet.SEResNet50.__doc__.startswith("Builds SEResNet50.")


def test_architecture_is_a_record_of_json_values():
    row = _tiny(gate=keras.activations.tanh, se_stages=(3,)).architecture.to_json()
    assert row["gate"] == "tanh"
    assert row["se_stages"] == [3]
    assert row["stem_filters"] == [64]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"input_shape": (31, 32, 3)}, ValueError, "at least 32 pixels"),
        ({"input_shape": (3, 224, 224)}, ValueError, "data_format='channels_last'"),
        ({"input_shape": (32, 32)}, ValueError, r"\(height, width, channels\)"),
        ({"input_shape": (32, 32, None)}, ValueError, "known number of channels"),
        ({"pooling": "mean"}, ValueError, "`pooling` must be"),
        ({"classes": 0}, ValueError, "`classes` must be a positive integer"),
        ({"classes": "10"}, ValueError, "`classes` must be a positive integer"),
        ({"dropout_rate": 1}, ValueError, "`dropout_rate` must be"),
        ({"reduction": 0.25}, ValueError, "`reduction` must be a positive integer"),
        ({"reducton": 4}, TypeError, "Did you mean 'reduction'"),
        ({"placement": "before"}, ValueError, "`placement` must be 'standard', 'pre'"),
        ({"se_stages": (1,)}, ValueError, r"stages from \(2, 3, 4, 5\)"),
        ({"se_stages": ()}, ValueError, "`se_stages` must be"),
        ({"se": "yes"}, ValueError, "`se` must be True or False"),
        ({"stem": "3x3"}, ValueError, "`stem` must be '7x7' or 'deep'"),
        ({"stem_filters": (8, 8)}, ValueError, "`stem_filters` must have"),
        ({"blocks": (1, 1)}, ValueError, "`blocks` must be four"),
        ({"block": "basic", "stride_on": "1x1"}, ValueError, "basic blocks"),
        ({"width": 0}, ValueError, "`width` must be a positive integer"),
        ({"width": 4}, ValueError, "`width` must give each bottleneck"),
        ({"output_stride": 4}, ValueError, "`output_stride` must be 8, 16, 32 or"),
        ({"data_format": "NCHW"}, ValueError, "`data_format` must be"),
        ({"include_preprocessing": "tf"}, ValueError, "`include_preprocessing` must"),
    ],
    ids=str,
)
def test_bad_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        _tiny(**kwargs)


@pytest.mark.parametrize("cardinality", [0, 2.0])
def test_bad_cardinality(cardinality):
    with pytest.raises(ValueError, match="`cardinality` must be a positive integer"):
        keras_senet.SEResNeXt(weights=None, cardinality=cardinality, **PIXELS)


def test_arguments_without_a_place_say_why():
    with pytest.raises(
        ValueError, match="SEResNet20 does not take `stem`: the stem of"
    ):
        keras_senet.SEResNet20(weights=None, stem="7x7")
    with pytest.raises(TypeError, match=r"`blocks` must be \(3, 4, 6, 3\)"):
        keras_senet.SEResNet50(weights=None, blocks=(1, 1, 1, 1))


class TestFrame:
    """What the frame of all constructors does as keras.applications does."""

    def test_without_a_top_any_size_will_do(self, randomize, images):
        model = randomize(_tiny(include_top=False, input_shape=None))
        assert model.output_shape == (None, None, None, 64)
        assert model(images(1, 64, 96, 3)).shape == (1, 2, 3, 64)

    @pytest.mark.parametrize("pooling", ["avg", "max"])
    def test_pooling(self, pooling, images):
        model = _tiny(include_top=False, pooling=pooling)
        maps = _tiny(include_top=False)
        maps.set_weights(model.get_weights())
        x = images(2, 32, 32, 3)
        reduce = {"avg": np.mean, "max": np.max}[pooling]
        expected = reduce(keras.ops.convert_to_numpy(maps(x)), axis=(1, 2))
        np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("channels", [1, 4, 12])
    def test_channels(self, channels):
        model = _tiny(input_shape=(32, 32, channels))
        assert model.input_shape == (None, 32, 32, channels)

    def test_input_tensor(self, images):
        inputs = keras.Input((40, 40, 3))
        x = keras.layers.Resizing(32, 32)(inputs)
        model = _tiny(input_tensor=x)
        assert model.input_shape == (None, 40, 40, 3)
        assert model(images(1, 40, 40, 3)).shape == (1, 5)

    def test_logits(self, images):
        model = _tiny()
        logits = _tiny(classifier_activation=None)
        logits.set_weights(model.get_weights())
        x = images(2, 32, 32, 3)
        expected = keras.ops.softmax(logits(x))
        np.testing.assert_allclose(model(x), expected, rtol=1e-5)

    def test_name_and_constructor(self):
        model = keras_senet.create_model("se_resnet20", weights=None, name="mine")
        assert (model.name, model.constructor) == ("mine", "se_resnet20")

    def test_preprocessing_in_the_graph(self, images):
        record = keras_senet.Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
        raw = _tiny(include_preprocessing=record)
        normalised = _tiny()
        normalised.set_weights(raw.get_weights())
        x = np.abs(images(2, 32, 32, 3)) * 100
        expected = normalised((x / 255 - record.mean) / record.std)
        np.testing.assert_allclose(raw(x), expected, rtol=1e-4, atol=1e-6)
        assert raw.preprocessing == record


def test_list_models():
    assert "se_resnet50" in keras_senet.list_models()
    assert keras_senet.list_models("SEVGG*") == ["se_vgg16"]
    assert keras_senet.list_models("se_resnext*") == [
        "se_resnext50",
        "se_resnext101",
        "se_resnext",
    ]


def test_unknown_model():
    with pytest.raises(ValueError, match="Did you mean 'se_resnet50'"):
        keras_senet.create_model("se_resnet500")


def test_a_preset_takes_no_other_weights():
    message = r"Received: name='se_resnet20.cifar10', weights=None\. .*'se_resnet20', w"
    with pytest.raises(ValueError, match=message):
        keras_senet.create_model("se_resnet20.cifar10", weights=None)


@pytest.mark.parametrize("name", sorted(keras_senet.models.CONSTRUCTORS))
def test_every_family_module_preprocesses(name):
    """As in keras.applications: the module of a network has both functions."""
    constructor = keras_senet.models.CONSTRUCTORS[name]
    module = sys.modules[constructor.__module__]
    x = np.random.default_rng(0).uniform(0, 255, (4, 4, 3)).astype("float32")
    record = constructor.family.preprocessing
    expected = keras_senet.preprocess_input(x, preset=record)
    np.testing.assert_array_equal(module.preprocess_input(x), expected)
    scores = np.eye(1000, dtype="float32")[[7]]
    assert module.decode_predictions(scores, top=1)[0][0][1] == "cock"
