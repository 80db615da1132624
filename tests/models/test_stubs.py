"""What an editor and a type checker see of the constructors."""

import json
import re
import subprocess
import sys
from pathlib import Path

import make_stubs
import pytest
import test_docs

ROOT = Path(__file__).parents[2]

# Keras has no types of its own: this much of it is enough to check calls of ours.
KERAS = """
from typing import Any
class Model: ...
def __getattr__(name: str) -> Any: ...
"""

# Analyses our files and those below, so that it takes seconds and not a minute.
CONFIG = """
[mypy]
follow_imports = skip
ignore_missing_imports = True
[mypy-keras_senet.*]
follow_imports = silent
[mypy-keras]
follow_imports = silent
"""

# A line ends with what mypy says of it.
USER = """
import keras
import keras_senet
from keras_senet.models.se_resnet import SEResNet18
model: keras.Model = keras_senet.SEResNet50(weights=None, classes=10, reduction=8)
plain = keras_senet.SEVGG16(include_top=False, pooling="avg", se=False)
keras_senet.SEResNeXt(blocks=(3, 4, 6, 3), cardinality=64, gate=lambda x: x)
reveal_type(keras_senet.SEResNet50())  # Revealed type is "keras.Model"
reveal_type(SEResNet18(placement="pre"))  # Revealed type is "keras.Model"
reveal_type(keras_senet.create_model("se_resnet50"))  # Revealed type is "keras.Model"
keras_senet.SEResNet50(reducton=8)  # did you mean "reduction"?
keras_senet.SEResNet50(reduction="8")  # expected "int | None"
keras_senet.SEResNet50(weights=True)  # expected "str | PathLike[str] | None"
keras_senet.SEResNet50(placement="before")  # incompatible type "Literal['before']"
keras_senet.SEVGG16(stem="7x7")  # Unexpected keyword argument "stem"
keras_senet.SEResNet50(blocks=(1, 1, 1, 1))  # Unexpected keyword argument "blocks"
keras_senet.SEResNet51()  # Module has no attribute "SEResNet51"
keras_senet.training.fit_arrays
keras_senet.graft(model, reduction=8)
"""


# What the examples have at hand.
GIVEN = """
import keras
import keras_senet
import numpy as np
model: keras.Model
images: np.ndarray
labels: np.ndarray
names: tuple[str, ...]
"""


def test_stubs_are_current():
    stubs = make_stubs.stubs()
    assert len(stubs) == 12
    for path, text in stubs.items():
        found = path.read_text(encoding="utf-8")
        assert found == text, "run `python scripts/make_stubs.py`"


def _mypy(folder, *words):
    pytest.importorskip("mypy")
    (folder / "mypy.ini").write_text(CONFIG)
    (folder / "keras_senet").symlink_to(ROOT / "keras_senet")
    return subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_a_type_checker_knows_what_each_constructor_takes(tmp_path):
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.pyi").write_text(KERAS)
    (tmp_path / "user.py").write_text(USER)
    done = _mypy(tmp_path, "user.py")
    said: dict[int, str] = {}
    for number, text in re.findall(r"^user\.py:(\d+): (.*)$", done.stdout, re.M):
        said.setdefault(int(number), text)  # a second line says where it is defined
    for number, line in enumerate(USER.splitlines(), 1):
        _, _, expected = line.partition("  # ")
        assert bool(expected) == (number in said), (line, done.stdout, done.stderr)
        assert expected in said.get(number, ""), line


@pytest.mark.slow
def test_a_type_checker_accepts_the_examples(tmp_path):
    """Those of the pages, the docstrings and the notebooks."""
    texts = {}
    for case in [*test_docs.pages(), *test_docs.docstrings()]:
        module, lines = case.values
        names = f"from {module} import *\n" if module.startswith("keras_senet") else ""
        texts[case.id] = GIVEN + names + "".join(source for source, _ in lines)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = ("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        texts[path.name] = "\n".join(code)
    assert len(texts) > 90
    files = {f"example{number}.py": name for number, name in enumerate(texts)}
    for file, name in files.items():
        (tmp_path / file).write_text(texts[name], "utf-8")
    # An example may give a name another value, and knows that its preset exists, or
    # that its images have one label each. NumPy's types are skipped, see CONFIG.
    options = ("--allow-redefinition", "--disable-error-code=union-attr")
    done = _mypy(tmp_path, *options, "--disable-error-code=var-annotated", *files)
    said = re.sub(r"example\d+\.py", lambda file: files[file[0]], done.stdout)
    assert done.returncode == 0, said + done.stderr
