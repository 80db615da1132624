"""What is known about a network beside its weights, and that it is not lost."""

import copy
import dataclasses
import gc
import json
import pickle
import weakref

import keras
import numpy as np
import pytest

import keras_senet
from keras_senet.benchmark import plain_host
from keras_senet.card import Card, Preprocessing, Row
from keras_senet.network import Network, with_card
from keras_senet.utils.meaning import outputs_of
from keras_senet.weights import save_model, save_weights

RECORD = Preprocessing(
    mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), image_size=32, crop_fraction=0.5
)
CARD = Card(
    constructor="se_resnet",
    architecture={"blocks": [1, 1], "gate": "sigmoid"},
    include_top=True,
    outputs="sigmoid",
    classes=2,
    labels=["ant", "bee"],
    input_shape=(None, 32, 3),
    preprocessing=RECORD,
    normalises=False,
    preset="se_resnet.mine",
    licence="MIT",
)


def _network(card=None, activation="sigmoid", layer=None):
    inputs = keras.Input(CARD.input_shape)
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = layer(x) if layer else keras_senet.SqueezeExcite(2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(2, activation=activation, name="predictions")(x)
    if card is None:
        return keras.Model(inputs, x, name="net")
    return Network(inputs, x, name="net", card=card)


def test_json_round_trip():
    text = json.dumps(CARD.to_json())
    assert Card.parse(text, "here") == CARD
    assert Card.parse(json.loads(text), "here") == CARD


def test_row_reads_as_mapping_and_by_attribute():
    row = Row({"blocks": [1, 2], "se": True})
    assert (row["blocks"], row.blocks, row.se) == ([1, 2], (1, 2), True)
    assert row == {"blocks": [1, 2], "se": True}
    with pytest.raises(AttributeError, match="no field 'stem'"):
        row.stem  # noqa: B018


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("constructor", 3),
        ("architecture", []),
        ("include_top", "yes"),
        ("outputs", 1),
        ("outputs", "softmin"),
        ("classes", True),
        ("classes", -1),
        ("labels", "ab"),
        ("labels", ["a", 1]),
        ("labels", ["a"]),
        ("input_shape", [0, 3, 3]),
        ("input_shape", 3),
        ("preprocessing", "none"),
        ("preprocessing", {"means": [1]}),
        ("preprocessing", {"mean": ["a"]}),
        ("preprocessing", {"mean": 0.5}),
        ("preprocessing", {"image_size": "large"}),
        ("normalises", "no"),
        ("preset", {}),
        ("licence", []),
        ("version", 1),
    ],
)
def test_every_field_is_checked(field, value):
    header = {**CARD.to_json(), field: value}
    word = "labels" if field == "labels" else field.rstrip("s")
    with pytest.raises(ValueError, match=word) as error:
        Card.parse(json.dumps(header), "here")
    assert "'here'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "no format number"),
        ('{"format": true}', "no format number"),
        ('{"format": "1"}', "no format number"),
        ('{"format": 99, "version": "9.0"}', "Upgrade keras-senet"),
    ],
)
def test_what_is_no_card(text, message):
    with pytest.raises(ValueError, match=f"here.*{message}"):
        Card.parse(text, "here")


def test_other_programs_fields_are_passed_over():
    assert Card.parse({"format": 1, "library_name": "x", "classes": None}, "") == Card()


def test_older_files_say_by_the_record_whether_the_network_normalises():
    header = {"format": 1, "constructor": "se_resnet50"}
    assert Card.parse(header, "").normalises is False
    header["preprocessing"] = RECORD.to_json()
    assert Card.parse(header, "").normalises is True


@pytest.mark.parametrize("normalises", [True, False])
def test_older_networks_reversed_what_was_normalised(normalises):
    record = {**RECORD.to_json(), "channel_order": "BGR"}
    header = {"preprocessing": record, "normalises": normalises}
    old = Card.parse({"format": 1, **header}, "").preprocessing
    assert old.mean == (RECORD.mean[::-1] if normalises else RECORD.mean)
    assert Card.parse({"format": 2, **header}, "").preprocessing.mean == RECORD.mean


