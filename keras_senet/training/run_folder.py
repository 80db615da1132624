"""What a training leaves behind, and where."""

import dataclasses
import json
import os
import platform
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_senet.training.recipes import Recipe
from keras_senet.utils.files import atomic_path
from keras_senet.version import __version__


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The files of one training.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.json"

    @property
    def versions(self) -> Path:
        """What the training ran on."""
        return self.path / "versions.json"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def curves(self) -> Path:
        """The history as a picture."""
        return self.path / "curves.png"

    @property
    def tensorboard(self) -> Path:
        """The folder for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """The folder of last.weights.h5, the whole state, and of others beside it.

        previous.weights.h5 is the state before it, best.weights.h5 the best weights.
        """
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The state that the run goes on from."""
        return self.checkpoints / "last.weights.h5"

    @property
    def model(self) -> Path:
        """The trained model, whole."""
        return self.path / "model.keras"

    @property
    def weights(self) -> Path:
        """The trained weights."""
        return self.path / "model.weights.h5"

    def check_new(self) -> None:
        """Raises a ValueError if anything lies in the folder."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(
                f"The run folder must be a folder. Received: {str(self.path)!r}, "
                "a file."
            )
        if self.path.is_dir() and any(self.path.iterdir()):
            holds = "holds a run" if self.recipe.exists() else "is not empty"
            raise ValueError(
                "The run folder must be new or empty. Received: "
                f"{str(self.path)!r}, which {holds}. Choose another folder"
                f"{', or resume the run' if self.recipe.exists() else ''}."
            )

    def check_same(self, recipe: Recipe) -> None:
        """Raises a ValueError if the folder does not hold a run of this recipe."""
        stored, given = self.load_recipe().to_json(), recipe.to_json()
        differences = [
            f"{name} is {stored[name]!r} in the run and {given[name]!r} now"
            for name in given
            if stored[name] != given[name]
        ]
        if differences:
            raise ValueError(
                "A run goes on with its own recipe. Received differences: "
                f"{'; '.join(differences)}. Leave the recipe and its values out."
            )

    def load_recipe(self) -> Recipe:
        """Returns the recipe of the run in this folder.

        Raises:
            FileNotFoundError: If no run is there.
        """
        if not self.recipe.is_file():
            raise FileNotFoundError(
                f"There is no run in {str(self.path)!r}: it has no recipe.json."
            )
        return Recipe.from_json(json.loads(self.recipe.read_text(encoding="utf-8")))

    def remove_leftovers(self) -> None:
        """Removes what a process that was killed had begun to write."""
        names = (self.recipe, self.versions, self.history, self.curves, self.model)
        for path in (*names, self.weights, self.last, self.checkpoints / "best"):
            for leftover in path.parent.glob(f".{path.name}.*"):
                shutil.rmtree(leftover, ignore_errors=True)

    def write_start(self, recipe: Recipe, strategy: tf.distribute.Strategy) -> None:
        """Writes the resolved recipe and what the training runs on."""
        write_json(self.recipe, recipe.to_json())
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
        )


def write_json(path: str | os.PathLike, value: object) -> None:
    """Writes a value as JSON, replacing an older file in one step."""
    with atomic_path(path, overwrite=True) as temporary:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
