"""The benchmark of the project's goals: rows, figures, tables."""

import dataclasses
import importlib
import os
import re
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_senet

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "applications" / "benchmark" / "main.py"
MACHINE = {"cores": 2, "instructions": "AVX-512", "threads": 2}

pytestmark = pytest.mark.usefixtures("modules")


@pytest.fixture
def app(modules):
    """The program's modules by name."""
    return importlib.import_module


def result(app, figures, skipped=None, **others):
    values = {"load": 0.25, "seconds": 12.0, "versions": {"keras": "3"}, **others}
    return app("report").Result(figures=figures, skipped=skipped or {}, **values)


@pytest.fixture
def report(app):
    training = {
        ("keras.applications.ResNet50", 8): (1.0, 2.0, 1.0),
        ("plain host", 8): (0.5, 1.0, 0.5),
        ("SEResNet50", 8): (0.8, 1.6, 0.8),
        ("SEResNet50, default form", 8): (0.9, 1.8, 0.9),
    }
    memory = {("plain host", 16): (2e9,), ("SEResNet50", 16): (2.1e9,)}
    parts = {
        "training": result(app, training, {"a peer": "python -m pip install it"}),
        "memory": result(app, memory),
    }
    return app("report").Report(machine=MACHINE, toy=False, parts=parts)


def test_every_row_names_a_network_and_a_form(app):
    networks, forms = app("networks"), app("forms").FORMS
    for part in app("parts").PARTS.values():
        for group in part.groups:
            names = [subject.name for subject in group.subjects]
            assert len(set(names)) == len(names)
            assert {subject.network for subject in group.subjects} <= set(
                networks.NETWORKS
            )
            assert {subject.form for subject in group.subjects} <= set(forms)
    assert set(networks.FAMILIES) <= set(keras_senet.list_models())


def test_every_goal_names_subjects_that_take_turns(app):
    parts = app("parts")
    for goal in parts.GOALS:
        groups = [g for g in parts.PARTS[goal.part].groups if g.batch == goal.batch]
        names = [{subject.name for subject in group.subjects} for group in groups]
        wanted = {goal.subject, *goal.peers} | ({goal.beside} - {None})
        assert any(wanted <= group for group in names), goal
        assert parts.PARTS[goal.part].is_goal
        # Torch has two memory formats: both are peers.
        assert all(name.startswith("timm") for name in goal.peers) == (
            len(goal.peers) == 2
        )


def test_like_for_like(app, monkeypatch):
    """What a row builds in full size, without building it."""
    networks, built = app("networks"), []

    def record(name, **arguments):
        built.append((name, arguments))
        return keras.Sequential([keras.Input((4,))])

    monkeypatch.setattr(networks, "create_model", record)
    for name in ("se_resnet50", "plain_resnet50", "se_resnet50_unfused"):
        networks.NETWORKS[name].build(False)
    for name in ("se_resnet50_default", "se_resnext50", "senet154"):
        networks.NETWORKS[name].build(False)
    common = {"weights": None, "stride_on": "1x1"}
    assert built == [
        ("se_resnet50", common),
        ("se_resnet50", {**common, "se": False}),
        ("se_resnet50", {**common, "fused": False}),
        ("se_resnet50", {"weights": None}),
        ("se_resnext50", {"weights": None}),
        ("senet154", {"weights": None}),
    ]
    images = networks.NETWORKS["senet154"].images(8, smoke=False)
    assert images.shape == (8, 224, 224, 3)


def test_weights_are_random_and_the_same_each_time(app):
    first, second = (
        app("networks").NETWORKS["se_resnet50"].build(True) for _ in range(2)
    )
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.ptp(a) > 0
        assert np.isfinite(a).all()


