"""A network as a folder; converted timm, PyTorch and Keras checkpoints."""

import json

import h5py
import hub_server
import keras
import numpy as np
import pytest

import keras_senet
from keras_senet import hub
from keras_senet.card import Card
from keras_senet.weights import Checkpoint, save_weights

LABELS = ["ant", "bee", "cät", "dog", "eel"]


def _model(**kwargs):
    return keras_senet.SEResNet(
        **{
            "blocks": (1, 1, 1, 1),
            "filters": (8, 8, 16, 16),
            "reduction": 4,
            "stride_on": "1x1",
            "gate": "hard_sigmoid",
            "weights": None,
            "classes": 5,
            "input_shape": (32, 40, 3),
            **kwargs,
        }
    )


# Not ImageNet's, which networks have by default.
RECORD = keras_senet.Preprocessing(mean=(0.2, 0.3, 0.4), std=(0.5,) * 3, image_size=32)


@pytest.fixture
def model(randomize):
    return randomize(_model(include_preprocessing=RECORD))


def test_round_trip(model, images, tmp_path):
    folder = keras_senet.save_pretrained(model, tmp_path / "mine", labels=LABELS)
    copy = keras_senet.load_pretrained(folder)
    x = 100 * np.abs(images(2, 32, 40, 3))
    np.testing.assert_array_equal(copy(x), model(x))
    assert copy.labels == tuple(LABELS)
    assert copy.architecture == model.architecture
    assert copy.preprocessing == model.preprocessing


def test_a_record_that_others_apply_stays_one(randomize, images, tmp_path):
    bare = randomize(_model())
    bare.preprocessing = RECORD
    folder = keras_senet.save_pretrained(bare, tmp_path / "bare")
    copy = keras_senet.load_pretrained(folder)
    x = images(2, 32, 40, 3)
    np.testing.assert_array_equal(copy(x), bare(x))
    assert copy.preprocessing == RECORD
    assert "must be normalised before" in (folder / "README.md").read_text()


def test_labels_stay_with_their_classes(model, tmp_path):
    labels = np.arange(len(LABELS))
    folder = keras_senet.save_pretrained(model, tmp_path / "mine", labels=labels)
    assert keras_senet.load_pretrained(folder).labels == tuple(map(str, labels))
    labels = np.array(LABELS)
    keras_senet.save_pretrained(model, folder, labels=labels, overwrite=True)
    copy = keras_senet.load_pretrained(folder)
    again = keras_senet.save_pretrained(copy, tmp_path / "again")
    assert keras_senet.load_pretrained(again).labels == tuple(LABELS)
    with pytest.warns(UserWarning, match="The checkpoint's classifier has"):
        assert keras_senet.load_pretrained(folder, classes=3).labels is None


