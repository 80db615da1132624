"""Fine-tuning: what learns when, how fast, and what is left of the old network."""

import dataclasses
import json
import warnings

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.data import open_source
from keras_senet.training._layer_decay import (
    learning_rate_factors,
    make_decayed_optimizer,
)
from keras_senet.training.finetune import build_pretrained, count_images, finetune
from keras_senet.training.finetune_recipe import FinetuneRecipe
from keras_senet.weights import save_weights

TINY = {
    "block": "basic",
    "blocks": (1, 1, 1, 1),
    "filters": (8, 8, 8, 8),
    "stem_filters": (8,),
    "reduction": 4,
}


class Snapshots(keras.callbacks.Callback):
    """Copies all weights at the end of each phase."""

    def __init__(self):
        super().__init__()
        self.taken = []

    def on_train_end(self, logs=None):
        self.taken.append(values(self.model))


def values(model):
    return {v.path: v.numpy() for v in model.variables if "seed" not in v.path}


def changed(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The weights of a small network with ten classes, as a file."""
    keras.utils.set_random_seed(5)
    model = keras_senet.SEResNet(
        weights=None,
        classes=10,
        input_shape=(32, 32, 3),
        include_preprocessing=True,
        **TINY,
    )
    return save_weights(model, tmp_path_factory.mktemp("tiny") / "tiny.weights.h5")


@pytest.fixture(scope="module")
def recipe(tiny):
    return FinetuneRecipe(
        weights=str(tiny),
        train_split="train[:40]",
        validation_split="test[:20]",
        global_batch_size=20,
        head_epochs=2,
        head_learning_rate=0.01,
        epochs=1,
        learning_rate=0.01,
        patience=None,
    )


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """A run, and its weights before, after phase 1 and after phase 2."""
    folder = tmp_path_factory.mktemp("finetune") / "run"
    snapshots = Snapshots()
    result = finetune(recipe, "bundled", folder, callbacks=[snapshots], verbose=0)
    keras.utils.set_random_seed(recipe.seed + 1)
    return result, [values(build_pretrained(recipe, 10)), *snapshots.taken]


def test_first_the_new_classifier_learns_alone(run):
    _, (before, first, _) = run
    assert changed(before, first) == {"predictions/kernel", "predictions/bias"}


def test_then_all_but_batch_normalisation_does(run):
    _, (_, first, second) = run
    frozen = {name for name in first if "_bn/" in name}
    assert frozen
    assert changed(first, second) == set(first) - frozen


def test_batch_normalisation_learns_when_asked(recipe, tmp_path):
    free = dataclasses.replace(recipe, freeze_batch_norm=False, head_epochs=0)
    snapshots = Snapshots()
    result = finetune(free, "bundled", tmp_path, callbacks=[snapshots], verbose=0)
    keras.utils.set_random_seed(recipe.seed + 1)
    before = values(build_pretrained(recipe, 10))
    assert changed(before, snapshots.taken[0]) == set(before)
    assert result.history["phase"] == [2]


def test_the_classifier_is_new_and_nothing_else(recipe, tiny):
    old = values(keras_senet.SEResNet(weights=tiny, include_preprocessing=True))
    new = values(build_pretrained(recipe, 10))
    assert changed(old, new) == {"predictions/kernel"}  # its bias is zero in both
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = values(build_pretrained(recipe, 3))
    assert other["predictions/kernel"].shape[-1] == 3
    del old["predictions/kernel"], old["predictions/bias"]
    assert not changed(old, other)


def test_weights_of_a_folder(recipe, run, tmp_path):
    result, _ = run
    folder = keras_senet.save_pretrained(result.model, tmp_path / "hub")
    for place in (folder, result.run_folder):
        model = build_pretrained(dataclasses.replace(recipe, weights=str(place)), 10)
        found, expected = values(model), values(result.model)
        assert changed(expected, found) <= {"predictions/kernel", "predictions/bias"}


def test_another_image_size(recipe):
    model = build_pretrained(dataclasses.replace(recipe, image_size=48), 10)
    assert model.input_shape == (None, 48, 48, 3)


def test_the_folder_holds_the_network(run):
    result, _ = run
    recorded = json.loads((result.run_folder / "recipe.json").read_text())
    assert recorded == {"data": "bundled", **result.recipe.to_json()}
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))
    expected = result.model(images, training=False)
    for name in ("model.keras", "model.weights.h5"):
        path = result.run_folder / name
        model = (
            keras.saving.load_model(path)
            if name == "model.keras"
            else keras_senet.SEResNet(weights=path, include_preprocessing=True)
        )
        assert all(layer.trainable for layer in model.layers)
        np.testing.assert_allclose(model(images), expected, atol=1e-6)
    assert (result.run_folder / "curves.png").stat().st_size > 10_000
    assert result.history["phase"] == [1, 1, 2]
    assert result.history["epoch"] == [0, 1, 2]


def test_the_same_seed_gives_the_same_run(recipe, run, tmp_path):
    again = finetune(recipe, "bundled", tmp_path / "again", verbose=0)
    assert again.history == run[0].history
    assert not changed(values(run[0].model), values(again.model))


def test_rates_fall_from_the_classifier_to_the_first_stage():
    model = keras_senet.SEResNet20(weights=None, input_shape=(32, 32, 3))
    factors = learning_rate_factors(model, 0.5)
    assert set(factors) == {v.path for v in model.weights}
    assert factors["predictions/kernel"] == 1
    assert factors["conv3_block1_0_conv/kernel"] == 0.5
    assert factors["conv3_block3_se/expand/bias"] == 0.5
    assert factors["conv2_block3_2_bn/gamma"] == 0.25
    assert factors["conv1_block1_1_conv/kernel"] == 0.125
    assert factors["conv0_conv/kernel"] == 0.125
    assert set(learning_rate_factors(model, 1.0).values()) == {1}


def test_rates_without_a_fixed_image_size():
    model = keras_senet.SEResNet(weights=None, input_shape=(None, None, 3), **TINY)
    factors = learning_rate_factors(model, 0.1)
    # The stem, four stages and the classifier.
    assert sorted(set(factors.values())) == pytest.approx(
        [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]
    )
    assert factors["conv1_conv/kernel"] == pytest.approx(1e-5)


def test_a_rate_scales_the_update():
    model = keras_senet.SEResNet20(weights=None, input_shape=(32, 32, 3))
    factors = learning_rate_factors(model, 0.5)
    before = values(model)
    optimizer = make_decayed_optimizer(
        model, learning_rate=0.01, decay_steps=10, layer_decay=0.5, weight_decay=0.1
    )
    variables = model.trainable_variables
    optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)
    for variable in variables:
        rate = 0.01 * factors[variable.path]
        old = before[variable.path]
        decay = 0.1 * old if variable.name == "kernel" else 0
        # Adam's first step has the size of the rate, whatever the gradient's is.
        expected = old - rate * (1 + decay)
        np.testing.assert_allclose(variable.numpy(), expected, atol=3e-7)


def test_early_stopping_keeps_the_best_epoch(recipe, tmp_path):
    wild = dataclasses.replace(
        recipe, head_epochs=9, head_learning_rate=0.5, epochs=0, patience=1
    )
    result = finetune(wild, "bundled", tmp_path / "run", verbose=0)
    losses = result.history["val_loss"]
    assert losses[-1] > min(losses)
    assert len(losses) < 9
    evaluation = keras_senet.evaluate(
        result.model, "bundled", split="test[:20]", batch_size=20
    )
    assert evaluation.loss == pytest.approx(min(losses), rel=1e-4)


@pytest.fixture
def photos(tmp_path):
    """Makes ROOT/CLASS/N.png from {class: count}."""
    from PIL import Image

    def make(counts):
        rng = np.random.default_rng(0)
        for name, count in counts.items():
            folder = tmp_path / "photos" / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (20, 24, 3), "uint8")
                Image.fromarray(pixels).save(folder / f"{i}.png")
        return tmp_path / "photos"

    return make


@pytest.fixture
def half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


def test_under_mixed_precision(recipe, half_precision, tmp_path):
    result = finetune(recipe, "bundled", tmp_path / "run", verbose=0)
    assert np.isfinite(result.history["val_loss"]).all()
    assert max(result.history["learning_rate"]) > 0


def test_rare_classes_count_more(recipe, photos, tmp_path):
    source = open_source(photos({"many": 15, "few": 5}))
    whole = dataclasses.replace(
        recipe, train_split="train", validation_split="test", epochs=0, head_epochs=1
    )
    result = finetune(whole, source, tmp_path / "balanced", verbose=0)
    assert source.class_names == ("few", "many")
    assert result.image_counts == count_images(source, "train") == (4, 12)
    assert result.class_weights == pytest.approx((2.0, 2 / 3))
    plain = dataclasses.replace(whole, class_weights=False)
    other = finetune(plain, source, tmp_path / "plain", verbose=0)
    assert other.class_weights == (1.0, 1.0)
    assert abs(other.history["loss"][0] - result.history["loss"][0]) > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "imagenet"}, "`model` must name the network"),
        ({"weights": "nowhere/x.h5"}, "no weights file 'nowhere/x.h5'"),
        ({"model": "se_resnet5"}, "Did you mean 'se_resnet5"),
        ({"model": "se_resnet50"}, "se_resnet50|SEResNet50"),
        ({"layer_decay": 1.5}, "Received: layer_decay=1.5"),
        ({"held_out": 0.0}, "Received: held_out=0.0"),
        ({"head_epochs": 0, "epochs": 0}, "must not both be 0"),
        ({"model": "se_resnet", "model_arguments": {"reductio": 4}}, "'reductio'"),
        ({"train_split": "dev"}, "Received: split='dev'"),
        ({"validation_split": "train"}, "must not share images"),
        ({"patience": 0}, "Received: patience=0"),
    ],
)
def test_contradictions_leave_nothing_behind(recipe, tmp_path, changes, message):
    folder = tmp_path / "run"
    with pytest.raises((ValueError, OSError), match=message):
        finetune(dataclasses.replace(recipe, **changes), "bundled", folder, verbose=0)
    assert not folder.exists()


def test_a_folder_without_weights_and_a_used_one(recipe, run, tmp_path):
    empty = dataclasses.replace(recipe, weights=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"model\.weights\.h5"):
        finetune(empty, "bundled", tmp_path / "run")
    with pytest.raises(ValueError, match="which holds a run"):
        finetune(recipe, "bundled", run[0].run_folder)
