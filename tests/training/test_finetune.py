"""Fine-tuning: what learns when, how fast, and what is left of the old network."""

import dataclasses
import json
import signal
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_senet
from keras_senet.data import Source, open_source
from keras_senet.training import (
    FinetuneRecipe,
    Recipe,
    TrainingStopped,
    train,
)
from keras_senet.training.datasets import (
    count_images,
    make_datasets,
    resolve_recipe,
    weigh_classes,
)
from keras_senet.training.network import build_model
from keras_senet.training.optimization import (
    check_keras,
    learning_rate_factors,
    make_optimizer,
)
from keras_senet.training.state import read_progress
from keras_senet.weights import save_weights

TINY = {
    "block": "basic",
    "blocks": (1, 1, 1, 1),
    "filters": (8, 8, 8, 8),
    "stem_filters": (8,),
    "reduction": 4,
}


def finetune(recipe, source, folder, **options):
    return train(recipe, folder, source=source, **options)


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


def build(recipe, source=None):
    """The network as a run of the recipe starts with it."""
    source = source or open_source("bundled")
    recipe = resolve_recipe(recipe, source)
    keras.utils.set_random_seed(recipe.seed + 1)
    return build_model(recipe, source)


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
        linear_probe=False,
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
    return result, [values(build(recipe)), *snapshots.taken]


def test_first_the_new_classifier_learns_alone(run):
    _, (before, first, _) = run
    assert changed(before, first) == {"predictions/kernel", "predictions/bias"}


def test_then_all_but_batch_normalisation_does(run):
    _, (_, first, second) = run
    frozen = {name for name in first if "_bn/" in name}
    assert frozen
    assert changed(first, second) == set(first) - frozen


@pytest.mark.slow
def test_batch_normalisation_learns_when_asked(recipe, tmp_path):
    free = dataclasses.replace(recipe, freeze_batch_norm=False, head_epochs=0)
    snapshots = Snapshots()
    result = finetune(free, "bundled", tmp_path, callbacks=[snapshots], verbose=0)
    before = values(build(recipe))
    assert changed(before, snapshots.taken[0]) == set(before)
    assert result.history["phase"] == [2]


