import itertools
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conformance import cases
from keras import layers

import keras_senet
from keras_senet.models import se_resnet
from keras_senet.models._blocks import stages
from keras_senet.surgery import fold

# Of the logits, float32: rounding grows with depth.
TOLERANCE, DEEP_TOLERANCE = 1e-5, 2e-5


@pytest.fixture(autouse=True)
def _clear():
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)


@pytest.fixture
def calibrate(randomize, images):
    """Random weights, and statistics near those of random images.

    Statistics far from them make the maps grow with depth and every gate 0 or 1.
    """

    def apply(model, batch=16):
        randomize(model)
        norms = [
            x
            for x in model._flatten_layers()
            if isinstance(x, layers.BatchNormalization)
        ]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        model(inputs_of(model, images, batch), training=True)
        rng = np.random.default_rng(2)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            shape = norm.moving_mean.shape
            variance = np.asarray(norm.moving_variance)
            deviation = np.sqrt(variance + 0.3 * np.mean(variance))
            mean = norm.moving_mean + rng.normal(0, 0.2, shape) * deviation
            norm.moving_mean.assign(mean)
            norm.moving_variance.assign(deviation**2 * rng.uniform(0.5, 1.5, shape))
        return model

    return apply


def inputs_of(model, images, batch=2):
    seeds = itertools.count()
    sequential = isinstance(model, keras.Sequential)
    return keras.tree.map_structure(
        lambda x: images(batch, *(n or 10 for n in x.shape[1:]), seed=next(seeds)),
        model.inputs[0] if sequential else model.input,
    )


def logits(name, **kwargs):
    return cases.build(name, classifier_activation=None, **kwargs)


def done(folded, what):
    return {step.layer: step.into for step in folded.folding.steps if step.done == what}


def kept(folded):
    return {s.layer: s.why for s in folded.folding.steps if s.done == "kept"}


def check(model, folded, images, relative_error, tolerance=TOLERANCE):
    x = inputs_of(model, images)
    old, new = keras.tree.flatten(model(x)), keras.tree.flatten(folded(x))
    for a, b in zip(new, old, strict=True):
        assert relative_error(a, b) < tolerance


def foreign(model):
    """The classes in a model that are not Keras' own."""
    return {
        type(x).__name__
        for x in model._flatten_layers()
        if not type(x).__module__.startswith("keras.")
    }


@pytest.mark.parametrize("name", cases.SOME)
def test_zoo(name, calibrate, images, relative_error):
    model = calibrate(logits(name))
    folded = fold(model)
    check(model, folded, images, relative_error)
    assert not foreign(folded)
    assert folded.count_params() <= model.count_params()
    assert folded.name == model.name
    plain = {"Conv2D", "DepthwiseConv2D", "Dense", "Activation", "Add", "MaxPooling2D"}
    stay = [x.name for x in model.layers if type(x).__name__ in plain]
    stay += [x.name for x in model.layers if "SqueezeExcite" in type(x).__name__]
    assert set(stay) <= {x.name for x in folded.layers}


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.FULL)
def test_full_zoo(name, calibrate, images, relative_error):
    # Half the usual size: logits of a single pixel's features are all rounding.
    family = cases.CONSTRUCTORS[name].family
    size = max(family.image_size // 2, family.min_size)
    model = calibrate(logits(name, input_shape=(size, size, 3)), batch=4)
    folded = fold(model)
    deep = sum("Conv2D" in type(x).__name__ for x in model.layers) > 100
    check(
        model,
        folded,
        images,
        relative_error,
        tolerance=DEEP_TOLERANCE if deep else TOLERANCE,
    )
    assert not foreign(folded)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stay"),
    # The normalisation of a pre-activated sum stays.
    [("MobileNetV2", 0), ("EfficientNetB0", 0), ("ResNet50V2", 17)],
)
def test_applications(name, stay, calibrate, images, relative_error):
    make = getattr(keras.applications, name)
    kwargs = {"weights": None, "include_top": False, "pooling": "avg"}
    model = calibrate(make(input_shape=(96, 96, 3), **kwargs), batch=4)
    folded = fold(model)
    check(model, folded, images, relative_error)
    assert len(kept(folded)) == stay


