"""Writes the tables of networks in README.md and docs/networks.md, from tests/goldens.

python scripts/make_model_table.py
"""

import json
from collections.abc import Sequence
from pathlib import Path

import keras_senet
from keras_senet.utils.pages import write_block
from keras_senet.weights import find_host

ROOT = Path(__file__).parents[1]

# The rows of README.md; docs/networks.md has all.
SHORT = (
    "se_resnet18",
    "se_resnet50",
    "se_resnext50",
    "senet154",
    "resnetrs50",
    "regnety_016",
    "se_resnet20",
    "se_inception_v3",
    "se_inception_resnet_v2",
    "se_vgg16",
    "se_mobilenet",
    "se_shufflenet",
)

# ImageNet validation errors in per cent, top-1 / top-5, single centre crop: plain ->
# with SE. arXiv 1709.01507v4, table 2 (mobile networks: table 3); SENet-154: section
# 5.4 at 224; small networks: CIFAR-10, table 4 (110 and 164 pre-activated).
PUBLISHED = {
    "se_resnet50": "24.80 / 7.48 → 23.29 / 6.62",
    "se_resnet101": "23.17 / 6.52 → 22.38 / 6.07",
    "se_resnet152": "22.42 / 6.34 → 21.57 / 5.73",
    "se_resnext50": "22.11 / 5.90 → 21.10 / 5.49",
    "se_resnext101": "21.18 / 5.57 → 20.70 / 5.01",
    "senet154": "18.68 / 4.47",
    "se_vgg16": "27.02 / 8.81 → 25.22 / 7.70",
    "se_bn_inception": "25.38 / 7.89 → 24.23 / 7.14",
    "se_inception_resnet_v2": "20.37 / 5.21 → 19.80 / 4.79",
    "se_mobilenet": "28.4 / 9.4 → 25.3 / 7.7",
    "se_shufflenet": "32.6 / 12.5 → 31.0 / 11.1",
    "se_resnet110": "CIFAR-10: 6.37 → 5.21",
    "se_resnet164": "CIFAR-10: 5.46 → 4.39",
    "se_wide_resnet16_8": "CIFAR-10: 4.27 → 3.88",
}


def rows(name: str) -> tuple[str, str]:
    """One network's line of the short table, and of the long one."""
    golden = json.loads((ROOT / "tests" / "goldens" / f"{name}.json").read_text())
    costs = golden["with_se"], golden["plain"]
    parameters, gflops = (
        [value / scale for value in (cost[key] for cost in costs)]
        for key, scale in (("parameters", 1e6), ("multiply_adds", 1e9))
    )
    presets = keras_senet.list_weights(name)
    tags = sorted({f"`{preset.partition('.')[2]}`" for preset in presets})
    if find_host(name):
        tags.append("`imagenet_host`")
    size = " x ".join(map(str, golden["input_shape"]))
    tags = ", ".join(tags) or "-"
    return (
        f"| `{golden['constructor']}` | {parameters[0]:.2f} | {gflops[0]:.3f} "
        f"| {size} | {tags} |",
        f"| `{golden['constructor']}` | {parameters[1]:.2f} → {parameters[0]:.2f} "
        f"| {gflops[1]:.3f} → {gflops[0]:.3f} | {size} "
        f"| {PUBLISHED.get(name, '-')} | {tags} |",
    )


def short_table() -> str:
    """The table of a few networks, with SE."""
    head = [
        "| constructor | parameters, M | multiply-adds, G | input | `weights=` |",
        "|---|--:|--:|---|---|",
    ]
    return "\n".join([*head, *(rows(name)[0] for name in SHORT)])


def table(names: Sequence[str] = ()) -> str:
    """The table of networks, all by default: plain host → with SE."""
    head = [
        "| constructor | parameters, M | multiply-adds, G | input "
        "| published error, % | `weights=` |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(
        [*head, *(rows(name)[1] for name in names or keras_senet.list_models())]
    )


PAGES = {"README.md": short_table, "docs/networks.md": table}

if __name__ == "__main__":
    for name, make in PAGES.items():
        write_block(ROOT / name, "model table", make())
