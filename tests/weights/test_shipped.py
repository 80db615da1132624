"""The weights that this project trained and that come with the package."""

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.models import CONSTRUCTORS
from keras_senet.utils.files import sha256
from keras_senet.weights import read_checkpoint
from keras_senet.weights.shipped import shipped_folder, shipped_presets

PRESETS = shipped_presets()


def test_both_data_sets_have_weights():
    names = {preset.name for preset in PRESETS}
    assert {"se_resnet20.cifar10", "se_resnet20.fashion_mnist"} <= names


def test_folder_holds_what_the_records_name():
    files = {path.name for path in shipped_folder().glob("*.weights.h5")}
    assert files == {preset.files[0].name for preset in PRESETS}
    # A few MB in all.
    assert sum(p.stat().st_size for p in shipped_folder().iterdir()) < 8e6


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_file_is_that_of_its_record(preset):
    path = shipped_folder() / preset.files[0].name
    assert sha256(path) == preset.files[0].sha256
    found = read_checkpoint(path)
    assert found.card.architecture == preset.card.architecture
    assert found.card.constructor == preset.card.constructor in CONSTRUCTORS
    assert found.card.labels == preset.card.labels
    assert found.card.classes == len(preset.card.labels)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_one_line_loads_it_offline(preset, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("Nothing may be fetched.")

    monkeypatch.setattr(keras.utils, "get_file", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    constructor = CONSTRUCTORS[preset.card.constructor]
    model = constructor(weights=preset.tag, include_preprocessing=True)
    assert model.output_shape[-1] == len(preset.card.labels)
    same = keras_senet.create_model(preset.name, include_preprocessing=True)
    size = preset.card.preprocessing.image_size
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3))
    images = images[..., : model.input_shape[-1]].astype("float32")
    scores = np.asarray(model(images))
    np.testing.assert_array_equal(scores, np.asarray(same(images)))
    decoded = keras_senet.decode_predictions(scores, top=1, preset=preset.name)
    assert decoded[0][0][1] in preset.card.labels


def test_architecture_comes_with_the_weights():
    with pytest.raises(ValueError, match="reduction"):
        keras_senet.SEResNet20(weights="cifar10", reduction=16)
