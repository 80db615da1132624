"""RegNets of timm and torchvision: the same file, the same logits."""

import keras
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
@pytest.mark.filterwarnings("ignore:.*has no SE")  # RegNetX
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