def test_a_smoke_run_writes_figures_and_a_page(app, run, tmp_path, capsys):
    page, file = tmp_path / "page.md", tmp_path / "report.json"
    page.write_text("<!-- kernels -->\n<!-- end of the kernels -->\n")
    words = ("--smoke", "--output", file, "--markdown", page)
    with pytest.raises(SystemExit) as end:
        run("kernels", *words)
    assert end.value.code == 0
    # Folding leaves 5/8 of the kernels where a bottleneck narrows to a quarter, 3/4
    # where it narrows to half: exactly.
    text = page.read_text()
    assert "| SEResNet50, folded | 1 | 12,800 | 0.625 |" in text
    # (2 / r) C^2 over four blocks of 64, 64, 128 and 128 channels, r = 4.
    assert "| SEResNet50 | 1 | 20,480 | 1 |" in text
    assert re.search(r"SEResNeXt50 32x4d, folded \| 1 \| [\d,]+ \| 0.750 \|", text)
    only = ("--rounds", 3, "--only", "SEResNet50, folded in memory", "--output", file)
    with pytest.raises(SystemExit):
        run("inference", "--smoke", *only)
    report = app("report").load_report(file)
    assert set(report.parts) == {"kernels", "inference"}
    figures = report.parts["inference"].figures
    assert set(figures) == {("SEResNet50, folded in memory", n) for n in (1, 8)}
    assert all(len(samples) == 3 and min(samples) > 0 for samples in figures.values())
    assert "TOY SIZE" in capsys.readouterr().out
    page.write_text("<!-- kernels -->\n<!-- end of the kernels -->\n")
    with pytest.raises(SystemExit):
        run("--render", "--output", file, "--markdown", page)
    assert page.read_text() == text


@pytest.mark.slow
def test_a_part_is_measured_in_a_process_with_fixed_threads(app):
    measuring, groups = app("measuring"), app("parts").PARTS["kernels"].groups[:1]
    options = measuring.Options(threads=1, smoke=True)
    figures, skipped = measuring._apart(options, measuring.kernels, groups, options, 1)
    assert figures == {("SEResNet50", 1): (20480,), ("SEResNet50, folded", 1): (12800,)}
    assert skipped == {}
    assert measuring._apart(options, os.getenv, "TF_NUM_INTRAOP_THREADS") == "1"
    assert os.getenv("TF_NUM_INTRAOP_THREADS") is None


def _fake(app, monkeypatch, answers, **part):
    """Measures forms that return given answers, of one network."""
    forms, parts, networks = app("forms"), app("parts"), app("networks")

    def opened(answer):
        if isinstance(answer, Exception):
            raise answer
        return lambda images: lambda: answer

    for name, answer in answers.items():
        form = forms.Form(lambda network, threads, a=answer: opened(a))
        monkeypatch.setitem(forms.FORMS, name, form)
    monkeypatch.setitem(
        networks.NETWORKS, "fake", networks.Network(build=lambda smoke: None)
    )
    subjects = tuple(parts.Subject(name, "fake", name) for name in answers)
    fake = parts.Part("fake", (parts.Group(subjects, 1),), rounds=2, **part)
    monkeypatch.setitem(parts.PARTS, "fake", fake)
    options = app("measuring").Options(threads=1, smoke=True, rounds=1)
    return app("measuring").measure("fake", options)


@pytest.mark.parametrize("wrong", [1.01, np.nan])
def test_forms_that_differ_are_an_error(app, monkeypatch, wrong):
    right = np.array([1.0, 0.5])
    with pytest.raises(RuntimeError, match="'b' and 'a' must compute the same"):
        _fake(app, monkeypatch, {"a": right, "b": right * wrong})
    assert len(_fake(app, monkeypatch, {"a": right, "b": right + 1e-4}).figures) == 2


def test_what_is_not_there_or_fails_is_skipped(app, monkeypatch):
    answers = {
        "a": app("networks").MissingPeer("python -m pip install it"),
        "b": TypeError("an old\n peer"),
        "c": np.ones(2),
    }
    found = _fake(app, monkeypatch, answers)
    assert found.skipped == {
        "a": "python -m pip install it",
        "b": "TypeError: an old peer",
    }
    assert set(found.figures) == {("c", 1)}


