"""A host's weights with SE at the identity: free SE, and SE that learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_senet


@pytest.fixture
def host(monkeypatch, randomize):
    """keras.applications.MobileNet with random weights in place of the published."""
    real = keras.applications.MobileNet
    made = []

    def mobilenet(*args, weights=None, **kwargs):
        if not made:
            made.append(randomize(real(*args, weights=None, **kwargs)))
        return made[0]

    monkeypatch.setattr(keras.applications, "MobileNet", mobilenet)
    return made


@pytest.mark.filterwarnings(
    "ignore:The checkpoint of the plain network has no SE:UserWarning"
)
def test_se_of_any_form_starts_as_the_host(host, images, relative_error):
    model = keras_senet.SEMobileNet(
        weights="imagenet_host", reduction=8, squeeze="max", gate="hard_sigmoid"
    )
    assert model.get_layer("conv_pw_1_se").reduction == 8
    x = images(1, 224, 224, 3)
    assert relative_error(model(x), host[0](x)) < 1e-6


def test_the_caller_is_told_that_se_is_untrained(host):
    with pytest.warns(UserWarning, match=r"has no SE. Its 52 weights .* untrained"):
        keras_senet.SEMobileNet(weights="imagenet_host")


def test_identity_start_cannot_be_taken_back(host):
    with pytest.raises(ValueError, match="identity_start is True in the file"):
        keras_senet.SEMobileNet(weights="imagenet_host", identity_start=False)


def test_imagenet_names_the_host():
    with pytest.raises(ValueError, match="imagenet_host"):
        keras_senet.SEMobileNet(weights="imagenet")


def test_every_weight_of_se_learns_within_two_steps(images):
    keras.utils.set_random_seed(0)
    model = keras_senet.SEMobileNet(
        alpha=0.25,
        reduction=4,
        identity_start=True,
        input_shape=(64, 64, 3),
        classes=4,
        weights=None,
    )
    x, y = images(8, 64, 64, 3), np.arange(8) % 4
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    weights = [w for w in model.trainable_weights if "_se/" in w.path]
    assert len(weights) == 13 * 4
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        gradients = tape.gradient(loss, weights)
        optimizer.apply(gradients, weights)
    dead = [
        weight.path
        for weight, gradient in zip(weights, gradients, strict=True)
        if not np.abs(gradient).max() > 0
    ]
    assert not dead


def test_bad_arguments_are_found_before_anything_is_fetched(monkeypatch):
    def fetch(*_):
        raise AssertionError("fetched")

    monkeypatch.setattr("keras_senet.weights.open_checkpoint", fetch)
    for kwargs in ({"placement": "x"}, {"pooling": "x"}, {"gate": "x"}):
        with pytest.raises(ValueError, match="x"):
            keras_senet.SEResNet50(weights="imagenet", **kwargs)
    with pytest.raises(ValueError, match="`reduction` must be a positive integer"):
        keras_senet.SEResNet50(weights="imagenet", reduction=0)