MERGED = {
    "resnet_bottleneck": {
        "conv2_block1_se": "conv2_block1_3_conv",
        "conv3_block1_se": "conv3_block1_3_conv",
        "conv4_block1_se": "conv4_block1_3_conv",
        "conv5_block1_se": "conv5_block1_3_conv",
    },
    "resnet_basic": {},
    "small_preactivated": {
        "conv1_block1_se": "conv1_block1_3_conv",
        "conv2_block1_se": "conv2_block1_3_conv",
        "conv3_block1_se": "conv3_block1_3_conv",
    },
    "inception_resnet": {"block35_1_se": "block35_1_conv"},
    "shufflenet": {
        "conv3_block1_se": "conv3_block1_3_conv",
        "conv3_block2_se": "conv3_block2_3_conv",
    },
    "mobilenet": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MERGED)
def test_squeeze_is_read_off_the_inner_map(name):
    model = cases.build(name)
    folded = fold(model)
    assert done(folded, "merged") == MERGED[name]
    expanded = done(folded, "expanded")
    blocks = [x.name for x in model.layers if "SqueezeExcite" in type(x).__name__]
    assert sorted([*MERGED[name], *expanded]) == sorted(blocks)
    for block, convolution in MERGED[name].items():
        inner = folded.get_layer(convolution).input.shape[-1]
        assert folded.get_layer(f"{block}_pool").output.shape == (None, 1, 1, inner)
        assert folded.get_layer(f"{block}_fc1").input.shape[-1] == inner


def kernels(model, *, folded):
    if not folded:
        blocks = [x for x in model.layers if "SqueezeExcite" in type(x).__name__]
        found = [kernel for x in blocks for kernel in (x.reduce, x.expand)]
    else:
        found = [x for x in model.layers if x.name.endswith(("_se_fc1", "_se_fc2"))]
    return sum(int(np.prod(x.kernel.shape)) for x in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "ratio"),
    [
        (lambda **k: keras_senet.SEResNet(filters=(16, 32, 64, 128), **k), 0.625),
        (lambda **k: keras_senet.SEResNeXt(cardinality=32, width=4, **k), 0.75),
        # SENet-154 has as many channels in the middle of a block as at its end.
        (lambda **k: keras_senet.SEResNeXt(cardinality=64, width=4, **k), 1.0),
    ],
    ids=["bottleneck", "32x4d", "64x4d"],
)
def test_kernels_shrink(make, ratio):
    model = make(blocks=(1, 1, 1, 1), weights=None, input_shape=(32, 32, 3))
    folded = fold(model)
    assert kernels(folded, folded=True) / kernels(model, folded=False) == ratio


def _two_blocks(b, x):
    x = b.conv_norm_relu(x, 8, 3, 2, name="conv1")
    return stages(
        b,
        x,
        se_resnet.bottleneck,
        blocks=(1, 1),
        filters=(4, 8),
        first_stage=2,
        stride=2,
    )


def bottlenecks(**kwargs):
    """Two blocks, of which the second strides."""
    build = cases._tiny(se_resnet.FAMILY, _two_blocks)
    return build(weights=None, classes=5, classifier_activation=None, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "merged"),
    [
        ({"squeeze": "none"}, 2),
        ({"squeeze": "max"}, 0),
        ({"gate": "softmax", "identity_start": True}, 2),
        ({"se_bias": False}, 2),
        ({"placement": "pre"}, 0),
        ({"placement": "post"}, 0),
        # The second one's projection strides: the mean is that of every other pixel.
        ({"placement": "identity"}, 1),
        ({"placement": "identity", "squeeze": "none"}, 2),
        ({"placement": "3x3", "identity_start": True}, 0),
        ({"include_preprocessing": True}, 2),
        ({"drop_path_rate": 0.2, "dropout_rate": 0.1}, 2),
    ],
    ids=str,
)
def test_forms_of_se(kwargs, merged, calibrate, images, relative_error):
    model = calibrate(bottlenecks(**kwargs))
    folded = fold(model)
    check(model, folded, images, relative_error)
    assert len(done(folded, "merged")) == merged
    assert not kept(folded)
    assert not foreign(folded)
    assert not [x for x in folded.layers if "Dropout" in type(x).__name__]


@pytest.mark.parametrize("squeeze", ["avg", "none"])
def test_channels_first(squeeze, calibrate, images, relative_error):
    model = calibrate(
        bottlenecks(
            data_format="channels_first",
            input_shape=(3, 20, 20),
            identity_start=True,
            squeeze=squeeze,
        )
    )
    folded = fold(model)
    check(model, folded, images, relative_error)
    assert not foreign(folded)
    assert len(done(folded, "merged")) == 2


