"""Puts what the parity run measured into docs/weights.md:

export KERAS_SENET_PARITY_REPORT=tests/parity/errors.json
FOLDER/bin/pytest -m parity tests/parity
python tests/parity/report.py
"""

import json
from pathlib import Path

from keras_senet.utils.files import atomic_path
from keras_senet.weights.catalogue import IMAGENET, PRESETS

HERE = Path(__file__).parent
ERRORS = HERE / "errors.json"
PAGE = HERE.parents[1] / "docs" / "weights.md"
BEGIN, END = "<!-- parity: begin -->\n", "<!-- parity: end -->\n"


def reference(preset) -> str:
    """The other implementation's name of the preset's network."""
    if preset.layout == "image_classifiers":
        name = preset.files[0].name.partition("_imagenet")[0]
        return name if preset.card.include_top else f"{name}_no_top"
    if preset.source == "tf.keras":
        return preset.card.constructor.replace("_", "")
    timm = next((a for a in preset.aliases if a.startswith("timm/")), preset.name)
    return timm.removeprefix("timm/").partition(".")[0]


def table() -> str:
    """The table of all checkpoints as Markdown."""
    errors = json.loads(ERRORS.read_text())
    lines = [
        "| preset | network | layout | top-1 / top-5 | largest error | status |",
        "|---|---|---|---|---|---|",
    ]
    for preset in PRESETS.values():
        error = errors.get(preset.layout, {}).get(reference(preset))
        default = IMAGENET.get(preset.card.constructor) == preset.tag
        name = f"`{preset.name}`" + (' ("imagenet")' if default else "")
        lines.append(
            f"| {name} | {preset.card.constructor} | {preset.layout} | "
            f"{_accuracy(preset.accuracy)} | {_error(preset, error)} | "
            f"{_status(preset, error)} |"
        )
    return "\n".join(lines) + "\n"


def _accuracy(accuracy):
    if accuracy is None:
        return ""
    top5 = "" if accuracy.top5 is None else f" / {accuracy.top5:.2f}"
    return f"{accuracy.top1:.2f}{top5}"


def _error(preset, error):
    return "" if preset.refusal or error is None else f"{error:.1e}"


def _status(preset, error):
    if preset.refusal:
        return "refused: another network"
    if preset.source == "keras_senet":
        return f"[trained here](../saved_models/{preset.name}/README.md)"
    if error is None:
        return "not measured"
    return "equal" if preset.card.include_top else "equal, without top"


def page(text: str) -> str:
    """Returns the page with the table in its place."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    text = page(PAGE.read_text("utf-8"))
    with atomic_path(PAGE, overwrite=True) as file:
        file.write_text(text, "utf-8")
