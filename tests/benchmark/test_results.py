import dataclasses
import json
import re
from pathlib import Path

import pytest

from keras_senet.benchmark.machine import Machine, describe_machine, versions
from keras_senet.benchmark.parts import GOALS, PARTS
from keras_senet.benchmark.results import (
    Measurement,
    PartResult,
    Report,
    load_report,
    open_report,
)
from keras_senet.benchmark.tables import (
    goals_table,
    insert,
    machine_line,
    outcomes,
    part_table,
)

MACHINE = Machine(cores=2, instructions="AVX-512", threads=2)


def result(*rows, skipped=None):
    measurements = [
        Measurement(subject=name, batch=batch, samples=samples)
        for name, batch, samples in rows
    ]
    return PartResult(
        measurements=tuple(measurements),
        skipped=skipped or {},
        versions={"keras": "3"},
        load=0.25,
        seconds=12.0,
    )


@pytest.fixture
def report():
    training = result(
        ("keras.applications.ResNet50", 8, (1.0, 2.0, 1.0)),
        ("plain host", 8, (0.5, 1.0, 0.5)),
        ("SEResNet50", 8, (0.8, 1.6, 0.8)),
        ("SEResNet50, default form", 8, (0.9, 1.8, 0.9)),
        skipped={"a peer": "python -m pip install it"},
    )
    memory = result(("plain host", 16, (2e9,)), ("SEResNet50", 16, (2.1e9,)))
    parts = {"training": training, "memory": memory}
    return Report(machine=MACHINE, toy=False, parts=parts)


def test_goals_compare_what_was_measured(report):
    assert [o.goal for o in outcomes(report)] == list(GOALS)
    found = {
        (o.goal.part, o.goal.peer, o.goal.batch): (o.ratio, o.beside, o.met)
        for o in outcomes(report)
    }
    measured, beside, met = found["training", "keras.applications.ResNet50", 8]
    assert (measured.value, beside.value, met) == (0.8, 0.9, True)
    assert found["training", "plain host", 8][2] is False
    assert found["training", "plain host", 16] == (None, None, None)
    assert found["memory", "plain host", 16][0].value == pytest.approx(1.05)


def test_table_of_goals(report):
    rows = {row[:3]: row[3:] for row in goals_table(report).rows}
    key = "training", "SEResNet50 / keras.applications.ResNet50"
    assert rows[*key, "8"] == ("0.85", "0.800", "0.900", "met")
    assert rows[*key, "16"] == ("0.85", "-", "-", "not measured")
    assert rows["training", "SEResNet50 / plain host", "8"][-1] == "missed"


def test_table_of_a_part(report):
    table = part_table("training", report.parts["training"])
    assert table.rows == (
        ("keras.applications.ResNet50", "8", "1000.0", "1"),
        ("plain host", "8", "500.0", "0.500"),
        ("SEResNet50", "8", "800.0", "0.800"),
        ("SEResNet50, default form", "8", "900.0", "0.900"),
    )
    assert table.notes[0] == "Skipped: a peer. python -m pip install it"
    assert "Load before: 0.2; took 12 s; keras 3." in table.notes[1]
    memory = part_table("memory", report.parts["memory"])
    assert memory.rows[1] == ("SEResNet50", "16", "2,100", "1.050")
    assert "| what | batch | ms | ratio |\n| --- | ---: | ---: | ---: |" in (
        table.to_markdown()
    )


def test_report_survives_a_file(report, tmp_path):
    path = tmp_path / "report.json"
    report.save(path)
    assert load_report(path) == report
    report.with_part("peers", result()).save(path)
    assert load_report(path).parts["peers"].measurements == ()
    assert (
        open_report(path, MACHINE, toy=False).parts["training"]
        == (report.parts["training"])
    )


