"""`keras-senet benchmark`: what it prints, writes and returns."""

import json

import pytest

from keras_senet.benchmark.results import Measurement, PartResult, load_report
from keras_senet.cli import main

PAGE = "<!-- benchmark: kernels -->\n<!-- end of kernels -->\n"


@pytest.fixture
def shell(capsys):
    def call(*words):
        code = main(["benchmark", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def figures(monkeypatch):
    """Figures instead of measuring; returns what was asked for."""
    asked = []

    def measure(name, options, progress):
        asked.append((name, options))
        progress("working")
        if name == "litert":
            raise RuntimeError("no such engine")
        rows = {"kernels": ("SEResNet50", "SEResNet50, folded")}.get(
            name, ("plain host", "SEResNet50")
        )
        return PartResult(
            measurements=tuple(
                Measurement(subject=row, batch=16 if name == "memory" else 1, samples=s)
                for row, s in zip(rows, ((8.0,), (5.0,)), strict=True)
            ),
            skipped={},
            versions={},
            load=0.0,
            seconds=1.0,
        )

    monkeypatch.setattr("keras_senet.benchmark.running.measure", measure)
    return asked


def test_figures_page_and_file(shell, figures, tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "report.json"
    page.write_text(PAGE)
    words = ("--quick", "--threads", 1, "--output", file, "--markdown", page)
    code, out, err = shell("kernels", *words)
    assert (code, err) == (0, "")
    assert "threads: TensorFlow 1 within and 1 between operations, LiteRT 1" in out
    assert "  working\n" in out
    assert "0.625" in out
    assert "| SEResNet50, folded | 1 | 5 | 0.625 |" in page.read_text()
    ((name, options),) = figures
    assert (name, options.toy, options.threads) == ("kernels", True, 1)
    # Another part joins the first; with --render nothing is measured.
    assert shell("memory", *words)[0] == 0
    assert set(load_report(file).parts) == {"kernels", "memory"}
    page.write_text(PAGE)
    assert shell("--render", "--output", file, "--markdown", page)[0] == 0
    assert len(figures) == 2
    assert "0.625" in page.read_text()


def test_without_words_all_that_has_a_goal(shell, figures):
    code, out, _ = shell("--quick")
    names = [name for name, _ in figures]
    parts = "inference litert int8 peers training memory kernels"
    assert names == parts.split()
    # One part fails, the others are measured.
    assert code == 1
    assert "litert failed: no such engine" in out


def test_check_is_about_goals(shell, figures, monkeypatch):
    words = ("memory", "kernels", "--quick")
    assert shell(*words, "--check")[0] == 0
    monkeypatch.setattr("keras_senet.benchmark.tables.GOALS", ())
    assert shell(*words, "--check")[0] == 0
    import dataclasses

    from keras_senet.benchmark.parts import GOALS

    goal = next(goal for goal in GOALS if goal.part == "memory")
    strict = dataclasses.replace(goal, at_most=0.5)
    monkeypatch.setattr("keras_senet.benchmark.tables.GOALS", (strict,))
    assert shell(*words)[0] == 0
    assert shell(*words, "--check")[0] == 1


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["kernel"], "invalid choice 'kernel'", 2),
        (["--render"], "needs the figures", 1),
        (["kernels", "--markdown", "no/page.md"], "no page 'no/page.md'", 1),
        (["kernels", "--threads", "0"], "threads=0", 1),
        (["data", "--recipe"], "--recipe needs a value", 2),
        (["data", "--seconds", "-1"], "seconds=-1", 1),
    ],
)
def test_errors_are_one_line(shell, words, message, code):
    result = shell(*words)
    assert result[0] == code
    (line,) = result[2].splitlines()
    assert message in line


def test_input_of_a_recipe(shell, tmp_path):
    file = tmp_path / "speed.json"
    code, out, err = shell(
        *("data", "--recipe", "cifar10", "--data", "bundled", "--image-size", 16),
        *("--global-batch-size", 8, "--seconds", 0.01, "--output", file),
    )
    assert (code, err) == (0, "")
    assert out.startswith("The input of bundled (8 images of 16 pixels) gives ")
    assert json.loads(file.read_text())["input_images_per_second"] > 0
