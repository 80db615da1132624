"""timm's networks, modern and legacy: the same file, the same logits."""

import json

import keras
import pytest

import keras_senet
from keras_senet.models import network_of
from keras_senet.weights import read_checkpoint

MODERN = [
    "seresnet18",
    "seresnet34",
    "seresnet50",
    "seresnet101",
    "seresnet152",
    "seresnet50t",
    "seresnet152d",
    "seresnext26d_32x4d",
    "seresnext50_32x4d",
    "seresnext101_32x4d",
    "seresnext101_64x4d",
    "seresnext101_32x8d",
    "senet154",
    "resnet50",
    "seresnext26t_32x4d",
    "resnetrs50",
    "seresnetaa50d",
    "seresnextaa101d_32x8d",
    "seresnextaa201d_32x8d",
]
LEGACY = [
    "legacy_seresnet18",
    "legacy_seresnet34",
    "legacy_seresnet50",
    "legacy_seresnet101",
    "legacy_seresnet152",
    "legacy_seresnext26_32x4d",
    "legacy_seresnext50_32x4d",
    "legacy_seresnext101_32x4d",
    "legacy_senet154",
]
CONSTRUCTORS = {
    "resnet50": "se_resnet50",
    "seresnet152d": "se_resnet152",
    "resnetrs50": "resnetrs50",
    "seresnetaa50d": "se_resnet50",
    "seresnextaa101d_32x8d": "se_resnext",
    "seresnextaa201d_32x8d": "se_resnext",
    "seresnext26t_32x4d": "se_resnext",
    "seresnext26d_32x4d": "se_resnext",
    "seresnext101_64x4d": "se_resnext",
    "seresnext101_32x8d": "se_resnext",
    "legacy_seresnext26_32x4d": "se_resnext",
}


def constructor(name):
    plain = name.removeprefix("legacy_").partition("_")[0]
    ours = plain.replace("seres", "se_res").removesuffix("t")
    return CONSTRUCTORS.get(name, ours)


def logits(path, name, images, **kwargs):
    model = keras_senet.create_model(
        constructor(name),
        weights=path,
        input_shape=images.shape[1:],
        classifier_activation=None,
        **({"se": False} if name == "resnet50" else {}),
        **kwargs,
    )
    return keras.ops.convert_to_numpy(model(images))


@pytest.mark.parametrize("name", [*MODERN, *LEGACY])
def test_logits(name, images, tmp_path, report):
    import _references
    import torch
    from safetensors.torch import save_file

    network = _references.timm_network(name, num_classes=1000)
    state = network.state_dict()
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    if name in MODERN:
        path = tmp_path / "model.safetensors"
        save_file(state, path)
    else:
        path = tmp_path / "model.pth"
        torch.save(state, path, _use_new_zipfile_serialization=False)
    del state
    x = images()
    error = _references.relative_error(
        logits(path, name, x), _references.torch_logits(network, x)
    )
    layout = "timm_modern" if name in MODERN else "timm_legacy"
    report(layout, name, error)
    checkpoint = read_checkpoint(path)
    found = network_of(checkpoint.card)
    assert (checkpoint.layout, found) == (layout, constructor(name))
    deep = any(depth in name for depth in ("101", "152", "154", "201"))
    assert error < (2e-5 if deep else 1e-5)


@pytest.mark.parametrize("name", ["seresnet50", "legacy_seresnet34"])
def test_last_map_without_top(name, images, tmp_path):
    import _references
    import torch

    network = _references.timm_network(name, num_classes=10)
    path = tmp_path / "checkpoint.pth.tar"
    # As training scripts write them: wrapped, and from several processes.
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, path)
    x = images()
    ours = logits(path, name, x, include_top=False)
    assert _references.relative_error(ours, _references.torch_features(network, x)) < (
        1e-5
    )


def test_file_without_head(images, tmp_path):
    import _references
    from safetensors.torch import save_file

    network = _references.timm_network("seresnet18", num_classes=0)
    path = tmp_path / "headless.safetensors"
    save_file(network.state_dict(), path)
    x = images()
    ours = logits(path, "seresnet18", x, include_top=False, pooling="avg")
    assert _references.relative_error(ours, _references.torch_logits(network, x)) < 1e-5
    with pytest.raises(ValueError, match="must have a classifier"):
        logits(path, "seresnet18", x)