@pytest.mark.parametrize("name", ["inception_resnet", "shufflenet"])
def test_families_with_channels_first(name, calibrate, images, relative_error):
    size = cases.build(name).input_shape[1]
    shape = (3, size, size)
    model = calibrate(logits(name, data_format="channels_first", input_shape=shape))
    folded = fold(model)
    check(model, folded, images, relative_error)
    assert not foreign(folded)


def test_bias_that_keras_adds_along_the_width_is_not_made(
    calibrate, images, relative_error
):
    inputs = keras.Input((3, 6, 8))
    wide, narrow = (
        layers.BatchNormalization(axis=1, name=f"bn{n}")(
            layers.Conv2D(
                n, 1, use_bias=False, data_format="channels_first", name=f"c{n}"
            )(inputs)
        )
        for n in (8, 4)
    )
    model = calibrate(keras.Model(inputs, [layers.ReLU()(wide), layers.ReLU()(narrow)]))
    folded = fold(model)
    check(model, folded, images, relative_error)
    assert done(folded, "folded") == {"bn4": "c4"}
    assert list(kept(folded)) == ["bn8"]


@pytest.mark.parametrize("shape", [(None, None, 3), (None, 32, 3), (32, None, 3)])
def test_open_sizes(shape, calibrate, images, relative_error):
    model = cases.build("shufflenet", include_top=False, input_shape=shape)
    known = calibrate(cases.build("shufflenet", include_top=False))
    model.set_weights(known.get_weights())
    folded = fold(model)
    x = images(2, 32, 32, 3)
    assert relative_error(folded(x), model(x)) < 2e-6
    assert not foreign(folded)


def sizes():
    """Layer, input shape, whether normalisation before it can be folded in."""
    for padding in ("valid", "same"):
        exact = padding == "valid"
        kw = {"padding": padding, "use_bias": exact}
        yield layers.Conv1D(4, 3, **kw), (9, 6), exact
        yield layers.Conv2D(4, 3, **kw), (6, 7, 6), exact
        yield layers.Conv2D(4, 3, groups=2, **kw), (6, 7, 6), exact
        yield layers.Conv3D(4, 2, **kw), (4, 5, 4, 6), exact
        yield layers.DepthwiseConv1D(3, depth_multiplier=2, **kw), (9, 6), exact
        yield layers.DepthwiseConv2D(3, depth_multiplier=2, **kw), (6, 7, 6), exact
        yield layers.SeparableConv1D(4, 3, depth_multiplier=2, **kw), (9, 6), exact
        yield layers.SeparableConv2D(4, 3, depth_multiplier=2, **kw), (6, 7, 6), exact
        yield layers.Conv1DTranspose(4, 3, **kw), (9, 6), False
        yield layers.Conv2DTranspose(4, 3, **kw), (6, 7, 6), False
        yield layers.Conv3DTranspose(4, 2, **kw), (4, 5, 4, 6), False
    yield layers.Conv1D(4, 3, padding="causal"), (9, 6), False
    yield layers.Conv2D(4, 1, 2, padding="same"), (6, 7, 6), True
    yield layers.Conv2D(4, 3, dilation_rate=2), (8, 7, 6), True
    yield layers.Dense(4), (6,), True
    yield layers.Dense(4, use_bias=False), (5, 5, 6), True


LAYERS = range(len(list(sizes())))


@pytest.mark.parametrize("index", LAYERS)
def test_linear_layers(index, calibrate, images, relative_error):
    layer, shape, exact = list(sizes())[index]
    inputs = keras.Input(shape)
    x = layers.BatchNormalization(name="before")(layers.Activation("tanh")(inputs))
    x = layers.BatchNormalization(name="after")(layer(x))
    x = layers.Rescaling(0.5, 0.25, name="scale")(x)
    model = calibrate(keras.Model(inputs, layers.ReLU()(x)))
    folded = fold(model)
    check(model, folded, images, relative_error, 2e-6)
    into = dict.fromkeys(["before", "after", "scale"], layer.name)
    if not exact:
        del into["before"]
    assert done(folded, "folded") == into
    assert ("before" in kept(folded)) is not exact


def test_scale_without_offset_passes_padding(calibrate, images, relative_error):
    inputs = keras.Input((6, 6, 3))
    norm = layers.Normalization(mean=[0.0] * 3, variance=[4.0, 9.0, 1.0], name="norm")
    x = layers.ZeroPadding2D(1)(norm(layers.Rescaling(1 / 255, name="scale")(inputs)))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    model = calibrate(keras.Model(inputs, x))
    folded = fold(model)
    check(model, folded, images, relative_error, 2e-6)
    assert done(folded, "folded") == {"norm": "conv", "scale": "conv"}


