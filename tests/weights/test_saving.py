"""Files we write: Keras reads them too, and they say which network they belong to."""

import json
import warnings

import h5py
import keras
import numpy as np
import pytest

import keras_senet
from keras_senet import Preprocessing
from keras_senet.weights import (
    network_card,
    read_checkpoint,
    save_model,
    save_weights,
)


@pytest.fixture(params=["weights.h5", "keras"])
def saved(request, tiny, tmp_path):
    model = tiny(reduction=2, gate="tanh", placement="pre")
    path = tmp_path / f"model.{request.param}"
    write = save_weights if request.param == "weights.h5" else save_model
    write(model, path, network_card(model, labels=list("abcde")))
    return model, path


def test_round_trip(saved, images, relative_error):
    model, path = saved
    checkpoint = read_checkpoint(path)
    card = checkpoint.card
    assert card.architecture == model.architecture.to_json()
    assert (card.constructor, checkpoint.layout) == ("se_resnext", "keras_senet")
    assert (card.classes, card.labels) == (5, tuple("abcde"))
    assert card.preprocessing == Preprocessing(image_size=32)
    assert card.input_shape == (32, 32, 3)
    again = keras_senet.create_model(
        "se_resnext", weights=path, include_preprocessing=True, input_shape=(32, 32, 3)
    )
    x = images(1, 32, 32, 3)
    assert again.architecture == model.architecture
    assert relative_error(again(x), model(x)) < 1e-6


def test_every_array_is_the_variables(saved):
    model, path = saved
    arrays = read_checkpoint(path).arrays
    assert sorted(arrays) == sorted(v.path for v in model.variables)
    for variable in model.variables:
        np.testing.assert_array_equal(arrays[variable.path], variable)


def test_keras_reads_it_too(saved, tiny, images, relative_error):
    model, path = saved
    if path.suffix == ".keras":
        other = keras.saving.load_model(path)
    else:
        other = tiny(reduction=2, gate="tanh", placement="pre")
        other.set_weights([np.zeros(v.shape) for v in other.variables])
        other.load_weights(path)
    x = images(1, 32, 32, 3)
    assert relative_error(other(x), model(x)) < 1e-6


def test_a_constructor_keeps_what_its_file_says_of_the_outputs(
    tmp_path, images, relative_error
):
    several = keras_senet.SEResNet20(
        weights=None, classes=3, classifier_activation="sigmoid"
    )
    path = save_weights(several, tmp_path / "a.weights.h5")
    copy = keras_senet.SEResNet20(weights=path)
    assert copy.card.outputs == "sigmoid"
    x = images(1, 32, 32, 3)
    assert relative_error(copy(x), several(x)) < 1e-6
    logits = keras_senet.create_model(
        "se_resnet20", weights=path, classifier_activation=None
    )
    assert logits.card.outputs == "logits"
    with pytest.warns(UserWarning, match="has 3 classes, the model's 4"):
        other = keras_senet.SEResNet20(weights=path, classes=4)
    assert other.card.outputs == "softmax"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"placement": "standard"}, "placement is 'pre' in the file"),
        ({"gate": "sigmoid"}, "gate is 'tanh' in the file"),
        ({"stride_on": "1x1"}, "stride_on is '3x3' in the file"),
    ],
)
def test_another_row_is_an_error(saved, argument, message):
    with pytest.raises(ValueError, match=message):
        keras_senet.create_model("se_resnext", weights=saved[1], **argument)


@pytest.mark.parametrize(
    ("gate", "other"),
    [("silu", "swish"), ("hard_silu", "hard_swish"), ("silu", "relu")],
)
def test_an_activation_may_have_two_names(gate, other):
    spec = keras_senet.SEResNet20.spec
    for told, stored in ((gate, other), (other, gate)):
        if "relu" in (told, stored):
            with pytest.raises(ValueError, match=f"gate is '{stored}' in the file"):
                spec.row({"gate": told}, {"gate": stored})
        else:
            assert spec.row({"gate": told}, {"gate": stored}).gate == stored


def test_another_constructor_is_an_error(saved):
    with pytest.raises(ValueError, match="must agree with the architecture"):
        keras_senet.SEResNet50(weights=saved[1])


def test_file_without_header_needs_the_row(tiny, tmp_path):
    path = tmp_path / "plain.weights.h5"
    tiny().save_weights(path)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.card.architecture, checkpoint.layout) == ({}, "keras")
    with pytest.raises(ValueError, match="does not say what architecture") as error:
        keras_senet.create_model("se_resnext", weights=path)
    for name in ("squeeze", "stride_on", "anti_alias", "reduction", "cardinality"):
        assert name in str(error.value)


def test_existing_files_and_other_endings(tiny, tmp_path):
    model = tiny()
    path = save_weights(model, tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match="exists"):
        save_weights(model, path)
    save_weights(model, path, overwrite=True)
    with pytest.raises(ValueError, match=r"must end in '\.weights\.h5'"):
        save_weights(model, tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"must end in '\.keras'"):
        save_model(model, tmp_path / "a.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]


def test_foreign_model_has_no_header():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError, match="built by a constructor of keras_senet"):
        network_card(model)


def test_unknown_field(tiny):
    with pytest.raises(TypeError, match="label"):
        network_card(tiny(), label=["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        (json.dumps({"format": 99, "version": "9.0"}), "Upgrade keras-senet"),
        (json.dumps({"format": 1}), "no architecture row"),
    ],
)
def test_broken_header(tiny, tmp_path, text, message):
    path = save_weights(tiny(), tmp_path / "a.weights.h5")
    with h5py.File(path, "a") as file:
        file.attrs["keras_senet"] = text
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


def test_weights_that_keras_made_integers_are_in_whole_models_only(tmp_path):
    model = keras_senet.SEResNet20(weights="fashion_mnist")
    with warnings.catch_warnings(action="ignore"):  # Keras' of an InputLayer
        model.quantize("int8")
    for write in (keras_senet.weights.save_weights, keras_senet.save_pretrained):
        with pytest.raises(ValueError, match=r"model\.save\('model\.keras'\)"):
            write(model, tmp_path / "a.weights.h5")
    assert not list(tmp_path.iterdir())
