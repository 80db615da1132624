"""Makes the golden files of the layouts, in the environment of tests/parity/install.sh:

FOLDER/bin/python tests/weights/golden/make.py [FILE ...]

Tiny networks of timm, torchvision, tf_keras and image-classifiers, saved as those save
theirs, with their logits for the image of `image()`. tests/weights/test_layouts.py
reads them.
"""

import sys
from functools import partial
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


def regnet():
    from timm.models.regnet import RegNet, RegNetCfg

    # Units of 8, 16, 32 (three) and 64 channels.
    cfg = RegNetCfg(depth=6, w0=8, wa=8.0, wm=2.0, group_size=4, se_ratio=0.25)
    return RegNet(cfg, num_classes=5)


def regnet_torchvision():
    from torchvision.models.regnet import BlockParams, RegNet

    params = BlockParams(
        [1, 2, 1, 1], [8, 16, 16, 32], [8] * 4, [1.0] * 4, [2] * 4, 0.25
    )
    return RegNet(params, num_classes=5)


def main(names):
    import _references

    library = _references.declare_torchvision_operators()
    import torch
    from safetensors.torch import save_file

    networks = {
        "timm_modern_bottleneck.safetensors": partial(
            modern, "Bottleneck", layers=(1, 2, 1, 1)
        ),
        "timm_modern_deep.safetensors": partial(
            modern,
            "Bottleneck",
            layers=(1, 1, 2, 1),
            cardinality=2,
            base_width=32,
            stem_width=8,
            stem_type="deep",
            avg_down=True,
        ),
        "timm_legacy_basic.safetensors": partial(
            legacy, "SEResNetBlock", layers=(1, 1, 1, 1), groups=1
        ),
        "timm_legacy_bottleneck.pth": partial(
            legacy, "SEResNetBottleneck", layers=(1, 1, 1, 1), groups=1
        ),
        "regnet_timm.safetensors": regnet,
        "regnet_torchvision.pth": regnet_torchvision,
    }
    keras_files = {
        "image_classifiers_grouped.h5": image_classifiers,
        "regnet_keras.h5": regnet_keras,
    }
    names = names or [*networks, *keras_files]
    logits = dict(np.load(HERE / "logits.npz"))
    for name in names:
        if name in keras_files:
            logits[name] = keras_files[name]()
            continue
        network = _references.randomize_torch(networks[name]())
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


def regnet_keras():
    import _references
    from tf_keras.src.applications.regnet import RegNet

    network = RegNet(
        (1, 2, 1, 1),
        (8, 16, 16, 32),
        8,
        "Y",
        224,
        weights=None,
        input_shape=image().shape[1:],
        classes=5,
    )
    _references.randomize_keras(network)
    network.save_weights(HERE / "regnet_keras.h5")
    return network(255 * image()).numpy()  # it has its own scaling


if __name__ == "__main__":
    main(sys.argv[1:])
