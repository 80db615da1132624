"""Fine-tuning: training that starts from weights, with a report on what it gave."""

import dataclasses
import inspect
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_senet.data import Source, open_arrays
from keras_senet.evaluation import Evaluation, LabelEvaluation, evaluate
from keras_senet.mistakes import Mistakes
from keras_senet.opening import open_model
from keras_senet.training.doubts import find_doubts, is_no_better
from keras_senet.training.recipe import FinetuneRecipe, Recipe
from keras_senet.training.report import write_report
from keras_senet.training.strategies import is_chief, make_strategy
from keras_senet.training.trainer import TrainingResult, train
from keras_senet.utils.errors import nearest


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneResult(TrainingResult):
    """The result of a fine-tuning: the attributes of `TrainingResult` and these.

    Attributes:
        evaluation: `keras_senet.evaluate` of the network on the held-out images.
        warnings: Problems of the result, one line each.
        at_chance: Whether its accuracy is no better than chance.
        worst: The worst mistakes, as worst.png has them.
        report: The report as Markdown, report.md; report.html beside it is for people.

    Example:

    >>> result = keras_senet.training.finetune(
    ...     (images, np.arange(16) % 4),
    ...     model="se_resnet20",
    ...     weights="fashion_mnist",
    ...     probe=True,
    ...     verbose=0,
    ... )
    >>> result.report.name
    'report.md'
    """

    evaluation: Evaluation | LabelEvaluation
    warnings: tuple[str, ...]
    at_chance: bool
    worst: list[dict[str, Any]]
    report: Path

    @property
    def accuracy(self) -> float:
        """Share of the held-out images that are right, or of their labels."""
        return accuracy_of(self.evaluation)

    @property
    def held_out_counts(self) -> np.ndarray:
        """Held-out images of each class of the data, as the evaluation counted them."""
        return counts_of(self.evaluation, len(self.source.class_names))

    @property
    def probe_accuracy(self) -> float | None:
        """The same of the linear probe."""
        return self.probe and self.probe.accuracy


def finetune(
    data: Any,
    run_folder: str | os.PathLike | None = None,
    *,
    recipe: Recipe | None = None,
    validation_data: Any = None,
    class_names: Sequence[str] | None = None,
    probe: bool = False,
    strategy: tf.distribute.Strategy | None = None,
    say=print,
    **values: Any,
) -> FinetuneResult:
    """Fine-tunes a trained network on other images, and writes a report.

    First, a linear classifier is fitted to the network's features: the linear probe.
    Then all layers are trained, starting from it; the number of updates follows from
    the number of images. The better of the two on the held-out images is kept. Beside
    the files of `train`, the run folder gets report.html, report.md, report.json,
    classes.csv, confusion.png, worst.png and worst.html.

    Args:
        data: A folder with one subfolder of images for each class; or another name that
            `keras_senet.data.open_source` takes, or its source; or (images, labels), or
            a tf.data dataset of them, see `keras_senet.data.open_arrays`.
        run_folder: A new or empty folder; None is runs/finetune-1 or the next number.
        recipe: How to train; by default `FinetuneRecipe`.
        validation_data: For arrays and datasets: the held-out images; by default a part
            of `data`.
        class_names: For arrays and datasets: the names of the classes.
        probe: Whether to stop after the linear probe.
        strategy: Where to train; defaults to `make_strategy()`.
        say: Called with lines for the user: the budget, the probe, warnings.
        **values: Other arguments of `train`, and values of the recipe, such as
            model="..." and weights="...".

    Returns:
        The network and the results. On a worker that is not the chief, there is no
        evaluation and no report: the result is a `TrainingResult`.

    Example:

    >>> result = keras_senet.training.finetune(
    ...     (images, np.arange(16) % 4),  # or "photos", a folder
    ...     model="se_resnet20",
    ...     weights="fashion_mnist",
    ...     probe=True,
    ...     verbose=0,
    ... )
    >>> print(result.accuracy, result.report)
    """
    fields = {field.name for field in dataclasses.fields(Recipe)}
    known = {"validation_data", *inspect.signature(train).parameters, *fields}
    for name in values.keys() - known:
        raise TypeError(f"finetune does not take `{name}`.{nearest(name, known)}")
    changes = {k: values.pop(k) for k in list(values) if k in fields}
    if probe:
        changes |= {"linear_probe": True, "head_epochs": 0, "epochs": 0}
    if recipe is None:
        recipe = FinetuneRecipe(**changes)
    else:
        recipe = dataclasses.replace(recipe, **changes)
    source = data
    if not isinstance(data, (str, os.PathLike, Source)):
        source = open_arrays(
            data, validation_data, class_names=class_names, held_out=recipe.held_out
        )
    elif validation_data is not None or class_names is not None:
        raise ValueError(
            "`validation_data` and `class_names` are only for arrays and datasets. A "
            f"folder has its own. Received: data={data!r}"
        )
    if run_folder is None:
        folders = (Path("runs") / f"finetune-{n}" for n in itertools.count(1))
        run_folder = next(folder for folder in folders if not folder.exists())
    folder = Path(run_folder).expanduser()
    strategy = strategy or make_strategy()
    trained = train(recipe, folder, source=source, strategy=strategy, say=say, **values)
    if not is_chief(strategy):
        return trained
    # As it was saved: without the devices that it was trained on.
    model = open_model(str(folder)).keras_model()
    result = _measured(dataclasses.replace(trained, model=model), folder)
    for doubt in result.warnings:
        say(f"Warning: {doubt}")
    write_report(result)
    return result