def test_offset_does_not_pass_padding(calibrate, images, relative_error):
    inputs = keras.Input((6, 6, 3))
    scale = layers.Rescaling(2.0, [1.0, 2.0, 3.0], name="scale")
    x = layers.ZeroPadding2D(1)(scale(inputs))
    x = layers.Conv2D(4, 3, name="conv")(x)
    model = calibrate(keras.Model(inputs, x))
    folded = fold(model)
    check(model, folded, images, relative_error, 2e-6)
    assert not done(folded, "folded")


def keeping(kind):
    """A model in which the layer "stays" must stay."""
    x = inputs = keras.Input((6, 6, 4))
    conv = layers.Conv2D(
        4, 3, activation="relu" if kind == "activation" else None, name="conv"
    )
    norm = layers.BatchNormalization(axis=1 if kind == "axis" else -1, name="stays")
    if kind == "type":
        norm = Doubling(name="stays")
    if kind == "doubled":
        norm = DoublingIdentity(name="stays")
    if kind == "always dropped":
        norm = MonteCarloDropout(0.5, name="stays", seed=0)
    if kind == "dropout":
        x = layers.Dropout(0.5, name="stays", seed=0)(x, training=True)
        return keras.Model(inputs, conv(x))
    y = conv(x)
    z = norm(y, training=True) if kind == "training" else norm(y)
    if kind == "output":
        return keras.Model(inputs, z)
    outputs = [layers.ReLU()(z)]
    if kind == "shared":
        outputs.append(layers.ReLU()(conv(layers.Activation("tanh")(x))))
    if kind == "used":
        outputs.append(layers.MaxPooling2D()(y))
    if kind == "seen":
        outputs.append(y)
    return keras.Model(inputs, outputs)


class Doubling(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return 2.0 * super().call(inputs, training=training, mask=mask)


class DoublingIdentity(layers.Identity):
    def call(self, inputs):
        return 2.0 * inputs


class MonteCarloDropout(layers.Dropout):
    def call(self, inputs, training=False):
        return super().call(inputs, training=True)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("shared", "no linear"),
        ("used", "no linear"),
        ("seen", "no linear"),
        ("activation", "no linear"),
        ("axis", "no linear"),
        ("type", "its class is not Keras' own"),
        ("doubled", "its class is not Keras' own"),
        ("always dropped", "its class is not Keras' own"),
        ("output", "output of the model"),
        ("training", "training=True"),
        ("dropout", "training=True"),
    ],
)
def test_what_cannot_be_folded_stays(kind, why, calibrate, images, relative_error):
    model = calibrate(keeping(kind))
    folded = fold(model)
    assert why in kept(folded)["stays"]
    assert "stays" in [x.name for x in folded.layers]
    assert "stays kept: " in str(folded.folding)
    if kind not in ("training", "dropout"):  # those draw, or move their statistics
        check(model, folded, images, relative_error, 2e-6)
    assert folded.output_names == model.output_names


def test_several_inputs_shared_layers_and_nested_models(
    calibrate, images, relative_error
):
    a, b = keras.Input((16, 16, 3), name="a"), keras.Input((16, 16, 3), name="b")
    inner = cases.build("small", include_top=False)
    inner.trainable = False
    se = keras_senet.SqueezeExcite(4, name="shared_se")
    head = layers.Conv2D(8, 1, name="head")
    maps = [se(head(inner(x))) for x in (a, b)]
    x = layers.Dropout(0.5, name="drop")(layers.Concatenate(name="both")(maps))
    x = layers.GlobalAveragePooling2D(name="pool")(keras.ops.maximum(x, 0.1))
    outputs = {"score": layers.Dense(2, name="score")(x), "map": maps[0]}
    model = calibrate(keras.Model({"a": a, "b": b}, outputs, name="twins"))
    folded = fold(model)
    x = inputs_of(model, images)
    old, new = model(x), folded(x)
    assert set(new) == {"score", "map"}
    for key in new:
        assert relative_error(new[key], old[key]) < 2e-6
    assert not foreign(folded)
    steps = {(s.model, s.layer, s.done) for s in folded.folding.steps}
    assert ("twins", "shared_se", "expanded") in steps
    assert ("twins", "drop", "removed") in steps
    assert (inner.name, "conv0_bn", "folded") in steps
    assert len([x for x in folded.layers if x.name == "shared_se_fc1"]) == 1


