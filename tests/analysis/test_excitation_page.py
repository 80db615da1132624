"""docs/excitation.md is written from a report."""

import json
import shutil

import make_excitation_page as module
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script, its page in an empty folder, and a report instead of a network."""
    made, docs = tmp_path / "made", tmp_path / "docs"
    made.mkdir()
    docs.mkdir()
    (docs / "excitation.md").write_text(
        "before\n\n<!-- excitation -->\n<!-- end of the excitation -->\n\nafter\n"
    )
    facts = {"model": "small", "data": "cats, test", "images": 1200}
    facts |= {"classes": {"cat": 1000, "dog": 200}, "top1": 0.875, "verdict": "All."}
    (made / "report.json").write_text(json.dumps(facts))
    (made / "layers.md").write_text("| layer |\n|---|\n| se |\n")
    levels = np.linspace(0, 255, 60, dtype="uint8")
    picture = np.stack([levels, levels // 2, 255 - levels], -1)[None].repeat(9, 0)
    for name in module.PICTURES:
        Image.fromarray(picture).save(made / f"{name}.png")

    def explain(words):
        assert words[:-1] == ["explain", "small", "--split", "train[:9%]", "--output"]
        shutil.copytree(made, words[-1])
        return 0

    monkeypatch.setattr(module, "DOCS", docs)
    monkeypatch.setattr(module, "main", explain)
    monkeypatch.setattr(module, "picture", picture, raising=False)
    return module


def test_page_and_pictures(script):
    assert script.run(["small", "--split", "train[:9%]"]) == 0
    page = (script.DOCS / "excitation.md").read_text()
    assert page.startswith(
        "before\n\n<!-- excitation -->\n\n```\npython scripts/make_e"
    )
    assert page.endswith("<!-- end of the excitation -->\n\nafter\n")
    assert "make_excitation_page.py small --split 'train[:9%]'\n```" in page
    assert "`small` on cats, test: 1,200 images of 2 classes, 87.50 % of" in page
    assert "| se |\n\nAll.\n\n![Lines of" in page
    for name in script.PICTURES:
        assert f"](images/excitation-{name}.png)" in page
        with Image.open(script.DOCS / "images" / f"excitation-{name}.png") as file:
            shown = np.asarray(file.convert("RGB")).astype(int)
        assert np.abs(shown - script.picture).max() <= 12


def test_a_failed_explanation_leaves_the_page(script, monkeypatch):
    before = (script.DOCS / "excitation.md").read_text()
    monkeypatch.setattr(script, "main", lambda words: 1)
    assert script.run(["small"]) == 1
    assert (script.DOCS / "excitation.md").read_text() == before