def test_the_classifier_is_new_and_nothing_else(recipe, tiny, photos):
    old = values(keras_senet.SEResNet(weights=tiny, include_preprocessing=True))
    new = values(build(recipe))
    assert changed(old, new) == {"predictions/kernel"}  # its bias is zero in both
    source = open_source(photos({"a": 20, "b": 20, "c": 20}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = values(build(recipe, source))
    assert other["predictions/kernel"].shape[-1] == 3
    del old["predictions/kernel"], old["predictions/bias"]
    assert not changed(old, other)


def test_weights_of_a_folder(recipe, run, tmp_path):
    result, _ = run
    folder = keras_senet.save_pretrained(result.model, tmp_path / "hub")
    for place in (folder, result.run_folder):
        model = build(dataclasses.replace(recipe, weights=str(place)))
        found, expected = values(model), values(result.model)
        assert changed(expected, found) <= {"predictions/kernel", "predictions/bias"}


def test_another_image_size(recipe):
    model = build(dataclasses.replace(recipe, image_size=48))
    assert model.input_shape == (None, 48, 48, 3)
    assert model.preprocessing.image_size == 48


def test_what_is_measured_is_what_is_served(recipe, photos):
    """The crop of a network is the one that it was evaluated with."""
    source = open_source(photos({"a": 20, "b": 20}))
    for given, expected in ((None, 0.875), (0.5, 0.5)):
        changed = dataclasses.replace(recipe, crop_fraction=given)
        assert resolve_recipe(changed, source).crop_fraction == expected
        assert build(changed, source).preprocessing.crop_fraction == expected


def test_the_folder_holds_the_network(run):
    result, _ = run
    recorded = json.loads((result.run_folder / "recipe.json").read_text())
    assert recorded == result.recipe.to_json()
    assert (recorded["data"], recorded["classes"]) == ("bundled", 10)
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


@pytest.mark.slow
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
    recipe = FinetuneRecipe(
        model="se_resnet20",
        learning_rate=0.01,
        layer_decay=0.5,
        weight_decay=0.1,
        epochs=1,
    )
    check_keras(recipe)
    optimizer = make_optimizer(recipe, 10, model)
    variables = model.trainable_variables
    optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)
    for variable in variables:
        rate = 0.01 * factors[variable.path]
        old = before[variable.path]
        decay = 0.1 * old if variable.name == "kernel" else 0
        # Adam's first step has the size of the rate, whatever the gradient's is.
        expected = old - rate * (1 + decay)
        np.testing.assert_allclose(variable.numpy(), expected, atol=3e-7)


class StopAtTheEnd(keras.callbacks.Callback):
    """As if the process ended after the last checkpoint of a phase."""

    def on_train_end(self, logs=None):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_early_stopping_keeps_the_best_epoch(recipe, tmp_path):
    """Also of a run that is stopped between that and its end."""
    wild = dataclasses.replace(
        recipe, head_epochs=9, head_learning_rate=3.0, epochs=0, patience=1
    )
    result = finetune(wild, "bundled", tmp_path / "run", verbose=0)
    losses = result.history["val_loss"]
    assert losses[-1] > min(losses)
    assert len(losses) < 9
    # Not our `evaluate`: it clips the probabilities of such a wild classifier.
    model = keras.Model(result.model.inputs, result.model.outputs)
    model.compile(loss="categorical_crossentropy")
    loss = model.evaluate(result.validation, verbose=0)
    assert loss == pytest.approx(min(losses), rel=1e-4)
    stop, folder = [StopAtTheEnd()], tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        finetune(wild, "bundled", folder, callbacks=stop, verbose=0)
    same(finetune(wild, "bundled", folder, resume=True, verbose=0), result)


def same(one, other):
    assert one.history == other.history
    for a, b in zip(one.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)


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


@pytest.mark.slow
def test_mixed_precision_with_averages(recipe, tmp_path):
    """Averages of several optimizers, and a scaled loss around them."""
    mixed = dataclasses.replace(recipe, dtype_policy="mixed_float16", ema_momentum=0.5)
    result = finetune(mixed, "bundled", tmp_path / "run", verbose=0)
    assert np.isfinite(result.history["val_loss"]).all()
    assert max(result.history["learning_rate"]) > 0
    model = keras.saving.load_model(result.run_folder / "model.keras")
    assert model.get_layer("conv1_conv").compute_dtype == "float16"
    evaluation = keras_senet.evaluate(
        model, "bundled", split="test[:20]", batch_size=20
    )
    # What is saved are the averages, which the last epoch was evaluated with.
    assert evaluation.loss == pytest.approx(result.history["val_loss"][-1], rel=0.02)


@pytest.mark.slow
def test_rare_classes_count_more(recipe, photos, tmp_path):
    """And a batch has at most the images that there are."""
    source = open_source(photos({"many": 15, "few": 5}))
    still = dataclasses.replace(
        recipe,
        train_split="train",
        validation_split="test",
        augmentation="none",
        head_epochs=1,
        epochs=0,
        head_learning_rate=1e-9,
    )
    result = finetune(still, source, tmp_path / "run", verbose=0)
    assert source.class_names == ("few", "many")
    assert result.image_counts == count_images(source, "train") == (4, 12)
    assert result.class_weights == pytest.approx((2.0, 2 / 3))
    assert result.recipe.global_batch_size == 16
    plain = dataclasses.replace(result.recipe, class_weights=False)
    assert weigh_classes(plain, source) is None
    training, _ = make_datasets(plain, source)
    images, labels = next(training.as_numpy_iterator())
    scores = result.model.predict(images, verbose=0)
    losses = -np.log((scores * labels).sum(1))
    expected = (losses * (labels @ result.class_weights)).mean()
    assert result.history["loss"][0] == pytest.approx(expected, rel=1e-4)
    assert abs(losses.mean() - expected) > 1e-3 * expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "imagenet"}, "`model` must name the network"),
        ({"weights": "nowhere/x.h5"}, "no weights file 'nowhere/x.h5'"),
        ({"model": "se_resnet5"}, "Did you mean 'se_resnet5"),
        ({"model": "se_resnet50"}, "se_resnet50|SEResNet50"),
        ({"classes": 7}, "must be the 10 of the data 'bundled'"),
        ({"layer_decay": 1.5}, "Received: layer_decay=1.5"),
        ({"se_rate_factor": 0.0}, "Received: se_rate_factor=0.0"),
        ({"held_out": 0.0}, "Received: held_out=0.0"),
        ({"head_epochs": 0, "epochs": 0}, "must not both be 0"),
        ({"model": "se_resnet", "model_arguments": {"reductio": 4}}, "'reductio'"),
        (
            {"model": "se_vgg16", "model_arguments": {"stem": "7x7"}},
            "options of se_vgg16",
        ),
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


