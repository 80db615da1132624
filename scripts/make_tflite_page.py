"""Compares a trained network's .tflite files and writes a block of docs/tflite.md.

    python scripts/make_tflite_page.py se_resnet20.cifar10 --data cifar10

The options are those of `keras-senet variants`, but for --output; without --split and
--limit, accuracy is that on all official test images. The block and its picture are
named by the data.
"""

import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from keras_senet.benchmark import describe_machine, load
from keras_senet.cli import main
from keras_senet.utils.files import atomic_path
from keras_senet.utils.markdown import markdown_table
from keras_senet.utils.pages import write_block

DOCS = Path(__file__).parents[1] / "docs"
# Points of top-1 accuracy that a file may lose.
GOALS = {"float16": 0.05, "int8": 0.5}
PICTURE = (
    "Left: accuracy against latency of the files. Right: their sizes. The values are "
    "in the table."
)


def goals(report: dict) -> str:
    """Returns what the files lose against the Keras model, and whether they may."""
    rows = []
    for variant in report["variants"]:
        if (limit := GOALS.get(variant["name"])) is None:
            continue
        # Counts of images make shares; their difference in binary is not exact.
        lost = round(100 * (report["model_accuracy"] - variant["accuracy"]), 6)
        verdict = "met" if lost <= limit else "missed"
        rows.append(
            (variant["name"], f"{limit:g} points", f"{lost:.2f} points", verdict)
        )
    return markdown_table(("file", "may lose", "loses", ""), rows)


def block(folder: Path, command: str, machine: str) -> str:
    """Returns the measured part of the page, of a report's folder."""
    report = json.loads((folder / "report.json").read_text("utf-8"))
    picture = f"![{PICTURE}](images/tflite-{report['data']}.png)"
    table = (folder / "report.md").read_text("utf-8").strip()
    return "\n\n".join([f"```\n{command}\n```", table, machine, goals(report), picture])


def run(words: list[str]) -> int:
    """Compares the files, then writes the page."""
    facts = describe_machine()
    machine = (
        f"Latency on {facts['cores']} cores, {facts['instructions']}; load "
        f"average before: {load():.1f}."
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "files"
        code = main(["variants", *words, "--output", str(folder)])
        if code or not folder.exists():
            return code
        command = f"python scripts/make_tflite_page.py {shlex.join(words)}"
        data = json.loads((folder / "report.json").read_text("utf-8"))["data"]
        write_block(DOCS / "tflite.md", data, block(folder, command, machine))
        picture = DOCS / "images" / f"tflite-{data}.png"
        with atomic_path(picture, overwrite=True) as path:
            shutil.copy(folder / "report.png", path)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
