"""Recipes: validation, files, and the rates that follow from them."""

import dataclasses
import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from keras_senet.data.mixing import LEAST_ALPHA
from keras_senet.models import CONSTRUCTORS, architecture_options
from keras_senet.training.recipe import FinetuneRecipe, ModelArguments, Recipe
from keras_senet.training.recipes import RECIPES, load_recipe

SAVED_MODELS = Path(__file__).parents[2] / "saved_models"


@pytest.mark.parametrize("name", RECIPES)
def test_json_round_trip(name):
    recipe = dataclasses.replace(
        RECIPES[name], model_arguments={"reduction": 8, "se_stages": (2, 3)}
    )
    text = json.dumps(recipe.to_json())
    assert Recipe.from_json(json.loads(text)) == recipe


def test_replace_keeps_the_rest():
    recipe = dataclasses.replace(RECIPES["cifar10"], epochs=3)
    assert recipe.epochs == 3
    assert recipe.step_at == RECIPES["cifar10"].step_at
    assert RECIPES["cifar10"].epochs == 182


def test_the_papers_numbers():
    imagenet = RECIPES["imagenet"]
    assert imagenet.peak_learning_rate == 0.6
    assert (imagenet.global_batch_size, imagenet.epochs) == (1024, 100)
    assert [at * imagenet.epochs for at in imagenet.step_at] == [30, 60, 90]


@pytest.mark.parametrize(
    ("name", "rate", "batch", "epochs"),
    [
        ("mobile", 0.1, 256, 400),
        ("ablation", 0.1, 256, 300),
        ("senet154", 1.0, 2048, 100),
        ("places365", 0.6, 1024, 100),
    ],
)
def test_the_papers_other_recipes(name, rate, batch, epochs):
    recipe = RECIPES[name]
    assert recipe.peak_learning_rate == rate
    assert (recipe.global_batch_size, recipe.epochs) == (batch, epochs)
    assert (recipe.optimizer, recipe.momentum, recipe.crop_fraction) == (
        "sgd",
        0.9,
        0.875,
    )


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist"])
def test_choices_are_made_on_a_part_of_the_training_set(name):
    recipe = RECIPES[name]
    assert recipe.train_split == "train[:90%]"
    assert recipe.validation_split == "train[90%:]"


def test_cifar10_takes_64000_steps():
    recipe = RECIPES["cifar10"]
    steps = 45_000 // recipe.global_batch_size * recipe.epochs
    assert steps == pytest.approx(64_000, rel=0.005)


