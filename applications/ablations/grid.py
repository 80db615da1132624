"""The cells of section 6, and how one is trained."""

import dataclasses
import gc
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import keras

from keras_senet import SqueezeExcite, analysis, complexity, create_model, evaluate
from keras_senet.data import open_source
from keras_senet.training import Recipe, train
from keras_senet.utils.files import atomic_path

RESULT = "result.json"

# The split that judges a cell, once, after its training, if no other is named.
TEST = "test"

# Of SE-ResNet-50 with r = 16, average, sigmoid, standard placement in all stages.
BASE_ERRORS = (22.28, 6.03)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One network of the grid.

    Attributes:
        label: What it is, in a table.
        changes: Its architecture arguments beside the base's.
        paper: Published top-1 and top-5 error of SE-ResNet-50 on ImageNet, per cent.
        millions: Published number of its parameters, in millions.
        gflops: Published number of its multiply-adds, in thousand millions.
    """

    label: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paper: tuple[float, float] | None = None
    millions: float | None = None
    gflops: float | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        if not self.changes:
            return "base"
        words = []
        for key, value in self.changes.items():
            value = "-".join(map(str, value)) if isinstance(value, tuple) else value
            words.append(f"{key.removeprefix('se_')}-{value}")
        return "-".join(words).replace("se-False", "plain")

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What its training needs beside the recipe, made anew."""
        return []

    def recipe(self, base: Recipe, seed: int) -> Recipe:
        """Returns the recipe that trains it."""
        arguments = {**base.model_arguments, **self.changes}
        return dataclasses.replace(base, model_arguments=arguments, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """One ablation: its cells, of which the base is one.

    Attributes:
        name: What `--only` calls it.
        title: Its heading.
        cells: Its rows.
    """

    name: str
    title: str
    cells: Sequence[Cell]


def tables(stages: Sequence[int], reduction: int) -> list[Table]:
    """Returns section 6 for a network with these stages and this reduction.

    The paper's stages 2, 3, 4 stand beside the first, second and third one.
    """
    plain = Cell(
        label="no SE",
        changes={"se": False},
        paper=(23.30, 6.55),
        millions=25.6,
        gflops=3.86,
    )
    return [
        Table(
            name="reduction",
            title="Reduction ratio (section 6.1)",
            cells=[
                *(_reduced(*row, base=reduction) for row in _REDUCTIONS),
                plain,
            ],
        ),
        Table(
            name="squeeze",
            title="Squeeze (sections 6.2 and 7.1)",
            cells=[
                _base("average"),
                Cell(label="max", changes={"squeeze": "max"}, paper=(22.57, 6.09)),
                Cell(
                    label="no squeeze",
                    changes={"squeeze": "none"},
                    paper=(22.93, 6.39),
                    millions=28.1,
                    gflops=4.27,
                ),
            ],
        ),
        Table(
            name="gate",
            title="Gate (section 6.3)",
            cells=[
                _base("sigmoid"),
                Cell(label="tanh", changes={"gate": "tanh"}, paper=(23.00, 6.38)),
                Cell(label="ReLU", changes={"gate": "relu"}, paper=(23.47, 6.98)),
            ],
        ),
        Table(
            name="stages",
            title="Stages (section 6.4)",
            cells=[*_single_stages(stages), _base("all stages"), plain],
        ),
        Table(
            name="placement",
            title="Placement (section 6.5)",
            cells=[_base("standard"), *(_placed(*row) for row in _PLACEMENTS)],
        ),
    ]


# r, errors, millions of parameters.
_REDUCTIONS = (
    (2, (22.29, 6.00), 45.7),
    (4, (22.25, 6.09), 35.7),
    (8, (22.26, 5.99), 30.7),
    (16, BASE_ERRORS, 28.1),
    (32, (22.72, 6.20), 26.9),
)

# Errors, millions of parameters.
_SINGLE_STAGES = (
    ((23.03, 6.48), 25.6),
    ((23.04, 6.32), 25.7),
    ((22.68, 6.22), 26.4),
    (None, None),
)

# Argument, label, errors, millions of parameters.
_PLACEMENTS = (
    ("pre", "PRE", (22.23, 6.00), None),
    ("post", "POST", (22.78, 6.35), None),
    ("identity", "Identity", (22.20, 6.15), None),
    ("3x3", "SE_3x3", (22.48, 6.02), 25.8),
)


def _base(label):
    return Cell(label=label, paper=BASE_ERRORS, millions=28.1, gflops=3.87)


def _reduced(reduction, errors, millions, *, base):
    changes = {} if reduction == base else {"reduction": reduction}
    label = f"r = {reduction}"
    return Cell(label=label, changes=changes, paper=errors, millions=millions)


def _single_stages(stages):
    for stage, (errors, millions) in zip(stages, _SINGLE_STAGES, strict=False):
        yield Cell(
            label=f"stage {stage} only",
            changes={"se_stages": (stage,)},
            paper=errors,
            millions=millions,
        )


def _placed(placement, label, errors, millions):
    changes = {"placement": placement}
    return Cell(label=label, changes=changes, paper=errors, millions=millions)


def distinct(chosen: Sequence[Table]) -> list[Cell]:
    """Returns the cells of some tables, each once, the base first."""
    cells = {cell.name: cell for table in chosen for cell in table.cells}
    return sorted(cells.values(), key=lambda cell: cell.name != "base")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """One training: a cell with a seed.

    Attributes:
        cell: The cell.
        recipe: How it is trained.
        folder: Its run folder, which gets result.json when it is done.
        data_dir: The folder of the data, if not the usual one.
        split: The split that judges it.
        uses: Whether it is also measured without its SE, on the recipe's held-out
            images. The result gets the keys of `used`.
    """

    cell: Cell
    recipe: Recipe
    folder: Path
    data_dir: Path | None = None
    split: str = TEST
    uses: bool = False

    def is_done(self) -> bool:
        """Whether there is a result.

        Raises:
            ValueError: If it is one of another recipe.
        """
        path = self.folder / RESULT
        if not path.is_file():
            return False
        _check_same(json.loads(path.read_text("utf-8")), self.recipe, self.folder)
        return True

    def run(self) -> None:
        """Trains the cell, or does what is left of it, and judges it once.

        Raises:
            ValueError: If the folder holds a run of another recipe.
        """
        started = (self.folder / "recipe.json").is_file()
        try:
            trained = train(
                self.recipe,
                self.folder,
                data_dir=self.data_dir,
                resume=started,
                callbacks=self.cell.callbacks(),
                verbose=0,
            )
        except FloatingPointError as error:
            result = {"diverged": str(error)}
        else:
            result = self._judge(trained)
        with atomic_path(self.folder / RESULT) as path:
            values = {**result, "recipe": self.recipe.to_json()}
            path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
        keras.backend.clear_session()
        gc.collect()

    def _judge(self, trained):
        if not math.isfinite(trained.history["val_loss"][-1]):
            return {"diverged": "The validation loss is not finite."}
        evaluation = evaluate(
            trained.model,
            open_source(self.recipe.data, data_dir=self.data_dir),
            split=self.split,
            crop_fraction=self.recipe.crop_fraction,
            limit=self.recipe.limit,
        )
        result = {
            "error": 100 * (1 - evaluation.top1),
            "images": evaluation.images,
            "loss": evaluation.loss,
            "training_loss": trained.history["loss"][-1],
            "seconds": trained.seconds,
            **describe(trained.model),
        }
        if self.uses and result["widths"]:
            result["uses"] = used(trained.model, trained.validation)
        return result


def _check_same(result, recipe, folder):
    if Recipe.from_json(result["recipe"]) != recipe:
        raise ValueError(
            "A grid must be resumed with its own recipe. Received: "
            f"{str(folder)!r}, which was trained with another one. Choose another "
            "--output, or give the options that the grid was started with."
        )


def describe(model: keras.Model) -> dict[str, Any]:
    """Returns what a network costs, and the squeeze widths of its stages."""
    cost = complexity(model)
    blocks = [x for x in model.layers if isinstance(x, SqueezeExcite)]
    widths = dict.fromkeys((x.expand.filters, x.reduce.filters) for x in blocks)
    return {
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "widths": [width for _, width in widths],
    }


def used(model: keras.Model, batches: Any) -> dict[str, float]:
    """Returns how much a network uses its SE.

    Args:
        model: A network with several SE layers.
        batches: Labelled images, as for `analysis.excitation_statistics`.

    Returns:
        `layers`: number of SE layers. `dispensable`: how many of them cost at most 0.1
        points when they go alone. `identity` and `mean`: points that all cost together,
        where each gate is 1, and where it is its channel's mean. `distance`: root of
        the mean square of (gate - 1); `spread`: that of (gate - its channel's mean);
        both are means over the layers.
    """
    statistics = analysis.excitation_statistics(model, batches)
    removal = analysis.removal_accuracy(model, batches, statistics)
    layers = statistics.layers
    costs = {t.by: 100 * removal.loss(t) for t in removal.groups[-2:]}  # all layers
    return {
        "layers": len(layers),
        "dispensable": len(removal.dispensable),
        **costs,
        "distance": fmean(layer.distance for layer in layers),
        "spread": fmean(layer.spread for layer in layers),
    }


def architecture_of(recipe: Recipe) -> Any:
    """Returns the architecture row of a recipe's network."""
    model = create_model(recipe.model, weights=None, **recipe.model_arguments)
    keras.backend.clear_session()
    return model.architecture
