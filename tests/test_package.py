"""The wheel, as a user gets it: installed in a fresh environment, run from nowhere."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMAND = "keras_senet_command.py"
CONTENTS = (
    "keras_senet/__init__.pyi",
    "keras_senet/py.typed",
    "keras_senet/data/NOTICE.md",
    "keras_senet/data/fashion_mnist_subset.npz",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no build folder of ours is reused."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", COMMAND):
        shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "keras_senet",
        source / "keras_senet",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("applications", "tests"):  # must not end up in the wheel
        (source / name).mkdir()
        (source / name / "stray.py").touch()
        (source / name / "__init__.py").touch()
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "-w", "-o", folder, source], folder)
    return next(folder.glob("*.whl"))


def _run(command, folder, **env):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (
        f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    )
    return done.stdout


def test_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert set(CONTENTS) <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "keras_senet",
        COMMAND,
    }


@pytest.mark.slow
def test_fresh_environment(wheel, tmp_path):
    """The dependencies come from this environment; the package only from its wheel."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    # What site-packages of this environment hold, but for keras_senet itself.
    links = environment / "dependencies"
    links.mkdir()
    for site in {Path(p) for p in sys.path if p.endswith("site-packages")}:
        for entry in site.iterdir():
            ours = "keras_senet" in entry.name.replace("-", "_").lower()
            if not ours and not (links / entry.name).exists():
                (links / entry.name).symlink_to(entry)
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(str(links))
    _run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], tmp_path)
    checked = subprocess.run(
        [python, "-m", "pip", "check"], capture_output=True, text=True
    )
    # Other packages of the environment that runs the tests may have their own trouble.
    assert "keras-senet" not in checked.stdout, checked.stdout
    empty = tmp_path / "empty"
    empty.mkdir()
    where = _run(
        [python, "-c", "import keras_senet; print(keras_senet.__file__)"], empty
    )
    assert str(environment) in where
    command = environment / "bin" / "keras-senet"
    _run([command, "quickstart", "--smoke"], empty)
    assert (empty / "runs" / "quickstart" / "report.json").exists()
