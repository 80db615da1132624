"""The help of every verb: named arguments, types, defaults, titles, two examples."""

import dataclasses
import io
import re
import shlex
import subprocess
import sys

import pytest

from keras_senet.cli import main
from keras_senet.cli.command import VERBS, parse

ALL = [*VERBS, "benchmark data"]


@pytest.fixture
def show(capsys, monkeypatch):
    """Returns the help that words ask for, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words):
        assert main([*words, "--help"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return call


def _examples(text):
    _, _, examples = text.partition("\nExamples:\n")
    return [shlex.split(line) for line in examples.splitlines()]


def _names(record):
    """The options that a verb's record has, and those of a record among its fields."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            yield from _names(value)
        elif not isinstance(value, dict):
            yield field.name


@pytest.mark.parametrize("verb", ALL)
def test_help(show, verb):
    text = show(*verb.split())
    assert text.startswith(f"usage: keras-senet {verb} ")
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"STR|None\}|MISSING|options ─", text)
    examples = _examples(text)
    assert len(examples) == 2
    for program, name, *words in examples:
        assert (program, name) == ("keras-senet", verb.split()[0])
        record = parse(name, words)
        assert dataclasses.is_dataclass(record)
    for name in _names(record):
        option = f"--{name.replace('_', '-')}"
        argument = rf"^  {name.removesuffix('s').upper()}…?\s"
        named = re.search(rf"^  {option}[ ,\n]", text, re.M)
        assert named or re.search(argument, text, re.M), name


def test_arguments_and_options_say_what_they_take(show):
    text = show("predict")
    assert text.startswith("usage: keras-senet predict IMAGE… --model TEXT [OPTIONS]\n")
    assert "usage: keras-senet list [PATTERN] [OPTIONS]" in show("list")
    text = " ".join(show("train").split())
    for words in (
        "--run-folder PATH A new",
        "of the run. (required)",
        "--optimizer {sgd,adamw} ",
        "--step-at FLOAT… Fractions",
        "(default: 0.5 0.75)",
        "--nesterov, --no-nesterov",
        "(default: on)",
        "--mixup FLOAT Alpha of mixup",
        "gets one of the two. (default: 0.0)",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("verb", "title", "options"),
    [
        ("evaluate", "Options", ("--trust", "--precision")),
        ("benchmark", "Options", ("--trust",)),
        ("train", "Epochs and batches", ("--linear-probe", "--head-epochs")),
    ],
)
def test_options_stand_under_their_title(show, verb, title, options):
    """How a file is opened was among the images, and what is timed."""
    (group,) = re.findall(rf"^{title}:\n((?:  .*\n)*)", show(verb), re.M)
    for option in options:
        assert f"  {option} " in group or f"  {option}," in group, group


@pytest.mark.parametrize("words", ["train", "finetune x", "benchmark data"])
def test_the_options_of_a_network_appear_when_it_is_named(show, words):
    text = show(*words.split())
    assert "--cardinality" not in text
    assert "--reduction" not in text
    text = show(*words.split(), "--model", "se_vgg16")
    assert "Architecture of se_vgg16:" in text
    assert "--reduction INT" in text
    assert "--batch-norm, --no-batch-norm" in text
    assert "--cardinality" not in text
    assert "numbers from (0, 1, 2, 3, 4)" in " ".join(text.split())


def test_a_recipe_names_a_network(show):
    assert "Architecture of se_mobilenet:" in show("train", "--recipe", "mobile")


def test_help_on_a_narrow_encoding(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["predict", "--help"]) == 0
    output.flush()
    assert b"predict IMAGE... --model" in output.buffer.getvalue()


def test_a_reader_may_stop_early():
    code = "from keras_senet.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "train", "--help"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 141
