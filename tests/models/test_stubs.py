"""What an editor and a type checker see of the constructors."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_stubs_are_current():
    script = runpy.run_path(str(ROOT / "scripts" / "make_stubs.py"))
    stubs = script["stubs"]()
    assert len(stubs) == 12
    for path, text in stubs.items():
        found = path.read_text(encoding="utf-8")
        assert found == text, "run `python scripts/make_stubs.py`"


def test_a_type_checker_knows_what_each_constructor_takes(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.pyi").write_text(KERAS)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    (tmp_path / "keras_senet").symlink_to(ROOT / "keras_senet")
    (tmp_path / "user.py").write_text(USER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    said: dict[int, str] = {}
    for number, text in re.findall(r"^user\.py:(\d+): (.*)$", done.stdout, re.M):
        said.setdefault(int(number), text)  # a second line says where it is defined
    for number, line in enumerate(USER.splitlines(), 1):
        _, _, expected = line.partition("  # ")
        assert bool(expected) == (number in said), (line, done.stdout, done.stderr)
        assert expected in said.get(number, ""), line
