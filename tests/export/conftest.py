"""A network that has what is hard to export: SE, grouped convolution, normalisation."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_senet

CLASSES = 7
NAMES = ["T-shirt", "Hose", "Pullover", "Kleid", "Mantel", "Schuh", "Ärmel"]


def _build(classes=CLASSES, seed=0, batch_size=None, policy="float32"):
    inputs = keras.Input(batch_shape=(batch_size, 16, 16, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, dtype=policy)(x)
    x = layers.BatchNormalization(dtype=policy)(x)
    x = layers.ReLU(dtype=policy)(x)
    y = layers.Conv2D(16, 3, padding="same", groups=4, use_bias=False, dtype=policy)(x)
    y = layers.BatchNormalization(dtype=policy)(y)
    y = keras_senet.SqueezeExcite(reduction=4, dtype=policy)(y)
    x = layers.ReLU(dtype=policy)(layers.Add(dtype=policy)([x, y]))
    x = layers.Conv2D(16, 3, padding="same", dtype=policy)(x)
    x = layers.GlobalAveragePooling2D(dtype=policy)(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    model = keras.Model(inputs, x, name="tiny")
    _randomise(model, seed)
    return model


def _randomise(model, seed):
    """Random statistics too: a normalisation that is lost changes the output.

    The last layer is centred, so that the images are of different classes.
    """
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        value = rng.normal(scale=0.4, size=variable.shape)
        if variable.path.endswith("variance"):
            value = np.abs(value) + 0.5
        variable.assign(value)
    features = keras.Model(model.input, model.layers[-2].output)
    x = features(np.resize(_images(), (10, 16, 16, 3))).numpy().astype("float64")
    kernel = model.layers[-1].kernel
    kernel.assign(1.5 * kernel.numpy() / x.std(0)[:, None])
    model.layers[-1].bias.assign(-x.mean(0) @ kernel.numpy())


def _images():
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 200, (12, 1, 1, 3))
    return rng.uniform(low, 255, (12, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="session")
def make_model():
    """The function that builds the network, with other weights for another seed."""
    return _build


@pytest.fixture(scope="session")
def model():
    return _build()


@pytest.fixture
def sequential():
    """A sequential network that was never called, so Keras knows no `input` of it."""
    stack = [
        keras.Input((16, 16, 3)),
        layers.Rescaling(1 / 127.5, offset=-1),
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(CLASSES, activation="softmax"),
    ]
    return keras.Sequential(stack)


@pytest.fixture(scope="session")
def images():
    """12 raw images 0..255 of different colours and textures."""
    return _images()


@pytest.fixture(scope="session")
def labels(model, images):
    """The model's own classes, two of them changed."""
    labels = model.predict(images, verbose=0).argmax(-1)
    labels[:2] = (labels[:2] + 1) % CLASSES
    return labels


@pytest.fixture(scope="session")
def class_names():
    return list(NAMES)


@pytest.fixture(scope="session")
def served(model, tmp_path_factory):
    """The model as a SavedModel of three classes a request; nobody may change it."""
    path = tmp_path_factory.mktemp("served") / "served"
    return keras_senet.export_saved_model(model, path, labels=NAMES, top=3)