@pytest.mark.parametrize(
    "failure", [BrokenProcessPool("killed"), TypeError("an old peer")]
)
def test_groups_in_processes_of_their_own_fail_alone(app, monkeypatch, failure):
    measuring, parts = app("measuring"), app("parts")
    asked = []

    def apart(options, function, groups, inner, rounds):
        (group,) = groups
        asked.append(group.subjects[0].name)
        if "mobilenet" in asked[-1]:
            raise failure
        return {(group.subjects[0].name, group.batch): (1.0,) * rounds}, {}

    monkeypatch.setattr(measuring, "_apart", apart)
    options = measuring.Options(threads=1, only="se_[mrv]* plain, inference")
    found = measuring.measure("family", options)
    names = [f"{name} plain, inference" for name in app("networks").FAMILIES]
    names = [name for name in names if name[3] in "mrv"]
    assert asked == names
    assert found.skipped == {"se_mobilenet plain, inference": str(failure)}
    assert {name for name, _ in found.figures} == set(names) - set(found.skipped)
    assert len(found.figures[names[0], 1]) == parts.PARTS["family"].rounds
    with pytest.raises(type(failure)):
        measuring.measure("family", dataclasses.replace(options, only="se_mobilenet*"))


def test_memory_is_measured_once_a_process(app, monkeypatch):
    measuring, asked = app("measuring"), []

    def apart(options, function, subject, batch, inner):
        asked.append((function.__name__, subject.name, batch))
        if subject.name == "SEResNet50":
            raise BrokenProcessPool("killed")
        return 1000 * len(asked)

    monkeypatch.setattr(measuring, "_apart", apart)
    options = measuring.Options(threads=1, smoke=True, only="*host", rounds=2)
    figures = measuring.measure("memory", options).figures
    assert asked == [("peak_growth", "plain host", 16)] * 2
    assert figures == {("plain host", 16): (1000.0, 2000.0)}
    found = measuring.measure("memory", dataclasses.replace(options, only="*"))
    assert found.skipped == {"SEResNet50": "killed"}, "the others are measured"
    assert len(found.figures) == 4


