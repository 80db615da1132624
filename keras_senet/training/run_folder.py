"""What a training leaves behind, and where."""

import contextlib
import csv
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_senet.training.recipe import Recipe
from keras_senet.training.recipes import load_recipe
from keras_senet.training.state import RESUME, find_state
from keras_senet.utils.files import HOLDER, atomic_path, write_json
from keras_senet.version import __version__


class RunFolder:
    """The files of one training."""

    def __init__(self, path: str | os.PathLike):
        self.path = path = Path(path).expanduser()
        self.recipe = path / "recipe.json"  # the resolved one
        self.versions = path / "versions.json"  # what the training ran on
        self.history = path / "history.csv"  # one row an epoch
        self.curves = path / "curves.png"  # the history as a picture
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.weights.h5"  # the whole state
        self.best = self.checkpoints / "best.weights.h5"
        self.probe = self.checkpoints / "probe.npz"  # the linear probe
        self.features = self.checkpoints / "features.npy"  # while it is fitted
        self.model = path / "model.keras"
        self.weights = path / "model.weights.h5"

    def check_new(self) -> None:
        """Raises a ValueError if anything lies in the folder."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(
                f"The run folder must be a folder. Received: {str(self.path)!r}, "
                "a file."
            )
        if self.path.is_dir() and {p.name for p in self.path.iterdir()} - {HOLDER}:
            holds, remedy = "is not empty", "Choose another folder"
            if self.recipe.exists():
                holds, remedy = "holds a run", f"{remedy}, or {RESUME}"
            raise ValueError(
                "The run folder must be new or empty. Received: "
                f"{str(self.path)!r}, which {holds}. {remedy}."
            )

    def check_same(self, recipe: Recipe, *names: str) -> None:
        """Raises a ValueError if the folder does not hold a run of this recipe.

        With `names` only these of its values are compared.

        Raises:
            FileNotFoundError: If it holds no run.
        """
        if not self.recipe.is_file():
            raise FileNotFoundError(
                f"There is no run in {str(self.path)!r}: it has no recipe.json."
            )
        stored, given = load_recipe(self.recipe).to_json(), recipe.to_json()
        differences = [
            f"{name} is {stored[name]!r} in the run and {given[name]!r} now"
            for name in names or given
            if stored[name] != given[name]
        ]
        if differences:
            raise ValueError(
                "A run must be resumed with its own data and recipe. Received: "
                f"{'; '.join(differences)}. Leave out the recipe and its values."
            )

    def check_apart(self, folders: Iterable[Path]) -> None:
        """Raises a ValueError if the run folder lies in one of images."""
        for folder in folders:
            if self.path.resolve().is_relative_to(folder.resolve()):
                raise ValueError(
                    "The run folder must not lie in the folder of the images, where "
                    "its pictures would be images. Received: "
                    f"{str(self.path)!r} in {str(folder)!r}. Choose another place."
                )

    def find_state(self, recipe: Recipe) -> Path | None:
        """Returns the state from which a run goes on, or None before the first one.

        Raises:
            FileNotFoundError: If the run has gone on, and its states are gone.
            OSError: If none of them is whole.
        """
        found, rows = find_state(self.last), 0
        if self.history.exists():
            rows = len(self.history.read_bytes().splitlines())
        # The head, and the first epoch's row, which is written before its state.
        if found is None and recipe.phases and (self.model.exists() or rows > 2):
            raise FileNotFoundError(
                f"There is no state of the run in {str(self.checkpoints)!r}. Put it "
                "back, or start again in a new folder."
            )
        return found

    def remove_leftovers(self) -> None:
        """Removes what a process that was killed had begun to write."""
        for folder in (self.path, self.checkpoints):
            for name in (v.name for v in vars(self).values() if v.parent == folder):
                for leftover in folder.glob(f".{name}.*"):
                    shutil.rmtree(leftover, ignore_errors=True)

    def cut_history(self, epochs: int) -> None:
        """Drops the rows of epochs that no checkpoint has, and what is no row.

        Of an epoch that two processes wrote, the row that came last stays.
        """
        if not self.history.exists():
            return
        with open(self.history, newline="", encoding="utf-8", errors="replace") as file:
            lines = list(csv.reader(file))  # None, if it stopped in its first epoch.
        head = next((line for line in lines if line[:1] == ["epoch"]), None)
        rows = {}
        for line in lines:
            with contextlib.suppress(ValueError):
                values = [float(value) for value in line]
                if head and len(values) == len(head) and values[0] < epochs:
                    rows[values[0]] = line
        with (
            atomic_path(self.history, overwrite=True) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            whole = [row for _, row in sorted(rows.items())]
            csv.writer(file).writerows([head, *whole] if head else [])

    def write_start(self, recipe: Recipe, strategy: tf.distribute.Strategy) -> None:
        """Writes the resolved recipe and what the training runs on."""
        write_json(self.recipe, recipe.to_json(), overwrite=True)
        write_json(
            self.versions,
            {
                "keras_senet": __version__,
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "cpus": os.cpu_count(),
                "devices": list(strategy.extended.worker_devices),
                "seed": recipe.seed,
            },
            overwrite=True,
        )
        self.checkpoints.mkdir(exist_ok=True)
