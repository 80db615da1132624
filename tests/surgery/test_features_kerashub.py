"""KerasHub's detector and segmenter take our backbones as they take their own.

It needs the extra `detection` and grain, which KerasHub's own tests use.
"""

import warnings

import keras
import numpy as np
import pytest

import keras_senet

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

OPTIONS = {"blocks": (1, 1, 1, 1), "filters": (8, 8, 16, 16), "reduction": 4}


@pytest.fixture(scope="module")
def hub():
    pytest.importorskip("grain")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras_hub")


@pytest.fixture(scope="module")
def case(hub):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from keras_hub.src.tests.test_case import TestCase

    class Case(TestCase):
        def runTest(self):
            """So that a case can be made without the name of a test."""

    case = Case()
    case.setUp()
    yield case
    case.tearDown()


def backbone(size=64, levels=None, **kwargs):
    options = {**OPTIONS, "input_shape": (size, size, 3), "include_top": False}
    return keras_senet.features(keras_senet.SEResNet(**{**options, **kwargs}), levels)


NETWORKS = {
    "se": backbone,
    "host": lambda: backbone(se=False),
    "grafted": lambda: keras_senet.features(
        keras_senet.graft(
            keras_senet.SEResNet(**OPTIONS, input_shape=(64, 64, 3), se=False)
        )
    ),
    "foreign": lambda: keras_senet.features(
        keras.applications.MobileNetV2(
            weights=None, input_shape=(64, 64, 3), alpha=0.35, include_top=False
        )
    ),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_backbone(network, case):
    made = NETWORKS[network]()
    case.run_vision_backbone_test(
        cls=type(made),
        init_kwargs={
            "inputs": made.input,
            "outputs": made.pyramid_outputs,
            "name": made.name,
        },
        input_data=keras.ops.ones((2, 64, 64, 3)),
        expected_output_shape={k: (2, *v.shape[1:]) for k, v in made.output.items()},
        expected_pyramid_output_keys=["P2", "P3", "P4", "P5"],
        expected_pyramid_image_sizes=[(16, 16), (8, 8), (4, 4), (2, 2)],
    )
    case.run_model_saving_test(
        cls=type(made),
        init_kwargs={"inputs": made.input, "outputs": made.pyramid_outputs},
        input_data=keras.ops.ones((2, 64, 64, 3)),
    )


def test_retinanet_backbone(hub, case):
    case.run_vision_backbone_test(
        cls=hub.models.RetinaNetBackbone,
        init_kwargs={
            "image_encoder": backbone(),
            "min_level": 3,
            "max_level": 6,
            "use_p5": False,
            "image_shape": (64, 64, 3),
        },
        input_data=keras.ops.ones((2, 64, 64, 3)),
        expected_output_shape={
            "P3": (2, 8, 8, 256),
            "P4": (2, 4, 4, 256),
            "P5": (2, 2, 2, 256),
            "P6": (2, 1, 1, 256),
        },
        expected_pyramid_output_keys=["P3", "P4", "P5", "P6"],
        expected_pyramid_image_sizes=[(8, 8), (4, 4), (2, 2), (1, 1)],
        # Fails with KerasHub's own encoders too: the model it makes of them is float32.
        run_mixed_precision_check=False,
        # Its `from_config` changes the configuration that the check compares with.
        run_quantization_check=False,
    )


def test_retinanet_learns_and_is_saved(hub, tmp_path):
    pyramid = hub.models.RetinaNetBackbone(
        backbone(128), min_level=3, max_level=5, use_p5=False, image_shape=(128, 128, 3)
    )
    detector = hub.models.RetinaNetObjectDetector(
        pyramid, num_classes=3, bounding_box_format="yxyx", preprocessor=None
    )
    detector.compile(
        "adam",
        box_loss="huber",
        classification_loss=keras.losses.BinaryFocalCrossentropy(reduction="sum"),
    )
    rng = np.random.default_rng(0)
    images = rng.random((2, 128, 128, 3), "float32")
    targets = {
        "boxes": np.array([[[10, 20, 60, 90]]] * 2, "float32"),
        "labels": np.array([[1]] * 2),
    }
    encoder = pyramid.image_encoder
    before = [np.array(v) for v in encoder.trainable_variables]
    history = detector.fit(images, targets, epochs=2, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    moved = [
        np.any(old != np.array(v))
        for old, v in zip(before, encoder.trainable_variables, strict=True)
        if "_se/" in v.path and "expand" in v.path
    ]
    assert len(moved) == 8 and all(moved[2:])  # P2 is not used: stage 2 feeds stage 3
    detector.save(tmp_path / "detector.keras")
    loaded = keras.saving.load_model(tmp_path / "detector.keras")
    expected, found = (m(images) for m in (detector, loaded))
    for name in expected:
        np.testing.assert_allclose(expected[name], found[name], atol=1e-5)
    assert type(loaded.backbone.image_encoder) is type(encoder)


@pytest.mark.parametrize(("stride", "key"), [(16, "P4"), (8, "P3")])
def test_deeplab_learns_and_is_saved(stride, key, hub, tmp_path):
    encoder = hub.models.DeepLabV3Backbone(
        image_encoder=backbone(output_stride=stride),
        projection_filters=8,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key=key,
        upsampling_size=stride // 4,
        dilation_rates=[2],
        image_shape=(64, 64, 3),
    )
    segmenter = hub.models.DeepLabV3ImageSegmenter(
        encoder, num_classes=2, activation="softmax", preprocessor=None
    )
    segmenter.compile("adam", "categorical_crossentropy")
    images = np.random.default_rng(0).random((2, 64, 64, 3), "float32")
    masks = np.eye(2)[(images[..., 0] > 0.5).astype(int)]
    assert np.all(np.isfinite(segmenter.train_on_batch(images, masks)))
    segmenter.save(tmp_path / "segmenter.keras")
    loaded = keras.saving.load_model(tmp_path / "segmenter.keras")
    np.testing.assert_allclose(loaded(images), segmenter(images), atol=1e-5)
