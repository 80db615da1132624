"""Writes docs/families: a page for each family of networks, with a figure of its block.

python scripts/make_family_pages.py
"""

import inspect
import re
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

import make_model_table

from keras_senet import list_weights
from keras_senet.models import CONSTRUCTORS
from keras_senet.utils.files import atomic_path
from keras_senet.weights import find_preset

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "families"
FIGURES = ROOT / "docs" / "images" / "blocks"


class Block(NamedTuple):
    """How a family's block is drawn.

    Attributes:
        steps: What the boxes say, from the input on; "SE" is drawn in colour.
        skip: What joins the block's input to its output: "+" or "".
        after: What follows the joint.
    """

    steps: tuple[str, ...]
    skip: str = ""
    after: tuple[str, ...] = ()


_RESIDUAL = ("1x1 conv", "3x3 conv", "1x1 conv", "SE")
_GROUPED = ("1x1 conv", "3x3 conv, groups", "1x1 conv", "SE")
BLOCKS = {
    "se_resnet": Block(_RESIDUAL, "+", ("ReLU",)),
    "se_resnext": Block(_GROUPED, "+", ("ReLU",)),
    "senet": Block(_GROUPED, "+", ("ReLU",)),
    "resnet_rs": Block(_RESIDUAL, "+", ("ReLU",)),
    "se_resnet_cifar": Block(("3x3 conv", "3x3 conv", "SE"), "+", ("ReLU",)),
    "se_inception_v3": Block(("branches of convolutions", "concatenation", "SE")),
    "se_inception_resnet_v2": Block(
        ("branches of convolutions", "concatenation", "1x1 conv", "SE", "scaling"),
        "+",
        ("ReLU",),
    ),
    "se_bn_inception": Block(("branches of convolutions", "concatenation", "SE")),
    "se_vgg": Block(("3x3 conv", "batch normalization, ReLU", "SE")),
    "se_mobilenet": Block(("3x3 depthwise conv", "1x1 conv", "SE")),
    "se_shufflenet": Block(
        ("1x1 conv, groups", "channel shuffle", "3x3 depthwise conv")
        + ("1x1 conv, groups", "SE"),
        "+",
        ("ReLU",),
    ),
    "regnet": Block(("1x1 conv", "3x3 conv, groups", "SE", "1x1 conv"), "+", ("ReLU",)),
}
_WIDTH, _BOX, _STEP = 300, 34, 54


def draw(block: Block, title: str) -> str:
    """Returns a block as an SVG picture."""
    rows = ["input", *block.steps, *filter(None, [block.skip]), *block.after, "output"]
    height = _STEP * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" font-family="sans-serif" '
        f'font-size="15" text-anchor="middle"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    centre, top = 135, 8
    for number, name in enumerate(rows):
        y = top + number * _STEP
        if number:
            parts.append(_arrow(centre, y - _STEP + _BOX, y))
        parts.append(_box(name, centre, y, name == block.skip))
    if block.skip:
        joint = top + rows.index(block.skip) * _STEP + _BOX / 2
        start, right = top + _BOX / 2, _WIDTH - 18
        parts.append(
            f'<path d="M{centre + 105} {start}H{right}V{joint}H{centre + 22}'
            'm6 -4l-6 4l6 4" fill="none" stroke="#334" stroke-width="1.5"/>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _arrow(x: float, y1: float, y2: float) -> str:
    return (
        f'<path d="M{x} {y1}V{y2 - 2}m-4 -6l4 6l4 -6" fill="none" stroke="#334" '
        'stroke-width="1.5"/>'
    )


def _box(name: str, x: float, y: float, is_joint: bool) -> str:
    half = 18 if is_joint else 105
    fill = {"SE": "#ffd54a", "input": "#eef", "output": "#eef"}.get(name, "#dce6f5")
    text = "SE: pool, 2 layers, scale" if name == "SE" else name
    return (
        f'<rect x="{x - half}" y="{y}" width="{2 * half}" height="{_BOX}" rx="6" '
        f'fill="{fill}" stroke="#334"/>'
        f'<text x="{x}" y="{y + 22}">{escape(text)}</text>'
    )


def families() -> dict[str, list[str]]:
    """Returns family -> its networks' names, in their order."""
    found: dict[str, list[str]] = {}
    for name, constructor in CONSTRUCTORS.items():
        family = constructor.__module__.rpartition(".")[2]
        found.setdefault(family, []).append(name)
    return found


def page(family: str, networks: list[str]) -> str:
    """Returns a family's page."""
    module = sys.modules[CONSTRUCTORS[networks[0]].__module__]
    title, _, text = inspect.getdoc(module).partition("\n\n")
    title = title.rstrip(".")
    block = BLOCKS[family]
    joint = ["sum with the block's input"] if block.skip else []
    alt = ", ".join([*block.steps, *joint, *block.after])
    lines = [
        f"# {title}",
        text.strip(),
        f"![The block: {alt}.](../images/blocks/{family}.svg)",
        "## Networks",
        "Plain network → with SE.",
        make_model_table.table(networks),
        "## Weights",
        _weights(networks),
        "## Arguments",
        f"```text\n{_signature(CONSTRUCTORS[networks[0]])}\n```",
        f"```text\n{inspect.getdoc(CONSTRUCTORS[networks[0]])}\n```",
    ]
    return "\n\n".join(filter(None, lines)) + "\n"


def _signature(build) -> str:
    """Returns a constructor's signature with its types, from the family's stub."""
    stub = Path(sys.modules[build.__module__].__file__).with_suffix(".pyi")
    pattern = rf"^def ({build.__name__}\(.*?\) -> [\w.]+):$"
    found = re.search(pattern, stub.read_text("utf-8"), re.M | re.S)
    return f"keras_senet.{found[1]}"


def _weights(networks: list[str]) -> str:
    rows = []
    for name in networks:
        for full in list_weights(name):
            preset = find_preset(full)
            row = dict(preset.card.architecture or {})
            form = ", ".join(f"{key}={value!r}" for key, value in row.items())
            if preset.source == "keras_senet" or len(row) > 6:
                form = "see its card"
            top1 = f"{preset.accuracy.top1:.2f}" if preset.accuracy else "-"
            size = preset.accuracy.image_size if preset.accuracy else "-"
            rows.append(
                f"| `{full}` | {f'`{form}`' if form else 'default'} | {top1} | {size} "
                f"| {preset.card.licence or '-'} |"
            )
    if not rows:
        return "There are no trained weights with SE for these networks."
    head = [
        "`form` is what differs from the default architecture. Top-1 accuracy is the "
        "publisher's, in per cent, at the image size beside it.",
        "",
        "| weights | form | top-1, % | image size | licence |",
        "|---|---|--:|--:|---|",
    ]
    return "\n".join([*head, *rows])


def pages() -> dict[Path, str]:
    """Returns path -> text of every page and figure."""
    made = {}
    for family, networks in families().items():
        made[FOLDER / f"{family}.md"] = page(family, networks)
        figure = draw(BLOCKS[family], f"The block of {networks[0]}")
        made[FIGURES / f"{family}.svg"] = figure
    return made


if __name__ == "__main__":
    for path, text in pages().items():
        with atomic_path(path, overwrite=True) as file:
            file.write_text(text, encoding="utf-8")
