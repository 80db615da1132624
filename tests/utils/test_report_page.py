"""Reports as HTML, Markdown and CSV."""

import csv
import io

import pytest
from PIL import Image

from keras_senet.utils.report_page import Picture, Report, write_report_files


@pytest.fixture
def texts(tmp_path):
    report = Report(
        title="a <network>",
        answer=["90.0 % are right.", "Add <images>."],
        about="10 images",
        tables=[("Files", [("file", "verdict"), ("a.tflite", "pass")])],
        pictures=[Picture(b"png", "a map", "What it shows.", "map.png")],
        files=["worst.html"],
    )
    classes = [
        {"class": "<b>|=", "images": 1200, "top-1": 0.9},
        {"class": "=1+1", "images": 0, "top-1": float("nan")},
    ]
    write_report_files(tmp_path, report, classes)
    return {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}


def test_the_page(texts):
    page = texts["report.html"]
    order = ["a &lt;network&gt;", "90.0 %", "10 images", "<figure>", "Each class"]
    order += ["&lt;b&gt;|=", "1,200", "Files", "a.tflite", 'href="worst.html"']
    places = [page.index(text) for text in order]
    assert places == sorted(places)
    assert "<title>a &lt;network&gt;</title>" in page
    assert "<b>" not in page
    assert "http" not in page
    assert "prefers-color-scheme: dark" in page


def test_only_wide_pictures_scroll():
    pictures = []
    for width in (300, 1200):
        file = io.BytesIO()
        Image.new("L", (width, 10)).save(file, "PNG")
        pictures.append(Picture(file.getvalue(), f"{width} pixels", ""))
    page = Report(title="a", answer=[], pictures=pictures).to_html()
    assert '<img alt="300 pixels"' in page
    assert '<img class="wide" alt="1200 pixels"' in page


def test_the_same_as_markdown(texts):
    lines = texts["report.md"].splitlines()
    assert lines[0] == r"# a \<network\>"
    assert lines[2] == "90.0 % are right."
    assert "![a map](map.png)" in lines
    assert r"| \<b\>\|= | 1,200 | 90.0 % |" in lines
    assert "| =1+1 | 0 | - |" in lines
    assert "[classes.csv](classes.csv), [worst.html](worst.html)" in lines


def test_numbers_for_programs(texts):
    rows = [*csv.reader(texts["classes.csv"].splitlines())]
    assert rows[0] == ["class", "images", "top-1"]
    assert rows[1] == ["<b>|=", "1200", "0.9"]
    assert rows[2] == ["'=1+1", "0", "nan"]  # no formula
