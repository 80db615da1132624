"""What a name holds does nothing where it is shown."""

import csv
import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from keras_senet.analysis.excitation import write_csv
from keras_senet.cli import main
from keras_senet.cli.console import make_console, print_table
from keras_senet.evaluation import Evaluation
from keras_senet.utils.markdown import in_markdown, markdown_table
from keras_senet.utils.names import in_csv, visible
from keras_senet.utils.pictures import draw_predictions, save_figure

TITLE = "\x1b]0;owned\x07"  # sets the title of a terminal
NAMES = [r"$\frac$", "$x", "<img src=x>", "a|b", "=1+1", f"cat{TITLE}", "猫", "_b_"]


def width(path):
    with Image.open(path) as picture:
        return picture.size[0]


def test_control_characters_are_seen():
    assert visible(TITLE) == r"\x1b]0;owned\x07"
    assert visible("\u202egpj.exe") == r"\u202egpj.exe"
    for mark in "\u061c\u200e\u200f\u2028\u2029\u2066":
        assert visible(f"a{mark}b") == f"a{ascii(mark)[1:-1]}b"
    assert visible("a\n\tb é 猫") == "a\n\tb é 猫"


def test_markdown_shows_names_as_they_are():
    markdown = pytest.importorskip("markdown")
    for name in NAMES:
        text = markdown.markdown(f"a {in_markdown(name)} b")
        assert "<img" not in text and "<em>" not in text
    assert in_markdown("a|b\nc") == r"a\|b c"
    assert in_markdown("ankle_boot") == "ankle_boot"
    table = markdown_table(("class", ">images"), [("a|b", 3)])
    assert table == "| class | images |\n| --- | --: |\n| a\\|b | 3 |"


def test_spreadsheets_see_no_formula(tmp_path):
    path = write_csv(tmp_path / "t.csv", [("name", "mean"), ("=1+1", -0.5)])
    assert list(csv.reader(path.read_text().splitlines()))[1] == ["'=1+1", "-0.5"]
    assert in_csv(-1) == -1
    for first in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20":
        assert in_csv(f"{first}1+1") == f"'{first}1+1"


def test_terminal(capsys):
    console = make_console()
    print_table(console, f"t{TITLE}", ["name"], [[f"cat{TITLE}"]])
    console.print(f"is {TITLE}", markup=False)
    assert main(["predict", f"no{TITLE}.jpg", "--model", f"x{TITLE}"]) == 1
    out = capsys.readouterr()
    assert "\x1b" not in out.out + out.err and "\x07" not in out.out + out.err
    assert r"cat\x1b]0;owned" in out.out


def test_a_name_of_two_lines_makes_no_row(capsys):
    print_table(make_console(), "title", ["name"], [["a\nb  99 %"]])
    assert r"a\nb  99 %" in capsys.readouterr().out


def test_pictures(tmp_path):
    count = len(NAMES)
    images = np.zeros((count, 8, 8, 3))
    labels = np.arange(count)
    scores = np.eye(count)[::-1]
    draw_predictions(scores, images, labels, NAMES, tmp_path / "shown.png")
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], label=NAMES[0])
    axes.set_xticks(range(count), NAMES)
    axes.legend()
    figure.suptitle(NAMES[0])
    save_figure(figure, tmp_path / "figure.png")
    for name in ("shown.png", "figure.png"):
        assert width(tmp_path / name) > 100


def test_confusion_of_any_names(tmp_path):
    count = len(NAMES)
    nothing = {f.name: 0 for f in dataclasses.fields(Evaluation)}
    about = {"class_names": NAMES, "confusion": np.eye(count), "images": count}
    evaluation = Evaluation(**nothing | about)
    path = evaluation.save_confusion_picture(tmp_path / "confusion.png")
    assert width(path) > 100