@pytest.mark.parametrize("name", ["{outside}", "../../outside", "..", "a/b", "", "\0"])
def test_the_main_revision_is_a_folder_of_the_cache(name, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.json").write_text("{}")
    (outside / "model.weights.h5").touch()
    repository = tmp_path / "models--me--mine"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(name.format(outside=outside))
    with pytest.raises(ValueError, match="must hold the name of a folder"):
        keras_senet.load_pretrained(repository)


def test_folder_of_the_hubs_cache(model, images, tmp_path):
    repository = tmp_path / "models--me--mine"
    keras_senet.save_pretrained(model, repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    x = images(1, 32, 40, 3)
    copy = keras_senet.load_pretrained(repository)
    np.testing.assert_array_equal(copy(x), model(x))


def test_without_the_top(model, tmp_path):
    folder = keras_senet.save_pretrained(model, tmp_path / "mine")
    body = keras_senet.load_pretrained(folder, include_top=False)
    assert body.output_shape[1:] == (1, 2, 64)
    expected = model.get_layer("conv5_block1_3_conv").get_weights()[0]
    kernel = body.get_layer("conv5_block1_3_conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, expected)


def test_card_tells_what_the_hub_and_people_read(model, tmp_path):
    folder = keras_senet.save_pretrained(
        model, tmp_path / "mine", licence="MIT", description="Trained on insects."
    )
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: keras_senet\n")
    assert "license: mit" in card
    assert "| classes | 5 |" in card
    assert "Trained on insects." in card
    assert '"stride_on": "1x1"' in card


def test_a_licence_writes_no_other_line_into_the_card(model, tmp_path):
    text = "MIT\nbase_model: evil/x\n---\n# Click"
    folder = keras_senet.save_pretrained(model, tmp_path / "mine", licence=text)
    lines = (folder / "README.md").read_text().splitlines()
    assert "license: other" in lines
    assert not any(line.startswith(("base_model", "# Click")) for line in lines)


def test_the_card_of_a_backbone(tmp_path):
    folder = keras_senet.save_pretrained(
        _model(include_top=False, pooling="avg"), tmp_path / "mine"
    )
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: image-feature-extraction" in card
    assert "classes" not in card


def test_contradicting_argument(model, tmp_path):
    folder = keras_senet.save_pretrained(model, tmp_path / "mine")
    with pytest.raises(ValueError, match="stride_on is '1x1' in the file and '3x3'"):
        keras_senet.load_pretrained(folder, stride_on="3x3")


def test_existing_folder_is_kept(model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep")
    with pytest.raises(ValueError, match="must not exist yet"):
        keras_senet.save_pretrained(model, tmp_path / "mine")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "note.txt").read_text() == "keep"


def test_bad_folders(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        keras_senet.load_pretrained(tmp_path / "nothing")
    with pytest.raises(ValueError, match="`labels` must name the 5 classes"):
        keras_senet.save_pretrained(model, tmp_path / "mine", labels=["a"])
    with pytest.raises(ValueError, match=r"must be a keras\.Model"):
        keras_senet.save_pretrained(None, tmp_path / "mine")
    folder = keras_senet.save_pretrained(model, tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    config["constructor"] = "se_resnett"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="Did you mean 'se_resnet'"):
        keras_senet.load_pretrained(folder)
    del config["input_shape"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="a file without input_shape"):
        keras_senet.load_pretrained(folder)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_convert(model, images, tmp_path, ending):
    source = save_weights(model, tmp_path / "source.weights.h5")
    done = hub.convert(source, tmp_path / f"target{ending}")
    assert done.relative_error == 0
    assert done.constructor == "se_resnet"
    copy = keras_senet.SEResNet(weights=done.path, include_preprocessing=True)
    x = images(1, 32, 40, 3)
    np.testing.assert_array_equal(copy(x), model(x))
    card = done.card.read_text()
    assert hub.sha256(source) in card
    assert hub.sha256(done.path) in card
    assert copy.preprocessing == RECORD
    if ending == ".keras":
        np.testing.assert_array_equal(keras.saving.load_model(done.path)(x), model(x))


def test_convert_weights_of_a_plain_host(tmp_path, monkeypatch):
    """They are keras.applications' own, and no file that could be hashed."""
    arrays = {"nothing": np.zeros(3)}
    host = Checkpoint(
        arrays=arrays, card=Card(constructor="se_mobilenet"), layout="host"
    )
    network = _model()
    monkeypatch.setattr(hub.weights_room, "open_checkpoint", lambda *_: host)
    monkeypatch.setattr(hub, "constructor_of", lambda _: lambda **_: network)
    monkeypatch.setattr(hub, "_difference", lambda *_: 0.0)
    done = hub.convert("imagenet_host", tmp_path / "host.keras", model="se_mobilenet")
    assert "sha256 of the source" not in done.card.read_text()


def test_convert_refuses_other_targets(model, tmp_path):
    source = save_weights(model, tmp_path / "source.weights.h5")
    with pytest.raises(ValueError, match="`target` must end in"):
        hub.convert(source, tmp_path / "target.pth")
    (tmp_path / "there.keras").write_text("keep")
    with pytest.raises(ValueError, match="must not exist yet"):
        hub.convert(source, tmp_path / "there.keras")
    assert (tmp_path / "there.keras").read_text() == "keep"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "source.weights.h5",
        "there.keras",
    ]


# huggingface_hub's own uploads warn with its own HTTP library.
uploads = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.mark.slow
@uploads
def test_to_the_hub_and_back(model, images, hub, tmp_path):
    keras_senet.save_pretrained(
        model, tmp_path / "mine", labels=LABELS, licence="MIT",
        push_to_hub="me/mine", token="hf_me",
    )  # fmt: skip
    assert sorted(hub.files["me/mine", "main"]) == [
        *("README.md", "config.json", "model.weights.h5")
    ]
    x = 100 * np.abs(images(2, 32, 40, 3))
    copy = keras_senet.load_pretrained("me/mine")
    np.testing.assert_array_equal(copy(x), model(x))
    assert (copy.labels, copy.card.licence) == (tuple(LABELS), "MIT")
    opened = keras_senet.open_model("hf://me/mine")
    np.testing.assert_allclose(opened.predict(x), model(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="`weights` must be left out if `name`"):
        keras_senet.create_model("hf://me/mine", weights=None)


@uploads
def test_revisions_on_the_hub(model, hub, tmp_path, monkeypatch):
    push = {"push_to_hub": "me/mine@dev", "token": "hf_me", "overwrite": True}
    for _ in range(2):  # the branch is there the second time
        keras_senet.save_pretrained(model, tmp_path / "mine", **push)
    assert ("me/mine", "dev") in hub.files and not hub.files["me/mine", "main"]
    built = []

    def build(weights, **arguments):
        built.append(weights.parent.name)
        return model

    monkeypatch.setattr("keras_senet.opening.constructor_of", lambda name: build)
    keras_senet.load_pretrained("me/mine", revision="dev")
    hub.private["me/mine"] = "hf_me"
    with pytest.raises(OSError, match=r"no folder 'me/mine'; There is no repository"):
        keras_senet.load_pretrained("me/mine", revision="main")
    keras_senet.load_pretrained("me/mine@dev", token="hf_me")
    assert built == 2 * [hub_server.commit("dev")]
    with pytest.raises(ValueError, match="with only one revision"):
        keras_senet.load_pretrained("me/mine@dev", revision="dev")
    with pytest.raises(ValueError, match="`revision` is only for a repository"):
        keras_senet.load_pretrained(tmp_path / "mine", revision="dev")


def test_repositories_that_others_wrote(hub, tmp_path):
    hub.add("me/timms", {"config.json": b'{"architecture": "seresnet50"}'})
    hub.add("me/bare", {"model.safetensors": b""})
    for name, missing in (("timms", r"model\.weights\.h5"), ("bare", r"config\.json")):
        message = rf"has no {missing}, so .*create_model\('hf://me/{name}'\)"
        with pytest.raises(FileNotFoundError, match=message):
            keras_senet.load_pretrained(f"me/{name}")
    with pytest.raises(ValueError, match="A repository on the hub must be"):
        keras_senet.save_pretrained(None, tmp_path / "no", push_to_hub="me/a/b.h5")


@pytest.mark.parametrize(
    "options",
    [
        {"classifier_activation": "sigmoid"},
        {"classifier_activation": None},
        {"include_top": False, "pooling": "avg"},
        {"include_top": False, "pooling": "max"},
        {"data_format": "channels_first", "input_shape": (3, 32, 40)},
    ],
    ids=str,
)
def test_what_a_network_returns_stays(options, randomize, images, tmp_path):
    bare = randomize(_model(**options))
    copy = keras_senet.load_pretrained(
        keras_senet.save_pretrained(bare, tmp_path / "a")
    )
    opened = keras_senet.open_model(tmp_path / "a").keras_model()
    x = images(2, *bare.input_shape[1:])
    for network in (copy, opened):
        np.testing.assert_array_equal(network(x), bare(x))
        assert network.card.outputs == bare.card.outputs
    larger = keras_senet.open_model(tmp_path / "a", image_size=48)
    assert sorted(larger.input_shape[1:]) == [3, 48, 48]


def test_layers_in_front_of_a_network_are_not_lost(tmp_path):
    inputs = keras.Input((64, 80, 3))
    x = keras.layers.Rescaling(1 / 255)(keras.layers.Resizing(32, 40)(inputs))
    network = _model(input_tensor=x, input_shape=None)
    assert network.card.input_shape == (64, 80, 3)
    with pytest.raises(ValueError, match="with their own `save`"):
        keras_senet.save_pretrained(network, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_convert_keeps_what_outputs_mean(randomize, images, tmp_path):
    bare = randomize(_model(classifier_activation="sigmoid"))
    file = save_weights(bare, tmp_path / "s.weights.h5")
    keras_senet.hub.convert(file, tmp_path / "c.keras")
    copy = keras.saving.load_model(tmp_path / "c.keras")
    assert copy.card.outputs == "sigmoid"
    x = images(2, 32, 40, 3)
    np.testing.assert_allclose(copy(x), bare(x), atol=1e-6)


@uploads
def test_a_repositorys_outputs_are_those_of_its_network(hub, tmp_path):
    network = keras_senet.SEResNet20(
        weights=None, classes=4, classifier_activation="sigmoid"
    )
    push = {"push_to_hub": "me/signs", "token": "hf_me"}
    keras_senet.save_pretrained(network, tmp_path / "signs", **push)
    address = "hf://me/signs"
    models = [
        keras_senet.create_model(address),
        keras_senet.open_model(address).keras_model(),
        keras_senet.open_model("se_resnet20", weights=address).keras_model(),
    ]
    assert [model.card.outputs for model in models] == ["sigmoid"] * 3
    with pytest.warns(UserWarning, match="start untrained"):
        other = keras_senet.create_model(address, classes=5)
    assert other.card.outputs == "softmax"  # of a new classifier
    with pytest.raises(ValueError, match="a model and a repository"):
        keras_senet.open_model(address, weights=address)


def test_a_file_that_names_an_address_asks_nobody(model, tmp_path, monkeypatch):
    file = tmp_path / "model.weights.h5"
    keras_senet.weights.save_weights(model, file)
    with h5py.File(file, "r+") as opened:
        header = json.loads(opened.attrs["keras_senet"])
        opened.attrs["keras_senet"] = json.dumps({**header, "constructor": "hf://a/b"})
    monkeypatch.setattr("socket.socket", None)
    with pytest.raises(ValueError, match=r"list_models\(\)\. Received: 'hf://a/b'"):
        keras_senet.open_model(file)