@pytest.mark.parametrize(
    "survive",
    [
        keras.models.clone_model,
        lambda m: keras.models.clone_model(
            m, clone_function=lambda layer: type(layer).from_config(layer.get_config())
        ),
        copy.deepcopy,
        copy.copy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: type(m).from_config(m.get_config()),
        lambda m: keras.models.model_from_json(m.to_json()),
    ],
)
def test_card_survives_copies(survive):
    model = _network(CARD)
    twice = survive(survive(model))
    assert isinstance(twice, Network)
    assert twice.card == CARD
    assert twice.name == "net"


def _changed(model, **layers):
    """Returns a clone with other layers, by name."""
    return keras.models.clone_model(
        model,
        clone_function=lambda old: (
            layers.get(old.name) or type(old).from_config(old.get_config())
        ),
    )


def test_a_clone_with_other_layers_is_no_network_of_a_constructor(tmp_path):
    model = keras_senet.SEResNet20(weights="cifar10", include_preprocessing=True)
    same = keras.models.clone_model(model)
    assert same.card == model.card
    relu = next(x.name for x in model.layers if isinstance(x, keras.layers.Activation))
    other = _changed(model, **{relu: keras.layers.Activation("swish", name=relu)})
    card = dataclasses.replace(
        model.card, constructor=None, architecture=None, preset=None
    )
    assert other.card == card
    for write in (keras_senet.weights.save_weights, keras_senet.save_pretrained):
        with pytest.raises(ValueError, match="built by a constructor"):
            write(other, tmp_path / "other.weights.h5")
    assert not list(tmp_path.iterdir())
    penalty = keras.regularizers.L2(1e-4)
    name = model.layers[-1].name
    dense = keras.layers.Dense(
        10, "softmax", kernel_regularizer=penalty, dtype="float32", name=name
    )
    assert _changed(model, **{name: dense}).card == model.card


def _swish(model):
    for layer in model.layers[:-1]:
        if isinstance(layer, keras.layers.Activation):
            layer.activation = keras.activations.swish