def _measured(trained, folder) -> FinetuneResult:
    """Evaluates a trained network on the held-out images, and draws its mistakes."""
    model, mistakes = trained.model, Mistakes()
    evaluation = evaluate(
        model,
        trained.source,
        split=trained.recipe.validation_split,
        on_batch=mistakes.add if model.card.outputs == "softmax" else None,
    )
    if isinstance(evaluation, Evaluation):
        evaluation.save_confusion_picture(folder / "confusion.png", overwrite=True)
    accuracy = accuracy_of(evaluation)
    held_out = counts_of(evaluation, len(trained.source.class_names))
    chance = is_no_better(
        trained,
        accuracy,
        held_out,
        class_accuracy_of(evaluation),
        getattr(evaluation, "mean_average_precision", 0.0),
    )
    predicted = predicted_of(evaluation, len(trained.source.class_names))
    doubts = find_doubts(trained, accuracy, held_out, predicted, at_chance=chance)
    return FinetuneResult(
        **{f.name: getattr(trained, f.name) for f in dataclasses.fields(trained)},
        evaluation=evaluation,
        warnings=tuple(doubts),
        at_chance=chance,
        worst=mistakes.write(folder, evaluation.class_names, model),
        report=folder / "report.md",
    )


def accuracy_of(evaluation: Evaluation | LabelEvaluation) -> float:
    """Share of the images that are right, or of the labels of all images."""
    if isinstance(evaluation, Evaluation):
        return float(evaluation.top1)
    return float(np.nanmean(evaluation.accuracy))


def class_accuracy_of(evaluation: Evaluation | LabelEvaluation) -> np.ndarray | None:
    """The share of each class that is right, or None with several labels an image."""
    if isinstance(evaluation, Evaluation):
        return evaluation.class_accuracy
    if len(evaluation.class_names) > 1:
        return None
    images, positives = evaluation.images, evaluation.positives[0]
    found = evaluation.recall[0] * positives if positives else 0.0
    right = evaluation.accuracy[0] * images - found
    negatives = images - positives
    return np.array([right / negatives if negatives else np.nan, evaluation.recall[0]])


def counts_of(evaluation: Evaluation | LabelEvaluation, classes: int) -> np.ndarray:
    """How many images each of the data's classes has."""
    if isinstance(evaluation, Evaluation):
        return evaluation.confusion.sum(1)
    positives = evaluation.positives
    if len(positives) == 1 and classes == 2:
        return np.array([evaluation.images - positives[0], positives[0]])
    return positives


def predicted_of(evaluation: Evaluation | LabelEvaluation, classes: int) -> np.ndarray:
    """How many images each of the data's classes is predicted for."""
    if isinstance(evaluation, Evaluation):
        return evaluation.confusion.sum(0)
    positives, images = evaluation.positives, evaluation.images
    found = np.nan_to_num(evaluation.recall) * positives
    wrong = images * (1 - evaluation.accuracy)
    # What is wrong is missed, or predicted without being there.
    counts = np.rint(found + wrong - (positives - found)).astype(int)
    if len(counts) == 1 and classes == 2:
        return np.array([images - counts[0], counts[0]])
    return counts