def test_learning_rate_scales_linearly():
    recipe = dataclasses.replace(RECIPES["imagenet"], global_batch_size=256)
    assert recipe.peak_learning_rate == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "se_resnet5"}, "Received: model='se_resnet5'. Did you mean 'se_r"),
        ({"epochs": 0}, "`head_epochs` and `epochs` must not both be 0"),
        ({"epochs": 1.5}, "`epochs` must be an integer or None. Received"),
        ({"epochs": True}, "Received: epochs=True"),
        ({"nesterov": 1}, "`nesterov` must be True or False. Received: nesterov=1"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be above 0"),
        ({"learning_rate": "0.1"}, "`learning_rate` must be a number"),
        ({"momentum": 1.0}, "`momentum` must be at least 0 and below 1"),
        ({"crop_fraction": 1.1}, "above 0 and at most 1. Received: crop_fraction=1.1"),
        ({"channels": 4}, "`channels` must be 1 or 3 or None. Received: channels=4"),
        ({"schedule": "cosin"}, "'cosine' or 'step' or 'plateau' or 'constant'"),
        ({"step_at": (0.5, 0.5)}, "Received: step_at="),
        ({"step_at": (0.5, 1.0)}, "Received: step_at="),
        ({"step_at": 0.5}, "`step_at` must be a sequence of numbers"),
        ({"step_at": ("half",)}, "`step_at` must be a sequence of numbers"),
        ({"warmup_epochs": 1.0, "schedule": "step"}, "needs schedule='cosine'"),
        ({"warmup_epochs": 5.0, "epochs": 5}, "less than `epochs`"),
        ({"l2": 1e-4, "optimizer": "adamw"}, "Use `weight_decay`"),
        ({"head_epochs": -1}, "`head_epochs` must be at least 0. Received"),
        ({"model": None}, "`model` must name the network, because the `weights`"),
        ({"schedule": "plateau", "layer_decay": 0.5}, "se_rate_factor=1. Received"),
        ({"schedule": "plateau", "se_rate_factor": 5.0}, "se_rate_factor=5.0"),
        ({"schedule": "plateau", "patience": None}, "needs a `patience`"),
        (
            {"freeze_batch_norm": True, "freeze_batch_norm_epochs": 1},
            "freeze_batch_norm=False:",
        ),
        (
            {"epochs": 3, "freeze_batch_norm_epochs": 3},
            "must be less than `epochs` and",
        ),
        (
            {"se_rate_factor": 2.0, "freeze_batch_norm_epochs": 1},
            "needs layer_decay=1 and se_rate_factor=1. Received: freeze",
        ),
        ({"seed": True}, "`seed` must be an integer"),
        ({"epochs": 10**30}, "`epochs` must be below 2147483648"),
        ({"learning_rate": float("inf")}, "`learning_rate` must be below"),
        ({"learning_rate": 10**400}, "`learning_rate` must be a number"),
        ({"image_size": 10**6}, "`image_size` must be at least 1 and at most 8192"),
        ({"model_arguments": {"reductoin": 8}}, "Did you mean 'reduction'?"),
        ({"model_arguments": {"ratio": 16}}, "Did you mean 'reduction'?"),
        ({"model_arguments": {"dropout_rate": 0.1}}, "architecture arguments"),
        ({"model_arguments": "se"}, "must be a mapping"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError) as error:
        Recipe(**{"model": "se_resnet20", **values})
    assert message in str(error.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from([field.name for field in dataclasses.fields(Recipe)])


@hypothesis.settings(derandomize=True, max_examples=200, deadline=None)
@hypothesis.given(values=st.dictionaries(FIELDS, VALUES, max_size=4))
def test_any_json_is_a_recipe_or_one_line(values):
    values = {"model": "se_resnet20", **values}
    try:
        recipe = Recipe.from_json(values)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert Recipe.from_json(recipe.to_json()) == recipe
        assert recipe.phases or recipe.linear_probe
        assert recipe.peak_learning_rate > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "is not JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested more than 32 deep"),
        (b"\xff", "is not JSON"),
        (b" " * (2**24 + 1), "is larger than 16 MB"),
        (b"3", "must be a JSON object"),
    ],
)
def test_a_recipe_file_that_is_none(content, message, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load_recipe(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_whole_numbers_are_numbers():
    assert Recipe(model="se_resnet20", learning_rate=1).learning_rate == 1.0
    assert isinstance(Recipe(model="se_resnet20", l2=0).l2, float)


def test_numpys_numbers_are_pythons():
    values = {"seed": np.int64(3), "l2": np.float32(0.5), "step_at": (np.float64(0.5),)}
    recipe = Recipe(model="se_resnet20", **values)
    assert json.loads(json.dumps(recipe.to_json()))["step_at"] == [0.5]
    assert (type(recipe.seed), type(recipe.l2)) == (int, float)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_smoke_has_the_pixels_that_the_network_needs(name):
    for size in (None, 224):
        small = Recipe(model=name, image_size=size).smoke()
        assert CONSTRUCTORS[name].family.min_size <= small.image_size <= 75
        assert small.smoke() == small


def test_smoke_keeps_the_phases():
    recipe = FinetuneRecipe(model="se_resnet20", weights="cifar10")
    assert [p.number for p in recipe.smoke().phases] == [2]
    recipe = dataclasses.replace(recipe, head_epochs=5)
    assert [p.number for p in recipe.smoke().phases] == [1, 2]
    assert recipe.smoke().smoke() == recipe.smoke()
    with pytest.raises(ValueError, match=r"model=None\. Set it"):
        FinetuneRecipe(weights="x.weights.h5").smoke()


def test_phases():
    (only,) = RECIPES["cifar10"].phases
    assert only == (2, "all layers", RECIPES["cifar10"])
    recipe = FinetuneRecipe(
        model="se_resnet20", warmup_epochs=1.0, seed=3, head_epochs=5
    )
    head, everything = recipe.phases
    assert (head.number, everything.number) == (1, 2)
    assert (head.recipe.epochs, head.recipe.learning_rate) == (5, 1e-3)
    assert (head.recipe.layer_decay, head.recipe.warmup_epochs) == (1, 0)
    assert everything.recipe == dataclasses.replace(recipe, head_epochs=0)
    assert everything.recipe.peak_learning_rate == recipe.learning_rate
    (alone,) = dataclasses.replace(recipe, epochs=0, warmup_epochs=0.0).phases
    assert alone.number == 1


# What `keras-senet finetune` of version 0.1 wrote into a run folder.
FINETUNED_BY_0_1 = {
    "data": "photos",
    "model": "se_resnet20",
    "weights": "cifar10",
    "model_arguments": {},
    "train_split": "train",
    "validation_split": "test",
    "held_out": 0.2,
    "on_error": "skip",
    "image_size": None,
    "augmentation": "flip",
    "global_batch_size": 16,
    "head_epochs": 2,
    "head_learning_rate": 0.001,
    "epochs": 9,
    "learning_rate": 0.0001,
    "layer_decay": 0.7,
    "weight_decay": 0.01,
    "freeze_batch_norm": True,
    "class_weights": True,
    "label_smoothing": 0.0,
    "patience": 5,
    "seed": 0,
}


def test_recipes_of_version_0_1():
    recipe = Recipe.from_json(FINETUNED_BY_0_1)
    expected = FinetuneRecipe(
        data="photos",
        model="se_resnet20",
        weights="cifar10",
        validation_split="test",
        global_batch_size=16,
        linear_probe=False,
        head_epochs=2,
        epochs=9,
        learning_rate=1e-4,
    )
    assert recipe == expected
    shorter = {k: v for k, v in FINETUNED_BY_0_1.items() if k != "learning_rate"}
    assert Recipe.from_json(shorter) == expected
    assert Recipe.from_json(recipe.to_json()).to_json() == recipe.to_json()


@pytest.mark.parametrize(
    "file", sorted(SAVED_MODELS.glob("*/recipe.json")), ids=lambda f: f.parent.name
)
def test_recipes_of_the_shipped_weights(file):
    values = json.loads(file.read_text())
    recipe = load_recipe(file)
    assert {name: recipe.to_json()[name] for name in values} == values
    assert [phase.number for phase in recipe.phases] == [2]


def test_smoke_is_small_and_valid():
    for recipe in RECIPES.values():
        small = recipe.smoke()
        assert small.data == "bundled"
        assert small.epochs * small.limit <= 200
        assert small.model == recipe.model
        assert bool(small.warmup_epochs) == bool(recipe.warmup_epochs)


def test_every_architecture_argument_is_a_model_argument():
    every = {option for name in CONSTRUCTORS for option in architecture_options(name)}
    own = {"fused"}
    assert set(ModelArguments.__annotations__) - own == every - {"output_stride"}


def test_load_by_name_and_from_files(tmp_path):
    assert load_recipe("cifar10") is RECIPES["cifar10"]
    python = tmp_path / "mine.py"
    python.write_text(
        "import dataclasses\n"
        "from keras_senet.training import RECIPES\n"
        "recipe = dataclasses.replace(RECIPES['cifar10'], epochs=7)\n"
    )
    assert load_recipe(python).epochs == 7
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"model": "se_resnet20", "step_at": [0.4]}))
    assert load_recipe(str(file)) == Recipe(model="se_resnet20", step_at=(0.4,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"model": "se_resnet20", "epoch": 3}',
            "Unknown key 'epoch' in a recipe. Did you mean 'epo",
        ),
        ('{"epochs": 3}', "must name its `model`"),
        ('{"model": "se_resnet20",', "mine.json' is not JSON: "),
        ("[1]", "must be a JSON object"),
    ],
)
def test_bad_json(tmp_path, text, message):
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(ValueError) as error:
        load_recipe(file)
    assert message in str(error.value)
    assert "mine.json" in str(error.value)