def _epsilon(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 0.1


def _gate(model):
    layer = next(x for x in model.layers if isinstance(x, keras_senet.SqueezeExcite))
    layer.gate = keras.activations.hard_sigmoid


@pytest.mark.parametrize("change", [_swish, _epsilon, _gate])
def test_layers_that_were_changed_are_no_network_of_a_constructor(tmp_path, change):
    """Files of it opened as the network that the constructor builds."""
    model = keras_senet.SEResNet20(weights="cifar10")
    change(model)
    assert (Card.of(model).constructor, Card.of(model).labels[0]) == (None, "airplane")
    assert keras.models.clone_model(model).card.constructor is None
    for write in (keras_senet.weights.save_weights, keras_senet.save_pretrained):
        with pytest.raises(ValueError, match="layers as it built them"):
            write(model, tmp_path / "a.weights.h5")
    path = tmp_path / "a.keras"
    model.save(path)
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    runner = keras_senet.open_model(path)
    assert runner.card.constructor is None
    np.testing.assert_allclose(runner.predict(x), model.predict(x), atol=1e-6)


class _Untold(keras.layers.Layer):
    """Keras cannot tell its argument."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor


def test_a_layer_that_cannot_tell_its_arguments_may_be_in_a_network():
    inputs = keras.Input((8, 8, 4))
    outputs = keras_senet.SqueezeExcite(2)(_Untold(np.float32(2))(inputs))
    model = with_card(keras.Model(inputs, outputs), Card(labels=("ant", "bee")))
    with pytest.raises(NotImplementedError):
        model.layers[1].get_config()
    assert isinstance(model, Network)
    assert Card.of(model).labels == ("ant", "bee")


def test_what_only_training_sees_may_be_changed(tmp_path):
    model = keras_senet.SEResNet20(weights="cifar10", dropout_rate=0.2)
    card = Card.of(model)
    for layer in model.layers:
        layer.trainable = False
        for name in ("momentum", "rate", "kernel_regularizer"):
            if hasattr(layer, name):
                setattr(layer, name, 0.5 if name != "kernel_regularizer" else None)
    model.layers[-1].enable_lora(2)
    model.layers[-1].activation = keras.activations.linear
    assert Card.of(model) == dataclasses.replace(card, outputs="logits")
    path = keras_senet.weights.save_weights(model, tmp_path / "a.weights.h5")
    again = keras_senet.open_model(path)
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(again.predict(x), model.predict(x), atol=1e-5)


def test_another_head_has_neither_the_names_nor_the_meaning_of_the_old_one():
    model = keras_senet.SEResNet20(weights="cifar10", include_preprocessing=True)
    name = model.layers[-1].name
    card = _changed(model, **{name: keras.layers.Dense(3, "sigmoid", name=name)}).card
    known = (card.classes, card.outputs, card.labels, card.preset, card.constructor)
    assert known == (3, "sigmoid", None, None, None)
    assert card.preprocessing == model.card.preprocessing


def test_a_clone_on_another_input_says_its_size():
    model = keras_senet.SEResNet20(weights="cifar10")
    larger = keras.models.clone_model(model, input_tensors=keras.Input((64, 64, 3)))
    assert larger.card == dataclasses.replace(model.card, input_shape=(64, 64, 3))


def test_a_clone_does_not_hold_the_old_network():
    model = keras_senet.SEResNet20(weights=None)
    old = weakref.ref(model)
    clone = keras.models.clone_model(model)
    del model
    gc.collect()
    assert clone.card.constructor == "se_resnet20"
    assert old() is None


def test_the_graph_is_right_where_the_card_contradicts_it():
    model = keras_senet.SEResNet20(weights="fashion_mnist")
    model.layers[-1].activation = keras.activations.linear
    assert Card.of(model).outputs == "logits"
    assert model.card.outputs == "softmax"  # what was said of it stays
    assert keras_senet.evaluate(model, "bundled", limit=20).loss > 0


def test_keras_old_format_is_refused(tmp_path):
    for name in ("a.h5", "a.hdf5"):
        with pytest.raises(ValueError, match=r"saved as a \.keras file"):
            _network(CARD).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_card_survives_keras_files(tmp_path):
    model = _network(CARD)
    model.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert again.card == CARD == Card.read(tmp_path / "a.keras")
    x = np.random.default_rng(0).normal(size=(2, 8, 32, 3))
    np.testing.assert_array_equal(again(x), model(x))


def test_a_model_inside_another_does_not_give_its_card_away():
    inner = _network(CARD)
    inputs = keras.Input((8, 32, 3))
    outer = keras.Model(inputs, inner(inputs))
    assert Card.of(outer).labels is None


def test_networks_of_keras_layers_stay_plain(tmp_path):
    """So that Keras loads their files without this package."""
    model = with_card(_network(layer=keras.layers.ReLU()), CARD)
    assert not isinstance(model, Network)
    assert Card.of(model) == CARD
    assert isinstance(with_card(_network(), CARD), Network)
    assert Card.of(with_card(_network(), CARD)) == CARD


def test_views():
    model = _network(CARD)
    assert model.architecture.blocks == (1, 1)
    assert (model.constructor, model.labels) == ("se_resnet", ("ant", "bee"))
    assert model.preprocessing == RECORD
    model.preprocessing = None
    assert model.card == dataclasses.replace(CARD, preprocessing=None)
    with pytest.raises(ValueError, match="`card` must be a"):
        model.card = "mine"


@pytest.mark.parametrize(
    ("activation", "outputs"),
    [("softmax", "softmax"), ("sigmoid", "sigmoid"), (None, "logits"), ("relu", None)],
)
def test_what_the_graph_shows(activation, outputs):
    assert outputs_of(activation) == outputs
    seen = Card.of(_network(activation=activation))
    assert seen == Card(outputs=outputs, classes=2, input_shape=CARD.input_shape)
    assert _network(Card(), activation).card == Card()


def test_the_meaning_is_that_of_the_layer_that_makes_the_output():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs)
    best = keras.layers.Dense(4, "softmax")(x)
    # As in Keras' guide to mixed precision.
    idle = keras.layers.Activation("linear", dtype="float32")(best)
    assert Card.of(keras.Model(inputs, idle)).outputs == "softmax"
    squash = keras.layers.Activation("sigmoid")
    several = squash(keras.layers.Dense(4)(x))
    gate = squash(keras.layers.Dense(4)(several))
    keras.Model(inputs, gate)  # the layer's deepest call is elsewhere
    shared = keras.Model(inputs, squash(keras.layers.Dense(4)(several * gate)))
    assert Card.of(shared).outputs == "sigmoid"
    two = keras.Model(inputs, [keras.layers.Dense(4)(x), best])
    nested = keras.Model(inputs, two(inputs)[1])
    assert Card.of(nested).outputs == "softmax"


def test_a_card_of_few_fields_is_completed_where_it_is_read():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.ops.softmax(keras.layers.Dense(5)(x)))
    model.card = Card(outputs="softmax")
    card = Card.of(model)
    assert (card.normalises, card.classes, card.outputs) == (True, 5, "softmax")
    plain = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
    plain.card = Card(preprocessing=Preprocessing())
    assert Card.of(plain).normalises is False
    assert keras_senet.open_model(plain).card == Card.of(plain)


def test_a_card_is_written_where_the_old_one_is_or_not_at_all(tiny_network, tmp_path):
    folder = keras_senet.save_pretrained(tiny_network(), tmp_path / "folder")
    card = dataclasses.replace(Card.read(folder), licence="MIT")
    card.write(folder)
    assert Card.read(folder) == card
    assert keras_senet.load_pretrained(folder).card.licence == "MIT"
    assert not (folder / "assets.extra").exists()
    file = save_model(tiny_network(), tmp_path / "a.keras")
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"a\.keras', which has one"):
        card.write(file)
    assert file.read_bytes() == before


def test_a_card_that_says_little_is_completed_by_the_graph():
    inputs = keras.Input((8, 8, 1))
    scores = keras.layers.Dense(5, "relu")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, scores)
    model.card = Card(outputs="logits")  # as the message of `scores` says
    seen = keras_senet.open_model(model).card
    assert seen == Card(outputs="logits", classes=5, input_shape=(8, 8, 1))
    assert Card(outputs="features").completed(seen).classes is None


def test_one_linear_unit_may_be_a_regression():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    assert Card.of(model).outputs is None


def test_scores_by_meaning():
    raw = np.float32([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(
        Card(outputs="logits").scores(raw), [[0.25, 0.75]], rtol=1e-6
    )
    tiny = np.float32([[1.4e-8]])
    np.testing.assert_array_equal(Card(outputs="sigmoid").scores(tiny), tiny)
    for outputs in (None, "features"):
        with pytest.raises(ValueError, match="must say what the outputs mean"):
            Card(outputs=outputs).scores(raw)


def test_binary_and_multi_label():
    assert Card(outputs="sigmoid", classes=1).binary
    assert Card(outputs="sigmoid", classes=3).multi_label
    for card in (Card(), Card(outputs="softmax", classes=1), Card(outputs="logits")):
        assert not (card.binary or card.multi_label)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Card, {"labels": "ab"}),
        (Card, {"labels": {"a", "b"}}),
        (Card, {"labels": [0, 1]}),
        (Card, {"input_shape": 32}),
        (Card, {"preprocessing": "imagenet"}),
        (Preprocessing, {"mean": 0.5}),
        (Preprocessing, {"crop_fraction": "all"}),
        (Preprocessing, {"interpolation": "nearest"}),
    ],
)
def test_no_card_is_made_that_its_file_could_not_give_back(kind, fields):
    (name,) = fields
    with pytest.raises(ValueError, match=f"`{name}` of the .* Received: {name}="):
        kind(**fields)


def test_only_networks_of_ours_take_images_of_plausible_sizes():
    card = Card(input_shape=np.array([100_000]), classes=np.int64(2))
    assert Card.parse(json.dumps(card.to_json()), "") == card
    with pytest.raises(ValueError, match=r"`input_shape` of a network.*100000"):
        Card(constructor="se_resnet", input_shape=(100_000, 100_000, 3))


def test_labels_must_name_the_classes():
    with pytest.raises(ValueError, match="`labels` must name the 2 classes"):
        Card(classes=2, labels=["a"])


@pytest.mark.parametrize("outputs", ["softmax", "sigmoid", None])
def test_constructors_know_their_card(tiny_network, outputs):
    activation = outputs
    model = tiny_network(classifier_activation=activation, classes=3)
    card = model.card
    assert (card.outputs, card.classes) == (outputs or "logits", 3)
    assert (card.include_top, card.normalises) == (True, False)
    assert card.preprocessing is None  # no weights, and nobody said
    assert tiny_network(include_preprocessing=RECORD).card.normalises
    body = tiny_network(include_top=False).card
    assert (body.outputs, body.classes, body.include_top) == ("features", None, False)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("preset", ["cifar10", "fashion_mnist"])
def test_a_network_from_a_preset_knows_its_images(preset, inside):
    model = keras_senet.SEResNet20(weights=preset, include_preprocessing=inside)
    known = keras_senet.weights.find_preset(preset, "se_resnet20").card
    assert model.card.preprocessing == known.preprocessing
    assert (model.card.labels, model.card.preset) == (known.labels, known.preset)
    assert model.card.normalises == inside
    assert model.card.outputs == "softmax"


def test_another_classifier_has_other_names():
    with pytest.warns(UserWarning, match="start untrained"):
        model = keras_senet.SEResNet20(weights="cifar10", classes=3)
    assert (model.card.labels, model.card.classes) == (None, 3)


@pytest.mark.parametrize("ending", ["weights.h5", "keras"])
def test_files_carry_the_card(tiny_network, tmp_path, ending):
    model = tiny_network(include_preprocessing=RECORD, classes=2)
    model.card = dataclasses.replace(model.card, labels=["ant", "bee"], licence="MIT")
    save = save_model if ending == "keras" else save_weights
    path = save(model, tmp_path / f"a.{ending}")
    assert Card.read(path) == model.card


def test_a_file_of_weights_needs_the_row(tiny_network, tmp_path):
    with pytest.raises(ValueError, match=r"an architecture row.*network_card"):
        save_weights(tiny_network(), tmp_path / "a.weights.h5", Card(classes=2))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_carries_it(tmp_path):
    CARD.write(tmp_path, encoded_images={"any": "thing"})
    assert Card.read(tmp_path) == CARD


def test_a_tflite_file_carries_it(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"flatbuffer" * 10)
    assert Card.read(path) is None
    CARD.write(path)
    assert Card.read(path) == CARD
    assert path.read_bytes().startswith(b"flatbuffer")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="damaged or truncated"):
        Card.read(path)


@pytest.fixture
def tiny_network():
    def build(**kwargs):
        return keras_senet.SEResNet(
            **{
                "blocks": (1, 1, 1, 1),
                "filters": (8, 8, 8, 8),
                "weights": None,
                "input_shape": (32, 32, 3),
                "classes": 2,
                **kwargs,
            }
        )

    return build


def test_a_card_in_a_file_is_replaced_and_others_stay(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "a.xml"
    path.write_text("<net><rt_info><other value='1' /></rt_info></net>")
    for labels in (["a", "b"], ["x", "y"]):
        Card(labels=labels).write(path)
    assert Card.read(path).labels == ("x", "y")
    assert "other" in path.read_text()
    graph = onnx.helper.make_graph([], "g", [], [])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"author": "me"})
    onnx.save(model, tmp_path / "a.onnx")
    for labels in (["a", "b"], ["x", "y"]):
        Card(labels=labels).write(tmp_path / "a.onnx")
    assert Card.read(tmp_path / "a.onnx").labels == ("x", "y")
    props = onnx.load(tmp_path / "a.onnx").metadata_props
    assert {prop.key for prop in props} == {"author", "keras_senet"}


def test_an_operation_behind_the_classifier_is_not_looked_through():
    inputs = keras.Input((4,))
    scores = keras.layers.Dense(5)(inputs)
    assert Card.of(keras.Model(inputs, scores)).outputs == "logits"
    for function in (keras.ops.softmax, keras.ops.sigmoid):
        assert Card.of(keras.Model(inputs, function(scores))).outputs is None


def test_one_logit_is_no_probability():
    card = keras_senet.SEResNet20(
        weights=None, classes=1, classifier_activation=None
    ).card
    with pytest.raises(ValueError, match="'logits', 1 outputs"):
        card.scores(np.array([[-3.0], [5.0]]))


def test_the_stride_of_the_last_map_is_remembered(tmp_path):
    network = keras_senet.SEResNet18(
        weights=None, classes=3, output_stride=8, input_shape=(64, 64, 3)
    )
    images = np.random.default_rng(0).uniform(0, 1, (1, 64, 64, 3)).astype("float32")
    keras_senet.save_pretrained(network, tmp_path / "folder")
    save_weights(network, tmp_path / "a.weights.h5")
    for path in ("folder", "a.weights.h5"):
        copy = keras_senet.open_model(tmp_path / path).keras_model()
        np.testing.assert_allclose(copy(images), network(images), atol=1e-6)
    assert plain_host(network.card).card.output_stride == 8
