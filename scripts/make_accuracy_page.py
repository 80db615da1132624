"""Draws accuracy against multiply-adds and writes that part of docs/weights.md.

    python scripts/make_accuracy_page.py           # from the table
    python scripts/make_accuracy_page.py --count   # only counts the networks for it

The table is keras_senet/weights/costs.json: what each preset's network costs at the
preset's own image size.
"""

import argparse
import functools
import json
from pathlib import Path

import keras
from matplotlib.figure import Figure

import keras_senet
from keras_senet.models import CONSTRUCTORS
from keras_senet.utils.files import atomic_path
from keras_senet.utils.markdown import markdown_table
from keras_senet.utils.pages import write_block
from keras_senet.utils.pictures import save_figure
from keras_senet.weights import Preset, find_preset
from keras_senet.weights.catalogue import NOT_COMMERCIAL, by_accuracy

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "keras_senet" / "weights" / "costs.json"
PAGE = ROOT / "docs" / "weights.md"
PICTURE = ROOT / "docs" / "images" / "accuracy.png"

# A family's names in presets, and its colour.
FAMILIES = {
    "SE-ResNet": (("se_resnet",), "#0072b2"),
    "SE-ResNeXt, SENet": (("se_resnext", "senet"), "#d55e00"),
    "ResNet-RS": (("resnetrs",), "#009e73"),
    "RegNetY": (("regnety",), "#aa4499"),
}


@functools.cache
def _count(constructor, row, size, classes):
    arguments = json.loads(row)
    if classes is not None:
        arguments["classes"] = classes
    keras.utils.clear_session(free_memory=True)
    # Only shapes are asked for, so that even 1.3 billion weights need no memory.
    with keras.StatelessScope(initialize_variables=False):
        model = CONSTRUCTORS[constructor](
            weights=None,
            include_top=classes is not None,
            input_shape=size,
            **arguments,
        )
        counted = keras_senet.complexity(model)
    return counted.parameters, counted.multiply_adds


def count(preset: Preset) -> tuple[int, int]:
    """Returns a preset's parameters, and its multiply-adds for one of its images."""
    card = preset.card
    size = card.input_shape or (card.preprocessing.image_size,) * 2 + (3,)
    row = json.dumps(card.to_json()["architecture"] or {})
    return _count(
        card.constructor, row, tuple(size), card.classes if card.include_top else None
    )


def costs() -> str:
    """Returns the table of all presets that can be loaded, as JSON text."""
    lines = [
        f" {json.dumps(name)}: {json.dumps(count(find_preset(name)))}"
        for name in keras_senet.list_weights()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def best(presets: list[Preset]) -> list[Preset]:
    """Returns those that no other beats with as few multiply-adds, cheapest first."""
    found: list[Preset] = []
    for preset in sorted(presets, key=lambda p: (p.multiply_adds, -p.accuracy.top1)):
        if not found or preset.accuracy.top1 > found[-1].accuracy.top1:
            found.append(preset)
    return found


def draw(presets: list[Preset], path: Path) -> None:
    """Draws accuracy against multiply-adds; open marks are not for commercial use."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for family, (names, colour) in FAMILIES.items():
        for free in (True, False):
            chosen = [
                p for p in presets if p.name.startswith(names) and _is_free(p) == free
            ]
            axes.scatter(
                [p.multiply_adds / 1e9 for p in chosen],
                [p.accuracy.top1 for p in chosen],
                s=28,
                color=colour if free else "none",
                edgecolors=colour,
                label=family if free else None,
            )
    frontier = best([p for p in presets if _is_free(p)])
    axes.step(
        [p.multiply_adds / 1e9 for p in frontier],
        [p.accuracy.top1 for p in frontier],
        where="post",
        color="#888888",
        linewidth=0.8,
        zorder=0,
    )
    named = 0.0
    for preset in frontier:
        if preset.accuracy.top1 < named + 0.7:
            continue  # the table names those that have no room here
        named = preset.accuracy.top1
        axes.annotate(
            preset.name,
            (preset.multiply_adds / 1e9, preset.accuracy.top1),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    axes.scatter([], [], s=28, color="none", edgecolors="black", label="not commercial")
    axes.set_title("Published checkpoints: accuracy and cost")
    axes.set_xscale("log")
    axes.set_xlim(left=0.03)
    axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.set_xlabel("multiply-adds for one image, billions")
    axes.set_ylabel("ImageNet top-1 accuracy as published, %")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=8)
    with atomic_path(path, overwrite=True) as temporary:
        save_figure(figure, temporary, dpi=110)


def _is_free(preset):
    return preset.card.licence not in NOT_COMMERCIAL


def on_imagenet() -> list[Preset]:
    """Returns the presets that the picture shows, the most accurate first."""
    presets = by_accuracy(map(find_preset, keras_senet.list_weights()))
    return [p for p in presets if p.accuracy and "ImageNet" in p.accuracy.images]


def block() -> str:
    """Returns the generated part of the page."""
    rows = [
        (
            p.name,
            f"{p.accuracy.top1:.2f}",
            p.card.preprocessing.image_size,
            f"{p.parameters / 1e6:.1f}",
            f"{p.multiply_adds / 1e9:.2f}",
            p.card.licence,
        )
        for p in best([p for p in on_imagenet() if _is_free(p)])
    ]
    head = (
        "preset",
        ">top-1, %",
        ">image size",
        ">parameters, M",
        ">multiply-adds, G",
        "licence",
    )
    return "\n".join(
        [
            "![Top-1 accuracy against multiply-adds of all presets. A line joins the "
            f"best ones, which the table lists.](images/{PICTURE.name})",
            "",
            markdown_table(head, rows),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", action="store_true", help="only write the table")
    if parser.parse_args().count:
        with atomic_path(TABLE, overwrite=True) as file:
            file.write_text(costs(), "utf-8")
    else:
        draw(on_imagenet(), PICTURE)
        write_block(PAGE, "choice", block())
