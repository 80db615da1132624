"""RegNets of timm, torchvision and tf_keras: the same file, the same logits."""

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.models import network_of
from keras_senet.weights import read_checkpoint

SIZES = ["002", "004", "006", "008", "016", "032", "040", "064", "080", "120", "160"]
TORCHVISION = {
    "regnet_y_400mf": "regnety_004",
    "regnet_y_800mf": "regnety",  # with other widths than the paper
    "regnet_y_1_6gf": "regnety_016",
    "regnet_x_400mf": "regnety",
}


def logits(path, images):
    """Of the network that the file itself says."""
    name = network_of(read_checkpoint(path).card)
    model = keras_senet.create_model(
        name,
        weights=path,
        input_shape=images.shape[1:],
        classifier_activation=None,
    )
    return name, keras.ops.convert_to_numpy(model(images))


@pytest.mark.parametrize(
    "name", [*(f"regnety_{size}" for size in SIZES), "regnety_008_tv", "regnetx_004"]
)
def test_timm(name, images, tmp_path, report):
    import _references
    from safetensors.torch import save_file

    network = _references.timm_network(name, num_classes=1000)
    path = tmp_path / "model.safetensors"
    save_file(network.state_dict(), path)
    x = images()
    found, ours = logits(path, x)
    error = _references.relative_error(ours, _references.torch_logits(network, x))
    report("regnet", name, error)
    assert found == (name if name in keras_senet.list_models() else "regnety")
    assert error < 1e-5


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name, images, tmp_path, report):
    import _references
    import torch
    from torchvision.models import regnet

    torch.manual_seed(0)
    network = _references.randomize_torch(getattr(regnet, name)())
    path = tmp_path / "model.pth"
    torch.save(network.state_dict(), path)
    x = images()
    found, ours = logits(path, x)
    error = _references.relative_error(ours, _references.torch_logits(network, x))
    report("regnet", name, error)
    assert found == TORCHVISION[name]
    assert error < 1e-5


@pytest.mark.parametrize("size", SIZES[:8])
def test_tf_keras(size, tmp_path, report):
    """Through a file that tf_keras wrote, from raw images: it scales inside."""
    pytest.importorskip("tf_keras")
    import _references
    from tf_keras.src.applications import regnet

    shape = (64, 95, 3)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, *shape)).astype("float32")
    network = getattr(regnet, f"RegNetY{size}")(weights=None, input_shape=shape)
    _references.randomize_keras(network)
    path = tmp_path / f"regnety{size}.h5"
    network.save_weights(path)
    theirs = network(images).numpy()
    own = keras_senet.Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))
    model = keras_senet.create_model(
        f"regnety_{size}",
        weights=path,
        input_shape=shape,
        include_preprocessing=own,
        classifier_activation=None,
    )
    ours = keras.ops.convert_to_numpy(model(images))
    error = _references.relative_error(ours, theirs)
    report("regnet", f"regnety{size}", error)
    assert network_of(read_checkpoint(path).card) == f"regnety_{size}"
    assert error < 1e-5