def test_steps_raise_the_peak(app, monkeypatch):
    measuring, calls, peaks = app("measuring"), [], iter([100, 350])
    monkeypatch.setattr(measuring, "peak_memory", lambda: next(peaks))
    form = app("forms").Form(lambda network, threads: lambda images: calls.append)
    form = dataclasses.replace(
        form, open=lambda network, threads: lambda images: lambda: calls.append(1)
    )
    monkeypatch.setitem(app("forms").FORMS, "training", form)
    subject = app("parts").Subject("a", "plain_resnet50", "training")
    options = measuring.Options(threads=1, smoke=True)
    assert measuring.peak_growth(subject, 2, options) == 250
    assert len(calls) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_at_least_what_is_resident(app):
    array = np.ones(100_000_000 // 8)  # in memory, so that the share is a real one
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    peak = app("measuring").peak_memory()
    assert array.nbytes < 0.95 * resident < peak < 20 * resident


def test_a_form_that_changes_its_network_has_one_of_its_own(app, monkeypatch):
    """Two compiled training steps of one model would be one: the last compiled."""
    forms, parts, opened = app("forms").FORMS, app("parts"), []
    names = ("training", "training_xla", "memory", "folded")
    for name in names:
        form = dataclasses.replace(
            forms[name],
            open=lambda m, threads: opened.append(m) or (lambda x: lambda: np.ones(2)),
        )
        monkeypatch.setitem(forms, name, form)
    subjects = tuple(parts.Subject(name, "se_resnet50", name) for name in names)
    options = app("measuring").Options(threads=1, smoke=True)
    app("measuring").times([parts.Group(subjects, 1)], options, 1)
    step, xla, memory, folded = map(id, opened)
    assert len({step, xla, memory}) == 3
    assert memory == folded


def test_goals_compare_what_was_measured(app, report):
    found = {
        (o.goal.part, o.peer or o.goal.peers[0], o.goal.batch): o
        for o in app("report").outcomes(report)
    }
    outcome = found["training", "keras.applications.ResNet50", 8]
    assert (outcome.ratio.value, outcome.beside.value, outcome.met) == (0.8, 0.9, True)
    assert found["training", "plain host", 8].met is False
    assert found["training", "plain host", 16].met is None
    assert found["memory", "plain host", 16].ratio.value == pytest.approx(1.05)
    table = app("report").goals_table(report)
    row = "| training | SEResNet50 / keras.applications.ResNet50 | {} | 0.85 | {} |"
    assert row.format(8, "0.800 | 0.900 | met") in table
    assert row.format(16, "- | - | not measured") in table


def test_ratios_are_to_the_faster_memory_format(app):
    names = "timm seresnet50, torch eager", "timm seresnet50, torch channels last"
    ours = {("SEResNet50, exported", 8): (0.3,)}
    both = ours | {(names[0], 8): (0.6,), (names[1], 8): (0.5,)}
    for figures, peer, share in (
        (both, names[1], "0.600"),
        ({k: v for k, v in both.items() if k[0] != names[1]}, names[0], "0.500"),
    ):
        peers = result(app, figures)
        report = app("report").Report(
            machine=MACHINE, toy=False, parts={"peers": peers}
        )
        (outcome,) = (
            o for o in app("report").outcomes(report) if o.goal.part == "peers"
        )
        assert (outcome.peer, str(outcome.ratio)) == (peer, share)
        table = app("report").part_table("peers", peers)
        assert f"| SEResNet50, exported | 8 | 300.0 | {share} |" in table
        assert re.search(rf"{peer} \| 8 \| \d+.0 \| 1 \|", table)


def test_table_of_a_part(app, report):
    table = app("report").part_table("training", report.parts["training"])
    assert table.splitlines()[:6] == [
        "| what | batch | ms | ratio |",
        "| --- | --: | --: | --: |",
        "| keras.applications.ResNet50 | 8 | 1000.0 | 1 |",
        "| plain host | 8 | 500.0 | 0.500 |",
        "| SEResNet50 | 8 | 800.0 | 0.800 |",
        "| SEResNet50, default form | 8 | 900.0 | 0.900 |",
    ]
    assert "Skipped: a peer. python -m pip install it" in table
    assert "Load before: 0.2; took 12 s; keras 3." in table
    memory = app("report").part_table("memory", report.parts["memory"])
    assert "| SEResNet50 | 16 | 2,100 | 1.050 |" in memory


def test_report_survives_a_file(app, report, tmp_path):
    records, path = app("report"), tmp_path / "report.json"
    report.save(path)
    assert records.load_report(path) == report
    assert records.open_report(path, MACHINE, toy=False) == report
    report.with_part("peers", result(app, {})).save(path)
    assert records.load_report(path).parts["peers"].figures == {}


def test_groups_that_are_not_measured_again_stay(app, report):
    again = {("SEResNet50", 8): (0.7, 0.7), ("SEResNet50", 16): (1.4, 1.4)}
    joined = report.with_part("training", result(app, again)).parts["training"]
    # Of the group's others, other rounds: no ratio could be taken.
    assert joined.figures == again
    names = [f"se_vgg16 {kind}, inference" for kind in ("plain", "with SE")]
    other = [f"se_resnet50 {kind}, inference" for kind in ("plain", "with SE")]
    first = result(app, {(name, 1): (1.0, 1.0) for name in (*names, *other)})
    second = result(app, {(name, 1): (2.0,) for name in other})
    joined = second.joined(first, app("parts").PARTS["family"].groups)
    assert [joined.figures[name, 1] for name in names] == [(1.0, 1.0)] * 2
    assert [joined.figures[name, 1] for name in other] == [(2.0,)] * 2
    assert joined.seconds == 24.0


def test_figures_of_failed_subjects_and_of_other_packages_do_not_stay(app, report):
    failed = result(app, {}, {"SEResNet50": "killed"})
    joined = report.with_part("training", failed).parts["training"]
    assert joined.figures == {}
    assert joined.skipped["SEResNet50"] == "killed"
    newer = result(app, {}, versions={"keras": "4"})
    assert report.with_part("training", newer).parts["training"] == newer


@pytest.mark.parametrize("change", [{"threads": 1}, {"cores": 4}, {"toy": True}])
def test_figures_of_different_conditions_are_not_mixed(app, report, tmp_path, change):
    path = tmp_path / "report.json"
    report.save(path)
    toy = change.get("toy", False)
    machine = MACHINE | {k: v for k, v in change.items() if k != "toy"}
    with pytest.raises(ValueError, match="same machine, threads and size"):
        app("report").open_report(path, machine, toy=toy)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"format": 9, "parts": {}}'),
        '{"format": 1, "machine": {}, "toy": false, "parts": {"speed": {"load": 0, '
        '"measurements": [], "seconds": 0, "skipped": {}, "versions": {}}}}',
    ],
)
def test_another_file_is_refused(app, tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="a report of this benchmark"):
        app("report").load_report(path)