def test_the_new_classifier_is_that_of_the_data(recipe, tmp_path):
    several = keras_senet.SEResNet(
        weights=None,
        classes=10,
        classifier_activation="sigmoid",
        input_shape=(32, 32, 3),
        **TINY,
    )
    path = save_weights(several, tmp_path / "several.weights.h5")
    model = build(dataclasses.replace(recipe, weights=str(path)))
    assert model.card.outputs == "softmax"


def test_a_folder_without_weights_and_a_used_one(recipe, run, tmp_path):
    empty = dataclasses.replace(recipe, weights=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"model\.weights\.h5"):
        finetune(empty, "bundled", tmp_path / "run")
    with pytest.raises(ValueError, match=r"which holds a run.*--resume"):
        finetune(recipe, "bundled", run[0].run_folder)


class Stop(keras.callbacks.Callback):
    """Ends the process's training after so many steps in all phases together."""

    def __init__(self, steps, how):
        super().__init__()
        self.steps, self.how = steps, how

    def on_train_batch_end(self, batch, logs=None):
        self.steps -= 1
        if self.steps == 0:
            self.how()


def interrupt():
    raise KeyboardInterrupt


def terminate():
    """Does what the signal would, which without a handler ends this process."""
    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)


LONGER = {
    "epochs": 2,
    "ema_momentum": 0.9,
    "dropout_rate": 0.1,
    "freeze_batch_norm": False,
    "patience": 9,
    "augmentation": "cifar",
}


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """A run of two epochs in each phase, of two steps each."""
    longer = dataclasses.replace(recipe, **LONGER)
    folder = tmp_path_factory.mktemp("whole") / "run"
    return finetune(longer, "bundled", folder, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "every", "how", "left"),
    [
        (1, None, terminate, (1, 1, 0)),
        (7, 1, interrupt, (2, 3, 1)),
    ],
)
def test_a_resumed_run_ends_as_the_undisturbed_one(
    whole, recipe, tmp_path, steps, every, how, left
):
    """In either phase, between them, within an epoch or between two."""
    longer = dataclasses.replace(recipe, **LONGER)
    folder = tmp_path / "run"
    with pytest.raises((KeyboardInterrupt, TrainingStopped)):
        finetune(
            longer,
            "bundled",
            folder,
            checkpoint_every=every,
            callbacks=[Stop(steps, how)],
            verbose=0,
        )
    assert not (folder / "model.keras").exists()
    found = read_progress(folder / "checkpoints" / "last.weights.h5")
    assert tuple(found[name] for name in ("phase", "epoch", "step")) == left
    same(finetune(longer, "bundled", folder, resume=True, verbose=0), whole)


