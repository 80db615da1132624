"""docs/tflite.md is written from a report of `keras-senet variants`."""

from pathlib import Path

import make_tflite_page as module
import pytest

from keras_senet.export.variants import (
    Variant,
    VariantsReport,
    _draw,
    _with_front,
)

ROOT = Path(__file__).parents[2]


def _variant(name, accuracy):
    return Variant(
        name=name,
        file=f"{name}.tflite",
        size_bytes=1_000_000,
        results={},
        latency={1: 0.001, 2: 0.002},
        accuracy=accuracy,
        agreement=1,
        max_difference=0,
        worst_layer="conv",
        worst_error=0.01,
    )


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script, with a page of its own, and a report instead of a measurement."""
    # In binary 0.92 - 0.9195 is a little more than 0.0005.
    rows = [("float32", 0.92), ("float16", 0.9195), ("int8", 0.9149)]
    report = VariantsReport(
        model="small",
        data="cifar10",
        split="test",
        images=10_000,
        model_accuracy=0.92,
        variants=tuple(_with_front([_variant(*row) for row in rows], 1)),
    )

    def variants(words):
        assert words[:-1] == ["variants", "a.keras", "--data", "cifar10", "--output"]
        folder = Path(words[-1])
        folder.mkdir()
        (folder / "report.json").write_text(report.to_json())
        (folder / "report.md").write_text(report.to_markdown())
        _draw(report, folder / "report.png")
        return 0

    (tmp_path / "tflite.md").write_text((ROOT / "docs" / "tflite.md").read_text())
    monkeypatch.setattr(module, "DOCS", tmp_path)
    monkeypatch.setattr(module, "main", variants)
    return module


def test_a_block_is_written_and_the_other_stays(script):
    before = (script.DOCS / "tflite.md").read_text()
    assert script.run(["a.keras", "--data", "cifar10"]) == 0
    page = (script.DOCS / "tflite.md").read_text()
    assert "make_tflite_page.py a.keras --data cifar10\n```" in page
    assert "small on 10,000 images of cifar10, test; the Keras model has" in page
    assert "| float16 | 0.05 points | 0.05 points | met |" in page
    assert "| int8 | 0.5 points | 0.51 points | missed |" in page
    assert "cores" in page
    assert (script.DOCS / "images" / "tflite-cifar10.png").stat().st_size > 10_000
    other = before[before.index("### SE-ResNet-20 on Fashion") :]
    assert page.endswith(other)
    assert page.startswith(before[: before.index("<!-- cifar10 -->")])


def test_a_failed_measurement_leaves_the_page(script, monkeypatch):
    before = (script.DOCS / "tflite.md").read_text()
    monkeypatch.setattr(script, "main", lambda words: 1)
    assert script.run(["nothing"]) == 1
    assert (script.DOCS / "tflite.md").read_text() == before
