"""The clock of fine-tuning, as a program."""

import json
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "applications" / "finetune" / "clock.py"


@pytest.mark.slow
def test_smoke(tmp_path, run, capsys):
    docs = tmp_path / "docs.md"
    docs.write_text("<!-- clock --> <!-- end of the clock -->")
    run("--smoke", "--output", tmp_path / "clock.json", "--docs", docs)
    found = json.loads((tmp_path / "clock.json").read_text())
    for name in ("inference", "probe", "step", "fit_step", "guide_classifier"):
        assert found[name] > 0
    assert found["input"]["limit"] in ("input", "compute")
    assert "times one pass of inference" in capsys.readouterr().out
    assert "| fine-tuning with no option |" in docs.read_text()
    run("--smoke", "--parts", "probe", "--output", tmp_path / "clock.json")
    again = json.loads((tmp_path / "clock.json").read_text())
    assert {k for k in found if again[k] != found[k]} >= {"inference", "probe"}
    assert again["step"] == found["step"]


@pytest.mark.parametrize("earlier", [None, {"inference": 1.0}])
def test_the_other_parts_must_be_known(tmp_path, run, earlier):
    output = tmp_path / "clock.json"
    if earlier is not None:
        output.write_text(json.dumps(earlier))
    with pytest.raises(SystemExit, match=r"with the other parts: (probe, )?steps"):
        run("--smoke", "--parts", "input", "--output", output)
