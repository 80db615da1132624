"""Measures a trained network's gates and writes docs/excitation.md and its pictures.

    python scripts/make_excitation_page.py se_resnet20.cifar10 --data cifar10 \
        --classes airplane cat frog truck

The options are those of `keras-senet explain`, but for --output.
"""

import json
import shlex
import sys
import tempfile
from pathlib import Path

from PIL import Image

from keras_senet.analysis.report import ALTS, TEXTS
from keras_senet.cli import main
from keras_senet.utils.files import atomic_path
from keras_senet.utils.pages import write_block

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = ("classes", "deviations", "maps", "course")


def block(folder: Path, command: str) -> str:
    """Returns the page's measured part."""
    facts = json.loads((folder / "report.json").read_text("utf-8"))
    right = facts.get("top1")
    parts = [
        f"```\n{command}\n```",
        f"`{facts['model']}` on {facts['data']}: {facts['images']:,} images of "
        f"{len(facts['classes'])} classes"
        + ("." if right is None else f", {100 * right:.2f} % of them right."),
        (folder / "layers.md").read_text("utf-8").strip(),
        facts.get("verdict", ""),
    ]
    for name in PICTURES:
        parts += [f"![{ALTS[name]}](images/excitation-{name}.png)", TEXTS[name]]
    return "\n\n".join(part for part in parts if part)


def shrink(source: Path, target: Path) -> None:
    """Copies a picture in 256 colours: a third of the size, and no visible change."""
    with atomic_path(target, overwrite=True) as path, Image.open(source) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
        few.save(path, optimize=True)


def run(words: list[str]) -> int:
    """Explains the network, then writes the page."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "report"
        code = main(["explain", *words, "--output", str(folder)])
        if not folder.exists():  # an error, or --help
            return code
        command = f"python scripts/make_excitation_page.py {shlex.join(words)}"
        write_block(DOCS / "excitation.md", "excitation", block(folder, command))
        for name in PICTURES:
            target = DOCS / "images" / f"excitation-{name}.png"
            shrink(folder / f"{name}.png", target)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
