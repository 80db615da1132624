"""Networks that Keras 3 dropped: through files that tf_keras wrote, from raw images."""

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.models import network_of
from keras_senet.weights import read_checkpoint

SCALED = keras_senet.Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))
SIZES = ("002", "004", "006", "008", "016", "032", "040", "064")
# Ours -> module and name there, and what it normalises with, inside.
NETWORKS = {
    **{f"regnety_{size}": ("regnet", f"RegNetY{size}", SCALED) for size in SIZES},
    "resnetrs50": ("resnet_rs", "ResNetRS50", keras_senet.Preprocessing()),
    "resnetrs101": ("resnet_rs", "ResNetRS101", keras_senet.Preprocessing()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits(name, tmp_path, report):
    pytest.importorskip("tf_keras")
    import _references
    from tf_keras.src import applications

    module, theirs, preprocessing = NETWORKS[name]
    shape = (64, 95, 3)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, *shape)).astype("float32")
    options = {} if module == "regnet" else {"classifier_activation": None}
    network = getattr(getattr(applications, module), theirs)(
        weights=None, input_shape=shape, **options
    )
    _references.randomize_keras(network)
    path = tmp_path / "weights.h5"
    network.save_weights(path)
    model = keras_senet.create_model(
        name,
        weights=path,
        input_shape=shape,
        include_preprocessing=preprocessing,
        classifier_activation=None,
    )
    ours = keras.ops.convert_to_numpy(model(images))
    error = _references.relative_error(ours, network(images).numpy())
    checkpoint = read_checkpoint(path)
    report(checkpoint.layout, theirs.lower(), error)
    assert network_of(checkpoint.card) == name
    assert error < (2e-5 if "101" in name else 1e-5)
