"""Training: a recipe, a run folder, `model.fit` for each of the recipe's phases."""

import contextlib
import dataclasses
import functools
import importlib.util
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_senet import data
from keras_senet.card import Card
from keras_senet.data.failures import explained
from keras_senet.training import callbacks as our_callbacks
from keras_senet.training.checkpoints import (
    START,
    Checkpoints,
    Termination,
    TrainingStopped,
    termination_noticed,
)
from keras_senet.training.curves import read_history
from keras_senet.training.datasets import (
    count_images,
    data_images,
    inference_batches,
    make_datasets,
    resolve_recipe,
    weigh_classes,
)
from keras_senet.training.network import (
    build_model,
    compile_model,
    dtype_policy,
    let_learn,
    own_memory,
    synchronize,
)
from keras_senet.training.optimization import check_keras
from keras_senet.training.probe import Probe, fit, see
from keras_senet.training.recipe import Phase, Recipe
from keras_senet.training.run_folder import RunFolder
from keras_senet.training.state import RESUME, load_state, read_progress
from keras_senet.training.strategies import (
    average_statistics,
    count_devices,
    is_chief,
    is_multi_worker,
    make_strategy,
    on_all_devices,
)
from keras_senet.utils.errors import as_integer
from keras_senet.utils.files import disk_full_explained, locked_folder, temporary_folder
from keras_senet.weights import save_model, save_weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a training.

    Attributes:
        model: The trained network; it takes raw images, 0..255.
        recipe: The resolved recipe.
        source: The data.
        run_folder: Where everything was written.
        probe: The linear probe, where the recipe has one.
        keeps_probe: Whether the model is that probe, because training all layers was
            not better on the held-out images.
        history: Values of each epoch, by name. With two phases, "phase" is 1 or 2.
        seconds: Time of `model.fit`.
        images_per_second: Training images by this time, which includes the evaluation.

    Example:

    >>> recipe = keras_senet.training.load_recipe("quickstart").smoke()
    >>> result = keras_senet.training.train(recipe, "runs/smoke", verbose=0)
    >>> len(result.history["val_accuracy"])
    2
    """

    model: keras.Model
    recipe: Recipe
    source: data.Source
    run_folder: Path
    probe: Probe | None
    keeps_probe: bool
    history: dict[str, list[float]]
    seconds: float
    images_per_second: float

    @property
    def accuracy(self) -> float:
        """Of the network on the held-out images, as the training measured it."""
        if self.keeps_probe:
            return self.probe.accuracy
        return _reached(self.recipe, self.history)

    @property
    def validation(self) -> tf.data.Dataset:
        """The batches that each epoch was evaluated on; labels are one-hot."""
        return make_datasets(self.recipe, self.source)[1]

    @functools.cached_property
    def image_counts(self) -> tuple[int, ...]:
        """Images of each class in the training split."""
        return count_images(self.source, self.recipe.train_split, self.recipe.limit)

    @functools.cached_property
    def class_weights(self) -> tuple[float, ...]:
        """How much each class counts in the loss; all 1 without weights."""
        same = (1.0,) * len(self.source.class_names)
        return weigh_classes(self.recipe, self.source) or same


@on_all_devices
def train(
    recipe: Recipe,
    run_folder: str | os.PathLike,
    *,
    source: str | os.PathLike | data.Source | None = None,
    strategy: tf.distribute.Strategy | None = None,
    data_dir: str | os.PathLike | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
    say: Callable[[str], Any] | None = None,
) -> TrainingResult:
    """Trains a network with `model.fit` and writes everything into a run folder.

    The folder gets recipe.json (resolved), versions.json, history.csv, curves.png,
    tensorboard/, checkpoints/ (last.weights.h5, the whole state; previous.weights.h5,
    the one before; best.weights.h5), and at the end model.keras and model.weights.h5
    with the weights of the last epoch, or with the recipe's `stop_early` of the best
    one, averaged with `ema_momentum`.

    An interrupted run can be resumed. On one CPU, the result is bit-identical to that
    of an uninterrupted run; on one GPU it is after
    `tf.config.experimental.enable_op_determinism()`. SIGTERM saves the state after the
    current step, or after the evaluation.

    If TF_CONFIG names several workers, each of them calls this function. All must use
    the same run folder; only the first one, the chief, writes there. If a worker stops,
    the others end within a minute. With several workers, SIGTERM does not save.

    On JAX, TensorFlow reads the data. Each batch is distributed over all devices, or as
    set with `keras.distribution`. If the number of held-out images is not a multiple of
    the devices, the last few are not used in the evaluation after each epoch.

    Args:
        recipe: How to train, and from which weights.
        run_folder: A new or empty folder, or with `resume` one that holds a run.
        source: What `keras_senet.data.open_source` takes or returns; None is the
            recipe's `data`.
        strategy: Where TensorFlow trains; defaults to `make_strategy()`.
        data_dir: Where the recipe's data lies, if not in its usual place.
        resume: Whether to resume the run in the folder.
        checkpoint_every: Also save the state after this many steps within an epoch.
        callbacks: More Keras callbacks, for each phase.
        verbose: Of `model.fit`.
        say: Called with lines for the user on the budget, the time, and the probe; by
            default `print`, or nothing with verbose=0.

    Raises:
        ValueError: If the folder holds another run, or the recipe contradicts the
            data, the weights or the model. Then nothing is written.
        FileNotFoundError: If the data or the weights do not exist.
        FloatingPointError: If the loss is not finite.
        OSError: If the data cannot be read, a file cannot be written, or another
            process trains in the folder.
        ConnectionError: If another worker stops.
        ImportError: If Keras is too old for the recipe.
        keras_senet.training.TrainingStopped: After SIGTERM.

    Example:

    >>> recipe = keras_senet.training.load_recipe("quickstart").smoke()
    >>> result = keras_senet.training.train(recipe, "runs/smoke", verbose=0)
    >>> result.model.output_shape
    (None, 10)
    """
    check_keras(recipe)
    if checkpoint_every is not None:
        as_integer("checkpoint_every", checkpoint_every)
    strategy = strategy or make_strategy()
    if tf.distribute.has_strategy() and tf.distribute.get_strategy() is not strategy:
        raise ValueError(
            "A training enters the scope of its strategy itself. Received: a call in "
            "the scope of another one. Call it outside, and pass `strategy`."
        )
    folder = RunFolder(run_folder)
    if not resume and is_chief(strategy):
        folder.check_new()
    if not isinstance(source, data.Source):
        source = data.open_source(
            recipe.data if source is None else source,
            data_dir=data_dir,
            on_error=recipe.on_error,
            held_out=recipe.held_out,
        )
    folder.check_apart(source.folders)
    if resume:  # Other data have other classes: the recipe would contradict them.
        folder.check_same(dataclasses.replace(recipe, data=source.name), "data")
    recipe = resolve_recipe(recipe, source, count_devices(strategy))
    if resume:
        folder.check_same(recipe)
    found = folder.find_state(recipe) if resume else None
    images = data_images(recipe, source, recipe.train_split)
    # Not 0: TensorFlow then compares the data's own seeds, which are tensors.
    keras.utils.set_random_seed(recipe.seed + 1)
    with dtype_policy(recipe.dtype_policy), strategy.scope():
        network = build_model(recipe, source)
    with (
        _written_folder(folder, strategy, resume) as written,
        # One worker that stops between two steps would leave the others waiting.
        termination_noticed(not is_multi_worker(strategy)) as stop,
    ):
        written.write_start(recipe, strategy)
        training = _Fit(
            recipe=recipe,
            source=source,
            steps=recipe.passes * (images // recipe.step_batch_size),
            strategy=strategy,
            network=network,
            folder=written,
            termination=stop,
            checkpoint_every=checkpoint_every,
            callbacks=callbacks,
            verbose=verbose,
            say=say or (print if verbose else lambda text: None),
        )
        with (
            disk_full_explained(written.path),
            explained(source, several_workers=is_multi_worker(strategy)),
        ):
            training.run(found)
        return training.save(folder.path)


def _reached(recipe, history):
    """The accuracy of the epoch whose weights a training ends with."""
    losses, accuracies = history["val_loss"], history["val_accuracy"]
    if not recipe.stop_early:
        return accuracies[-1]
    phases = history.get("phase", [2] * len(losses))
    last = [i for i, phase in enumerate(phases) if phase == phases[-1]]
    return accuracies[min(last, key=losses.__getitem__)]


@dataclasses.dataclass(kw_only=True)
class _Fit:
    """A training while it goes through its phases; fields as in `train`.

    Attributes:
        steps: Of an epoch.
        steps_done: Steps of `model.fit` so far.
        seconds: How long they took.
        best: The highest accuracy after an epoch so far.
    """

    recipe: Recipe
    source: data.Source
    steps: int
    strategy: tf.distribute.Strategy
    network: keras.Model
    folder: RunFolder
    termination: Termination
    checkpoint_every: int | None
    callbacks: Sequence[keras.callbacks.Callback]
    verbose: str | int
    say: Callable[[str], Any]
    steps_done: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    probe: Probe | None = None
    keeps_probe: bool = False

    def __post_init__(self):
        recipe, part = self.recipe, self.source.part
        self.counts = {
            "training": part(recipe.train_split).images,
            "held-out": part(recipe.validation_split).images,
        }
        self.class_weights = weigh_classes(recipe, self.source)
        self.model = self.network
        if recipe.has_several_rates:
            # The same layers. Keras cannot save an optimizer of several rates.
            inputs, outputs = self.network.inputs, self.network.outputs
            with self.strategy.scope():
                self.model = keras.Model(inputs, outputs, name=self.network.name)

    def run(self, found: Path | None) -> None:
        """Goes through the phases, or on from a state's file."""
        progress = read_progress(found) if found else {}
        for name, images in self.counts.items():
            if progress.get(name, images) != images:
                raise ValueError(
                    "A run must be resumed with its own images. Received: "
                    f"{images} {name} images, of {progress[name]:.0f} in the run."
                )
        self.folder.cut_history(int(progress.get("epoch", 0)))
        start = self._start_from_probe() if self.recipe.linear_probe else None
        begin = int(progress.get("begin", 0))
        # Version 0.1 wrote states of one phase, without its number.
        number = int(progress.get("phase", 2))
        for phase in self.recipe.phases:
            if found is None or phase.number >= number:
                resumed = found if phase.number == number else None
                begin = self._run_phase(phase, begin, resumed)
        if self.probe is not None:
            self._keep_the_better(start)

    def save(self, run_folder: Path) -> TrainingResult:
        """Writes the trained network, and returns the result."""
        network, written = self.network, self.folder
        images = self.steps_done * self.recipe.step_batch_size
        for layer in network.layers:
            layer.trainable = True
        synchronize(network, False)
        save_model(network, written.model, overwrite=True)
        save_weights(network, written.weights, overwrite=True)
        return TrainingResult(
            model=network,
            recipe=self.recipe,
            source=self.source,
            run_folder=run_folder,
            probe=self.probe,
            keeps_probe=self.keeps_probe,
            history=read_history(written.history) if written.history.exists() else {},
            seconds=self.seconds,
            images_per_second=images / max(self.seconds, 1e-9),
        )

    def _write_best(self, path: Path) -> None:
        save_weights(self.network, path, overwrite=True)

    def _start_from_probe(self) -> list[np.ndarray]:
        """Gives the classifier the weights of the probe; returns all weights."""
        folder = self.folder
        if folder.probe.exists():
            self.probe = Probe.load(folder.probe)
        else:
            try:
                self._fit_probe()
            finally:
                for file in folder.checkpoints.glob(f"{folder.features.stem}_*"):
                    file.unlink()
        with self.strategy.scope():
            self.probe.put_into(self.network)
        self.say(
            f"Linear probe: {self.probe.accuracy:.1%} of the held-out "
            f"{self.source.counted} right."
        )
        return self.network.get_weights()

    def _fit_probe(self):
        recipe, folder = self.recipe, self.folder
        parts = {recipe.train_split: self.class_weights, recipe.validation_split: None}
        splits = [
            (
                inference_batches(recipe, self.source, split, weights),
                data_images(recipe, self.source, split),
            )
            for split, weights in parts.items()
        ]
        seen = see(self.network, splits, folder.features, self._stop_if_asked)
        self._tell_the_time(seen[0].seconds)
        independent = Card.of(self.network).outputs == "sigmoid"
        self.probe = fit(*seen, independent=independent)
        self.probe.save(folder.probe)
        self._stop_if_asked()

    def _stop_if_asked(self):
        if self.termination.requested:
            raise TrainingStopped(
                f"Stopped by SIGTERM before the first epoch: {RESUME}."
            )

    def _tell_the_time(self, seconds):
        """Says the budget and how long it takes, from the time of inference."""
        recipe = self.recipe
        updates = self.steps * recipe.epochs // recipe.accumulation_steps
        if not updates:
            return
        # Back through the network takes about twice as long as forth.
        trained = 3 * updates * recipe.global_batch_size
        minutes = seconds * (trained + recipe.epochs * self.counts["held-out"]) / 60
        time = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"
        self.say(
            f"All layers: {updates:,} updates of {recipe.global_batch_size} images, "
            f"about {time} on this machine."
        )

    def _keep_the_better(self, start):
        """Returns to the probe if training all layers was not better."""
        rows = read_history(self.folder.history) if self.recipe.phases else {}
        if not rows:
            self.keeps_probe = True
            return
        accuracy = _reached(self.recipe, rows)
        # Rounded, because Keras' accuracies are of float32. The losses say nothing of
        # two that are as good: the epoch is the one with the lowest loss of many.
        gain = round(accuracy - self.probe.accuracy, 6)
        self.keeps_probe = gain <= 0
        self.say(
            f"All layers: {accuracy:.1%} of the held-out {self.source.counted} right. "
            + ("The linear probe is kept." if self.keeps_probe else "They are kept.")
        )
        if self.keeps_probe:
            self.model.set_weights(start)
            if self.probe.accuracy >= max(rows["val_accuracy"]):
                self._write_best(self.folder.best)

    def _run_phase(self, phase: Phase, begin: int, found: Path | None) -> int:
        """Trains from an epoch on; returns the one that the next phase begins with."""
        recipe = phase.recipe
        let_learn(self.model, recipe, classifier_only=phase.number == 1)
        with dtype_policy(recipe.dtype_policy), self.strategy.scope():
            compile_model(self.model, recipe, self.steps)
            state = load_state(self.model, found) if found else START
        start = {"phase": phase.number, "begin": begin, "epoch": begin, "step": 0}
        start |= {"best": self.best, **self.counts}
        state = state._replace(progress={**start, **state.progress})
        checkpoints = Checkpoints(
            self.folder.checkpoints,
            self._write_best,
            resumed=state,
            plateau=our_callbacks.make_plateau(recipe),
            patience=(recipe.patience or math.inf) if recipe.stop_early else None,
            every=self.checkpoint_every,
            termination=self.termination,
            prepare=average_statistics,
        )
        epoch, step = (int(state.progress[name]) for name in ("epoch", "step"))
        passed, place = divmod(step, self.steps // recipe.passes)
        training, validation = make_datasets(
            recipe,
            self.source,
            strategy=self.strategy,
            epoch=epoch * recipe.passes + passed,
            step=place,
            class_weights=self.class_weights,
        )
        logger = keras.callbacks.CSVLogger(
            self.folder.history, append=self.folder.history.exists()
        )
        ours = self._callbacks(phase, begin, checkpoints, logger)
        clock = time.perf_counter()
        try:
            fitted = self.model.fit(
                training,
                validation_data=validation,
                initial_epoch=epoch,
                # A phase may have been at its end when the training stopped.
                epochs=epoch if checkpoints.has_ended else begin + recipe.epochs,
                steps_per_epoch=self.steps,
                callbacks=[*ours, *self.callbacks],
                shuffle=False,
                verbose=self.verbose,
            )
        finally:
            if logger.csv_file is not None:  # Keras leaves it open after an error.
                logger.csv_file.close()
        own_memory(self.model.optimizer)
        self.seconds += time.perf_counter() - clock
        self.steps_done += self.steps * len(fitted.epoch) - step
        self.best = checkpoints.progress["best"]
        if checkpoints.best_weights:
            self.model.set_weights(checkpoints.best_weights)
        return epoch + len(fitted.epoch)

    def _callbacks(self, phase, begin, checkpoints, logger):
        recipe, folder = phase.recipe, self.folder
        frozen = recipe.freeze_batch_norm_epochs
        thawed = begin + recipe.epochs - frozen
        title = f"{recipe.model} on {self.source.name}"
        several = recipe.linear_probe or self.recipe.head_epochs or recipe.weights
        ours = [
            our_callbacks.StopOnNaN(folder.last),
            frozen and our_callbacks.FreezeBatchNormalization(thawed),
            our_callbacks.LearningRateLog(phase.number if several else None),
            checkpoints.plateau,
            logger,
            # tensorflow does not depend on tensorboard; its logs are a convenience.
            importlib.util.find_spec("tensorboard")
            and keras.callbacks.TensorBoard(folder.tensorboard, write_graph=False),
            checkpoints,
            recipe.ema_momentum and keras.callbacks.SwapEMAWeights(),
            our_callbacks.Curves(folder.history, folder.curves, title),
        ]
        return [callback for callback in ours if callback]


@contextlib.contextmanager
def _written_folder(folder, strategy, resume) -> Iterator[RunFolder]:
    """The run's folder, or one that vanishes where another process writes the run's.

    That one computes the same, and what is saved may need every process to be read.
    """
    with contextlib.ExitStack() as stack:
        if not is_chief(strategy):
            # A folder in it: the temporary one has a lock already.
            folder = RunFolder(stack.enter_context(temporary_folder()) / "run")
        stack.enter_context(disk_full_explained(folder.path))
        folder.path.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked_folder(folder.path, "run folder"))
        if not resume:
            folder.check_new()  # Another run may have begun in it meanwhile.
        folder.remove_leftovers()
        yield folder