APPLICATIONS = Path(__file__).parents[2] / "applications"


@pytest.mark.parametrize("name", ["cifar10", "imagenet", "mobile", "places365"])
def test_an_application_overrides_a_named_recipe(name):
    recipe = load_recipe(APPLICATIONS / name / "recipe.py")
    same = dataclasses.replace(
        recipe,
        model=RECIPES[name].model,
        model_arguments=RECIPES[name].model_arguments,
    )
    assert same == RECIPES[name]
    assert (APPLICATIONS / name / "main.py").is_file()
    head = (APPLICATIONS / name / "recipe.py").read_text()
    for word in (
        "Hardware:",
        "Time:",
        "Expected:",
        "Measured:",
        "main.py --run-folder",
    ):
        assert word in head


def test_bad_names_and_files(tmp_path):
    with pytest.raises(ValueError, match=r"Received: 'cifar1'. Did you mean 'cifar10'"):
        load_recipe("cifar1")
    with pytest.raises(FileNotFoundError, match=r"no recipe file 'none\.json'"):
        load_recipe("none.json")
    python = tmp_path / "mine.py"
    python.write_text("reciep = 1\n")
    with pytest.raises(ValueError, match=r"must define `recipe`.*recipe=None"):
        load_recipe(python)


def test_the_least_alpha_is_that_of_the_data():
    for alpha in (0, LEAST_ALPHA, 1):
        assert Recipe(model="se_resnet20", mixup=alpha, cutmix=alpha).mixup == alpha
    for alpha in (LEAST_ALPHA / 2, -1, 1.5):
        with pytest.raises(ValueError, match="must be 0, or at least 0"):
            Recipe(model="se_resnet20", mixup=alpha)