def test_the_project_pages_show_the_project_reports(app, tmp_path):
    """docs/performance*.md are what their commands make of docs/performance*.json."""
    page, shown = tmp_path / "page.md", set()
    for path in sorted((ROOT / "docs").glob("performance*.json")):
        text = path.with_suffix(".md").read_text("utf-8")
        shown |= set(re.findall(r"^<!-- (\w+) -->$", text, re.MULTILINE))
        page.write_text(text, "utf-8")
        app("report").write_page(page, app("report").load_report(path))
        assert page.read_text("utf-8") == text
    assert shown == {"machine", "goals", *app("parts").PARTS} - {"family"}
    page.write_text("a page")
    with pytest.raises(ValueError, match="must have marks"):
        app("report").write_page(page, app("report").Report(machine=MACHINE, toy=False))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["kernel"], "Received: kernel"),
        (["--render"], "needs the figures"),
        (["--render", "--output", "x.json", "--only", "a"], "measures nothing"),
        (["kernels", "--markdown", "no/page.md"], "no page 'no/page.md'"),
        (["kernels", "--threads", "0"], "threads=0"),
        (["kernels", "--rounds", "0"], "rounds=0"),
        (["kernels", "--smoke", "--only", "x"], "folded. Received: only='x'"),
    ],
)
def test_errors_are_one_line(run, words, message):
    with pytest.raises(SystemExit) as end:
        run(*words)
    assert re.search(f"^error: .*{message}", end.value.code)
    assert "\n" not in end.value.code


def test_parts_that_only_leaves_out_or_that_fail_cost_no_others(
    app, report, run, tmp_path, monkeypatch, capsys
):
    def measure(name, options):
        if name == "memory":
            raise TypeError("a peer's")
        return result(app, {("SEResNet50", 8): (1.0,)}, versions={"keras": "4"})

    monkeypatch.setattr(app("measuring"), "measure", measure)
    monkeypatch.setattr(
        app("keras_senet.benchmark"), "describe_machine", lambda _: MACHINE
    )
    path = tmp_path / "report.json"
    report.save(path)
    words = ("training", "litert", "memory", "--only", "SEResNet50")
    with pytest.raises(SystemExit) as end:
        run(*words, "--output", path)
    assert end.value.code == 1
    said = capsys.readouterr().out
    assert "(litert)" not in said
    assert "failed: a peer's" in said
    assert "older figures are dropped" in said
    found = app("report").load_report(path).parts
    assert set(found["training"].figures) == {("SEResNet50", 8)}
    assert found["memory"] == report.parts["memory"]
    with pytest.raises(SystemExit):
        run("memory", "--render", "--output", path)
    said = capsys.readouterr().out
    assert "Peak memory" in said
    assert "Training step" not in said


def test_check_is_about_goals(app, report, run, tmp_path):
    path = tmp_path / "report.json"
    report.save(path)
    for words, code in (((), 0), (("--check",), 1)):
        with pytest.raises(SystemExit) as end:
            run("--render", "--output", path, *words)
        assert end.value.code == code
