"""Every code line in the pages and in the docstrings runs.

A page's blocks run one after the other, and so does a docstring's example, each in a
fresh interpreter, in a folder with a photo, with a model and its images at hand. Only
README.md has to do without these. What cannot run here says so where it stands:
`<!-- needs the network -->` before a block, `# doctest: +SKIP` behind a line.
"""

import ast
import doctest
import importlib
import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import keras_senet
from keras_senet.cli.command import VERBS, parse

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/*/*.md")]
    if path.relative_to(ROOT).parts[0] in ("docs", "applications", "saved_models")
    or path.parent == ROOT
]
MODULES = sorted((ROOT / "keras_senet").rglob("*.py"))
BLOCK = re.compile(r"(<!-- needs .*? -->\n+)?^```(\w*)\n(.*?)^```$", re.M | re.S)

CHILD = r"""
import contextlib, importlib, io, json, os, re, sys
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
module, lines = json.load(sys.stdin)
names = {}
if module != "README.md":
    import keras, numpy as np
    import keras_senet
    from PIL import Image
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (60, 40, 3), "uint8"))
    photo.save("photo.jpg")
    photo.save("cat.jpg")
    model = keras_senet.SEResNet20(weights="fashion_mnist", include_preprocessing=True)
    images = rng.integers(0, 255, (16, 28, 28, 1)).astype("float32")
    labels = np.argmax(model.predict(images, verbose=0), -1)
    names = dict(keras=keras, keras_senet=keras_senet, np=np, model=model)
    names |= dict(images=images, labels=labels, names=model.card.labels)
    names |= vars(importlib.import_module(module)) if module else {}
def words(text):
    return re.findall(r"[A-Za-z_]\w*|\d+\.\d*|\d+", text)
for source, expected in lines:
    box = io.StringIO()
    with contextlib.redirect_stdout(box):
        kind = "exec" if expected is None else "single"
        exec(compile(source, "<page>", kind), names)
    shown = iter(words(box.getvalue()))
    for word in words(expected or ""):  # other words and other fractions may be there
        kind = r"\d*\.\d*" if "." in word else re.escape(word)
        if not any(re.fullmatch(kind, found) for found in shown):
            raise SystemExit(f"{source}expected {expected}got {box.getvalue()}")
"""


def pages():
    for path in PAGES:
        found = BLOCK.findall(path.read_text(encoding="utf-8"))
        code = "".join(c for mark, kind, c in found if kind == "python" and not mark)
        if code:
            name = str(path.relative_to(ROOT))
            module = name if name == "README.md" else ""
            yield pytest.param(module, [(code, None)], id=name, marks=pytest.mark.slow)


def _documented():
    """The docstrings of the package: module, name, text."""
    for path in MODULES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                name = getattr(node, "name", "")
                yield module, name, ast.get_docstring(node) or ""


def docstrings():
    for module, name, text in _documented():
        lines = [
            (example.source, example.want)
            for example in doctest.DocTestParser().get_examples(text)
            if doctest.SKIP not in example.options
        ]
        if lines:
            marks = () if "squeeze_excite" in module else pytest.mark.slow
            yield pytest.param(module, lines, id=f"{module}.{name}", marks=marks)


@pytest.mark.parametrize(("module", "lines"), [*pages(), *docstrings()])
def test_code_runs(module, lines, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps([module, lines]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    missing = re.search(r"^ImportError: (.*pip install.*)$", done.stderr, re.M)
    if missing:
        pytest.skip(missing[1])
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_examples_of_constructors_run():
    """They are one text: the first network of each family stands for the others."""
    builds = reversed(keras_senet.models.CONSTRUCTORS.values())
    runner = doctest.DocTestRunner()
    for build in {build.__module__: build for build in builds}.values():
        example = doctest.DocTestParser().get_doctest(
            build.__doc__, {"keras_senet": keras_senet}, build.__name__, None, 0
        )
        assert runner.run(example) == (0, 2)


def test_every_public_name_has_an_example():
    values = [getattr(keras_senet, name) for name in keras_senet.__all__]
    rooms = [keras_senet, *filter(inspect.ismodule, values)]
    public = {
        f"{room.__name__}.{name}": getattr(room, name)
        for room in rooms
        for name in getattr(room, "__all__", ())
        if room.__name__ != "keras_senet.cli"
    }
    assert len(public) > 100
    lacking = [
        name
        for name, value in public.items()
        if callable(value) and ">>> " not in (inspect.getdoc(value) or "")
    ]
    assert not lacking


COMMAND = re.compile(r"keras-senet [a-z]+( [^|].*)?|python \w+/.*")


def _shell_lines():
    for path in PAGES:
        for _, kind, code in BLOCK.findall(path.read_text(encoding="utf-8")):
            lines = [] if kind == "python" else code.replace("\\\n", " ").splitlines()
            for line in lines:
                words = line.split("&&")[-1].split("  #")[0].strip()
                if COMMAND.fullmatch(words):
                    yield pytest.param(words, id=f"{path.relative_to(ROOT)}: {words}")


@pytest.mark.parametrize("line", [*_shell_lines()])
def test_commands_are_commands(line, monkeypatch):
    """Those of ours are read as they would be; a script is there."""
    monkeypatch.chdir(ROOT)
    program, verb, *words = shlex.split(line, comments=True)
    if program == "python":
        assert Path(verb).is_file()
    else:
        assert verb in VERBS
        assert parse(verb, words)


def _mentioned():
    pages = [p.read_text(encoding="utf-8") for p in PAGES if p.name != "CHANGELOG.md"]
    text = "\n".join([*pages, *(text for _, _, text in _documented())])
    names = re.findall(r"\bkeras_senet((?:\.[A-Za-z_]\w*)+)", text)
    # Files, and what stands for a name.
    return sorted(n for n in set(names) if not re.search(r"\.(json|h5|NAME)\b", n))


@pytest.mark.parametrize("name", _mentioned())
def test_mentioned_names_exist(name):
    value = importlib.import_module("keras_senet")
    for part in name.split(".")[1:]:
        assert hasattr(value, part)
        value = getattr(value, part)
