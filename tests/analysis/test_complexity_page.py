"""docs/complexity.md says what the networks of today cost."""

import json
from pathlib import Path

import make_complexity_page as script
import pytest

ROOT = Path(__file__).parents[2]


def test_page_has_the_rows_of_the_script():
    page = script.PAGE.read_text("utf-8")
    assert script.line(script.Row(network="se_resnet20")) in page
    for row in script.ROWS:
        golden = ROOT / "tests" / "goldens" / f"{row.network}.json"
        # The first table; the times come after it.
        line = next(x for x in page.splitlines() if x.startswith(f"| {row.label} |"))
        counts = json.loads(golden.read_text())
        both = (counts[key]["parameters"] / 1e6 for key in ("plain", "with_se"))
        assert "| {:.2f} → {:.2f} |".format(*both) in line
        if not row.arguments:
            both = (counts[k]["multiply_adds"] / 1e9 for k in ("plain", "with_se"))
            assert "| {:.3f} → {:.3f} |".format(*both) in line
        for published in (row.gflops, row.millions):
            if published:
                assert "| {} → {} |".format(*published) in line


def test_times_come_from_a_report(tmp_path):
    seconds = {
        ("se_resnet50 plain, inference", 1): (0.010, 0.010, 0.020),
        ("se_resnet50 with SE, inference", 1): (0.011, 0.012, 0.022),
    }
    measurements = [
        {"subject": subject, "batch": batch, "samples": samples}
        for (subject, batch), samples in seconds.items()
    ]
    part = {"measurements": measurements, "skipped": {}, "versions": {}}
    part |= {"load": 0.5, "seconds": 1.0}
    report = {"format": 1, "machine": {"cores": 2}, "toy": False}
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**report, "parts": {"family": part}}))
    text = script.times(path)
    assert "| `se_resnet50` | 10.0 → 12.0 | 1.100 (1.100 to 1.150) |  |  |" in text
    assert text.startswith("Measured on: cores 2; load average before: 0.5")
    assert "se_vgg16" not in text
    part["skipped"] = {"se_vgg16 plain, inference": "killed"}
    path.write_text(json.dumps({**report, "parts": {"family": part}}))
    assert "it failed: `se_vgg16`." in script.times(path)
    path.write_text(json.dumps({**report, "toy": True, "parts": {"family": part}}))
    with pytest.raises(SystemExit, match="at full size"):
        script.times(path)
    assert "not measured" in script.times(None)
