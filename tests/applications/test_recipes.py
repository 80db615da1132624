"""The programs that train by a recipe beside them."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "applications"
NAMES = ("cifar10", "imagenet", "mobile", "places365")


def run(name, *words):
    return subprocess.run(
        [sys.executable, FOLDER / name / "main.py", *map(str, words)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_folder_is_the_same(name):
    assert {"README.md", "main.py", "recipe.py"} <= {
        path.name for path in (FOLDER / name).iterdir()
    }
    assert "--smoke" in (FOLDER / name / "README.md").read_text()


def test_the_recipe_beside_it_is_what_a_program_takes(tmp_path):
    done = run("mobile", "--run-folder", tmp_path / "run", "--rand-augment", "2")
    assert done.returncode == 2
    assert "`rand_augment` must be at least 0 and at most 1" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar10", ["--model", "se_resnet20", "--no-preactivation"]),
        ("mobile", []),
        ("imagenet", ["--model", "se_resnet18", "--mixup", "0.2"]),
        ("places365", ["--model", "se_resnet18"]),
    ],
)
def test_smoke(tmp_path, name, words):
    done = run(name, "--run-folder", tmp_path / "run", "--smoke", *words)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
