"""Training: a recipe, a run folder, `model.fit`."""

import contextlib
import csv
import dataclasses
import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_senet import data
from keras_senet.training import callbacks as our_callbacks
from keras_senet.training.checkpoints import (
    Checkpoints,
    Termination,
    termination_noticed,
)
from keras_senet.training.datasets import make_datasets, resolve_recipe
from keras_senet.training.failures import explained
from keras_senet.training.network import (
    build_model,
    compile_model,
    dtype_policy,
    synchronize,
)
from keras_senet.training.recipes import Recipe
from keras_senet.training.run_folder import RunFolder
from keras_senet.training.state import State, load_last_state
from keras_senet.training.strategies import (
    average_statistics,
    is_chief,
    is_multi_worker,
    make_strategy,
)
from keras_senet.utils.files import atomic_path
from keras_senet.weights import network_card, save_model, save_weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training gave.

    Attributes:
        model: The model with the weights of the last epoch.
        recipe: The resolved recipe.
        run_folder: Where everything was written.
        history: Values of each epoch, by name.
        seconds: Of `model.fit`.
        images_per_second: Training images over those seconds, evaluation included.
    """

    model: keras.Model
    recipe: Recipe
    run_folder: Path
    history: dict[str, list[float]]
    seconds: float
    images_per_second: float


def train(
    recipe: Recipe,
    run_folder: str | os.PathLike,
    *,
    strategy: tf.distribute.Strategy | None = None,
    data_dir: str | os.PathLike | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> TrainingResult:
    """Trains a network with `model.fit` and writes everything into a run folder.

    The folder gets recipe.json (resolved), versions.json, history.csv, curves.png,
    tensorboard/, checkpoints/ (last.weights.h5, the whole state; previous.weights.h5,
    the one before; best.weights.h5), and at the end model.keras and model.weights.h5
    with the weights of the last epoch, averaged with the recipe's `ema_momentum`.

    A run on one device that is stopped in any way and resumed ends with the weights of
    one that was not. SIGTERM saves the state after the step that it comes in.

    Where TF_CONFIG names several workers, each calls this function. The run folder must
    be the same for all of them; only the first one, the chief, writes there. When a
    worker is gone, the others end within a minute, and SIGTERM does not save.

    Args:
        recipe: How to train.
        run_folder: A new or empty folder, or with `resume` one that holds a run.
        strategy: Where to train; defaults to `make_strategy()`.
        data_dir: Where the recipe's data lies, if not in its usual place.
        resume: Whether to go on with the run in the folder.
        checkpoint_every: Write the state also after so many steps within an epoch.
        callbacks: More Keras callbacks.
        verbose: Of `model.fit`.

    Raises:
        ValueError: If the folder holds another run, or the recipe contradicts the
            data or the model; nothing has been written then.
        FloatingPointError: If the loss is no longer finite.
        OSError: If the data cannot be read, or a file cannot be written.
        ConnectionError: If another worker is gone.
        keras_senet.training.TrainingStopped: After SIGTERM.
    """
    strategy = strategy or make_strategy()
    folder = RunFolder(Path(run_folder))
    if not resume and is_chief(strategy):
        folder.check_new()
    source = data.open_source(recipe.data, data_dir=data_dir, on_error=recipe.on_error)
    recipe = resolve_recipe(recipe, source)
    if resume:
        folder.check_same(recipe)
    # Not 0: TensorFlow then compares the data's own seeds, which are tensors.
    keras.utils.set_random_seed(recipe.seed + 1)
    steps = data.steps_per_epoch(
        source,
        recipe.train_split,
        batch_size=recipe.step_batch_size,
        limit=recipe.limit,
        drop_remainder=True,
    )
    with dtype_policy(recipe.dtype_policy), strategy.scope():
        model = build_model(recipe, source)
        compile_model(model, recipe, steps)
        state = load_last_state(model, folder.last) if resume else State({}, [])
    epoch, step = (int(state.progress.get(name, 0)) for name in ("epoch", "step"))
    training, validation = make_datasets(
        recipe, source, strategy=strategy, epoch=epoch, step=step
    )
    with _written_folder(folder, strategy) as written, _stoppable(strategy) as stop:
        written.write_start(recipe, strategy)
        _cut_history(written.history, epoch)
        checkpoints = Checkpoints(
            written.checkpoints,
            network_card(model, labels=source.class_names),
            resumed=state,
            plateau=_plateau(recipe),
            every=checkpoint_every,
            termination=stop,
            prepare=average_statistics,
        )
        logger = keras.callbacks.CSVLogger(written.history, append=bool(state.progress))
        ours = _callbacks(recipe, source, written, checkpoints, logger)
        start = time.perf_counter()
        try:
            with explained(source, several_workers=is_multi_worker(strategy)):
                fitted = model.fit(
                    training,
                    validation_data=validation,
                    initial_epoch=epoch,
                    epochs=recipe.epochs,
                    steps_per_epoch=steps,
                    callbacks=[*ours, *callbacks],
                    shuffle=False,
                    verbose=verbose,
                )
        finally:
            if logger.csv_file is not None:  # Keras leaves it open after an error.
                logger.csv_file.close()
        seconds = time.perf_counter() - start
        synchronize(model, False)
        header = network_card(model, labels=source.class_names)
        save_model(model, written.model, header, overwrite=True)
        save_weights(model, written.weights, header, overwrite=True)
        history = our_callbacks.read_history(written.history)
    done = steps * len(fitted.epoch) - step
    return TrainingResult(
        model=model,
        recipe=recipe,
        run_folder=folder.path,
        history=history,
        seconds=seconds,
        images_per_second=done * recipe.step_batch_size / seconds,
    )


@contextlib.contextmanager
def _written_folder(
    folder: RunFolder, strategy: tf.distribute.Strategy
) -> Iterator[RunFolder]:
    """The run's folder, or one that vanishes where another process writes the run's.

    That one computes the same, and what is saved may need every process to be read.
    """
    with contextlib.ExitStack() as stack:
        if not is_chief(strategy):
            path = stack.enter_context(tempfile.TemporaryDirectory())
            folder = RunFolder(Path(path))
        folder.remove_leftovers()
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        yield folder


def _stoppable(strategy):
    # One worker that stops between two steps would leave the others waiting.
    if is_multi_worker(strategy):
        return contextlib.nullcontext(Termination())
    return termination_noticed()


def _plateau(recipe):
    if recipe.schedule != "plateau":
        return None
    return keras.callbacks.ReduceLROnPlateau(
        "val_loss", recipe.step_factor, recipe.patience
    )


def _callbacks(recipe, source, folder, checkpoints, logger):
    frozen = recipe.freeze_batch_norm_epochs
    title = f"{recipe.model} on {source.name}"
    ours = [
        our_callbacks.StopOnNaN(folder.last),
        our_callbacks.LearningRateLog(),
        checkpoints.plateau,
        logger,
        _tensorboard(folder.tensorboard),
        checkpoints,
        recipe.ema_momentum and keras.callbacks.SwapEMAWeights(),
        frozen and our_callbacks.FreezeBatchNormalization(recipe.epochs - frozen),
        our_callbacks.Curves(folder.history, folder.curves, title),
    ]
    return [callback for callback in ours if callback]


def _tensorboard(folder):
    # tensorflow does not depend on tensorboard; its logs are a convenience.
    if importlib.util.find_spec("tensorboard") is None:
        return None
    return keras.callbacks.TensorBoard(folder, write_graph=False)


def _cut_history(path, epochs):
    """Drops the rows of epochs that no checkpoint has."""
    if not path.exists():
        return
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))  # None, if it stopped in its first epoch.
    with (
        atomic_path(path, overwrite=True) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(rows[: epochs + 1])
