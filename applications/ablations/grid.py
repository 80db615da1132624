"""The cells of section 6, and how one is trained."""

import dataclasses
import gc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_senet import SqueezeExcite, complexity, create_model
from keras_senet.training import Recipe, train
from keras_senet.utils.files import atomic_path

RESULT = "result.json"

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
    """

    label: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paper: tuple[float, float] | None = None
    millions: float | None = None

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


def tables(stages: Sequence[int]) -> list[Table]:
    """Returns section 6 for a network with these stages.

    The paper's stages 2, 3, 4 stand beside the first, second and third one.
    """
    plain = Cell(
        label="no SE", changes={"se": False}, paper=(23.30, 6.55), millions=25.6
    )
    paper = [(23.03, 6.48), (23.04, 6.32), (22.68, 6.22), None]
    only = [
        Cell(label=f"stage {stage} only", changes={"se_stages": (stage,)}, paper=errors)
        for stage, errors in zip(stages, paper, strict=False)
    ]
    return [
        Table(
            name="reduction",
            title="Reduction ratio (section 6.1)",
            cells=[
                _reduced(2, (22.29, 6.00), 45.7),
                _reduced(4, (22.25, 6.09), 35.7),
                _reduced(8, (22.26, 5.99), 30.7),
                _base("r = 16"),
                _reduced(32, (22.72, 6.20), 26.9),
                plain,
            ],
        ),
        Table(
            name="squeeze",
            title="Squeeze (sections 6.2 and 7.1)",
            cells=[
                _base("average"),
                Cell(label="max", changes={"squeeze": "max"}, paper=(22.57, 6.09)),
                Cell(label="none", changes={"squeeze": "none"}, paper=(22.93, 6.39)),
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
            cells=[*only, _base("all stages"), plain],
        ),
        Table(
            name="placement",
            title="Placement (section 6.5)",
            cells=[
                _base("standard"),
                *(
                    Cell(label=label, changes={"placement": placement}, paper=errors)
                    for placement, label, errors in (
                        ("pre", "PRE", (22.23, 6.00)),
                        ("post", "POST", (22.78, 6.35)),
                        ("identity", "Identity", (22.20, 6.15)),
                        ("3x3", "SE_3x3", (22.48, 6.02)),
                    )
                ),
            ],
        ),
    ]


def _base(label):
    return Cell(label=label, paper=BASE_ERRORS, millions=28.1)


def _reduced(reduction, errors, millions):
    return Cell(
        label=f"r = {reduction}",
        changes={"reduction": reduction},
        paper=errors,
        millions=millions,
    )


def distinct(chosen: Sequence[Table]) -> list[Cell]:
    """Returns the cells of some tables, each once, the base first."""
    cells = {cell.name: cell for table in chosen for cell in table.cells}
    return sorted(cells.values(), key=lambda cell: cell.name != "base")


def run_cell(
    cell: Cell, base: Recipe, seed: int, output: Path, data_dir: Path | None
) -> bool:
    """Trains one cell with one seed, or what is left of it.

    Its run folder is `output`/NAME/seed-SEED, and gets result.json when it is done.

    Returns:
        Whether there was something to do.

    Raises:
        ValueError: If the folder holds a run of another recipe.
    """
    recipe = cell.recipe(base, seed)
    folder = output / cell.name / f"seed-{seed}"
    if (folder / RESULT).is_file():
        _check_same(json.loads((folder / RESULT).read_text("utf-8")), recipe, folder)
        return False
    try:
        trained = train(
            recipe,
            folder,
            data_dir=data_dir,
            resume=(folder / "recipe.json").is_file(),
            verbose=0,
        )
    except FloatingPointError as error:
        result = {"diverged": str(error)}
    else:
        result = {
            "error": 100 * (1 - trained.history["val_accuracy"][-1]),
            "loss": trained.history["val_loss"][-1],
            "training_loss": trained.history["loss"][-1],
            **describe(trained.model),
        }
    with atomic_path(folder / RESULT) as path:
        values = {**result, "recipe": recipe.to_json()}
        path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    keras.backend.clear_session()
    gc.collect()
    return True


def _check_same(result, recipe, folder):
    if Recipe.from_json(result["recipe"]) != recipe:
        raise ValueError(
            "A grid goes on with its own recipe. Received: "
            f"{str(folder)!r}, which was trained with another one. Choose another "
            "--output, or give the options that the grid was started with."
        )


def describe(model: keras.Model) -> dict[str, Any]:
    """Returns what a network costs, and the squeeze widths of its stages."""
    cost = complexity(model)
    blocks = [x for x in model.layers if isinstance(x, SqueezeExcite)]
    return {
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "widths": list(dict.fromkeys(x.reduce.filters for x in blocks)),
    }


def stages_of(recipe: Recipe) -> tuple[int, ...]:
    """Returns the numbers of a network's stages."""
    model = create_model(recipe.model, weights=None, **recipe.model_arguments)
    keras.backend.clear_session()
    return model.architecture.stages