def test_groups_that_are_not_measured_again_stay(report):
    again = result(("SEResNet50", 8, (0.7, 0.7)), ("SEResNet50", 16, (1.4, 1.4)))
    joined = report.with_part("training", again).parts["training"]
    # Of the group's others, other rounds: no ratio could be taken.
    assert joined.measurements == again.measurements
    names = [f"se_vgg16 {kind}, inference" for kind in ("plain", "with SE")]
    other = [f"se_resnet18 {kind}, inference" for kind in ("plain", "with SE")]
    first = result(*((name, 1, (1.0, 1.0)) for name in (*names, *other)))
    second = result(*((name, 1, (2.0,)) for name in other))
    whole = Report(machine=MACHINE, toy=False, parts={"family": first})
    joined = whole.with_part("family", second).parts["family"]
    assert [joined.find(name, 1).median for name in names] == [1.0, 1.0]
    assert [joined.find(name, 1).median for name in other] == [2.0, 2.0]
    assert (joined.ratio(*names, 1).value, joined.seconds) == (1.0, 24.0)


def test_figures_of_failed_subjects_and_of_other_packages_do_not_stay(report):
    failed = result(skipped={"SEResNet50": "killed"})
    joined = report.with_part("training", failed).parts["training"]
    assert joined.measurements == ()
    assert joined.skipped["SEResNet50"] == "killed"
    newer = dataclasses.replace(result(), versions={"keras": "4"})
    assert report.with_part("training", newer).parts["training"] == newer


@pytest.mark.parametrize("change", [{"threads": 1}, {"cores": 4}, {"toy": True}])
def test_figures_of_different_conditions_are_not_mixed(report, tmp_path, change):
    path = tmp_path / "report.json"
    report.save(path)
    toy = change.pop("toy", False)
    machine = dataclasses.replace(MACHINE, **change)
    with pytest.raises(ValueError, match="same machine, threads and size"):
        open_report(path, machine, toy=toy)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9, "parts": {}}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="a report of keras-senet benchmark"):
        load_report(path)


def test_page_gets_its_tables(report):
    page = (
        "before\n<!-- benchmark: machine -->\nold\n<!-- end of machine -->\n"
        "between\n<!-- benchmark: training -->\n<!-- end of training -->\n"
        "<!-- benchmark: litert -->\nkept\n<!-- end of litert -->\nafter\n"
    )
    text = insert(page, report)
    assert text.startswith("before\n<!-- benchmark: machine -->\n2 cores, AVX-512; ")
    assert "old" not in text
    assert "| plain host | 8 | 500.0 | 0.500 |" in text
    assert "-->\nkept\n<!--" in text
    assert text.endswith("after\n")
    assert insert(text, report) == text


def test_page_needs_marks(report):
    with pytest.raises(ValueError, match="must have marks"):
        insert("a page", report)
    with pytest.raises(ValueError, match="'<!-- end of goals -->' after"):
        insert("<!-- benchmark: goals -->", report)


def test_the_page_has_a_place_for_every_part_but_the_families(report):
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")
    marks = re.findall(r"<!-- benchmark: (\w+) -->", text)
    assert set(marks) == {"machine", "goals", *PARTS} - {"family"}
    assert "| SEResNet50 | 16 | 2,100 | 1.050 |" in insert(text, report)


def test_toys_say_so(report):
    assert "say nothing" not in machine_line(report)
    assert "say nothing" in machine_line(dataclasses.replace(report, toy=True))


def test_machine_is_described_without_its_name():
    machine = describe_machine()
    assert machine.threads == machine.cores >= 1
    assert describe_machine(3).threads == 3
    assert {"tensorflow", "keras", "python"} <= set(versions())
    assert set(dataclasses.asdict(machine)) == {"cores", "instructions", "threads"}
    with pytest.raises(ValueError, match="threads=0"):
        describe_machine(0)


def test_every_goal_names_subjects_of_its_part():
    for goal in GOALS:
        groups = [g for g in PARTS[goal.part].groups if g.batch == goal.batch]
        names = [{subject.name for subject in group.subjects} for group in groups]
        wanted = {goal.subject, goal.peer} | ({goal.beside} - {None})
        assert any(wanted <= group for group in names), goal
        assert PARTS[goal.part].is_goal
    assert json.dumps([dataclasses.asdict(goal) for goal in GOALS])