@pytest.mark.slow
def test_a_recipe_of_training_can_start_from_weights(recipe, tiny, tmp_path):
    """The trainer is one: whatever the recipe, it starts from what it names."""
    plain = Recipe(
        weights=str(tiny),
        train_split="train[:40]",
        validation_split="test[:20]",
        epochs=1,
        global_batch_size=20,
        momentum=0.0,
        learning_rate=1e-6,
        l2=1e-4,
    )
    result = train(plain, tmp_path / "run", verbose=0)
    assert result.recipe.model == "se_resnet"
    before, after = values(build(plain)), values(result.model)
    np.testing.assert_allclose(
        after["conv1_conv/kernel"], before["conv1_conv/kernel"], atol=1e-4
    )
    assert not np.array_equal(after["conv1_conv/kernel"], before["conv1_conv/kernel"])


def in_memory(labels, *, multi_label, classes):
    """A source of coloured noise: each label has a channel that is bright."""
    rng = np.random.default_rng(0)
    rows = labels if multi_label else np.eye(3)[labels]
    images = rng.integers(0, 90, (len(labels), 32, 32, 3)) + 160 * rows[:, None, None]
    images = images.astype("uint8")

    class Arrays:
        record_bytes = 32 * 32 * 3

        def records(self, part):
            wanted = slice(part.start, part.stop)
            return tf.data.Dataset.from_tensor_slices((images[wanted], labels[wanted]))

        def reordered(self, part, seed):
            return None

        def first_unreadable(self):
            return None

        def decode(self, record, window=None):
            return record

    names = ("red", "green", "blue")[:classes]
    splits = {"train": len(labels)}
    return Source(
        name="colours",
        class_names=names,
        splits=splits,
        channels=3,
        image_size=(32, 32),
        multi_label=multi_label,
        reader=Arrays(),
    )


COLOURS = {
    "train_split": "train[:64]",
    "validation_split": "train[64:]",
    "head_epochs": 0,
    "epochs": 6,
    "learning_rate": 0.03,
    "freeze_batch_norm": False,
    "layer_decay": 1.0,
}


@pytest.mark.slow
def test_several_labels_an_image(recipe, tmp_path):
    labels = np.random.default_rng(1).integers(0, 2, (96, 3)).astype("float32")
    source = in_memory(labels, multi_label=True, classes=3)
    several = dataclasses.replace(recipe, **COLOURS)
    result = finetune(several, source, tmp_path / "run", verbose=0)
    probed = dataclasses.replace(several, linear_probe=True, epochs=0)
    probed = finetune(probed, source, tmp_path / "probed", verbose=0)
    assert probed.probe.accuracy > 0.6
    assert probed.probe.kernel.shape[1] == 3
    assert result.image_counts == tuple(labels[:64].sum(0).astype(int))
    assert result.class_weights == (1, 1, 1)
    assert result.model.card.outputs == "sigmoid"
    assert result.model.card.multi_label
    assert result.model.card.labels == ("red", "green", "blue")
    images, rows = zip(*result.validation.as_numpy_iterator(), strict=True)
    scores = result.model.predict(np.concatenate(images), verbose=0)
    right = (scores > 0.5) == np.concatenate(rows)
    assert right.mean() == pytest.approx(result.history["val_accuracy"][-1])
    assert result.history["val_mean_average_precision"][-1] > 0.9


@pytest.mark.slow
def test_one_output_for_two_classes(recipe, tmp_path):
    labels = np.arange(96) % 4 // 3  # three of the first to one of the second
    source = in_memory(labels, multi_label=False, classes=2)
    one = dataclasses.replace(recipe, **COLOURS, classes=1)
    result = finetune(one, source, tmp_path / "run", verbose=0)
    probed = dataclasses.replace(one, linear_probe=True, epochs=0)
    probed = finetune(probed, source, tmp_path / "probed", verbose=0)
    assert probed.probe.accuracy > 0.6
    assert probed.probe.kernel.shape[1] == 1
    assert result.class_weights == pytest.approx((2 / 3, 2.0))
    assert result.model.output_shape == (None, 1)
    assert result.model.card.binary
    assert result.model.card.labels == ("green",)
    assert result.history["val_accuracy"][-1] > 0.9
    card = keras_senet.Card.read(result.run_folder / "model.keras")
    assert card == result.model.card