def test_original_is_untouched(calibrate):
    model = calibrate(bottlenecks())
    config, weights = model.get_config(), model.get_weights()
    folded = fold(model)
    for v in folded.weights:
        v.assign(v + 1)
    assert model.get_config() == config
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not {id(x) for x in model.layers} & {id(x) for x in folded.layers}


def test_names_that_are_taken_are_numbered(calibrate, images, relative_error):
    inputs = keras.Input((6, 6, 8))
    x = layers.Conv2D(8, 1, name="unit_se_pool")(inputs)
    x = keras_senet.SqueezeExcite(4, name="unit_se")(x)
    model = calibrate(keras.Model(inputs, x))
    folded = fold(model)
    check(model, folded, images, relative_error, 2e-6)
    assert folded.get_layer("unit_se_pool_1").output.shape == (None, 1, 1, 8)
    assert folded.output_names == ["unit_se"]


@pytest.mark.parametrize("shape", [(9, 8), (4, 5, 6, 8)])
def test_other_ranks(shape, calibrate, images, relative_error):
    inputs = keras.Input(shape)
    conv = layers.Conv1D if len(shape) == 2 else layers.Conv3D
    x = layers.BatchNormalization(name="bn")(conv(16, 1, name="conv")(inputs))
    x = keras_senet.SqueezeExcite(4, identity_start=True, name="se")(x)
    model = calibrate(keras.Model(inputs, x))
    folded = fold(model)
    check(model, folded, images, relative_error, 2e-6)
    assert done(folded, "merged") == {"se": "conv"}


def test_mixed_precision(calibrate, images, relative_error):
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = calibrate(bottlenecks())
    finally:
        keras.config.set_dtype_policy(policy)
    folded = fold(model)
    assert {w.dtype for w in folded.weights} == {"float32"}
    assert folded.get_layer("conv2_block1_se_fc1").compute_dtype == "bfloat16"
    assert folded.get_layer("conv2_block1_se_pool").compute_dtype == "float32"
    x = images(2, 16, 16, 3)
    assert folded(x).dtype == model(x).dtype
    assert relative_error(folded(x), model(x)) < 0.05


@pytest.mark.slow
def test_loads_without_this_package(tmp_path, calibrate, images):
    model = calibrate(bottlenecks())
    folded = fold(model)
    folded.save(tmp_path / "folded.keras")
    x = images(2, 16, 16, 3)
    np.save(tmp_path / "x.npy", x)
    assert "keras_senet" not in json.dumps(folded.get_config())
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.models.load_model('folded.keras')\n"
        "np.save('y.npy', model(np.load('x.npy')))\n"
        "assert 'keras_senet' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, env=dict(os.environ)
    )
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), folded(x))


class Subclassed(keras.Model):
    def call(self, x):
        return x


class Overriding(keras.Model):
    def __init__(self):
        inputs = keras.Input((4,))
        super().__init__(inputs, layers.Dense(2)(inputs))

    def call(self, x):
        return 2 * x


@pytest.mark.parametrize("make", [Subclassed, Overriding])
def test_subclassed_models_are_returned(make):
    model = make()
    assert fold(model) is model
    assert "functional" in str(model.folding)


def test_sequential_and_idempotent(calibrate, images, relative_error):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    )
    folded = fold(calibrate(model))
    check(model, folded, images, relative_error, 2e-6)
    again = fold(folded, name="again")
    assert (again.name, again.folding.steps) == ("again", ())
    assert str(again.folding) == "nothing"


@pytest.mark.parametrize("calls", [(True, None), (None, True)], ids=str)
def test_a_nested_model_that_is_called_in_training_too_is_not_folded(
    calls, calibrate, images, relative_error
):
    inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization(momentum=1.0)(layers.Conv2D(4, 3)(inputs))
    nested = keras.Model(inputs, layers.ReLU()(x))
    outputs = [nested(inputs, training=t) for t in calls]
    model = calibrate(keras.Model(inputs, outputs))
    check(model, fold(model), images, relative_error)


