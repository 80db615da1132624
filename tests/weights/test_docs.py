"""The table in docs/weights.md is what the parity run measured."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_table_is_generated():
    path = ROOT / "tests" / "parity" / "report.py"
    spec = importlib.util.spec_from_file_location("parity_report", path)
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    text = (ROOT / "docs" / "weights.md").read_text()
    assert report.page(text) == text, "run: python tests/parity/report.py"
    assert "not measured" not in text
