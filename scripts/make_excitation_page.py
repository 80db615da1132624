"""Measures a trained network's gates and writes docs/excitation.md and its pictures.

    python scripts/make_excitation_page.py runs/cifar10 --data cifar10

The options are those of `keras-senet explain`, but for --output.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from keras_senet.cli import main

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- excitation -->", "<!-- end of the excitation -->"
PICTURES = {
    "classes": "Figure 6 of the paper: the mean gate of evenly spaced channels, for "
    "four classes and for all images.",
    "deviations": "Figure 7: mean and standard deviation within two classes.",
    "maps": "The mean gate of every class and channel; channels sorted by their mean.",
    "course": "The layers' figures along the network, and what is lost without each.",
}


def block(folder: Path, command: str) -> str:
    """Returns the page's measured part."""
    facts = json.loads((folder / "report.json").read_text("utf-8"))
    table = (folder / "layers.md").read_text("utf-8")
    counts = facts["classes"].values()
    right = facts.get("top1")
    parts = [
        f"```\n{command}\n```",
        f"`{facts['model']}` on {facts['data']}: {facts['images']:,} images of "
        f"{len(counts)} classes"
        + ("." if right is None else f", {100 * right:.2f} % of them right."),
        table.strip(),
        facts.get("verdict", ""),
    ]
    for name, caption in PICTURES.items():
        parts.append(f"![{caption}](images/excitation-{name}.png)\n\n{caption}")
    return "\n\n".join(part for part in parts if part)


def run(words: list[str]) -> int:
    """Explains the network, then writes the page."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "report"
        code = main(["explain", *words, "--output", str(folder)])
        if code or not folder.exists():
            return code
        (DOCS / "images").mkdir(exist_ok=True)
        for name in PICTURES:
            target = DOCS / "images" / f"excitation-{name}.png"
            shutil.copyfile(folder / f"{name}.png", target)
        command = " ".join(["python scripts/make_excitation_page.py", *words])
        page = DOCS / "excitation.md"
        before, rest = page.read_text("utf-8").split(BEGIN)
        _, after = rest.split(END)
        text = f"{before}{BEGIN}\n\n{block(folder, command)}\n\n{END}{after}"
        page.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