class Scaling(layers.Layer):
    """A layer whose `get_config` Keras cannot guess."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def call(self, x):
        return x * self.by


def test_layers_that_cannot_be_copied_are_shared(calibrate, images, relative_error):
    inputs = keras.Input((6, 6, 3))
    x = Scaling(np.array(2.0, "float32"))(inputs)
    x = layers.Lambda(lambda x: x + 1.0, output_shape=lambda shape: shape)(x)
    x = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, name="conv")(x))
    model = calibrate(keras.Model(inputs, layers.ReLU()(x)))
    folded = fold(model)
    check(model, folded, images, relative_error, 2e-6)
    assert done(folded, "folded") == {"bn": "conv"}
    assert [x for x in kept(folded) if x.startswith("scaling")]
    assert model.layers[1] in folded.layers


def test_what_is_no_model_is_said():
    with pytest.raises(ValueError, match=r"must be a keras.Model. Received: model=3"):
        fold(3)


def test_one_shuffle_at_two_sizes(images):
    shuffle = keras_senet.layers.ChannelShuffle(4)
    inputs = keras.Input((16, 16, 8))
    x = layers.MaxPooling2D()(shuffle(inputs))
    model = keras.Model(inputs, shuffle(layers.Conv2D(8, 1)(x)))
    x = images(2, 16, 16, 8)
    np.testing.assert_allclose(fold(model)(x), model(x), atol=1e-6)


def test_an_excitation_of_masked_steps_is_kept():
    """SE takes no notice of a mask; Keras' pool does."""
    inputs = keras.Input((6, 4))
    x = layers.Dense(8)(layers.Masking()(inputs))
    with pytest.warns(UserWarning, match="destroy the mask"):
        network = keras.Model(inputs, keras_senet.SqueezeExcite(2, name="se")(x))
        steps = np.random.default_rng(0).uniform(0, 1, (2, 6, 4)).astype("float32")
        steps[:, 3:] = 0
        folded = keras_senet.fold(network)
        np.testing.assert_allclose(folded(steps), network(steps), atol=1e-6)
    kept = [step for step in folded.folding.steps if step.done == "kept"]
    assert [(step.layer, step.why) for step in kept] == [("se", "its input has a mask")]


def test_an_identity_of_two_tensors():
    inputs = keras.Input((4, 4, 3))
    pair = layers.Identity()([layers.Conv2D(2, 1)(inputs), layers.Conv2D(2, 3)(inputs)])
    network = keras.Model(inputs, [layers.ReLU()(x) for x in pair])
    folded = keras_senet.fold(network)
    x = np.ones((1, 4, 4, 3), "float32")
    for ours, theirs in zip(folded(x), network(x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_frozen_excitation_stays_frozen_and_low_ranks_are_added():
    network = keras_senet.SEResNet20(weights=None)
    for layer in network.layers:
        if isinstance(layer, keras_senet.SqueezeExcite):
            layer.expand.enable_lora(2)
            layer.expand.lora_kernel_b.assign(
                0.1 * np.ones(layer.expand.lora_kernel_b.shape)
            )
    x = np.random.default_rng(0).uniform(0, 1, (1, 32, 32, 3)).astype("float32")
    folded = keras_senet.fold(network)
    np.testing.assert_allclose(folded(x), network(x), atol=1e-5)
    network.trainable = False
    assert keras_senet.fold(network).trainable_variables == []


def test_layers_may_be_called_by_keyword():
    inputs = keras.Input((4, 4, 6))
    x = keras_senet.layers.ChannelShuffle(3)(inputs=inputs)
    model = keras.Model(inputs, keras_senet.SqueezeExcite(2)(inputs=x))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 6)).astype("float32")
    np.testing.assert_allclose(keras_senet.fold(model)(x), model(x), atol=1e-6)


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_quantized_layer_is_copied_as_it_is(mode, calibrate, images, relative_error):
    """Of float8 the kernel was given to a scale, which built layers have first."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, use_bias=False)(inputs)
    x = layers.Flatten()(layers.BatchNormalization()(x))
    model = keras.Model(inputs, layers.Dense(5, name="head")(x))
    calibrate(model)
    model.get_layer("head").quantize(mode)
    if mode == "float8":
        model.get_layer("head").inputs_scale.assign(0.02)
    folded = fold(model)
    assert len(folded.layers) == len(model.layers) - 1
    assert folded.get_layer("head").quantization_mode == mode
    x = images(2, 16, 16, 3)
    expected = model.predict(x, verbose=0)
    # A step of its 3 or 7 bits may fall to the other side.
    assert relative_error(folded.predict(x, verbose=0), expected) < 0.02
    assert expected.std() > 0.01
