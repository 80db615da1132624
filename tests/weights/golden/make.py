"""Makes the golden files of the layouts, in the environment of tests/parity/install.sh:

FOLDER/bin/python tests/weights/golden/make.py

Tiny networks of timm and image-classifiers, saved as those save theirs, with their
logits for the image of `image()`. tests/weights/test_layouts.py reads them.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "parity"))


def image():
    """An image batch that needs no generator: (1, 50, 67, 3)."""
    values = np.sin(np.arange(50 * 67 * 3) * 0.37) * 2
    return values.reshape(1, 50, 67, 3).astype("float32")


def modern(block, **kwargs):
    from timm.layers import SEModule
    from timm.models import resnet

    return resnet.ResNet(
        block=getattr(resnet, block),
        channels=(2, 4, 8, 16),
        num_classes=5,
        block_args={"attn_layer": SEModule},
        **kwargs,
    )


def legacy(block, **kwargs):
    import torch
    from timm.models import senet

    class Tiny(senet.SENet):
        def _make_layer(self, block, planes, *args, **kwargs):
            return super()._make_layer(block, planes // 16, *args, **kwargs)

    network = Tiny(
        block=getattr(senet, block), reduction=4, drop_rate=0, num_classes=5, **kwargs
    )
    features = 32 * network.layer4[0].expansion
    network.last_linear = torch.nn.Linear(features, 5)
    return network


def main():
    import _references

    library = _references.declare_torchvision_operators()
    import torch
    from safetensors.torch import save_file

    networks = {
        "timm_modern_bottleneck.safetensors": modern("Bottleneck", layers=(1, 2, 1, 1)),
        "timm_modern_deep.safetensors": modern(
            "Bottleneck",
            layers=(1, 1, 2, 1),
            cardinality=2,
            base_width=32,
            stem_width=8,
            stem_type="deep",
            avg_down=True,
        ),
        "timm_legacy_basic.safetensors": legacy(
            "SEResNetBlock", layers=(1, 1, 1, 1), groups=1
        ),
        "timm_legacy_bottleneck.pth": legacy(
            "SEResNetBottleneck", layers=(1, 1, 1, 1), groups=1
        ),
    }
    logits = {}
    for name, network in networks.items():
        _references.randomize_torch(network)
        if name.endswith(".pth"):
            state = {f"module.{k}": v for k, v in network.state_dict().items()}
            torch.save(
                {"state_dict": state},
                HERE / name,
                _use_new_zipfile_serialization=False,
            )
        else:
            save_file(network.state_dict(), HERE / name)
        logits[name] = _references.torch_logits(network, image())
    logits["image_classifiers_grouped.h5"] = image_classifiers()
    np.savez(HERE / "logits.npz", **logits)
    del library


def image_classifiers():
    import _references
    import keras
    import legacy_h5
    from classification_models.models import senet

    keras.utils.clear_session()
    params = senet.ModelParams(
        "tiny", (1, 2, 1, 1), senet.SEBottleneck, 2, 4, 2, True, None
    )
    network = _references.image_classifiers_network(
        "tiny", params=params, input_shape=image().shape[1:], classes=5
    )
    legacy_h5.write(network, HERE / "image_classifiers_grouped.h5", order="shuffled")
    return _references.keras_logits(network, image())


if __name__ == "__main__":
    main()
