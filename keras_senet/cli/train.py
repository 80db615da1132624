"""`keras-senet train`."""

import dataclasses
import functools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tyro.conf import OmitArgPrefixes

from keras_senet.cli.command import UsageError, parse_arguments
from keras_senet.cli.console import make_console
from keras_senet.training.recipe import Recipe
from keras_senet.training.recipes import RECIPES, load_recipe

# 128 and the number of SIGTERM, as shells have it.
EXIT_STOPPED = 143

# A recipe's value -> the title of the help from there on.
RECIPE_TITLES = {
    "model": "Network",
    "data": "Data",
    "train_split": "Data",  # the first one where the data is an argument
    "linear_probe": "Epochs and batches",
    "optimizer": "Optimizer",
    "schedule": "Learning rate over time",
    "ema_momentum": "Averages and batch normalization",
    "class_weights": "Regularisation and augmentation",
    "crop_fraction": "Other values",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Trains a network by a recipe and writes everything into a run folder.

    The values of the recipe are options too: --recipe cifar10 --epochs 3. So are those
    of its network: --model se_vgg16 --help shows them. SIGTERM saves the state and ends
    the command with exit code 143; --resume resumes the run.

    Attributes:
        run_folder: A new or empty folder; with --resume, the folder of the run.
        recipe: The name of a recipe, or a .json or .py file. A .py file defines
            `recipe` and is run as a program.
        smoke: Shrink the recipe to seconds on the bundled images.

    Examples:
        keras-senet train --recipe cifar10 --run-folder runs/cifar10
        keras-senet train --data photos --image-size 64 --run-folder runs/photos
    """

    run_folder: Path
    recipe: str
    smoke: bool = False
    resume: bool = False
    checkpoint_every: int | None = None
    data_dir: Path | None = None
    values: OmitArgPrefixes[Recipe]

    TITLES: ClassVar = RECIPE_TITLES

    def run(self) -> int:
        from keras_senet.training import train

        console, command = make_console(), self
        if self.smoke:  # on the bundled images, which have their own place
            values = self.values.smoke()
            command = dataclasses.replace(self, values=values, data_dir=None)
        call = functools.partial(train, command.values, self.run_folder)
        result = run_training(command, "train", console, call)
        if result is None:
            return EXIT_STOPPED
        console.print(
            f"{100 * result.accuracy:.1f} % of the held-out {result.source.counted} "
            f"right after {len(result.history.get('loss', ()))} epochs; "
            f"{result.seconds:.0f} s, "
            f"{result.images_per_second:.0f} training images/s. "
            f"Written to {result.run_folder}",
        )
        return 0


def run_training(command, verb, console, train):
    """Trains with a progress bar, and says how to resume a run that was stopped.

    `command` is the verb's record. Returns what `train` returned; None after SIGTERM.
    """
    from keras_senet.cli.progress import Progress
    from keras_senet.training import TrainingStopped

    words = ["keras-senet", verb, "--run-folder", str(command.run_folder), "--resume"]
    if command.data_dir is not None:
        words += ["--data-dir", str(command.data_dir)]
    if command.checkpoint_every is not None:
        words += ["--checkpoint-every", str(command.checkpoint_every)]
    if not getattr(command, "export", True):
        words += ["--no-export"]
    progress = Progress(console)
    try:
        return train(
            data_dir=command.data_dir,
            resume=command.resume,
            checkpoint_every=command.checkpoint_every,
            callbacks=[progress],
            verbose=0,
            say=console.print,
        )
    except (TrainingStopped, KeyboardInterrupt) as stop:
        progress.stop()
        if (command.run_folder / "recipe.json").exists():
            text = f"{stop} To resume: {shlex.join(words)}".strip()
            console.print(text, soft_wrap=True)
        if isinstance(stop, KeyboardInterrupt):
            raise
        return None
    finally:
        progress.stop()


def parse(arguments: Sequence[str]) -> Train | None:
    """Reads the words after the verb; the recipe that they name gives the defaults."""
    import tyro

    name = value_of("--recipe", arguments)
    folder = value_of("--run-folder", arguments)
    resume = "--resume" in arguments
    if resume and name is None and folder is not None:
        name = str(Path(folder).expanduser() / "recipe.json")
    values = load_recipe(name or "quickstart")
    network = value_of("--model", arguments) or (name and values.model)
    default = Train(run_folder=tyro.MISSING, recipe=name or "quickstart", values=values)
    return parse_arguments(Train, "train", arguments, default, network)


def value_of(option, arguments):
    """The last value of an option that must be known before the others are read."""
    value = None
    for i, word in enumerate(arguments):
        name, equals, given = word.partition("=")
        if name.replace("_", "-") != option:  # tyro takes --run_folder, too
            continue
        if not equals and i + 1 == len(arguments):
            raise UsageError(
                f"{option} needs a value. The recipes are: {', '.join(RECIPES)}."
                if option == "--recipe"
                else f"{option} needs a value."
            )
        value = given if equals else arguments[i + 1]
    return value
