"""No image file ends the process, and each bad one is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("fuzz.py")


FEW = pytest.param(300, 0, marks=pytest.mark.faults("a damaged image"))


@pytest.mark.parametrize(
    ("cases", "seed"),
    [FEW, *(pytest.param(3000, seed, marks=pytest.mark.slow) for seed in (1, 2))],
)
def test_damaged_images_are_survived_and_named(
    served, tmp_path, cases, seed, record_property
):
    record_property("tries", cases)
    last = tmp_path / "last"
    done = subprocess.run(
        [sys.executable, PROGRAM, served, str(cases), str(seed), last],
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{last.read_bytes()!r}\n{done.stderr[-2000:]}"
    report = json.loads(done.stdout.splitlines()[-1])
    assert sum(report["counts"].values()) == cases
    assert {"decoded", "is damaged", "is a", "is not a", "has many pixels"} <= set(
        report["counts"]
    )
    # A header of 60,000 x 60,000 pixels alone would take 10 GB. How much the largest
    # image that is allowed takes depends on how many are decoded at a time.
    assert report["peak_megabytes"] < 5000
